"""Rows of parts whose series lie in order (`plain` in `tracker.storage.derived`): no row markers, no hashing, no sort.

Two ways: many runs at once, one read per key (`plain_batch`); and one long run in windows of steps (`plain_windows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from tracker.query.cells import Column, Rows
from tracker.query.history_plan import TIMESTAMP, Paths, Plan, assemble, finish, open_series
from tracker.query.run_files import KeyStats, RunFiles, RunPart
from tracker.query.sampling import sample_rows
from tracker.query.series_cells import SeriesCells, concat_cells, of_slice
from tracker.query.series_file import VALUES, SeriesFile, SeriesSlice
from tracker.storage.events import HISTORY, ROW, Type

__all__ = ["dense_rows", "is_plain", "plain_batch", "plain_parts", "plain_windows"]

_TIMES: Final = ("hlc", "ts")
_HELD_BYTES: Final = 128 << 20  # of cells that were decoded for later windows; beyond it they are decoded again
_GROUP_CELLS: Final = 64 * 1024
_CELL_BYTES: Final = 32
_NO_LIMIT: Final = 2**63 - 1


def is_plain(part: RunPart) -> bool:
    """Whether the part's series can be taken as they lie in the file, all of them."""
    known = part.upto_hlc_us is None or part.hlc_max_us <= part.upto_hlc_us
    return part.plain and not part.is_cut and known and part.upto_seq is None


def plain_parts(run: RunFiles) -> list[RunPart] | None:
    """The parts with rows, in the order of their steps; None where rows have to be found and sorted one by one."""
    found = []
    for part in run.parts:
        if is_plain(part):
            if part.rows:
                found.append(part)
        elif part.rows or part.keys:
            return None
    found.sort(key=lambda part: -1 if part.step_first is None else part.step_first)
    for before, after in pairwise(found):
        if before.step_last is None or after.step_first is None or before.step_last >= after.step_first:
            return None
    return found


def dense_rows(parts: Sequence[RunPart], plan: Plan) -> int | None:
    """How many rows the answer has before sampling, where that is known: every row has all that is asked for."""
    if not plan.whole:
        for name, found in plan.meant.items():
            if name != TIMESTAMP and (len(found) != 1 or not all(_in_every_row(part, found[0]) for part in parts)):
                return None
    return sum(part.rows for part in parts)


def _in_every_row(part: RunPart, key: str) -> bool:
    stats = part.keys.get(key)
    return stats is not None and sum(stats.counts) == part.rows


def _columns_of(key: str | None, floats_only: bool) -> tuple[str, ...]:
    if key is None:
        return ("step", "v", *_TIMES)
    return ("step", "v") if floats_only else ("step", *VALUES)


# -- many runs at once


@dataclass(frozen=True, slots=True)
class _Source:
    """A file, and the numbers of the parts that are read from it."""

    path_of: RunPart
    turns: list[dict[tuple[str, str], int]]  # (run, writer) to part; further ones where several runs began in it

    @property
    def parts(self) -> list[int]:
        return [number for turn in self.turns for number in turn.values()]

    def add(self, owner: tuple[str, str], number: int) -> None:
        for turn in self.turns:
            if owner not in turn:
                turn[owner] = number
                return
        self.turns.append({owner: number})

    def numbers_of_each(self, found: SeriesSlice) -> Iterator[np.ndarray]:
        """The part of each event, -1 where nobody (more) asked for it; once for each part that shares an event."""
        if not self.path_of.packed:
            yield from (np.full(len(found), number) for number in self.parts)
            return
        owners, owner = found.owners()
        for turn in self.turns:
            yield np.asarray(np.array([turn.get(one, -1) for one in owners])[owner])


def plain_batch(runs: Sequence[Sequence[RunPart]], paths: Paths, plan: Plan, samples: int | None) -> Rows:
    """The rows of runs whose parts `plain_parts` gave; `Rows.run` counts in `runs`. All in memory at once.

    Raises:
        PartsGone: start over with a fresh listing.
    """
    parts = [part for run in runs for part in run]
    if plan.is_empty or samples == 0 or not parts:
        return Rows(np.empty(0, np.int64), {})
    run_of = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    reader = _BatchReader(parts, paths)
    picks = _picks(runs, plan, samples, reader)
    axis_key = None if plan.needs_markers else plan.axis_key
    axis = reader.load(axis_key, picks)
    if axis is None:
        return Rows(np.empty(0, np.int64), {})

    def cells_of(key: str) -> SeriesCells | None:
        return axis if key == axis_key else reader.load(key, picks)

    return finish(plan, run_of[axis.part], assemble(plan, parts, axis, cells_of), samples)


def _picks(
    runs: Sequence[Sequence[RunPart]], plan: Plan, samples: int | None, reader: _BatchReader
) -> list[np.ndarray | None] | None:
    """Per part the rows that the sample takes, None for all; None where no part is sampled before it is read."""
    if samples is None:
        return None
    found: list[np.ndarray | None] = []
    some, at = False, 0
    for run in runs:
        count = dense_rows(run, plan) if plan.whole else reader.dense_rows(plan, at, at + len(run))
        at += len(run)
        if count is None or count <= samples:
            found += [None] * len(run)
            continue
        some = True
        chosen = sample_rows(count, samples)
        start = 0
        for part in run:
            low, high = np.searchsorted(chosen, [start, start + part.rows])
            found.append(chosen[low:high] - start)
            start += part.rows
    return found if some else None


