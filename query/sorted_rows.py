"""Rows that have to be found by their markers and sorted: the general way, for any mix of writers and files.

A run of moderate size is answered at once. A long one is cut into windows of steps, each answered by itself: what
belongs to a row stands at the row's step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from tracker.query.cell_cache import cached_cells
from tracker.query.cell_reader import CellBatch, read_cells
from tracker.query.cells import Column, Rows
from tracker.query.history_plan import RUNTIME, STEP, TIMESTAMP, PartsGone, Paths, Plan, finish, open_series
from tracker.query.point_reader import read_points
from tracker.query.run_files import Marks, RunFiles, RunPart
from tracker.query.sampling import sample_groups
from tracker.query.timeline import Timeline, build_timeline
from tracker.query.writer_columns import writer_column
from tracker.storage.events import ROW, Type

__all__ = ["sorted_batch", "sorted_between", "sorted_windows"]

_CACHED_CELLS_MAX: Final = 8_000_000  # an upper bound of what one read may add to the cells in memory

_GROUP_ROWS: Final = 64 * 1024  # a part with fewer is one stretch

_Steps = tuple[int, int]  # inclusive


def sorted_batch(runs: Sequence[RunFiles], paths: Paths, plan: Plan, samples: int | None) -> Rows:
    """The rows of `runs`; `Rows.run` counts in it. All in memory at once.

    Raises:
        PartsGone: start over with a fresh listing.
    """
    if plan.is_empty or samples == 0:
        return Rows(np.empty(0, np.int64), {})
    timeline = build_timeline(runs, _marks)
    if not len(timeline):
        return Rows(np.empty(0, np.int64), {})
    if not plan.whole:
        return finish(plan, timeline.run, _columns(runs, timeline, paths, plan, None, None), samples)
    positions = sample_groups(timeline.run, samples)
    steps = None
    if len(positions) < len(timeline):
        touched = timeline.step[positions]
        steps = int(touched.min()), int(touched.max())
    return finish(plan, timeline.run[positions], _columns(runs, timeline, paths, plan, positions, steps), None)


def sorted_between(
    run: RunFiles, paths: Paths, plan: Plan, *, min_step: int | None, max_step: int | None
) -> Iterator[tuple[int, Rows]]:
    """As `sorted_windows`, in one batch, for a run of moderate size."""
    timeline = build_timeline([run], _marks)
    low = 0 if min_step is None else int(np.searchsorted(timeline.step, min_step))
    high = len(timeline) if max_step is None else int(np.searchsorted(timeline.step, max_step))
    if plan.is_empty or low >= high:
        return
    positions = None if high - low == len(timeline) else np.arange(low, high)
    columns = _columns([run], timeline, paths, plan, positions, None)
    rows = finish(plan, timeline.run[low:high], columns, None)
    if len(rows):
        yield int(timeline.step[high - 1]), rows


def sorted_windows(
    run: RunFiles,
    paths: Paths,
    plan: Plan,
    *,
    rows_max: int,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Iterator[tuple[int, Rows]]:
    """All rows of one run with min_step <= _step < max_step, about `rows_max` at a time. Rows.run is 0.

    Each batch comes with the last step that it answers for; rows above it follow. Rows of one step come together.

    Raises:
        PartsGone: start over, with `min_step` behind the last step.
    """
    if plan.is_empty:
        return
    for window in _step_windows(run, paths, rows_max, min_step, max_step):
        timeline = build_timeline([run], _marks_between(run, paths, *window))
        for low, high in _cut_evenly(timeline.step, window, rows_max):
            if (low, high) != window:
                timeline = build_timeline([run], _marks_between(run, paths, low, high))
            if len(timeline):
                rows = finish(plan, timeline.run, _columns([run], timeline, paths, plan, None, (low, high)), None)
                if len(rows):
                    yield high, rows


def _marks(part: RunPart) -> Marks:
    try:
        return part.marks()
    except FileNotFoundError as exc:
        raise PartsGone(f"{part.info.key} was deleted while it was read. Try again.") from exc


def _columns(
    runs: Sequence[RunFiles],
    timeline: Timeline,
    paths: Paths,
    plan: Plan,
    positions: np.ndarray | None,
    steps: _Steps | None,
) -> dict[str, Column]:
    """One column a name, over the whole timeline or over `positions` of it. `steps`: all rows stand within."""
    cells = _read(runs, timeline, paths, plan.keys, positions, steps)
    count = len(timeline) if positions is None else len(positions)
    columns: dict[str, Column] = {}
    for name in plan.names:
        column = _automatic(timeline, name, positions) if name in (STEP, RUNTIME) else None
        if name in plan.of_writers:
            column = _of_writers(runs, timeline, name, positions)
        for key in plan.meant.get(name, ()):
            if key in cells:
                column = cells[key] if column is None else column.or_else(cells[key])
        if name == TIMESTAMP:
            automatic = _automatic(timeline, name, positions)
            column = automatic if column is None else column.or_else(automatic)
        columns[name] = Column.empty(count) if column is None else column
    return columns


def _automatic(timeline: Timeline, name: str, positions: np.ndarray | None) -> Column:
    at = slice(None) if positions is None else positions
    match name:
        case "_step":
            return Column.of_ints(timeline.step[at])
        case "_runtime":
            return Column.of_floats(timeline.runtime_s[at])
        case _:
            return Column.of_floats(timeline.wall_us[at] / 1e6)


def _of_writers(runs: Sequence[RunFiles], timeline: Timeline, name: str, positions: np.ndarray | None) -> Column:
    """What the writer of each row says of itself."""
    owners, owner = timeline.owners()
    number = {one: n for n, one in enumerate(owners)}
    parts = [part for run in runs for part in run.parts]
    known = [(n, part.writer_id) for n, run in enumerate(runs) for part in run.parts]
    some = np.zeros(len(owners), np.int64)  # of each owner one of its parts
    for at, one in enumerate(known):
        some[number[one]] = at
    return writer_column(name, parts, some[owner if positions is None else owner[positions]])


def _read(
    runs: Sequence[RunFiles],
    timeline: Timeline,
    paths: Paths,
    keys: list[str],
    positions: np.ndarray | None,
    steps: _Steps | None,
) -> dict[str, Column]:
    """Stored key to its column. A run that lacks some key is still read: the caller decides."""
    wanted = dict.fromkeys(keys)
    parts = [(n, part) for n, run in enumerate(runs) for part in run.parts if not wanted.keys().isdisjoint(part.keys)]
    if not parts:
        return {}
    types = 0
    for _, part in parts:
        for key in wanted.keys() & part.keys.keys():
            types |= part.keys[key].types
    places = timeline.places if positions is None else timeline.restricted(positions)
    count = len(timeline) if positions is None else len(positions)
    batch = _read_files([part for _, part in parts], paths, keys, types, steps)
    return _scatter(batch, _places_of(batch, [timeline.of_part(n, part) for n, part in parts], places), keys, count)


def _places_of(batch: CellBatch, bases: list[tuple[int, int, int]], places: np.ndarray) -> np.ndarray:
    """Where each cell belongs in the answer, -1 for nowhere. `bases`: of each part, as `Timeline.of_part`."""
    if not len(places):
        return np.full(len(batch.row), -1)
    if len(bases) == 1:
        start, least, size = bases[0]
        row = batch.row - least
        inside = (row >= 0) & (row < size)
    else:
        starts, leasts, sizes = (np.array(column, np.int64) for column in zip(*bases, strict=True))
        row = batch.row - leasts[batch.file]
        inside = (row >= 0) & (row < sizes[batch.file])
        row += starts[batch.file]
        start = 0
    if inside.all():
        return np.asarray(places[row + start if start else row])
    return np.where(inside, places[np.where(inside, row + start, 0)], -1)


def _read_files(parts: list[RunPart], paths: Paths, keys: list[str], types: int, steps: _Steps | None) -> CellBatch:
    floats_only = types == 1 << Type.FLOAT
    if steps is None and len(keys) * sum(part.events for part in parts) <= _CACHED_CELLS_MAX:
        return cached_cells(parts, paths, keys, floats_only=floats_only)
    return read_cells(parts, paths, keys, floats_only=floats_only, steps=steps)


def _scatter(batch: CellBatch, place: np.ndarray, keys: list[str], count: int) -> dict[str, Column]:
    """Cells to the rows they belong to. Cells of one row come by seq, so the last one written wins."""
    visible = np.flatnonzero(place >= 0)
    codes = batch.code[visible]
    order = visible[np.argsort(codes, kind="stable")] if len(keys) > 1 else visible
    ends = np.cumsum(np.bincount(codes, minlength=len(keys)))
    columns = {}
    for key, start, end in zip(keys, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        if start == end:
            continue
        source = np.full(count, -1)
        source[place[order[start:end]]] = order[start:end]
        columns[key] = batch.column(source)
    return columns


# -- windows of steps


def _marks_between(run: RunFiles, paths: Paths, low: int, high: int) -> Callable[[RunPart], Marks]:
    """The markers of each part with low <= step <= high."""
    parts = [
        part
        for part in run.parts
        if part.rows and (part.step_first is None or part.step_first <= high)
        if part.step_last is None or part.step_last >= low
    ]
    empty = np.empty(0, np.int64)
    found: dict[int, Marks] = {}
    if parts:
        table = read_points(
            parts,
            paths,
            kind=ROW,
            columns="row, step, hlc, hlc + ts AS wall, v",
            where="step BETWEEN $low AND $high",
            params={"low": low, "high": high},
        )
        owner = table["part"].to_numpy()
        columns = [table[name].to_numpy() for name in ("row", "step", "hlc", "wall", "v")]
        order = np.argsort(owner, kind="stable")
        ends = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=len(parts)))))
        for n, part in enumerate(parts):
            at = order[ends[n] : ends[n + 1]]
            found[id(part)] = Marks(*(column[at] for column in columns))

    def of_part(part: RunPart) -> Marks:
        return found.get(id(part)) or Marks(empty, empty, empty, empty, empty.astype(float))

    return of_part


def _step_windows(
    run: RunFiles, paths: Paths, rows_max: int, min_step: int | None, max_step: int | None
) -> Iterator[_Steps]:
    """Ranges of steps (inclusive), ascending, each with about `rows_max` rows by what the statistics say."""
    pieces = np.array(_stretches(run, paths), np.int64).reshape(-1, 3)
    if not len(pieces):
        return
    low, high, rows = pieces.T
    first = int(low.min()) if min_step is None else max(int(low.min()), min_step)
    last = int(high.max()) if max_step is None else min(int(high.max()), max_step - 1)
    width = (high - low).astype(float) + 1.0

    def rows_upto(step: int) -> float:
        return float((rows * np.clip((float(step) - low + 1.0) / width, 0.0, 1.0)).sum())

    while first <= last:
        done = rows_upto(first - 1)
        end, beyond = first, last
        while end < beyond:  # the greatest end with few enough rows
            middle = (end + beyond + 1) // 2
            if rows_upto(middle) - done <= rows_max:
                end = middle
            else:
                beyond = middle - 1
        yield first, end
        first = end + 1


def _cut_evenly(step: np.ndarray, window: _Steps, rows_max: int) -> list[_Steps]:
    """The window, or pieces of it where it has far more rows than statistics said. `step`: of its rows, ascending."""
    if len(step) <= 2 * rows_max:
        return [window]
    cuts = np.unique(step[rows_max::rows_max])
    edges = [window[0], *(cut for cut in cuts.tolist() if cut > window[0]), window[1] + 1]
    return [(low, end - 1) for low, end in pairwise(edges)]


def _stretches(run: RunFiles, paths: Paths) -> list[tuple[int, int, int]]:
    """(first step, last step, closed rows) of stretches of the run's files, by the statistics of their row groups."""
    found: list[tuple[int, int, int]] = []
    for part in run.parts:
        if not part.rows or part.step_first is None or part.step_last is None:
            continue
        left = part.rows
        if part.rows > _GROUP_ROWS:
            with open_series(paths, part) as file:
                for low, high, rows in file.stretches(ROW, run=part.run_id if part.packed else None):
                    if part.upto_step is None or high <= part.upto_step:
                        found.append((low, high, rows))
                        left -= rows
        if left > 0:
            found.append((part.step_first, part.step_last, left))
    return found
