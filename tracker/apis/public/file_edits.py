"""Files that a run keeps from now on, or does not keep any more, whoever wrote the run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracker.apis.public.file import File
from tracker.errors import UsageError
from tracker.query.run_file_rows import RunFileRow
from tracker.sdk.file_names import file_name
from tracker.storage.events import DELETED, KIND_FILE, join_path
from tracker.storage.file_facts import FileFact
from tracker.storage.files_below import files_below
from tracker.storage.names import blob_key
from tracker.storage.staging import Staging

if TYPE_CHECKING:
    from tracker.apis.public.run import Run

__all__ = ["delete_files", "named_files", "upload_files"]

_BATCH: Final = 64  # contents on their way at once
_BATCH_BYTES: Final = 32 << 20


def named_files(paths: Sequence[str | os.PathLike[str]], root: str | os.PathLike[str]) -> dict[str, Path]:
    """Name (relative to `root`) to path of these files, and of all files below those that are folders.

    Raises:
        ValueError: one does not lie below `root`. OSError: one is not there, or is no file.
    """
    top = Path(os.path.abspath(root))
    found: dict[str, Path] = {}
    for path in paths:
        source = Path(os.path.abspath(path))
        if not source.is_relative_to(top):
            raise ValueError(f"{source} does not lie below {top}. Pass a root that holds it.")
        if source.is_dir():
            for name, below in files_below(source):
                found[file_name((source.relative_to(top) / name).as_posix())] = below
        else:
            source.stat()
            found[file_name(source.relative_to(top).as_posix())] = source
    return found


def upload_files(run: Run, sources: dict[str, Path], on_done: Callable[[str], None] = lambda _: None) -> list[File]:
    """The run keeps all of these files, under their names, when this returns; contents go first, in bounded memory.

    Each is copied to the temporary directory on its way (its blocks are shared where the disk can), so that it may
    change meanwhile. `on_done` is told of each whose contents the store has.

    Raises:
        OSError: one cannot be read; then the run keeps none of them newly.
        UsageError: the run is shown as of a time gone by. StorageUnavailable, CredentialsMissing: as the store.
    """
    run.client.refuse_the_past()
    facts = []
    for batch in _staged(run, sources):
        facts += batch
        for fact in batch:
            on_done(fact.name)
    if facts:
        run.store_edits([(KIND_FILE, run.id, join_path([fact.name]), fact.row[3]) for fact in facts])
    return [File(run.client, RunFileRow(path=join_path([fact.name]), fact=fact), run) for fact in facts]


def delete_files(run: Run, files: Sequence[File]) -> None:
    """The run has none of them any more; all go in one write.

    Raises:
        UsageError: the run is shown as of a time gone by. StorageUnavailable, CredentialsMissing: as the store.
    """
    run.client.refuse_the_past()
    if files:
        run.store_edits([(KIND_FILE, run.id, join_path([file.name]), DELETED) for file in files])


def _staged(run: Run, sources: dict[str, Path]) -> Iterator[list[FileFact]]:
    """The facts of all files, a batch when the store has its contents."""
    with tempfile.TemporaryDirectory(prefix="tracker-upload-") as folder:
        staging = Staging(Path(folder))
        batch: list[FileFact] = []
        for name, source in sources.items():
            if not source.is_file():
                raise UsageError(f"{source} is no file that could be kept. Give files, or folders of files.")
            content = staging.add_file(source)
            batch.append(FileFact.of(name, content, source.stat().st_mtime_ns // 1000, "now"))
            if len(batch) == _BATCH or sum(fact.size for fact in batch) >= _BATCH_BYTES:
                yield _put(run, staging, batch)
                batch = []
        yield _put(run, staging, batch)


def _put(run: Run, staging: Staging, batch: list[FileFact]) -> list[FileFact]:
    hashes = {fact.sha256 for fact in batch if fact.size}
    contents = [(blob_key(run.entity, run.project, sha256), staging.path(sha256)) for sha256 in sorted(hashes)]
    for root in run.client.homes_of(run.entity, run.project, run.id):
        root.put_contents(contents)
    for sha256 in hashes:
        staging.drop(sha256)
    return batch
