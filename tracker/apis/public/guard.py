"""A lock for what threads share of one public object."""

from __future__ import annotations

import os
import threading

__all__ = ["Guard"]

_renewing = threading.Lock()


class Guard:
    """A re-entrant lock. In a forked child, and in a copy or pickle of its owner, nobody holds it."""

    __slots__ = ("_lock", "_pid")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def __enter__(self) -> None:
        if self._pid != os.getpid():  # whoever held it at the fork is not here to give it back
            with _renewing:
                if self._pid != os.getpid():
                    self._lock, self._pid = threading.RLock(), os.getpid()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Guard], tuple[()]]:
        return Guard, ()


def _renew_lock() -> None:
    global _renewing
    _renewing = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
