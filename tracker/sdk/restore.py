"""`tracker.restore`: a file that a run has saved, on the local disk again and open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

from tracker.sdk import session

if TYPE_CHECKING:
    from tracker.sdk.run import Run

__all__ = ["restore", "restore_of"]

_HANDED_OVER_S = 30.0


def restore(
    name: str, run_path: str | None = None, replace: bool = False, root: str | os.PathLike[str] | None = None
) -> TextIO | None:
    """The file `name` of the active run, or of the run at `run_path`, opened for reading as text.

    It lies below `root`: the run's directory, without a run the current one. A file that is there already is opened as
    it is, unless `replace` is set. None: the run has no such file, or the active run is disabled.

    Raises:
        ValueError: no run is active and no `run_path` given; or the file was declared and its contents never came.
        CommError: there is no such run, or the store does not answer.
    """
    return restore_of(session.active_here(), name, run_path, replace, root)


def restore_of(
    run: Run | None, name: str, run_path: str | None, replace: bool, root: str | os.PathLike[str] | None
) -> TextIO | None:
    """As `restore`, with `run` as the active run."""
    if run is None and run_path is None:
        raise ValueError("restore needs run_path='entity/project/run' while no run is active.")
    folder = os.fspath(root) if root is not None else run.dir if run is not None else os.getcwd()
    target = os.path.join(folder, name)
    if os.path.isfile(target) and not replace:
        return open(target, encoding="utf-8")
    if run is not None and run.disabled:
        return None
    from tracker.apis.public.file_fetch import fetch_file

    if run is None or (run_path is not None and run_path.strip("/") != run.path):
        return fetch_file(str(run_path), name, folder, base_url=None if run is None else run.recorder.root)
    recorder = run.recorder
    if recorder.writer is not None:  # what was saved just now is part of the run
        recorder.files.wait(_HANDED_OVER_S)
        recorder.flush(recorder.options.x_finish_timeout_s)
    return fetch_file(run.path, name, folder, base_url=recorder.root)
