"""The thread that asks the machine's devices at an interval, and writes what they say beside the run's history."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tracker.sdk import term
from tracker.storage.events import SYSTEM, join_path

if TYPE_CHECKING:
    from tracker.sdk.options import RunOptions
    from tracker.sdk.run import Run
    from tracker.sdk.system.source import Source

__all__ = ["SystemSampler", "make_sampler"]

_SHARE_MAX: Final = 0.01  # of one processor; an interval that is too short for that is stretched
_FAILURES_MAX: Final = 3  # in a row; after them a source is asked less often
_RARELY: Final = 20  # then: once in so many intervals
_JOIN_S: Final = 1.0

Write = Callable[[str, dict[str, Any]], object]
Open = Callable[["RunOptions", Callable[[str, Exception], None]], "dict[str, Source]"]


def make_sampler(run: Run) -> SystemSampler:
    """The sampler of an open run."""
    options = run.recorder.options
    writer = run.recorder.open_writer("system metrics")
    return SystemSampler(options, writer.write_points)


class SystemSampler:
    """A service. The first sample comes after one interval (SYS-1); nothing is imported before its thread runs."""

    def __init__(self, options: RunOptions, write: Write, open_all: Open | None = None) -> None:
        """`write` takes a kind and stored keys to values. `open_all`: what opens the sources; None: all there are."""
        self._options, self._write, self._open = options, write, open_all
        self._end = threading.Event()
        self._running = threading.Event()
        self._running.set()
        self._suffix = f"/l:{options.x_label}" if options.x_label else ""  # SYS-9
        self._thread = threading.Thread(target=self._run, name="tracker-system", daemon=True)
        self._failures: dict[str, int] = {}
        self._rounds = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, exit_code: int) -> None:
        """Take no more samples; one that is being taken is waited for, but not for long."""
        _ = exit_code
        self._end.set()
        self._running.set()
        self._thread.join(_JOIN_S)

    def pause(self) -> None:
        """No samples until `resume`."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    def after_fork(self) -> None:
        """The child has no such thread."""
        self._end.set()

    def _run(self) -> None:
        try:
            self._sample_until_the_end()
        except Exception as exc:  # whatever it is, the training goes on
            term.warn(f"system metrics: {type(exc).__name__}: {exc}; the run goes on without them")

    def _sample_until_the_end(self) -> None:
        if self._open is None:
            from tracker.sdk.system.sources import open_sources

            self._open = open_sources
        sources = self._open(self._options, self._complain)
        try:
            pause_s = interval_s = self._options.x_stats_sampling_interval
            while not self._end.wait(pause_s):
                if not self._running.is_set():
                    self._running.wait()
                    continue
                began_s = time.thread_time()
                self._sample(sources)
                pause_s = max(interval_s, (time.thread_time() - began_s) / _SHARE_MAX)
        finally:
            for source in sources.values():
                with contextlib.suppress(Exception):
                    source.close()

    def _sample(self, sources: dict[str, Source]) -> None:
        self._rounds += 1
        values: dict[str, float] = {}
        for name, source in sources.items():
            if self._failures.get(name, 0) >= _FAILURES_MAX and self._rounds % _RARELY:
                continue
            try:
                values |= source.read()
            except Exception as exc:  # a tool or an endpoint that does not answer
                self._complain(name, exc)
            else:
                self._failures.pop(name, None)
        if values and not self._end.is_set():
            self._write(SYSTEM, {join_path([f"{name}{self._suffix}"]): value for name, value in values.items()})

    def _complain(self, name: str, exc: Exception) -> None:
        """Said once for each source; a source that came back may complain again."""
        self._failures[name] = self._failures.get(name, 0) + 1
        if self._failures[name] == 1:
            term.warn(f"system metrics, {name}: {type(exc).__name__}: {exc}; the others go on")
