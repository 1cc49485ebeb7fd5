"""`FileCalls`: the files that a run keeps, and gets back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TextIO, get_args

from tracker.sdk import term
from tracker.sdk.options import RunOptions
from tracker.sdk.recorder import Recorder
from tracker.sdk.restore import restore_of
from tracker.sdk.save import is_elsewhere, place_files, plan_save
from tracker.storage.files_below import files_below

__all__ = ["FileCalls", "PolicyName"]

PolicyName = Literal["now", "live", "end"]


class FileCalls:
    """`Run` sets the attributes below in its constructor."""

    _recorder: Recorder
    _options: RunOptions

    def save(
        self,
        glob_str: str | bytes | os.PathLike[str] | None = None,
        base_path: str | os.PathLike[str] | None = None,
        policy: PolicyName = "live",
    ) -> bool | list[str]:
        """Keep the files that match the glob with the run. Returns their paths in the run's directory, where they are
        linked.

        "now": as they are soon after the call; "end": as they are when the run ends; "live": both, and whenever one
        changed. A relative glob keeps its folders, `base_path` strips that prefix. Reading and sending happen in the
        background. Without a glob nothing happens (deprecated).

        Raises:
            ValueError: another policy, or a glob that does not lie below its base (SAVE-4).
            TypeError: what is no path. UsageError: the run is finished.
        """
        if glob_str is None:
            term.warn("save() without a glob does nothing: files in run.dir are kept when the run ends")
            return True
        if policy not in get_args(PolicyName):
            raise ValueError(f"policy={policy!r} is none of: {', '.join(get_args(PolicyName))}.")
        pattern = os.fsdecode(glob_str)
        if is_elsewhere(pattern):
            term.info(f"{pattern} lies on a remote store already; it is not kept with the run")
            return []
        self._recorder.open_writer("save")
        directory = Path(str(self._recorder.files_dir))
        plan = plan_save(pattern, None if base_path is None else os.fsdecode(base_path), directory)
        placed = place_files(plan, directory, symlink=self._options.symlink)
        for place in placed:
            path = Path(place)
            name = path.relative_to(directory).as_posix()
            below = [(f"{name}/{inner}", file) for inner, file in files_below(path)] if path.is_dir() else []
            for shown, file in below or [(name, path)]:
                if file.is_file():
                    self._recorder.files.put(file, shown, policy)
        return placed

    def restore(
        self,
        name: str,
        run_path: str | None = None,
        replace: bool = False,
        root: str | os.PathLike[str] | None = None,
    ) -> TextIO | None:
        """The file `name` of this run, or of the run at `run_path`, on the local disk and opened: `tracker.restore`."""
        return restore_of(self, name, run_path, replace, root)  # type: ignore[arg-type]  # a mixin of Run
