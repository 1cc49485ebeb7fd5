"""SIGTERM ends the active runs as `killed` with exit code 143, and then the process, by the same signal.

The handler only sets a flag and feeds a re-entrant queue, because it may interrupt the main thread
anywhere, inside `log` with its lock held too. A thread does the rest.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from types import FrameType

from tracker.sdk import session

__all__ = ["TermWatch", "watch"]

KILLED_CODE = 128 + signal.SIGTERM


class TermWatch:
    """Installed only where nobody else handles SIGTERM, and only from the main thread."""

    def __init__(self) -> None:
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._owner_pid = 0
        self._done = False

    def install(self) -> None:
        """Afterwards SIGTERM is handled here, if that is our place."""
        if self._owner_pid == os.getpid() or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        self._signals, self._owner_pid, self._done = queue.SimpleQueue(), os.getpid(), False
        threading.Thread(target=self._wait, name="tracker-sigterm", daemon=True).start()
        signal.signal(signal.SIGTERM, self._handle)

    def reset_in_child(self) -> None:
        """After fork: the thread did not come along, so the child dies of SIGTERM as it would without us."""
        if self._owner_pid and threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGTERM) == self._handle:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._owner_pid = 0

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        _ = frame
        if self._done or os.getpid() != self._owner_pid:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        else:
            self._signals.put(signum)

    def _wait(self) -> None:
        signum = self._signals.get()
        try:
            threads = [threading.Thread(target=recorder.kill, daemon=True) for recorder in list(session.current.live)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self._done = True
            os.kill(os.getpid(), signum)  # the main thread's handler sees that we are done and lets it through


watch = TermWatch()
