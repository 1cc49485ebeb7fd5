"""Which rows are closed, and at which step: what decides whether a history cell counts.

Markers come behind the cells in a merged file, so they are read first. Rows and steps of a run mostly rise evenly;
such stretches are kept as lines of a few numbers, so ten million rows take a few kilobytes. Steps without any
pattern take 16 bytes a row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import codes_of, one_chunk, valid_of, values_of
from tracker.storage.events import ROW
from tracker.storage.owners import Owners

__all__ = ["ClosedRows", "collect_closed_rows"]

_ROWS_EACH: Final = 1 << 40  # row numbers stay below, there are not more frames; times owners it must fit 63 bits
_CHUNK_ROWS: Final = 64 * 1024
_LINE_ROWS: Final = 4  # a stretch kept as a line has on average at least so many rows


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Markers in order of their places (owner * 2**48 + row)."""

    places: np.ndarray  # of each marker; or of each line's first
    steps: np.ndarray
    rises: np.ndarray | None  # of a line: steps from one row to the next; None: markers are kept one by one
    lengths: np.ndarray | None

    @staticmethod
    def of(places: np.ndarray, steps: np.ndarray) -> _Chunk:
        if len(places) > 1:
            rise = np.diff(steps)
            breaks = np.diff(places) != 1
            breaks[1:] |= rise[1:] != rise[:-1]
            starts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
            if len(starts) * _LINE_ROWS <= len(places):
                lengths = np.diff(np.append(starts, len(places)))
                rises = np.append(rise, 0)[starts]
                return _Chunk(places[starts], steps[starts], np.where(lengths > 1, rises, 0), lengths)
        return _Chunk(places.copy(), steps.copy(), None, None)

    def find(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = np.maximum(np.searchsorted(self.places, places, "right") - 1, 0)
        behind = places - self.places[at]
        if self.lengths is None or self.rises is None:
            return behind == 0, self.steps[at]
        return (behind >= 0) & (behind < self.lengths[at]), self.steps[at] + behind * self.rises[at]


@dataclass(frozen=True, slots=True)
class ClosedRows:
    """Closed rows of all owners."""

    counts: np.ndarray  # of each owner: closed rows
    even: np.ndarray  # of each owner: steps rise strictly with the row number, and no row is closed twice
    _chunks: list[_Chunk]
    _firsts: np.ndarray  # of each chunk: its first place

    def find(self, owner: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of cells: whether their row is closed, and at which step (anything where it is not)."""
        closed, steps = np.zeros(len(row), bool), np.zeros(len(row), np.int64)
        if not self._chunks or not len(row):
            return closed, steps
        known = (row >= 0) & (row < _ROWS_EACH)
        places = np.where(known, owner * _ROWS_EACH + row, -1)
        chunk = np.searchsorted(self._firsts, places, "right") - 1
        cuts = np.concatenate(([0], np.flatnonzero(chunk[1:] != chunk[:-1]) + 1, [len(chunk)]))
        if len(cuts) > 64 and len(cuts) > 2 * len(self._chunks):  # cells in no order: visit each chunk once
            order = np.argsort(chunk, kind="stable")
            closed[order], steps[order] = self._find(chunk[order], places[order])
            return closed, steps
        return self._find(chunk, places)

    def _find(self, chunk: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `find`, of places with the number of the chunk that they may lie in; equal numbers mostly side by side."""
        closed, steps = np.zeros(len(places), bool), np.zeros(len(places), np.int64)
        cuts = np.concatenate(([0], np.flatnonzero(chunk[1:] != chunk[:-1]) + 1, [len(chunk)])).tolist()
        for start, end in itertools.pairwise(cuts):
            n = int(chunk[start])
            if n >= 0:
                closed[start:end], steps[start:end] = self._chunks[n].find(places[start:end])
        return closed, steps


Events = Iterable[pa.Table]


def collect_closed_rows(read: Callable[[], Events], owners: Owners, breathe: Callable[[], None]) -> ClosedRows:
    """From the row markers among the events that `read` gives, in any order; best with rows ascending, owner by owner.

    `read` may be called twice: markers out of order are read again and sorted, which takes 24 bytes each.
    """
    even = np.ones(len(owners), bool)
    counts = np.zeros(len(owners), np.int64)
    chunks: list[_Chunk] = []
    last_place, last_step = -1, 0
    for places, steps, _ in _gathered(_markers(read(), owners)):
        same = places[1:] // _ROWS_EACH == places[:-1] // _ROWS_EACH
        if places[0] <= last_place or (places[1:] <= places[:-1]).any():
            return _sorted(read, owners, breathe)
        falls = places[1:][same & (steps[1:] <= steps[:-1])]
        even[np.unique(falls // _ROWS_EACH)] = False
        if last_place // _ROWS_EACH == places[0] // _ROWS_EACH and steps[0] <= last_step:
            even[places[0] // _ROWS_EACH] = False
        counts += np.bincount(places // _ROWS_EACH, minlength=len(owners))
        last_place, last_step = int(places[-1]), int(steps[-1])
        chunks.append(_Chunk.of(places, steps))
        breathe()
    return ClosedRows(counts, even, chunks, _firsts(chunks))


_Markers = tuple[np.ndarray, np.ndarray, np.ndarray]  # place, step, seq


def _sorted(read: Callable[[], Events], owners: Owners, breathe: Callable[[], None]) -> ClosedRows:
    found = list(_markers(read(), owners))
    breathe()
    places, steps, seqs = (np.concatenate(columns) for columns in zip(*found, strict=True))
    del found
    order = np.lexsort((seqs, places))
    places, steps = places[order], steps[order]
    breathe()
    twice = places[1:] == places[:-1]
    even = np.ones(len(owners), bool)
    even[np.unique(places[1:][twice] // _ROWS_EACH)] = False
    kept = np.append(~twice, True)  # of a row that was closed twice, the later marker
    places, steps = places[kept], steps[kept]
    owner = places // _ROWS_EACH
    even[np.unique(owner[1:][(owner[1:] == owner[:-1]) & (steps[1:] <= steps[:-1])])] = False
    cuts = range(0, len(places), _CHUNK_ROWS)
    chunks = [_Chunk.of(places[at : at + _CHUNK_ROWS], steps[at : at + _CHUNK_ROWS]) for at in cuts]
    return ClosedRows(np.bincount(owner, minlength=len(owners)), even, chunks, _firsts(chunks))


def _firsts(chunks: list[_Chunk]) -> np.ndarray:
    return np.array([int(chunk.places[0]) for chunk in chunks], np.int64)


def _markers(events: Events, owners: Owners) -> Iterable[_Markers]:
    for block in events:
        if not block.num_rows:
            continue
        table = one_chunk(block)
        kinds = table["kind"].chunk(0)
        words = kinds.dictionary.to_pylist()
        if ROW not in words:
            continue
        row, step = table["row"].chunk(0), table["step"].chunk(0)
        mine = codes_of(kinds) == words.index(ROW)
        for valid in (valid_of(row), valid_of(step)):
            mine = mine if valid is None else mine & valid
        rows = values_of(row)
        at = np.flatnonzero(mine & (rows >= 0) & (rows < _ROWS_EACH))
        if len(at):
            place = owners.of(table)[at] * _ROWS_EACH + rows[at]
            yield place, values_of(step)[at], values_of(table["seq"].chunk(0))[at]


def _gathered(markers: Iterable[_Markers]) -> Iterable[_Markers]:
    """The same markers, about _CHUNK_ROWS at a time."""
    waiting: list[_Markers] = []
    count = 0
    for some in markers:
        waiting.append(some)
        count += len(some[0])
        if count >= _CHUNK_ROWS:
            yield _joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(markers: list[_Markers]) -> _Markers:
    places, steps, seqs = (np.concatenate(columns) for columns in zip(*markers, strict=True))
    return places, steps, seqs
