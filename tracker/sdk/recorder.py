"""What a run writes with: opens the local log, takes values and facts, ends. One per run and process."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tracker.errors import CommError, UsageError
from tracker.sdk import exits, forks, messages, session, term
from tracker.sdk.beginning import Beginning, Start
from tracker.sdk.facts import FactRow
from tracker.sdk.files import FileStore
from tracker.sdk.finish_progress import say_progress
from tracker.sdk.history import HistoryLog
from tracker.sdk.interrupt import interrupt_main_thread
from tracker.sdk.live import LiveValues
from tracker.sdk.opening import end_facts, writer_facts
from tracker.sdk.options import RunOptions
from tracker.sdk.ranks import Place
from tracker.sdk.services import Services
from tracker.sdk.steps import Steps
from tracker.sdk.traces import Traces
from tracker.storage.events import KIND_WRITER
from tracker.storage.metric_rules import MetricRule
from tracker.storage.names import RunRef
from tracker.storage.tidy import start_tidying
from tracker.storage.writer import RunWriter, WriterOptions

__all__ = ["KILLED_EXIT_CODE", "Recorder"]

KILLED_EXIT_CODE = 143
_START = Start()


class Recorder:
    """The writing side of one run in one process; any thread may call it.

    `history` takes rows and facts; before opening, after the end, and in another process than the
    owner's, something that answers accordingly stands in its place.
    """

    def __init__(self, options: RunOptions, started_us: int) -> None:
        """`options`: complete, see start.py. `started_us`: wall clock at the start of the run."""
        self.options = options
        self.started_us = started_us
        self.place = Place(None, None)
        self.begun = _START
        self.opens_life = False  # a plain start, not a session or rank that joins one
        self.owner: tuple[str, int] | None = None  # of an unpickled copy: host and process of the original
        self.session_writer: str | None = None  # the first writer of the session, here or in the process it began in
        self.name = ""  # of the run, for messages
        self.live = LiveValues(term.warn)
        self.traces = Traces()  # of the rows that this process logs
        self.ended = False
        self.on_success: Callable[[], None] = lambda: None  # after an end with exit code 0
        self.preempting = False
        self.stop_asked = False
        self.writer: RunWriter | None = None
        self.files_dir: Path | None = None
        self.files = FileStore(self)
        self.services = Services()
        self.history: HistoryLog | _NotOpen = _NotOpen(self, Steps())
        self._decides_state = options.x_update_finish_state
        self._observed = False  # the stamps of what the store has of the run
        self._origin_s = _monotonic_at(started_us)
        self._end_lock = threading.RLock()  # a signal handler may end the run that is ending
        self._final_state: str | None = None  # once it is decided

    @property
    def ref(self) -> RunRef:
        options = self.options
        return RunRef(str(options.entity), str(options.project), str(options.run_id))

    @property
    def root(self) -> str:
        return str(self.options.base_url)

    def open(self, place: Place, beginning: Beginning, facts: list[FactRow]) -> None:
        """Make the local log, write who writes and `facts` as its first frame, start shipping. No network.

        Raises:
            CommError: the run directory can not be made.
        """
        self.place, self.begun = place, beginning.start
        self.opens_life = beginning.generation is not None
        self._origin_s -= self.begun.runtime_s
        self._observed = beginning.observed
        decides = self.options.x_update_finish_state
        self._open_writer(
            Steps(self.begun.step), place, beginning.generation, facts, self.started_us, decides_state=decides
        )
        assert self.writer is not None
        self.session_writer = self.writer.writer_id

    def attach(self) -> None:
        """In another process than the owner's: a writer of its own on the same run, with rows of its own.

        Raises:
            RuntimeError: this is an unpickled copy in the process that owns the run (RE-5).
        """
        if self.owner == (socket.gethostname(), os.getpid()):
            raise RuntimeError("This is a copy of a run that this very process owns. Use the original run object.")
        place = Place(self.place.job, f"{self.place.rank or ''}+{socket.gethostname()}:{os.getpid()}")
        now_us = time.time_ns() // 1000
        self._open_writer(Steps(self.history.steps.step), place, None, [], now_us, decides_state=False)
        session.adopt(self)
        exits.watch.install()
        forks.install()
        term.info(f"process {os.getpid()} goes on with run {self.name} in rows of its own")

    def stand_in_for(
        self,
        owner: tuple[str, int],
        place: Place,
        started_us: int,
        step: int,
        session_writer: str | None,
        begun: Start = _START,
    ) -> None:
        """This recorder is the copy of another process's: `owner` (host, process id) opened it at `started_us`."""
        self.owner, self.place, self.started_us, self.session_writer = owner, place, started_us, session_writer
        self.begun = begun
        self._origin_s = _monotonic_at(started_us) - begun.runtime_s
        self.history.steps.step = step

    def wait_warm(self, timeout_s: float) -> None:
        """Until the shipper's thread has imported its libraries, at most `timeout_s`."""
        if self.writer is not None:
            self.writer.wait_imported(timeout_s)

    def leave_to_parent(self) -> None:
        """After fork, in the child: the parent's writer is not touched any more; a first call attaches."""
        if self.writer is not None:
            self.writer.abandon_in_child()
        self.writer = None
        self.files = FileStore(self)
        self.services.after_fork()
        self._end_lock = threading.RLock()
        self.history = _NotOpen(self, Steps(self.history.steps.step))

    def write_facts(self, facts: list[FactRow]) -> None:
        """Raises UsageError when the run is finished."""
        self.history.write_facts(facts)

    def flush(self, timeout_s: float | None) -> bool:
        """True: the store has everything logged before. Raises UsageError when the run is finished."""
        return self.open_writer("flush").flush(timeout_s)

    def keep_media(self, source: bytes | Path, name_of: Callable[[str], str]) -> dict[str, Any]:
        """The contents become a file of the run, named by `name_of` from their SHA-256. Returns what `stage` does."""
        return self.files.stage_media(source, name_of)

    def mark_preempting(self) -> None:
        writer = self.open_writer("mark_preempting")
        self.preempting = True
        self.write_facts([(KIND_WRITER, None, f"{writer.writer_id}.state", "preempting")])
        writer.request_flush()

    def open_writer(self, call: str) -> RunWriter:
        """The writer; attaches in another process. Raises UsageError, naming `call`, when the run is finished."""
        if isinstance(self.history, _NotOpen):
            self.history.require(call)
        assert self.writer is not None
        return self.writer

    def end(self, exit_code: int, state: str | None = None) -> None:
        """Write how the run ended, wait for the store, say so. Again: nothing happens. `state` None: by the code."""
        history, writer = self.history, self.writer
        if not isinstance(history, HistoryLog) or writer is None:
            self._drop()
            return
        if history.is_busy_here():  # a signal handler that interrupted `log` calls finish
            history.defer(partial(self.end, exit_code, state))
            return
        if self._decide(state or self._state_of(exit_code)):
            try:
                self.services.stop(exit_code)
                self.files.finish()
            finally:  # also when Ctrl-C ends the waiting for them
                history.end()
                self._write_end(history, writer, exit_code)
        elif self.ended:
            return
        self.ended = True
        try:
            with say_progress(writer):
                report = writer.finish(self.options.x_finish_timeout_s)
        finally:  # also when Ctrl-C ends the waiting
            self._drop()
        if exit_code == 0:
            self.on_success()
        figures = (self.live, self.traces) if self.place.is_primary and self.options.x_primary else None
        messages.say_end(self.options, self.name, exit_code, report, figures)
        if report.shipped and self.options.compact and self.place.is_primary and not self.options.is_offline:
            start_tidying(self.root, self.ref.entity, self.ref.project)

    def kill(self) -> None:
        """SIGTERM came: record it, then give the store `settings.x_kill_flush_s`. Runs beside the main thread."""
        history, writer, patience_s = self.history, self.writer, self.options.x_kill_flush_s
        if not isinstance(history, HistoryLog) or writer is None:
            return
        self.services.hurry()
        if self._decide("killed") and history.lock.acquire(timeout=max(patience_s, 0.1)):
            try:
                self._write_end(history, writer, KILLED_EXIT_CODE)
            finally:
                history.lock.release()
        writer.flush(patience_s)

    def last_row_us(self) -> int:
        """Wall time of the row that was ended last, 0 when there is none."""
        return self.live.mark.ts_us if self.live.mark is not None else 0

    def _open_writer(
        self,
        steps: Steps,
        place: Place,
        generation: str | None,
        facts: list[FactRow],
        started_us: int,
        *,
        decides_state: bool,
    ) -> None:
        options = self.options
        joins = generation is None and self.session_writer is None and (options.is_shared or bool(options.resume))
        try:
            writer = RunWriter.open(
                dir=options.working_dir,
                time_name=time.strftime("%Y%m%d_%H%M%S", time.localtime(self.started_us / 1e6)),
                ref=self.ref,
                store_url=self.root,
                options=_writer_options(options, observe=joins and not self._observed),
                notify=term.notify,
            )
        except OSError as exc:
            raise CommError(
                f"The local files of the run can not be made in {options.working_dir}: {exc}. "
                f"Make room there, or name another place with init(dir=...) or TRACKER_DIR.",
                exc,
            ) from exc
        begin = writer_facts(
            writer.writer_id,
            generation=generation,
            job=place.job,
            rank=place.rank,
            host=options.host,
            pid=os.getpid(),
            started_us=started_us,
            decides_state=decides_state,
            parent=self.session_writer,
            user=options.username,
        )
        writer.write_facts(begin + facts, started_us)
        self._decides_state = decides_state
        writer.on_stop = self._on_stop
        self.writer, self.files_dir = writer, writer.files_dir
        self.history = HistoryLog(writer, self.live, steps, term.warn, self._origin_s, self.traces)
        self.history.stage = self.keep_media

    def _decide(self, state: str) -> bool:
        """Whether this caller is the one that writes the end."""
        with self._end_lock:
            first, self._final_state = self._final_state is None, self._final_state or state
        return first

    def _on_stop(self, by: str) -> None:
        """Somebody asked this process to stop: it ends as if Ctrl-C was pressed, unless it handles that (FIN-7)."""
        self.stop_asked = True
        term.warn(f"run {self.name} was asked to stop by {by}: interrupting this process")
        interrupt_main_thread()

    def _state_of(self, exit_code: int) -> str:
        if self.stop_asked:
            return "killed"
        if exit_code == 0:
            return "finished"
        return "preempted" if self.preempting else "failed"

    def _write_end(self, history: HistoryLog, writer: RunWriter, exit_code: int) -> None:
        state, code = (str(self._final_state), exit_code) if self._decides_state else ("finished", 0)
        now_us = time.time_ns() // 1000
        history.write_facts(
            end_facts(writer.writer_id, state=state, exit_code=code, ended_us=now_us, last_frame=writer.next_seq)
        )

    def _drop(self) -> None:
        self.ended = True
        self.history = _NotOpen(self, self.history.steps)
        session.drop(self)


