"""The rows of two runs side by side: the outer join of their histories on the step, window by window.

Where a run has several rows of one step (several ranks, late rows), its first one stands beside the first one of the
other run, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tracker.query.cells import ABSENT, Column, Rows
from tracker.query.history_plan import STEP

__all__ = ["Aligned", "aligned_rows"]


@dataclass(frozen=True, slots=True)
class Aligned:
    """Neighbouring rows by step. `a` and `b`: columns by name, as long as `step`, holes where a run has no row."""

    step: np.ndarray
    a: dict[str, Column]
    b: dict[str, Column]

    @property
    def names(self) -> list[str]:
        """Of all columns, those of `a` first, without the step."""
        return [name for name in dict.fromkeys([*self.a, *self.b]) if name != STEP]

    def pair(self, name: str) -> tuple[Column, Column]:
        """The column of either run; an empty one where it has none."""
        nothing = Column.empty(len(self.step))
        return self.a.get(name, nothing), self.b.get(name, nothing)


def aligned_rows(a: Iterator[Rows], b: Iterator[Rows]) -> Iterator[Aligned]:
    """Windows of the join, by step. Batches hold all rows of their steps, and have the column `_step`.

    As much is held as one batch of either.
    """
    left, right = _Side(a), _Side(b)
    while True:
        ends = [side.last_step for side in (left, right) if side.fill()]
        if not ends:
            return
        yield _joined(*left.upto(min(ends)), *right.upto(min(ends)))


class _Side:
    """A run's batches, of which the first rows are taken."""

    def __init__(self, batches: Iterator[Rows]) -> None:
        self._batches = batches
        self._held: Rows | None = None
        self._step = np.empty(0, np.int64)

    def fill(self) -> bool:
        """Rows are held; False where there are no more."""
        while not len(self._step):
            rows = next(self._batches, None)
            if rows is None:
                return False
            self._held = rows
            self._step = _steps(rows)
        return True

    @property
    def last_step(self) -> int:
        return int(self._step[-1])

    def upto(self, step: int) -> tuple[np.ndarray, dict[str, Column]]:
        """Steps and columns of the held rows up to this one, which are held no more."""
        count = int(np.searchsorted(self._step, step, "right"))
        if self._held is None or not count:
            return self._step[:0], {}
        held, steps = self._held, self._step
        if count == len(steps):
            self._held, self._step = None, steps[:0]
            return steps, held.columns
        self._held, self._step = held.from_row(count), steps[count:]
        at = np.arange(count)
        return steps[:count], {name: column.take(at) for name, column in held.columns.items()}


def _steps(rows: Rows) -> np.ndarray:
    column = rows.columns[STEP]
    if column.i is None:
        return column.v.astype(np.int64)
    return np.asarray(column.i.to_numpy(zero_copy_only=False)).astype(np.int64)


def _joined(
    step_a: np.ndarray, a: dict[str, Column], step_b: np.ndarray, b: dict[str, Column]
) -> Aligned:
    if np.array_equal(step_a, step_b):  # as of most runs of one program
        return Aligned(step_a, a, b)
    step = np.concatenate([step_a, step_b])
    turn = np.concatenate([_turns(step_a), _turns(step_b)])
    order = np.lexsort((turn, step))
    step, turn = step[order], turn[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (step[1:] != step[:-1]) | (turn[1:] != turn[:-1])
    place = np.cumsum(is_new) - 1
    count = int(is_new.sum())
    at_a, at_b = np.full(count, -1), np.full(count, -1)
    of_a = order < len(step_a)
    at_a[place[of_a]] = order[of_a]
    at_b[place[~of_a]] = order[~of_a] - len(step_a)
    return Aligned(
        step[is_new],
        {name: _spread(column, at_a) for name, column in a.items()},
        {name: _spread(column, at_b) for name, column in b.items()},
    )


def _turns(step: np.ndarray) -> np.ndarray:
    """Of ascending steps: the how-manieth of its step each one is, from 0."""
    if not len(step):
        return step
    starts = np.flatnonzero(np.concatenate(([True], step[1:] != step[:-1])))
    return np.arange(len(step)) - np.repeat(starts, np.diff(np.append(starts, len(step))))


def _spread(column: Column, at: np.ndarray) -> Column:
    """One cell per element of `at`, a hole where that is -1."""
    holes = at < 0
    if not holes.any():
        return column.take(at)
    t, v = column.t[at], column.v[at]
    t[holes], v[holes] = ABSENT, np.nan
    index = pa.array(at, mask=holes)
    return Column(
        t,
        v,
        None if column.i is None else column.i.take(index),
        None if column.s is None else column.s.take(index),
    )
