"""Files of runs on the local disk: many at once, or one by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path

from tracker.apis.public.failures import CommValueError
from tracker.apis.public.file import File
from tracker.errors import NotFound, UsageError
from tracker.storage.downloads import Download, download_all
from tracker.storage.part_file import Existing
from tracker.storage.targets import targets_of

__all__ = ["fetch_file", "fetch_files"]


def fetch_files(
    files: Sequence[File],
    root: Path,
    existing: Existing,
    workers: int | None = None,
    on_done: Callable[[Download], None] = lambda _: None,
) -> list[Path]:
    """All of them are below `root`, whole; where each is, in their order. `on_done`: see `download_all`.

    Raises:
        RefusedTarget: a name would lead out of `root`, two of them need one place, or (with "refuse") one is there;
            then nothing is fetched. NotFound, CorruptData, StorageUnavailable, CredentialsMissing: as `download_all`.
        UsageError: fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers download nothing. Give at least 1, or None.")
    targets = targets_of(root, [file.name for file in files])
    if files:
        wanted = [file.download_to(root, target) for file, target in zip(files, targets, strict=True)]
        download_all(files[0].client.store, wanted, existing, workers=workers, on_done=on_done)
    return targets


def fetch_file(run_path: str, name: str, root: str, *, base_url: str | None) -> TextIOWrapper | None:
    """The file `name` of the run at `run_path`, downloaded below `root` and opened; None: the run has no such file.

    Raises:
        ValueError: the run has the file, but not (yet) its contents.
        CommError: there is no such run. StorageUnavailable, CredentialsMissing: as the store.
    """
    from tracker.apis.public.api import Api

    found = Api({} if base_url is None else {"base_url": base_url}).run(run_path).files([name])
    if not len(found):
        return None
    try:
        return found[0].download(root, replace=True)
    except NotFound as exc:
        text = f"{name} of run {run_path} was declared, but its contents are not in the store (yet)."
        raise CommValueError(text, ValueError(text)) from exc