class _NotOpen:
    """Takes the place of a history while there is none: after the end, after fork, after unpickling."""

    def __init__(self, recorder: Recorder, steps: Steps) -> None:
        self._recorder = recorder
        self.steps = steps

    def log(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        self.require("log")
        self._recorder.history.log(data, step, commit)

    def write_facts(self, facts: list[FactRow]) -> None:
        self.require("changing it")
        self._recorder.history.write_facts(facts)

    def define(self, rule: MetricRule, *, overwrite: bool) -> None:
        self.require("define_metric")
        self._recorder.history.define(rule, overwrite=overwrite)

    def require(self, call: str) -> None:
        """Attach. Raises UsageError when the run is finished (RE-3)."""
        if self._recorder.ended:
            raise UsageError(
                f"Run {self._recorder.ref.run_id} is finished; {call} is not possible any more. "
                f"Start a new one with init()."
            )
        self._recorder.attach()


def _monotonic_at(wall_us: int) -> float:
    """What the monotonic clock showed, or would have shown, at that wall time."""
    return time.monotonic() - (time.time() - wall_us / 1e6)


def _writer_options(options: RunOptions, *, observe: bool) -> WriterOptions:
    return WriterOptions(
        flush_min_s=options.x_flush_min_s,
        flush_max_s=max(options.x_flush_max_s, options.x_flush_min_s),
        flush_bytes=options.x_flush_bytes,
        spool_bytes_max=options.x_spool_bytes_max,
        heartbeat_s=float(options.heartbeat_seconds),
        shipper=options.x_shipper,
        stop_check_s=0.0 if options.is_offline else options.x_stop_check_s,
        observe=observe,
    )
