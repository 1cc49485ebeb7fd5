"""The closed rows of some runs, in order: where in the answer each cell belongs.

A row is known by (writer, row number) and stands at (step, hlc, writer, row). It exists once its marker does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tracker.query.run_files import Marks, RunFiles, RunPart

__all__ = ["Timeline", "build_timeline"]

_REFUSED_MAX = 1 << 24  # rows whose frames a full disk refused: they have numbers, too. Beyond it a number is damage


@dataclass(frozen=True, slots=True)
class Timeline:
    """Arrays over all closed rows, run after run, each run in order."""

    run: np.ndarray  # number of the run among those asked for
    step: np.ndarray
    wall_us: np.ndarray
    runtime_s: np.ndarray
    base: dict[tuple[int, str], tuple[int, int, int]]  # (run, writer) -> (start in `places`, least row, how many)
    places: np.ndarray  # start + row number - least row -> position in the arrays above, -1 where it is not closed

    def __len__(self) -> int:
        return len(self.run)

    def of_part(self, run: int, part: RunPart) -> tuple[int, int, int]:
        """Start in `places` of the part's writer, its least closed row, and how many row numbers follow from there."""
        return self.base[run, part.writer_id]

    def owners(self) -> tuple[list[tuple[int, str]], np.ndarray]:
        """(run, writer) of all, and for each row its number among them."""
        owner = np.zeros(len(self), np.int64)
        for n, (start, _, count) in enumerate(self.base.values()):
            at = self.places[start : start + count]
            owner[at[at >= 0]] = n
        return list(self.base), owner

    def restricted(self, positions: np.ndarray) -> np.ndarray:
        """`places` for an answer that has only `positions` (ascending), numbered 0, 1, ..."""
        order = np.full(len(self) + 1, -1)  # the last one answers for place -1
        order[positions] = np.arange(len(positions))
        found: np.ndarray = order[self.places]
        return found


def build_timeline(runs: Sequence[RunFiles], marks_of: Callable[[RunPart], Marks]) -> Timeline:
    """All rows of `runs` that `marks_of` says are closed, in the order asked for."""
    pieces: list[tuple[np.ndarray, ...]] = []
    bases: dict[tuple[int, str], tuple[int, int, int]] = {}
    start = done = 0
    for n, run in enumerate(runs):
        found: list[tuple[np.ndarray, ...]] = []
        for writer_id, held in groupby(run.parts, key=lambda part: part.writer_id):
            parts = list(held)
            rows_max = max(part.last for part in parts) + 1 + _REFUSED_MAX  # a frame touches one row
            closed = [_within(marks_of(part), rows_max) for part in parts if part.rows]
            closed = [marks for marks in closed if len(marks[0])]
            least = min((int(marks[0].min()) for marks in closed), default=0)
            count = max((int(marks[0].max()) for marks in closed), default=least - 1) + 1 - least
            bases[n, writer_id] = (start, least, count)
            found += [_unique(row - least + start, *others) for row, *others in closed]
            start += count
        if not found:
            continue
        columns = found[0] if len(found) == 1 and _in_order(found[0]) else _sorted(found)
        pieces.append((np.full(len(columns[0]), n), *columns))
        done += len(columns[0])
    if not pieces:
        empty = np.empty(0, np.int64)
        return Timeline(empty, empty, empty, empty.astype(float), bases, np.full(start, -1))
    run_number, place, step, _, wall_us, runtime_s = (np.concatenate(column) for column in zip(*pieces, strict=True))
    places = np.full(start, -1)
    places[place] = np.arange(done)
    return Timeline(run_number, step, wall_us, runtime_s, bases, places)


def _within(marks: Marks, rows_max: int) -> tuple[np.ndarray, ...]:
    columns = (marks.row, marks.step, marks.hlc, marks.wall_us, marks.runtime_s)
    if not len(marks) or (int(marks.row.max()) < rows_max and int(marks.row.min()) >= 0):
        return columns
    kept = (marks.row >= 0) & (marks.row < rows_max)
    return tuple(column[kept] for column in columns)


def _in_order(columns: tuple[np.ndarray, ...]) -> bool:
    """Whether these rows stand where they belong, by steps that never repeat."""
    step = columns[1]
    return bool((step[1:] > step[:-1]).all())


def _sorted(found: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    place, step, hlc, wall_us, runtime_s = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((place, hlc, step))  # places grow with (writer, row)
    return _unique(*(column[order] for column in (place, step, hlc, wall_us, runtime_s)))


def _unique(*columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """A row that was closed twice (by its writer, and by who found it open) counts once, where it stands last."""
    place = columns[0]
    if len(place) < 2 or np.bincount(place - place.min()).max() < 2:
        return columns
    _, backwards = np.unique(place[::-1], return_index=True)
    kept = np.sort(len(place) - 1 - backwards)
    return tuple(column[kept] for column in columns)
