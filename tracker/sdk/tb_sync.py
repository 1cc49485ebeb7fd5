"""`sync_tensorboard`: what TensorBoard's writers of this process write becomes rows of the run, while it trains."""

from __future__ import annotations

import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tracker.sdk import term
from tracker.sdk.facts import leaves_of, replace_facts
from tracker.sdk.history import HistoryLog
from tracker.sdk.tb_files import EventFiles, Pauses, is_own_event_file
from tracker.sdk.tb_patch import Directory, noticed
from tracker.storage.events import KIND_CONFIG, join_path

if TYPE_CHECKING:
    from tracker.sdk.run import Run
    from tracker.sdk.tb_rows import Namespaces, StepRows

__all__ = ["TensorBoardSync", "draw_chart", "make_tensorboard_sync"]

_POLL_S: Final = 2.0
_REMOTE_POLL_S: Final = 15.0
_END_WAIT_S: Final = 120.0  # for what is left to read when the run ends


def make_tensorboard_sync(run: Run) -> TensorBoardSync:
    """The service for a run with `sync_tensorboard`, or after `tracker.tensorboard.patch()`."""
    return TensorBoardSync(run)


class TensorBoardSync:
    """Reads the event files that this process writes from now on, a little at a time, in a thread of its own.

    Every global step is a row of its own; the event files become files of the run when it ends. Numbers that a
    writer holds back are flushed before the last look.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._patched_here = False
        self._seen = 0  # of the directories noticed
        self._files: list[tuple[Directory, EventFiles]] = []
        self._failed: set[str] = set()
        self._rows: StepRows | None = None
        self._namespaces: Namespaces | None = None

    def start(self) -> None:
        if not noticed.is_patched:
            noticed.patch()
            self._patched_here = True
        self._ignore_steps(True)
        self._thread = threading.Thread(target=self._work, name="tracker-tensorboard", daemon=True)
        self._thread.start()

    def stop(self, exit_code: int) -> None:
        """Read what is left, without pauses, and keep the event files."""
        _ = exit_code
        noticed.flush_writers()
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_END_WAIT_S)
            if self._thread.is_alive():
                term.warn("TensorBoard: not all events could be read; tracker.Api().sync_tensorboard() takes the rest")
        self._ignore_steps(False)
        if self._patched_here:
            noticed.unpatch()

    def after_fork(self) -> None:
        """The child has no thread, and what it writes is read by the parent."""
        self._thread = None
        noticed.unpatch()

    def _work(self) -> None:
        while True:
            is_last = self._stopping
            try:
                self._look(is_last)
            except Exception as exc:  # the training goes on, and so do other directories
                self._say("TensorBoard", exc)
            if is_last:
                return
            remote = any("://" in directory.path for directory, _ in self._files)
            self._wake.wait(_REMOTE_POLL_S if remote else _POLL_S)

    def _look(self, is_last: bool) -> None:
        new = noticed.since(self._seen)
        self._seen += len(new)
        host = socket.gethostname()
        for directory in new:
            wanted = partial(is_own_event_file, host=host, since_s=directory.since_s)
            self._files.append((directory, EventFiles(directory.path, wanted)))
        if not self._files:
            return
        rows, namespaces = self._tools()
        for directory, _ in self._files:
            namespaces.see(directory.path, time.monotonic())
        names = [namespaces.name(directory.path, time.monotonic(), last=is_last) for directory, _ in self._files]
        for name, (directory, files) in zip(names, self._files, strict=True):
            if name is not None:
                try:
                    self._read(name, files, rows)
                except Exception as exc:
                    self._say(directory.path, exc)
        if is_last:
            rows.end_all()
            self._keep_files()

    def _tools(self) -> tuple[StepRows, Namespaces]:
        if self._rows is None or self._namespaces is None:
            from tracker.sdk.tb_rows import Namespaces, StepRows

            self._rows = StepRows(self._log, partial(draw_chart, self._run.recorder.write_facts))
            self._namespaces = Namespaces(noticed.root)
        return self._rows, self._namespaces

    def _read(self, name: str, files: EventFiles, rows: StepRows) -> None:
        from tracker.sdk.tb_values import config_of, event_values

        pauses = Pauses()
        for event in files.new_events():
            found = config_of(event)
            if found:
                self._run.config.setdefaults(found)
            rows.add(name, event.step, event.wall_time, event_values(event))
            if not self._stopping:
                pauses.take()

    def _log(self, row: dict[str, Any]) -> None:
        history = self._run.recorder.history
        if isinstance(history, HistoryLog):
            history.log_apart(row)

    def _ignore_steps(self, ignores: bool) -> None:
        history = self._run.recorder.history
        if isinstance(history, HistoryLog):
            history.ignores_steps = ignores

    def _keep_files(self) -> None:
        """As `tensorboard/<namespace>/<file>`."""
        assert self._namespaces is not None
        for directory, files in self._files:
            name = self._namespaces.name(directory.path, 0.0, last=True)
            for path in files.paths:
                if "://" not in path:
                    kept = "/".join(part for part in ("tensorboard", name, path.rpartition("/")[2]) if part)
                    self._run.recorder.files.put(path, kept)

    def _say(self, what: str, exc: Exception) -> None:
        if what not in self._failed:
            self._failed.add(what)
            term.warn(f"{what} is not synced in full: {type(exc).__name__}: {exc} (said once)")


def draw_chart(write_facts: Any, key: str, chart: dict[str, Any]) -> None:
    """The run's config says how chart `key` is drawn (CHART-2)."""
    path = join_path(["_wandb", "visualize", key])
    write_facts(replace_facts(KIND_CONFIG, path, leaves_of(path, chart)))
