"""Cells of one series as arrays, and how one series stands against another: step by step, without hashing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tracker.query.cells import ABSENT, Column
from tracker.query.series_file import SeriesSlice
from tracker.storage.events import Type

__all__ = ["SeriesCells", "concat_cells", "find_cells", "of_slice"]


@dataclass(frozen=True, slots=True)
class SeriesCells:
    """Cells of one series, sorted by (part, step), one a step.

    `extra` holds further columns that were asked for (hlc, ts), as integers.
    """

    part: np.ndarray  # number of the part that a cell belongs to, ascending
    step: np.ndarray
    v: np.ndarray | None = None
    t: np.ndarray | None = None  # None: all are floats, in v
    i: pa.Array | None = None
    s: pa.Array | None = None
    extra: dict[str, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.step)

    def take(self, at: np.ndarray | slice) -> SeriesCells:
        """Only the cells at these positions, which ascend."""

        def cut(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[at]

        def cut_arrow(column: pa.Array | None) -> pa.Array | None:
            if column is None:
                return None
            return column[at] if isinstance(at, slice) else column.take(pa.array(at))

        return SeriesCells(
            self.part[at],
            self.step[at],
            cut(self.v),
            cut(self.t),
            cut_arrow(self.i),
            cut_arrow(self.s),
            None if self.extra is None else {name: column[at] for name, column in self.extra.items()},
        )

    def column(self, source: np.ndarray | None) -> Column:
        """One cell per element of `source` (its number here), a hole where that is below 0. None: every cell."""
        assert self.v is not None
        if source is None:
            return Column(np.full(len(self), Type.FLOAT, np.int8) if self.t is None else self.t, self.v, self.i, self.s)
        holes = source < 0
        some = bool(holes.any())
        if not len(self):
            return Column.empty(len(source))
        v, t = self.v[source], np.full(len(source), Type.FLOAT, np.int8) if self.t is None else self.t[source]
        if some:
            v[holes] = np.nan
            t[holes] = ABSENT
        if self.i is None or self.s is None:
            return Column(t, v)
        index = pa.array(source, mask=holes if some else None)
        return Column(t, v, self.i.take(index), self.s.take(index))


def of_slice(
    found: SeriesSlice, part: np.ndarray, *, values: bool, floats_only: bool, extra: Sequence[str]
) -> SeriesCells:
    """The cells of a slice, all of them. `part`: the part of each."""
    typed = values and not floats_only
    return SeriesCells(
        part,
        found.ints("step"),
        found.floats("v") if values else None,
        found.ints("t") if typed else None,
        found.columns["i"] if typed else None,
        found.columns["s"] if typed else None,
        {name: found.ints(name) for name in extra} if extra else None,
    )


def concat_cells(pieces: Sequence[SeriesCells]) -> SeriesCells:
    """All pieces, sorted by part where their parts do not ascend. All have the same columns; there is at least one."""
    whole = pieces[0] if len(pieces) == 1 else _joined(pieces)
    order = _by_part(whole.part)
    return whole if order is None else whole.take(order)


def _joined(pieces: Sequence[SeriesCells]) -> SeriesCells:
    first = pieces[0]

    def joined(name: str) -> np.ndarray | None:
        return None if getattr(first, name) is None else np.concatenate([getattr(piece, name) for piece in pieces])

    def joined_arrow(name: str) -> pa.Array | None:
        return None if getattr(first, name) is None else pa.concat_arrays([getattr(piece, name) for piece in pieces])

    part = joined("part")
    step = joined("step")
    assert part is not None
    assert step is not None
    extra = first.extra and {
        name: np.concatenate([(piece.extra or {})[name] for piece in pieces]) for name in first.extra
    }
    return SeriesCells(part, step, joined("v"), joined("t"), joined_arrow("i"), joined_arrow("s"), extra)


def _by_part(part: np.ndarray) -> np.ndarray | None:
    """Positions sorted by part, stretches of one part moved whole; None where they ascend already."""
    edges = np.flatnonzero(np.diff(part)) + 1
    if not len(edges) or (part[edges] > part[edges - 1]).all():
        return None
    starts = np.concatenate(([0], edges))
    counts = np.diff(np.concatenate((starts, [len(part)])))
    order = np.argsort(part[starts], kind="stable")
    starts, counts = starts[order], counts[order]
    offsets = starts - np.concatenate(([0], np.cumsum(counts)[:-1]))
    return np.asarray(np.repeat(offsets, counts) + np.arange(len(part)))


def find_cells(axis: SeriesCells, cells: SeriesCells) -> np.ndarray | None:
    """For each cell of `axis` the number of that of `cells` at the same part and step, -1 for none.

    None where the two have the same parts and steps throughout, as series that are logged together do.
    """
    if len(axis) == len(cells) and np.array_equal(axis.step, cells.step) and np.array_equal(axis.part, cells.part):
        return None
    if not len(axis) or not len(cells):
        return np.full(len(axis), -1)
    low = min(int(axis.step.min()), int(cells.step.min()))
    span = max(int(axis.step.max()), int(cells.step.max())) - low + 1
    parts = max(int(axis.part[-1]), int(cells.part[-1])) + 1
    if span * parts < 2**62:
        return _matched(axis.part * span + (axis.step - low), cells.part * span + (cells.step - low))
    found = np.full(len(axis), -1)
    for number in np.unique(axis.part).tolist():
        mine = slice(*np.searchsorted(axis.part, [number, number + 1]).tolist())
        theirs = slice(*np.searchsorted(cells.part, [number, number + 1]).tolist())
        at = _matched(axis.step[mine], cells.step[theirs])
        found[mine] = np.where(at < 0, -1, at + theirs.start)
    return found


def _matched(wanted: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Where each of `wanted` stands in `held`, -1 for nowhere. Both ascend strictly."""
    if not len(held):
        return np.full(len(wanted), -1)
    at = np.searchsorted(held, wanted)
    at[at == len(held)] = 0
    return np.where(held[at] == wanted, at, -1)
