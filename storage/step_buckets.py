"""One series in at most 1024 buckets of equal width, while its points pass by in order.

The width is a power of two steps, and the least that is enough, whatever blocks the points came in; buckets begin
at multiples of it, so those of two files of one series line up.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tracker.storage.derived import BUCKETS_MAX
from tracker.storage.point_stats import Stats, combine_stats, concat_stats, point_stats

__all__ = ["StepBuckets"]

_PIECES_MAX: Final = 8 * BUCKETS_MAX


class StepBuckets:
    """Buckets of the points added so far."""

    def __init__(self) -> None:
        self._pieces: list[Stats] = []
        self._entries = 0
        self._first_step: int | None = None
        self._last_step = 0
        self._shift = 0
        self.count = 0  # points

    @property
    def width(self) -> int:
        return 1 << self._shift

    def add(self, step: np.ndarray, v: np.ndarray, is_number: np.ndarray) -> None:
        """More points, in order, at or behind the last step so far; at least one."""
        if self._first_step is None:
            self._first_step = int(step[0])
        self._last_step = int(step[-1])
        while (self._last_step >> self._shift) - (self._first_step >> self._shift) >= BUCKETS_MAX:
            self._shift += 1
        bucket = step >> self._shift
        starts = np.concatenate(([0], np.flatnonzero(bucket[1:] != bucket[:-1]) + 1))
        self._pieces.append(point_stats(starts, step, v, is_number))
        self._entries += len(starts)
        self.count += len(step)
        if self._entries > _PIECES_MAX:
            self._combine()

    def stats(self) -> Stats:
        """One entry a bucket that has a point, in order; the bucket's number is first_step // width."""
        self._combine()
        return self._pieces[0]

    def _combine(self) -> None:
        together = concat_stats(self._pieces)
        bucket = together.first_step >> self._shift
        starts = np.concatenate(([0], np.flatnonzero(bucket[1:] != bucket[:-1]) + 1))
        self._pieces = [combine_stats(together, starts)]
        self._entries = len(starts)
