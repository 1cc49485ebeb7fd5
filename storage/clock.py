"""Hybrid logical clock: stamps that never go back, whatever the wall clock does."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["MAX_AHEAD_US", "HybridClock", "wall_us"]

MAX_AHEAD_US = 24 * 3600 * 1_000_000  # a stamp further ahead than this folds, but is never adopted


def wall_us() -> int:
    """Wall clock, microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


class HybridClock:
    """`tick` returns max(wall clock, last stamp seen + 1) in microseconds.

    One clock serves a process; its highest stamp is kept beside the spool so that the order
    survives a restart and a wall clock that steps back.

    Any thread may call it. A lock would cost as much as the rest: CPython gives the interpreter to another thread
    at calls and at jumps backward only, and between reading and writing `last_us` there is neither.
    """

    __slots__ = ("_wall", "last_us")

    def __init__(self, last_us: int = 0, wall: Callable[[], int] = wall_us) -> None:
        self._wall = wall
        self.last_us = 0
        self.observe(last_us)

    def tick(self, wall: int = 0) -> int:
        """A new stamp, greater than every stamp given or observed before. `wall`: the time, if already read."""
        now = wall or self._wall()
        last = self.last_us
        self.last_us = now = now if now > last else last + 1
        return now

    def observe(self, stamp_us: int, store_now_us: int = 0) -> None:
        """Never give a stamp at or below `stamp_us`, unless that lies absurdly far ahead of the time it is judged by.

        `store_now_us`: the store's clock (the newest object's time), which counts more than this machine's own; 0:
        it is not known.
        """
        limit = (store_now_us or self._wall()) + MAX_AHEAD_US
        if self.last_us < stamp_us <= limit:
            self.last_us = stamp_us