class _BatchReader:
    def __init__(self, parts: Sequence[RunPart], paths: Paths) -> None:
        self._parts, self._paths = parts, paths
        self._base = np.concatenate(([0], np.cumsum([part.rows for part in parts])))
        self._sources = _sources(parts)
        self._limits = None  # the last step of each part, where some have one
        if any(part.upto_step is not None for part in parts):
            self._limits = np.array([_NO_LIMIT if part.upto_step is None else part.upto_step for part in parts])
        self._known: dict[str, tuple[list[KeyStats | None], list[bool]]] = {}

    def stats(self, key: str) -> tuple[list[KeyStats | None], list[bool]]:
        """Per part what is known of the key, and whether every row has it."""
        found = self._known.get(key)
        if found is None:
            stats = [part.keys.get(key) for part in self._parts]
            dense = [
                one is not None and sum(one.counts) == part.rows for one, part in zip(stats, self._parts, strict=True)
            ]
            found = self._known[key] = (stats, dense)
        return found

    def dense_rows(self, plan: Plan, first: int, end: int) -> int | None:
        """As the function, of the parts first..end-1."""
        for name, found in plan.meant.items():
            if name != TIMESTAMP and (len(found) != 1 or not all(self.stats(found[0])[1][first:end])):
                return None
        return sum(part.rows for part in self._parts[first:end])

    def load(self, key: str | None, picks: list[np.ndarray | None] | None) -> SeriesCells | None:
        """Cells of one key over all parts (None: the row markers), sorted by (part, step); None for no cell at all."""
        stats = [] if key is None else self.stats(key)[0]
        floats_only = all(one is None or one.types == 1 << Type.FLOAT for one in stats)
        mask = None if picks is None else self._mask(key, picks)
        seen = np.zeros(len(self._parts), np.int64)
        pieces: list[SeriesCells] = []
        for source in self._sources:
            if key is not None and not any(stats[number] is not None for number in source.parts):
                continue
            with open_series(self._paths, source.path_of) as file:
                pieces += self._read(file, source, key, floats_only, mask, seen)
        return concat_cells(pieces) if pieces else None

    def _read(
        self,
        file: SeriesFile,
        source: _Source,
        key: str | None,
        floats_only: bool,
        mask: np.ndarray | None,
        seen: np.ndarray,
    ) -> Iterator[SeriesCells]:
        packed = source.path_of.packed
        kind = ROW if key is None else HISTORY
        columns = (*_columns_of(key, floats_only), *(("run", "writer") if packed else ()))
        steps = None, self._last_step(source)
        runs = sorted({run for run, _ in source.turns[0]}) if packed else None
        for group in file.groups(kind, key, runs=runs, steps=steps):
            found = file.read(group, kind, key, columns)
            if not len(found):
                continue
            for number in source.numbers_of_each(found):
                at = np.flatnonzero(number >= 0) if packed else np.arange(len(number))
                if self._limits is not None:
                    at = at[found.ints("step")[at] <= self._limits[number[at]]]
                if mask is not None and len(at):
                    at = at[mask[self._places(number[at], seen)]]
                if not len(at):
                    continue
                extra = _TIMES if key is None else ()
                cells = of_slice(found, number, values=True, floats_only=floats_only, extra=extra)
                yield cells if len(at) == len(number) else cells.take(at)

    def _last_step(self, source: _Source) -> int | None:
        """Beyond which nobody reads the file; None where nobody says."""
        if self._limits is None:
            return None
        last = int(self._limits[source.parts].max())
        return None if last == _NO_LIMIT else last

    def _places(self, number: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Which row of all parts each cell is, given that its series has a cell in every row of the part.

        `seen` counts the cells of each part so far.
        """
        starts = np.concatenate(([0], np.flatnonzero(np.diff(number)) + 1))
        counts = np.diff(np.concatenate((starts, [len(number)])))
        owners = number[starts]
        places: np.ndarray = np.arange(len(number)) + np.repeat(self._base[owners] + seen[owners] - starts, counts)
        seen[owners] += counts
        return places

    def _mask(self, key: str | None, picks: list[np.ndarray | None]) -> np.ndarray:
        """For each row of all parts whether it is read; all rows of a part in which some lack the key."""
        mask = np.ones(int(self._base[-1]), bool)
        dense = None if key is None else self.stats(key)[1]
        for n, (part, chosen) in enumerate(zip(self._parts, picks, strict=True)):
            if chosen is None or not (dense is None or dense[n]):
                continue
            start = int(self._base[n])
            mask[start : start + part.rows] = False
            mask[start + chosen] = True
        return mask


def _sources(parts: Sequence[RunPart]) -> list[_Source]:
    found: dict[str, _Source] = {}
    for number, part in enumerate(parts):
        source = found.get(part.info.key)
        if source is None:
            source = found[part.info.key] = _Source(part, [])
        source.add((part.run_id, part.writer_id), number)
    return list(found.values())


# -- one long run


def plain_windows(
    parts: Sequence[RunPart],
    paths: Paths,
    plan: Plan,
    *,
    rows_max: int,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Iterator[tuple[int, Rows]]:
    """All rows of one run (parts as of `plain_parts`) with min_step <= _step < max_step, at most `rows_max` at once.

    Each batch comes with the last step that it answers for; rows above it follow. Rows.run is 0. In memory are one
    batch, and the row groups that it was cut from.

    Raises:
        PartsGone: start over, with `min_step` behind the last step.
    """
    if plan.is_empty:
        return
    last = None if max_step is None else max_step - 1
    for part in parts:
        if not plan.whole and any(
            name != TIMESTAMP and part.keys.keys().isdisjoint(found) for name, found in plan.meant.items()
        ):
            continue
        if (min_step is not None and part.step_last is not None and part.step_last < min_step) or (
            last is not None and part.step_first is not None and part.step_first > last
        ):
            continue
        with open_series(paths, part) as file:
            until = last if part.upto_step is None else min(part.upto_step, part.upto_step if last is None else last)
            for upto, axis, columns in _windows(file, part, plan, rows_max, (min_step, until)):
                rows = finish(plan, np.zeros(len(axis), np.int64), columns, None)
                if len(rows):
                    yield upto, rows


def _windows(
    file: SeriesFile, part: RunPart, plan: Plan, rows_max: int, steps: tuple[int | None, int | None]
) -> Iterator[tuple[int, SeriesCells, dict[str, Column]]]:
    axis_key = None if plan.needs_markers else plan.axis_key
    keys = [key for key in plan.keys if key in part.keys and key != axis_key]
    keep = (len(keys) + 1) * _GROUP_CELLS * _CELL_BYTES <= _HELD_BYTES
    rows = _Cursor(file, part, axis_key, steps, keep=True)
    cursors = {key: _Cursor(file, part, key, steps, keep=keep) for key in sorted(keys)}
    while (axis := rows.take(rows_max)) is not None:
        upto = int(axis.step[-1])
        found = {key: cursor.until(upto) for key, cursor in cursors.items()}
        if axis_key is not None:
            found[axis_key] = axis
        yield upto, axis, assemble(plan, [part], axis, found.get)


class _Cursor:
    """One series of one part, read on from step to step."""

    def __init__(
        self, file: SeriesFile, part: RunPart, key: str | None, steps: tuple[int | None, int | None], *, keep: bool
    ) -> None:
        self._file, self._part, self._key, self._steps, self._keep = file, part, key, steps, keep
        self._floats_only = key is None or part.keys[key].types == 1 << Type.FLOAT
        self._kind = ROW if key is None else HISTORY
        runs = [part.run_id] if part.packed else None
        self._groups = file.groups(self._kind, key, runs=runs, steps=steps)[::-1]
        self._offset = 0  # cells of the current group that were given out
        self._held: SeriesCells | None = None

    def take(self, count: int) -> SeriesCells | None:
        """The next cells, at most `count`, of one row group; None at the end."""
        while (held := self._current()) is not None:
            if self._offset < len(held):
                found = held.take(slice(self._offset, self._offset + count))
                self._advance(len(found), held)
                return found
            self._advance(0, held)
        return None

    def until(self, step: int) -> SeriesCells | None:
        """All following cells up to this step, inclusive; None for none."""
        pieces = []
        while (held := self._current()) is not None:
            end = int(np.searchsorted(held.step, step, side="right"))
            if end > self._offset:
                pieces.append(held.take(slice(self._offset, end)))
            if end < len(held):
                self._advance(max(end - self._offset, 0), held)
                break
            self._advance(end - self._offset, held)
        if not self._keep:
            self._held = None
        return concat_cells(pieces) if pieces else None

    def _advance(self, count: int, held: SeriesCells) -> None:
        self._offset += count
        if self._offset >= len(held):
            self._groups.pop()
            self._offset, self._held = 0, None

    def _current(self) -> SeriesCells | None:
        """What the current row group has of the series; None behind the last one."""
        if self._held is None and self._groups:
            self._held = self._decoded(self._groups[-1])
        return self._held if self._groups else None

    def _decoded(self, group: int) -> SeriesCells:
        part = self._part
        columns = (*_columns_of(self._key, self._floats_only), *(("run", "writer") if part.packed else ()))
        found = self._file.read(group, self._kind, self._key, columns)
        extra = _TIMES if self._key is None else ()
        number = np.zeros(len(found), np.int64)
        cells = of_slice(found, number, values=True, floats_only=self._floats_only, extra=extra)
        low, high = self._steps
        mask = np.ones(len(cells), bool)
        if part.packed:
            owners, owner = found.owners()
            mask = np.array([one == (part.run_id, part.writer_id) for one in owners])[owner]
        if low is not None:
            mask &= cells.step >= low
        if high is not None:
            mask &= cells.step <= high
        return cells if mask.all() else cells.take(np.flatnonzero(mask))
