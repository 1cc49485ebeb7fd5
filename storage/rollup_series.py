"""What the points of a merge come to: series, their buckets, and the cells whose row is not closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.arrow_arrays import booleans, codes_of, numbers, rows_at, texts, valid_of, values_of
from tracker.storage.closed_rows import ClosedRows
from tracker.storage.derived import BUCKETS_MAX
from tracker.storage.events import HISTORY, ROW, SYSTEM, Type
from tracker.storage.key_places import KeyPlaces
from tracker.storage.last_in_row import LastInRow
from tracker.storage.point_stats import Stats, combine_stats, concat_stats, point_stats
from tracker.storage.step_buckets import StepBuckets

__all__ = ["BUCKETED_POINTS", "ROLLED_KINDS", "Found", "SeriesRollup"]

BUCKETED_POINTS: Final = 16 * BUCKETS_MAX  # a series with at least as many gets buckets
ROLLED_KINDS: Final = (HISTORY, ROW, SYSTEM)  # by letters, as in a file

_HISTORY, _SYSTEM = 0, 2
_CELL: Final = ["seq", "row", "hlc", "ts", "step", "t", "v", "i", "s"]
_Series = tuple[int, int, str | None]  # number of the kind, owner, key


@dataclass(frozen=True, slots=True)
class Found:
    """Records of one `what`, in order: kind, owner and key of each, and the columns that say something."""

    kind: np.ndarray  # number in ROLLED_KINDS
    owner: np.ndarray
    key: pa.Array
    columns: dict[str, pa.Array | pa.ChunkedArray]


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Series of one row group, in its order. A series that spans row groups has an entry in each."""

    kind: int
    owner: np.ndarray
    key: pa.Array  # strings
    stats: Stats
    counts: np.ndarray  # per type
    rising: np.ndarray
    first_seq: np.ndarray
    last: pa.Table  # _CELL: of each the point with the greatest seq


