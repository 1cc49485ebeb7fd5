"""`tracker sync`: ship what processes left behind, and say what became of it."""

from __future__ import annotations

from pathlib import Path

from tracker.cli.talk import progress_bar, say, warn
from tracker.storage.errors import NotFound, StorageUnavailable

__all__ = ["import_tensorboard", "run_sync"]


def run_sync(source: str, to: str | None) -> None:
    """Ship the spools below a directory and copy its offline root, or copy a whole root to `to`.

    Raises:
        NotFound: there is nothing to sync.
        StorageUnavailable: something could not be shipped; it stays where it is, and the next sync takes it up.
    """
    from tracker.base_url import check_root, resolve_base_url
    from tracker.storage.stores import is_remote_url
    from tracker.storage.sync import copy_root, sync_dir

    target = None if to is None else check_root(to)
    if is_remote_url(source):
        with progress_bar() as progress:
            objects, size_bytes = copy_root(check_root(source), resolve_base_url(target), progress=progress)
        say(f"copied {objects} objects ({size_bytes:,} bytes)")
        return
    directory = Path(source).expanduser()
    if not directory.exists():
        raise NotFound(f"There is no directory {directory}.")
    with progress_bar() as progress:
        report = sync_dir(directory, to=target, default_to=resolve_base_url(), progress=progress, notify=_notify)
    frames = sum(info.waiting_frames for info in report.shipped)
    say(f"shipped {frames:,} waiting records of {len(report.shipped)} process(es)")
    if report.copied_objects:
        say(f"copied {report.copied_objects} objects ({report.copied_bytes:,} bytes) that were logged offline")
    for info in report.live:
        say(f"left alone: run {info.run_id}, its process is alive and ships by itself ({info.path})")
    for what, why in report.failed:
        warn(f"not shipped, kept on this disk: {what}: {why}")
    if report.failed:
        raise StorageUnavailable(
            f"{len(report.failed)} of the data directories could not be shipped. Run the sync again."
        )


def import_tensorboard(
    source: str, to: str | None, *, project: str | None, entity: str | None, run_id: str | None
) -> None:
    """The event files of TensorBoard below a directory are one run that has ended. Its path goes to stdout.

    Raises:
        UsageError: there are none, or TensorBoard is not installed.
        CommError: the store can not be reached.
    """
    from tracker.apis.public import Api

    api = Api({} if to is None else {"base_url": to})
    run = api.sync_tensorboard(Path(source).expanduser(), run_id=run_id, project=project, entity=entity)
    print("/".join((run.entity, run.project, run.id)))


def _notify(level: str, text: str) -> None:
    if level in ("warn", "error"):
        warn(text)
    else:
        say(text)
