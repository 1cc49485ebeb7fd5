"""The files of a run: taken over at once, hashed and handed to the shipper in the background.

A file becomes a fact of kind `file` at its name below the run's files, and a content that waits beside the log
until the store has it. Trouble with one file is said once and never stops the run or another file.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Literal

from tracker.sdk import term
from tracker.storage.events import KIND_FILE, join_path

if TYPE_CHECKING:
    from tracker.sdk.recorder import Recorder
    from tracker.storage.staging import Content, Staging

__all__ = ["FileStore", "Policy", "file_fact", "file_name"]

Policy = Literal["now", "end", "live"]

_END_WAIT_S: Final = 600.0  # for what is being read when the run ends


class FileStore:
    """What a run, or a service beside it, hands over to be kept with the run. Any thread may call.

    Raises UsageError once the run is finished, and in a process that only inherited it attaches first, as `log` does.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._kept: dict[str, Path] = {}  # files of policy "end", by name

    def put(
        self, path: str | os.PathLike[str], name: str | None = None, policy: Policy = "now", *, copy: bool = True
    ) -> None:
        """The file at `path` belongs to the run as `name` (POSIX, relative; None: its own name).

        "now": as it is soon after this call; "end": as it is when the run ends; "live": both, and whenever it changed.
        `copy` False: the file is given away and is gone from `path` when this returns (only "now").

        Raises:
            ValueError: a name that leads out of the run's files. UsageError: the run is finished.
        """
        source = Path(path).absolute()
        shown = file_name(source.name if name is None else name)
        staging = self._staging("saving a file")
        if not copy:
            try:
                taken = staging.take(source)
            except OSError as exc:
                _say(shown, exc)
                return
            self._later(partial(self._adopt, shown, taken))
            return
        if policy != "now":
            self._kept[shown] = source
        if policy != "end":
            self._later(partial(self._add, shown, source, policy))

    def put_bytes(self, name: str, data: bytes) -> None:
        """The run has a file `name` with these bytes. Written before this returns; raises as `put`."""
        shown = file_name(name)
        staging = self._staging("saving a file")
        try:
            content = staging.add_bytes(data)
        except OSError as exc:
            _say(shown, exc)
            return
        self._write(shown, content, time.time_ns() // 1000, "now")

    def stage(self, source: str | os.PathLike[str] | bytes, name: str) -> dict[str, Any]:
        """The contents of a file, or the bytes, wait for a value that names them: what is returned belongs into a dict
        with `_type` that is logged next. Keys: `sha256` (64 hex digits), `size` (bytes), `path` (`name`).

        Raises:
            OSError: the file cannot be read, or the disk takes no copy.
            ValueError, UsageError: as `put`.
        """
        shown = file_name(name)
        staging = self._staging("logging a file")
        content = staging.add_bytes(source) if isinstance(source, bytes) else staging.add_file(Path(source))
        return {"sha256": content.sha256, "size": content.size, "path": shown}

    def stage_media(self, source: os.PathLike[str] | bytes, name_of: Callable[[str], str]) -> dict[str, Any]:
        """As `stage`, under the name that `name_of` makes of the SHA-256; it becomes a file of the run as well."""
        from tracker.storage.staging import Content

        staged = self.stage(source, "media")
        name = file_name(name_of(staged["sha256"]))
        content = Content(staged["sha256"], staged["size"])
        self._write(name, content, time.time_ns() // 1000, "now")
        return staged | {"path": name}

    def finish(self) -> None:
        """What was handed over is in the log; files of policies "end" and "live" as they are now."""
        for name, source in list(self._kept.items()):
            self._later(partial(self._add, name, source, "end"))
        self._kept.clear()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join(_END_WAIT_S)

    def _staging(self, call: str) -> Staging:
        from tracker.storage.staging import Staging

        return Staging(self._recorder.open_writer(call).spool_dir)

    def _later(self, job: Callable[[], None]) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tracker-files", daemon=True)
                self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _add(self, name: str, source: Path, policy: Policy) -> None:
        try:
            modified_us = source.stat().st_mtime_ns // 1000
            content = self._staging("saving a file").add_file(source)
        except OSError as exc:
            _say(name, exc)
            return
        self._write(name, content, modified_us, policy)

    def _adopt(self, name: str, taken: Path) -> None:
        try:
            modified_us = taken.stat().st_mtime_ns // 1000
            content = self._staging("saving a file").adopt(taken)
        except OSError as exc:
            _say(name, exc)
            return
        self._write(name, content, modified_us, "now")

    def _write(self, name: str, content: Content, modified_us: int, policy: Policy) -> None:
        self._recorder.write_facts([file_fact(name, content, modified_us, policy)])


def file_name(name: str) -> str:
    """`name` as a relative POSIX path below the run's files.

    Raises:
        ValueError: it is empty, absolute, or leads out of them.
    """
    segments = [segment for segment in name.replace(os.sep, "/").split("/") if segment not in {"", "."}]
    if not segments or ".." in segments or name.startswith("/"):
        raise ValueError(f"{name!r} is no name of a run's file: it must be a relative path that stays below the run.")
    return "/".join(segments).encode("utf-8", "backslashreplace").decode()


def file_fact(name: str, content: Content, modified_us: int, policy: Policy) -> tuple[str, None, str, dict[str, Any]]:
    """What the log says of a file: its name is one segment of the path."""
    value = {
        "_type": "file",
        "sha256": content.sha256,
        "size": content.size,
        "mtime_us": modified_us,
        "policy": policy,
    }
    return KIND_FILE, None, join_path([name]), value


def _say(name: str, exc: OSError) -> None:
    term.warn(f"{name} is not kept with the run: {exc.strerror or exc}")
