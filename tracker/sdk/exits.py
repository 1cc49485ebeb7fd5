"""How the process ends, and which exit code its runs get: atexit, uncaught exceptions, sys.exit (FIN-3, FIN-6)."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
from types import TracebackType
from typing import Any

from tracker.sdk import session, term

__all__ = ["ExitWatch", "exit_code_of", "watch"]


class ExitWatch:
    """Sees how the process ends. Hooks that were there before go on working."""

    def __init__(self) -> None:
        self._installed = False
        self._code = 0
        self._state: str | None = None
        self._seen_us = 0

    def install(self) -> None:
        """Once a process; later calls only make sure that a multiprocessing child finishes its runs too."""
        _finish_with_multiprocessing()
        if self._installed:
            return
        self._installed = True
        atexit.register(self._at_exit)
        self._excepthook = sys.excepthook
        sys.excepthook = self._on_exception
        self._exit = sys.exit
        sys.exit = self._on_exit

    def note_cell_error(self) -> None:
        """A notebook's cell raised; the kernel goes on, and so may the run."""
        self._note(1, "failed")

    def _on_exception(self, kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self._note(255, "killed")
        else:
            self._note(1, "failed")
        self._excepthook(kind, value, trace)

    def _on_exit(self, status: Any = None, /) -> Any:
        if threading.current_thread() is threading.main_thread():  # in other threads it ends the thread alone
            self._note(exit_code_of(status), None)
        return self._exit(status)

    def _note(self, code: int, state: str | None) -> None:
        self._code, self._state, self._seen_us = code, state, time.time_ns() // 1000

    def _at_exit(self) -> None:
        for recorder in list(session.current.live):
            went_on = recorder.last_row_us() > self._seen_us  # somebody caught that exception or exit
            try:
                recorder.end(0) if went_on else recorder.end(self._code, self._state)
            except Exception as exc:  # the next run is ended all the same
                term.error(f"run {recorder.name} could not be ended: {type(exc).__name__}: {exc}")
        if self._state == "killed":
            _die_of_interrupt()


def _die_of_interrupt() -> None:
    """Python ends by SIGINT after an uncaught KeyboardInterrupt, unless code was executed from a string since (imports
    do that while the last data is sent). Doing it again with an interrupt restores what the shell has to see.
    """
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")


def exit_code_of(status: Any) -> int:
    """The process's exit code after `sys.exit(status)`."""
    if status is None:
        return 0
    return status & 0xFF if isinstance(status, int) else 1


def _finish_with_multiprocessing() -> None:
    """A forked multiprocessing child skips atexit and runs its own finalizers: be one of them."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _finish_all, exitpriority=1)


def _finish_all() -> None:
    import multiprocessing

    if multiprocessing.parent_process() is not None:  # the main process has atexit, which knows the exit code
        for recorder in list(session.current.live):
            recorder.end(0)


watch = ExitWatch()
