"""The closed rows of some runs, in order: where in the answer each cell belongs.

A row is known by (writer, row number) and stands at (step, hlc, writer, row). It exists once its marker does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tracker.query.run_files import Marks, RunFiles, RunPart

__all__ = ["Timeline", "build_timeline"]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Arrays over all closed rows, run after run, each run in order."""

    run: np.ndarray  # number of the run among those asked for
    step: np.ndarray
    wall_us: np.ndarray
    runtime_s: np.ndarray
    base: dict[tuple[int, str], tuple[int, int]]  # (run, writer) -> (start in `places`, how many)
    places: np.ndarray  # start + row number -> position in the arrays above, -1 where the row is not closed

    def __len__(self) -> int:
        return len(self.run)

    def of_part(self, run: int, part: RunPart) -> tuple[int, int]:
        """Start in `places` of the part's writer, and how many row numbers that writer can have."""
        return self.base[run, part.writer_id]

    def restricted(self, positions: np.ndarray) -> np.ndarray:
        """`places` for an answer that has only `positions` (ascending), numbered 0, 1, ..."""
        order = np.full(len(self) + 1, -1)  # the last one answers for place -1
        order[positions] = np.arange(len(positions))
        found: np.ndarray = order[self.places]
        return found


def build_timeline(runs: Sequence[RunFiles]) -> Timeline:
    """All closed rows of `runs`, in the order asked for."""
    pieces: list[tuple[np.ndarray, ...]] = []
    bases: dict[tuple[int, str], tuple[int, int]] = {}
    start = done = 0
    for n, run in enumerate(runs):
        found: list[tuple[np.ndarray, ...]] = []
        for writer_id, parts in groupby(run.parts, key=lambda part: part.writer_id):
            held = list(parts)
            count = max(part.last for part in held) + 1  # a frame touches one row, so row numbers stay below
            bases[n, writer_id] = (start, count)
            found += [_of_marks(part.marks(), start, count) for part in held if part.rows]
            start += count
        if not found:
            continue
        columns = found[0] if len(found) == 1 else _sorted(found)
        pieces.append((np.full(len(columns[0]), n), *columns))
        done += len(columns[0])
    if not pieces:
        empty = np.empty(0, np.int64)
        return Timeline(empty, empty, empty, empty.astype(float), bases, np.full(start, -1))
    run_number, place, step, _, wall_us, runtime_s = (np.concatenate(column) for column in zip(*pieces, strict=True))
    places = np.full(start, -1)
    places[place] = np.arange(done)
    return Timeline(run_number, step, wall_us, runtime_s, bases, places)


def _of_marks(marks: Marks, start: int, count: int) -> tuple[np.ndarray, ...]:
    if int(marks.row.max()) < count and int(marks.row.min()) >= 0:
        return _unique(marks.row + start, marks.step, marks.hlc, marks.wall_us, marks.runtime_s)
    kept = (marks.row >= 0) & (marks.row < count)
    return _unique(
        marks.row[kept] + start, marks.step[kept], marks.hlc[kept], marks.wall_us[kept], marks.runtime_s[kept]
    )


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
