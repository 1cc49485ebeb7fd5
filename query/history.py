"""History: points of some runs as rows, with the keys, the sample and the steps that were asked for.

Everything is planned from the digests; of the files only the cells that the answer needs are read, by DuckDB,
from local paths. Rows come run after run, in the order of the runs, each run by (step, hlc, writer, row).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import duckdb
import numpy as np

from tracker.query.cell_cache import cached_cells
from tracker.query.cell_reader import CellBatch, read_cells
from tracker.query.cells import Column, Rows
from tracker.query.run_files import RunFiles, RunPart
from tracker.query.sampling import sample_groups
from tracker.query.timeline import Timeline, build_timeline
from tracker.storage.errors import NotFound
from tracker.storage.events import Type, path_text

__all__ = ["PartsGone", "Paths", "history_batches", "scan_batches", "stored_keys"]

STEP: Final = "_step"
RUNTIME: Final = "_runtime"
TIMESTAMP: Final = "_timestamp"

_BATCH_CELLS: Final = 4_000_000  # of one answer in memory as arrays at once
_CACHED_CELLS_MAX: Final = 8_000_000  # an upper bound of what one read may add to the cells in memory
_SCAN_ROWS: Final = 100_000
_ATTEMPTS_MAX: Final = 5

Paths = Callable[[Sequence[RunPart]], list[Path]]


class PartsGone(NotFound):
    """A part that was listed is gone: somebody merged and deleted it meanwhile. List again."""


def history_batches(
    runs: Sequence[RunFiles],
    paths: Paths,
    *,
    keys: Sequence[str] | None,
    x_axis: str | None = STEP,
    samples: int | None = 500,
) -> Iterator[Rows]:
    """Batches of rows of `runs`; `Rows.run` counts in `runs`.

    With keys: rows in which `x_axis` and every key are present, and these columns only, x_axis first. Without:
    every row and every key, `_step` first, then keys as first logged, `_runtime` and `_timestamp` last.
    At most `samples` rows of each run, None for all.

    Raises:
        PartsGone: start over with a fresh listing.
    """
    shown = None if not keys else list(dict.fromkeys([*([x_axis] if x_axis else []), *keys]))
    for start, batch in _batches(runs, shown):
        rows = _answer(batch, build_timeline(batch), paths, shown, samples)
        if len(rows):
            yield Rows(rows.run + start, rows.columns)


def scan_batches(
    reopen: Callable[[], tuple[RunFiles, Paths]],
    *,
    keys: Sequence[str] | None,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Iterator[Rows]:
    """Every row of one run with min_step <= _step < max_step, in batches of bounded size.

    `reopen` gives the run's files as they are now; it is asked again when some were merged and deleted meanwhile,
    and then no row comes twice. With keys: rows in which every key is present, and these columns only.

    Raises:
        PartsGone: files keep vanishing.
    """
    run, paths = reopen()
    timeline = build_timeline([run])
    todo = _steps_between(timeline, min_step, max_step)
    shown = None if not keys else list(dict.fromkeys(keys))
    width = len(shown) if shown else max(len(run.history_keys()), 1)
    size = max(min(_SCAN_ROWS, _BATCH_CELLS // width), 1)
    attempts = 0
    while len(todo):
        try:
            rows = _answer([run], timeline, paths, shown, None, todo[:size])
        except PartsGone:
            attempts += 1
            if attempts == _ATTEMPTS_MAX:
                raise
            before, left = timeline, todo
            run, paths = reopen()
            timeline = build_timeline([run])
            todo = _steps_between(timeline, min_step, max_step)
            todo = todo[~_among(timeline, before, np.setdiff1d(np.arange(len(before)), left))[todo]]
            continue
        todo = todo[size:]
        if len(rows):
            yield rows


def _steps_between(timeline: Timeline, min_step: int | None, max_step: int | None) -> np.ndarray:
    low = 0 if min_step is None else int(np.searchsorted(timeline.step, min_step))
    high = len(timeline) if max_step is None else int(np.searchsorted(timeline.step, max_step))
    return np.arange(low, high)


def _among(timeline: Timeline, before: Timeline, positions: np.ndarray) -> np.ndarray:
    """Which rows of `timeline` (one run) are those at `positions` of `before`, an older picture of the same run."""
    wanted = np.zeros(len(before) + 1, bool)  # the last one answers for place -1
    wanted[positions] = True
    found = np.zeros(len(timeline) + 1, bool)
    for writer, (start, count) in before.base.items():
        rows = np.flatnonzero(wanted[before.places[start : start + count]])
        if writer in timeline.base:
            now_start, now_count = timeline.base[writer]
            found[timeline.places[now_start + rows[rows < now_count]]] = True
    return found[:-1]


def stored_keys(runs: Sequence[RunFiles], name: str) -> list[str]:
    """Stored keys that `name` means in `runs`, best first: as written with its backslashes, literal dots, nested."""
    if "." not in name and "\\" not in name:
        return [name]
    known: set[str] = set()
    for run in runs:
        for part in run.parts:
            known.update(part.keys)
    found = [key for key in known if key == name or path_text(key) == name]
    return sorted(found, key=lambda key: (key != name or "\\" not in name, -key.count("\\."), key))


def _batches(runs: Sequence[RunFiles], shown: list[str] | None) -> Iterator[tuple[int, list[RunFiles]]]:
    """(number of the first run, runs): neighbours that one read answers, bounded by the cells of the answer."""
    start, batch, size = 0, list[RunFiles](), 0
    known: list[str] | None = None
    for n, run in enumerate(runs):
        names = shown if shown is not None else run.history_keys()
        cells = sum(part.rows for part in run.parts) * (len(names) + 1)
        if batch and (size + cells > _BATCH_CELLS or names != known):
            yield start, batch
            start, batch, size = n, [], 0
        batch.append(run)
        size += cells
        known = names
    if batch:
        yield start, batch


def _answer(
    runs: Sequence[RunFiles],
    timeline: Timeline,
    paths: Paths,
    shown: list[str] | None,
    samples: int | None,
    window: np.ndarray | None = None,
) -> Rows:
    """The rows of one batch. `window`: only these positions of the timeline."""
    if not len(timeline) or samples == 0 or (window is not None and not len(window)):
        return Rows(np.empty(0, np.int64), {})
    if shown is None:
        positions = np.arange(len(timeline)) if window is None else window
        positions = positions[sample_groups(timeline.run[positions], samples)]
        names = list(dict.fromkeys(path_text(key) for run in runs for key in run.history_keys()))
        columns = _columns(runs, timeline, paths, [STEP, *names, RUNTIME, TIMESTAMP], positions)
        kept = {name: column for name, column in columns.items() if column.present.any()}
        order = [STEP, *(name for name in kept if name not in (STEP, RUNTIME, TIMESTAMP)), RUNTIME, TIMESTAMP]
        return Rows(timeline.run[positions], {name: kept[name] for name in order if name in kept})
    columns = _columns(runs, timeline, paths, shown, window)
    qualified = np.logical_and.reduce([column.present for column in columns.values()])
    found = np.flatnonzero(qualified)
    positions = found if window is None else window[found]
    sample = sample_groups(timeline.run[positions], samples)
    picked, positions = found[sample], positions[sample]
    whole = len(picked) == len(qualified)
    return Rows(
        timeline.run[positions],
        {name: column if whole else column.take(picked) for name, column in columns.items()},
    )


def _columns(
    runs: Sequence[RunFiles], timeline: Timeline, paths: Paths, names: list[str], positions: np.ndarray | None
) -> dict[str, Column]:
    """One column a name, over the whole timeline or over `positions` of it."""
    automatic: dict[str, Column] = {
        name: _automatic(timeline, name, positions) for name in (STEP, RUNTIME, TIMESTAMP) if name in names
    }
    meant = {name: stored_keys(runs, name) for name in names if name not in (STEP, RUNTIME)}
    cells = _read(runs, timeline, paths, meant, positions)
    count = len(timeline) if positions is None else len(positions)
    columns: dict[str, Column] = {}
    for name in names:
        found = [cells[key] for key in meant.get(name, ()) if key in cells]
        column = automatic.get(name) if not found else found[0]
        for other in found[1:]:
            assert column is not None
            column = column.or_else(other)
        if found and name in automatic:
            assert column is not None
            column = column.or_else(automatic[name])
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


def _read(
    runs: Sequence[RunFiles],
    timeline: Timeline,
    paths: Paths,
    meant: dict[str, list[str]],
    positions: np.ndarray | None,
) -> dict[str, Column]:
    """Stored key to its column. A run that lacks all meanings of some name is still read: the caller decides."""
    wanted = {key: None for found in meant.values() for key in found}
    parts = [(n, part) for n, run in enumerate(runs) for part in run.parts if not wanted.keys().isdisjoint(part.keys)]
    if not parts:
        return {}
    types = 0
    for _, part in parts:
        for key in wanted.keys() & part.keys.keys():
            types |= part.keys[key].types
    places = timeline.places if positions is None else timeline.restricted(positions)
    count = len(timeline) if positions is None else len(positions)
    steps = None
    if positions is not None and len(positions) < len(timeline):
        touched = timeline.step[positions]
        steps = int(touched.min()), int(touched.max())
    batch = _read_files([part for _, part in parts], paths, list(wanted), types, steps)
    bases = np.array([timeline.of_part(n, part) for n, part in parts], np.int64).reshape(-1, 2)
    inside = (batch.row >= 0) & (batch.row < bases[batch.file, 1])
    place = np.where(inside, places[np.where(inside, bases[batch.file, 0] + batch.row, 0)], -1)
    firsts = np.array([part.first if part.is_cut else 0 for _, part in parts], np.int64)
    if firsts.any():
        place = np.where(batch.seq >= firsts[batch.file], place, -1)
    return _scatter(batch, place, list(wanted), count)


def _read_files(
    parts: list[RunPart], paths: Paths, keys: list[str], types: int, steps: tuple[int, int] | None
) -> CellBatch:
    files = paths(parts)
    floats_only = types == 1 << Type.FLOAT
    try:
        if steps is None and len(keys) * sum(part.events for part in parts) <= _CACHED_CELLS_MAX:
            return cached_cells(files, keys, floats_only=floats_only)
        return read_cells(files, keys, floats_only=floats_only, steps=steps)
    except duckdb.IOException as exc:
        gone = [part.info.key for part, path in zip(parts, files, strict=True) if not os.path.exists(path)]
        if not gone:
            raise
        raise PartsGone(f"{gone[0]} was deleted while it was read. Try again.") from exc


def _scatter(batch: CellBatch, place: np.ndarray, keys: list[str], count: int) -> dict[str, Column]:
    """Cells to the rows they belong to. Cells of one row come by seq, so the last one written wins."""
    visible = np.flatnonzero(place >= 0)
    codes = batch.code[visible]
    order = visible[np.argsort(codes, kind="stable")] if len(keys) > 1 else visible
    ends = np.cumsum(np.bincount(codes, minlength=len(keys)))
    columns = {}
    for (key, start), end in zip(_pairs(keys, ends), ends, strict=True):
        if start == end:
            continue
        source = np.full(count, -1)
        source[place[order[start:end]]] = order[start:end]
        columns[key] = batch.column(source)
    return columns


def _pairs(keys: list[str], ends: np.ndarray) -> list[tuple[str, int]]:
    return list(zip(keys, [0, *ends[:-1].tolist()], strict=True))
