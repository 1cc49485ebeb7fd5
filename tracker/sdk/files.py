"""The files of a run: handed over in a moment, read and hashed in a thread, shipped before the log names them.

A file becomes a fact of kind `file` at its name below the run's files, and a content that waits beside the log until
the store has it. Trouble with one file is said once and stops neither the run nor another file.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from tracker.sdk import term
from tracker.sdk.file_names import file_name, is_ignored
from tracker.sdk.large_files import LARGE_BYTES, LargeFiles
from tracker.sdk.live_files import LiveFiles, Stamp, stamp_of
from tracker.storage.files_below import files_below

if TYPE_CHECKING:
    from tracker.sdk.recorder import Recorder
    from tracker.storage.file_facts import FileFact, Policy
    from tracker.storage.file_notes import FileNotes
    from tracker.storage.staging import Content, Staging

__all__ = ["FileStore"]

_POLL_S: Final = 2.0
_MEASURE_S: Final = 2.0  # how long the measured size of what waits is good for


class FileStore:
    """What a run, or a service beside it, hands over to be kept with the run. Any thread may call.

    In a process that only inherited the run the first call attaches, as `log` does.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._live = LiveFiles()
        self._at_end: dict[str, Path] = {}
        self._sent: dict[str, tuple[Stamp, str, str]] = {}  # by name: stamp, hash and policy of what the log names
        self._large: LargeFiles | None = None
        self._places: tuple[Staging, FileNotes] | None = None
        self._measured_s = -_MEASURE_S
        self._waiting_bytes = 0
        self._said: set[str] = set()

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
        staging, notes = self._open("saving a file")
        if self._ignored(shown):
            return
        if not copy:
            try:
                taken = staging.take(source)
            except OSError as exc:
                self._say(shown, exc)
                return
            self._later(partial(self._adopt, shown, taken))
            return
        self._live.forget(shown)
        self._at_end.pop(shown, None)
        if policy != "now":
            self._at_end[shown] = source
            notes.declared(shown, source, policy)
        if policy == "live":
            self._live.add(shown, source)
        if policy != "end":
            self._later(partial(self._add, shown, source, policy))

    def put_bytes(self, name: str, data: bytes) -> None:
        """The run has a file `name` with these bytes. It is in the log when this returns; raises as `put`."""
        shown = file_name(name)
        staging, _ = self._open("saving a file")
        if self._ignored(shown):
            return
        from tracker.storage.file_facts import FileFact

        now_ns = time.time_ns()
        stamp = (now_ns, len(data), 0)
        short = FileFact.short(shown, data, now_ns // 1000, "now")
        if short is not None:
            self._keep_short(short, stamp)
            return
        try:
            self._make_room(len(data))
            content = staging.add_bytes(data)
        except OSError as exc:
            self._say(shown, exc)
            return
        self._keep_soon(shown, content, stamp, "now")

    def stage(self, source: str | os.PathLike[str] | bytes, name: str) -> dict[str, Any]:
        """The contents of a file, or the bytes, wait for a value that names them: what is returned belongs into a dict
        with `_type` that is logged next. Keys: `sha256` (64 hex digits), `size` (bytes), `path` (`name`).

        Raises:
            OSError: the file cannot be read, or the disk takes no copy.
            ValueError, UsageError: as `put`.
        """
        shown = file_name(name)
        staging, _ = self._open("logging a file")
        if isinstance(source, bytes):
            self._make_room(len(source))
            content = staging.add_bytes(source)
        else:
            self._make_room(os.stat(source).st_size)
            content = staging.add_file(Path(source))
        return {"sha256": content.sha256, "size": content.size, "path": shown}

    def stage_media(self, source: str | os.PathLike[str] | bytes, name_of: Callable[[str], str]) -> dict[str, Any]:
        """As `stage`, under the name that `name_of` makes of the SHA-256; it becomes a file of the run as well."""
        from tracker.storage.file_facts import FileFact
        from tracker.storage.staging import Content

        staged = self.stage(source, "media")
        name = file_name(name_of(staged["sha256"]))
        if not self._ignored(name):
            now_ns = time.time_ns()
            content = Content(staged["sha256"], staged["size"])
            self._recorder.write_facts([FileFact.of(name, content, now_ns // 1000, "now").row])
        return staged | {"path": name}

    def wait(self, timeout_s: float) -> bool:
        """Wait until what was handed over before is in the log or on its way. False: not within `timeout_s`."""
        if self._thread is None:
            return True
        done = threading.Event()
        self._later(done.set)
        return done.wait(timeout_s)

    def finish(self) -> None:
        """Everything is in the log: what was handed over, files of policies "end" and "live" and those in the run's
        directory as they are now. Never raises.
        """
        writer, directory = self._recorder.writer, self._recorder.files_dir
        if writer is None or directory is None:
            return
        try:
            if self._thread is None and not self._at_end and not os.listdir(directory):
                return
            self._later(partial(self._last_look, directory))
            with self._lock:
                thread, self._thread = self._thread, None
            self._jobs.put(None)
            if thread is not None:
                thread.join()
            if self._large is not None:
                self._large.finish(self._recorder.options.x_finish_timeout_s)
            self._open("finish")[1].finished()
        except Exception as exc:
            term.warn(f"Not all files could be kept with the run: {type(exc).__name__}: {exc}")

    def _last_look(self, directory: Path) -> None:
        """Files of policies "end" and "live", and what else lies in the run's directory (SAVE-2, SAVE-6)."""
        at_end = dict(self._at_end)
        for name, source in files_below(directory):
            sent = self._sent.get(name)
            if name not in at_end and (sent is None or sent[2] != "now"):
                at_end[name] = source
        for name, source in at_end.items():
            if not self._ignored(name):
                self._add(name, source, "live" if name in self._live.sources() else "end")

    def _open(self, call: str) -> tuple[Staging, FileNotes]:
        """Where contents and notes go; attaches in another process. Raises UsageError when the run is finished."""
        writer = self._recorder.open_writer(call)
        if self._places is None:
            from tracker.storage.file_notes import FileNotes
            from tracker.storage.staging import Staging

            self._places = Staging(writer.spool_dir), FileNotes(writer.spool_dir)
            if self._recorder.options.ignore_globs:
                self._places[1].ignore(self._recorder.options.ignore_globs)
        return self._places

    def _ignored(self, name: str) -> bool:
        return is_ignored(name, self._recorder.options.ignore_globs)

    def _later(self, job: Callable[[], None]) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="tracker-files", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # Python exits: then there is nothing to keep waiting
                    self._guarded(job)
                    return
                self._thread = thread
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_POLL_S if self._live else None)
            except Empty:
                for name, source in self._live.due(time.monotonic()):
                    self._guarded(partial(self._add, name, source, "live"))
                continue
            if job is None:
                return
            self._guarded(job)

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as exc:
            self._say("A file", exc)

    def _add(self, name: str, source: Path, policy: Policy) -> None:
        """The run has the file as it is now, unless that is what it has. A file that is not there (yet) is left out."""
        stamp = stamp_of(source)
        if stamp is None:
            if policy == "now":
                self._say(name, FileNotFoundError(f"{source} is gone"))
            return
        sent = self._sent.get(name)
        self._live.sent(name, stamp, time.monotonic())
        if sent is not None and sent[0] == stamp:
            return
        from tracker.storage.file_facts import read_short

        try:
            short = read_short(name, source, stamp[0] // 1000, policy)
            if short is not None:
                if sent is None or sent[1] != short.sha256:
                    self._keep_short(short, stamp)
                return
            self._make_room(stamp[1])
            content = self._open("saving a file")[0].add_file(source)
        except OSError as exc:
            self._say(name, exc)
            return
        if sent is not None and sent[1] == content.sha256:
            self._sent[name] = (stamp, content.sha256, policy)
            return
        self._keep_soon(name, content, stamp, policy)

    def _adopt(self, name: str, taken: Path) -> None:
        stamp = stamp_of(taken) or (0, 0, 0)
        try:
            content = self._open("saving a file")[0].adopt(taken)
        except OSError as exc:
            self._say(name, exc)
            return
        self._keep_soon(name, content, stamp, "now")

    def _keep_soon(self, name: str, content: Content, stamp: Stamp, policy: Policy) -> None:
        """In the log now; a large one when the store has its content, unless the run ends without it."""
        from tracker.storage.file_facts import FileFact

        self._sent[name] = (stamp, content.sha256, policy)
        fact = FileFact.of(name, content, stamp[0] // 1000, policy)
        if content.size <= LARGE_BYTES:
            self._keep(fact, stamp[0])
            return
        self._open("saving a file")[1].promised(fact)
        with self._lock:
            if self._large is None:
                writer, ref = self._recorder.open_writer("saving a file"), self._recorder.ref
                self._large = LargeFiles(writer, self._recorder.root, ref.entity, ref.project, self._keep)
        self._large.send(fact, stamp[0])

    def _keep_short(self, fact: FileFact, stamp: Stamp) -> None:
        """In the log now, contents and all."""
        self._sent[fact.name] = (stamp, fact.sha256, fact.policy)
        self._keep(fact, stamp[0])

    def _keep(self, fact: FileFact, mtime_ns: int) -> None:
        self._recorder.write_facts([fact.row])
        if mtime_ns:
            self._open("saving a file")[1].logged(fact, mtime_ns)

    def _make_room(self, size: int) -> None:
        """Raises OSError where `size` more bytes are more than may wait on the local disk."""
        now_s = time.monotonic()
        if now_s - self._measured_s >= _MEASURE_S:
            self._measured_s, self._waiting_bytes = now_s, self._open("saving a file")[0].size_bytes()
        limit = self._recorder.options.x_spool_bytes_max
        if self._waiting_bytes + size > limit:
            raise OSError(f"the limit of {limit / 2**30:.1f} GiB for data that waits is reached")
        self._waiting_bytes += size

    def _say(self, name: str, exc: Exception) -> None:
        """Each trouble once."""
        why = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
        if why not in self._said:
            self._said.add(why)
            term.warn(f"{name} is not kept with the run: {why}")