class SeriesRollup:
    """Series of the row groups added so far. `plain` (per owner) turns False where rows are not simple."""

    def __init__(self, closed: ClosedRows, places: KeyPlaces) -> None:
        self._closed, self._places = closed, places
        self.plain = closed.even.copy()
        self._rows = LastInRow(self.plain)
        self._pieces: list[_Pieces] = []
        self._open: list[pa.Table] = []  # key, owner, _CELL
        self._buckets: list[tuple[_Series, int, Stats]] = []  # with the width
        self._long = StepBuckets()  # of the series that the last row group ended in
        self._long_series: _Series | None = None
        self._row_series: _Series | None = None  # the history series that the last row group ended in, its last row
        self._row = 0

    def add(self, kind: int, points: pa.Table, owner: np.ndarray) -> None:
        """Points of one kind, in order, behind those added before; one chunk a column, at least one row."""
        if kind == _HISTORY:
            cells, owner = self._committed(points.select(["key", *_CELL]), owner)
            for some in self._rows.add(cells, owner) if cells.num_rows else ():
                self._add(kind, *some)
        else:
            self._end_rows()
            self._add(kind, points, owner)

    def _end_rows(self) -> None:
        for some in self._rows.rest():
            self._add(_HISTORY, *some)

    def _add(self, kind: int, points: pa.Table, owner: np.ndarray) -> None:
        keys = points["key"].chunk(0)
        codes = codes_of(keys)
        starts = np.concatenate(([0], np.flatnonzero((codes[1:] != codes[:-1]) | (owner[1:] != owner[:-1])) + 1))
        ends = np.append(starts[1:], len(owner))
        has_step = kind != _SYSTEM
        step = values_of(points["step"].chunk(0)) if has_step else np.zeros(len(owner), np.int64)
        v, is_number = _values(points["v"].chunk(0))
        t, seq = values_of(points["t"].chunk(0)), values_of(points["seq"].chunk(0))
        falls = np.concatenate(([False], v[1:] < v[:-1]))
        falls[starts] = False
        key_of = keys.dictionary.take(numbers(codes[starts], pa.int64(), codes[starts] >= 0))
        self._pieces.append(
            _Pieces(
                kind,
                owner[starts],
                key_of,
                point_stats(starts, step, v, is_number),
                np.stack([np.add.reduceat((t == n).astype(np.int64), starts) for n in Type], axis=1),
                np.add.reduceat(falls.astype(np.int64), starts) == 0,
                np.minimum.reduceat(seq, starts),
                rows_at(points.select(_CELL), _greatest(seq, starts, ends)),
            )
        )
        if kind == _HISTORY:
            self._check_rows(key_of, owner, starts, ends, values_of(points["row"].chunk(0)))
        if has_step:
            for n in self._bucketed(kind, key_of, owner, starts, ends):
                cut = slice(int(starts[n]), int(ends[n]))
                self._long.add(step[cut], v[cut], is_number[cut])

    def buckets(self) -> list[Found]:
        """Buckets of long series."""
        self._end_rows()
        self._end_long()
        found = sorted(self._buckets, key=lambda one: one[0][0])  # stable: within a kind they came in order
        return [
            Found(
                np.full(len(stats), series[0]),
                np.full(len(stats), series[1]),
                _repeated(series[2], len(stats)),
                {"width": numbers(np.full(len(stats), width), pa.int64()), **stats.arrow()},
            )
            for series, width, stats in found
        ]

    def open_and_series(self) -> tuple[list[Found], list[Found]]:
        """Of cells whose row is not closed the last of each key and row; and all series."""
        self._end_rows()
        found = self._open_cells(), self._series()
        self._add_places([one for some in found for one in some])
        return found

    def _add_places(self, found: list[Found]) -> None:
        """Column `place` of open cells and history series: 0, 1, 2, ... for the keys of an owner as first logged."""
        logged = [np.flatnonzero(one.kind == _HISTORY) for one in found]
        if not found or not sum(map(len, logged)):
            return
        owner = np.concatenate([one.owner[at] for one, at in zip(found, logged, strict=True)])
        keys = pa.concat_arrays([one.key.take(numbers(at, pa.int64())) for one, at in zip(found, logged, strict=True)])
        places = self._places.places(owner, keys)
        pairs, inverse = np.unique(owner * (int(places.max()) + 1) + places, return_inverse=True)
        owner_of = pairs // (int(places.max()) + 1)
        dense = (np.arange(len(pairs)) - np.searchsorted(owner_of, owner_of))[inverse.reshape(-1)]
        for one, at in zip(found, logged, strict=True):
            place = np.zeros(len(one.kind), np.int64)
            place[at], dense = dense[: len(at)], dense[len(at) :]
            one.columns["place"] = numbers(place, pa.int64(), one.kind == _HISTORY)

    def _open_cells(self) -> list[Found]:
        if not self._open:
            return []
        cells = _last_cells(pa.concat_tables(self._open).unify_dictionaries().combine_chunks())
        keys = cells["key"].chunk(0)
        owner = values_of(cells["owner"].chunk(0))
        columns = {name: cells[name] for name in _CELL}
        return [Found(np.full(len(owner), _HISTORY), owner, keys.cast(pa.string()), columns)]

    def _series(self) -> list[Found]:
        if not self._pieces:
            return []
        pieces = sorted(self._pieces, key=lambda piece: piece.kind)  # stable
        kind = np.concatenate([np.full(len(piece.owner), piece.kind) for piece in pieces])
        owner = np.concatenate([piece.owner for piece in pieces])
        key = pa.concat_arrays([piece.key for piece in pieces])
        codes = codes_of(pc.dictionary_encode(key))
        starts = np.concatenate(
            ([0], np.flatnonzero((kind[1:] != kind[:-1]) | (owner[1:] != owner[:-1]) | (codes[1:] != codes[:-1])) + 1)
        )
        ends = np.append(starts[1:], len(owner))
        each = concat_stats([piece.stats for piece in pieces])
        rising = np.concatenate([piece.rising for piece in pieces])
        falls = np.concatenate(([False], each.first_v[1:] < each.last_v[:-1]))
        falls[starts] = False
        last = pa.concat_tables([piece.last for piece in pieces]).combine_chunks()
        last = rows_at(last, _greatest(values_of(last["seq"].chunk(0)), starts, ends))
        counts = np.add.reduceat(np.concatenate([piece.counts for piece in pieces]), starts, axis=0)
        kind, owner = kind[starts], owner[starts]
        key = key.take(numbers(starts, pa.int64()))
        first_seq = np.minimum.reduceat(np.concatenate([piece.first_seq for piece in pieces]), starts)
        offsets = np.arange(0, counts.size + 1, counts.shape[1], dtype=np.int32)
        columns = {name: last[name] for name in _CELL}
        columns |= combine_stats(each, starts).arrow(steps=kind != _SYSTEM)
        columns |= {
            "counts": pa.ListArray.from_arrays(numbers(offsets, pa.int32()), numbers(counts.reshape(-1), pa.int64())),
            "rising": booleans(np.logical_and.reduceat(rising & ~falls, starts)),
            "first_seq": numbers(first_seq, pa.int64()),
        }
        return [Found(kind, owner, key, columns)]

    def _committed(self, cells: pa.Table, owner: np.ndarray) -> tuple[pa.Table, np.ndarray]:
        """The cells whose row is closed; the others are kept as open. Notes which owners are not plain."""
        row, step = cells["row"].chunk(0), cells["step"].chunk(0)
        closed, at_step = self._closed.find(owner, values_of(row))
        for valid in (valid_of(row), valid_of(step)):
            closed = closed if valid is None else closed & valid
        good = closed & (at_step == values_of(step))
        if good.all():
            return cells, owner
        self.plain[np.unique(owner[~good])] = False
        left, kept = np.flatnonzero(~closed), np.flatnonzero(closed)
        if not len(left):
            return cells, owner
        open_cells = rows_at(cells.select(["key", *_CELL]), left)
        self._open.append(_last_cells(open_cells.append_column("owner", numbers(owner[left], pa.int64()))))
        return rows_at(cells, kept), owner[kept]

    def _check_rows(
        self, keys: pa.Array, owner: np.ndarray, starts: np.ndarray, ends: np.ndarray, row: np.ndarray
    ) -> None:
        """Not plain: an owner with a series whose rows do not rise."""
        stuck = np.concatenate(([False], row[1:] <= row[:-1]))
        stuck[starts] = False
        stuck[0] = self._row_series == (_HISTORY, int(owner[0]), keys[0].as_py()) and row[0] <= self._row
        self.plain[np.unique(owner[stuck])] = False
        self._row_series = (_HISTORY, int(owner[starts[-1]]), keys[len(keys) - 1].as_py())
        self._row = int(row[ends[-1] - 1])

    def _bucketed(
        self, kind: int, keys: pa.Array, owner: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> Iterator[int]:
        """Numbers of the series to bucket, one by one, each with `self._long` ready to take its points.

        Long ones, the last, which may go on in the next row group, and the first, which may come from the one before.
        """
        long = np.flatnonzero(ends - starts >= BUCKETED_POINTS).tolist()
        for n in sorted({0, *long, len(starts) - 1}):
            series = (kind, int(owner[starts[n]]), keys[n].as_py())
            if series != self._long_series:
                self._end_long()
                self._long_series = series
            yield n

    def _end_long(self) -> None:
        if self._long_series is not None and self._long.count >= BUCKETED_POINTS:
            self._buckets.append((self._long_series, self._long.width, self._long.stats()))
        self._long, self._long_series = StepBuckets(), None


def _values(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Column v as numpy, NaN where it is null; and where it is not."""
    values, valid = values_of(array), valid_of(array)
    if valid is None:
        return values, np.ones(len(values), bool)
    return np.where(valid, values, np.nan), valid


def _greatest(seq: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """In each stretch the last place of the greatest seq."""
    most = np.maximum.reduceat(seq, starts)
    found = np.flatnonzero(seq == np.repeat(most, ends - starts))
    return np.asarray(found[np.searchsorted(found, ends) - 1])


def _last_cells(cells: pa.Table) -> pa.Table:
    """Of cells with an owner (one chunk a column) the greatest seq of each (key, owner, row), sorted by these."""
    keys, row = cells["key"].chunk(0), cells["row"].chunk(0)
    rank = np.empty(len(keys.dictionary) + 1, np.int64)
    rank[values_of(pc.sort_indices(keys.dictionary)).astype(np.int64)] = np.arange(len(keys.dictionary))
    rank[-1] = len(keys.dictionary)
    valid = valid_of(row)
    rows = values_of(row) if valid is None else np.where(valid, values_of(row), -1)
    by = [rank[codes_of(keys)], values_of(cells["owner"].chunk(0)), rows]
    order = np.lexsort((values_of(cells["seq"].chunk(0)), *by[::-1]))
    ends = np.zeros(len(order), bool)
    ends[-1] = True
    for column in by:
        ends[:-1] |= column[order][1:] != column[order][:-1]
    return rows_at(cells, order[ends])


def _repeated(word: str | None, count: int) -> pa.Array:
    return texts([word or ""], np.full(count, 0 if word is not None else -1))
