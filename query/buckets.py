"""Charts of series of any length: what each of them is like in some hundred buckets of steps. No spike is missed.

Merged files have buckets of their long series beside them (`r`, see `tracker.storage.derived`); where these lie
wholly within what is asked for they are the answer, and kilobytes are read. At cut edges, for short series, and for
files without them, the points themselves are read.

Figures are of each writer's rows, put together: of two points at one step "first" is that of the lesser writer.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracker.query.bucket_records import Records, read_records
from tracker.query.cells import Rows
from tracker.query.history import history_batches
from tracker.query.history_plan import RUNTIME, STEP, TIMESTAMP, Paths, open_series, stored_keys
from tracker.query.plain_parts import plain_parts
from tracker.query.run_files import RunFiles, RunPart
from tracker.query.series_file import SeriesFile, SeriesSlice
from tracker.storage.arrow_arrays import numbers
from tracker.storage.errors import UsageError
from tracker.storage.events import HISTORY, Type
from tracker.storage.point_stats import Stats, concat_stats, point_stats

__all__ = ["BUCKET_COLUMNS", "BucketsError", "check_buckets", "read_buckets"]

BUCKET_COLUMNS: Final = pa.schema(
    [
        pa.field("run_id", pa.string()),
        pa.field("key", pa.string()),
        pa.field("step", pa.int64()),  # where the bucket begins: a multiple of width
        pa.field("width", pa.int64()),  # steps in it, a power of two
        pa.field("count", pa.int64()),  # points
        pa.field("nan_count", pa.int64()),
        pa.field("first_step", pa.int64()),  # of its first and last point
        pa.field("last_step", pa.int64()),
        pa.field("first", pa.float64()),  # their values, null where they are no numbers
        pa.field("last", pa.float64()),
        pa.field("min", pa.float64()),  # of all numbers but NaN; null where there is none
        pa.field("max", pa.float64()),
        pa.field("mean", pa.float64()),
        pa.field("min_step", pa.int64()),  # where they stand first
        pa.field("max_step", pa.int64()),
    ]
)

_POINTS_MAX: Final = 1_000_000  # of one series and part that are read where finer buckets are asked for than there are
_INFINITE: Final = np.iinfo(np.int64)
_RANGES_MAX: Final = 8

_Range = tuple[int, int]  # steps, inclusive


class BucketsError(UsageError, TypeError):
    """`buckets` is no number of buckets."""


def check_buckets(buckets: Any) -> int:
    """`buckets` as a number of them, at least one.

    Raises:
        BucketsError: it is no integer.
    """
    try:
        if isinstance(buckets, (bool, np.bool_)):
            raise TypeError
        return max(operator.index(buckets), 1)
    except TypeError:
        raise BucketsError(f"buckets must be an integer, not {buckets!r:.80}.") from None


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one writer says in one run."""

    number: int
    run: int
    files: RunFiles
    plain: list[RunPart] | None


class _Found:
    """Figures of stretches of steps, none longer than a bucket, as they are read."""

    def __init__(self, run_of: np.ndarray) -> None:
        self._run_of = run_of  # the run of each unit
        self._unit: list[np.ndarray] = []
        self._name: list[np.ndarray] = []
        self._stats: list[Stats] = []

    def add(self, unit: np.ndarray, name: int, stats: Stats) -> None:
        self._unit.append(unit)
        self._name.append(np.full(len(stats), name))
        self._stats.append(stats)

    def table(self, run_ids: Sequence[str], names: Sequence[str], shift: int) -> pa.Table:
        if not self._stats:
            return BUCKET_COLUMNS.empty_table()
        unit, name = np.concatenate(self._unit), np.concatenate(self._name)
        run, name, stats = _combined(self._run_of[unit], unit, name, concat_stats(self._stats), shift)
        told = stats.arrow()
        bucket = stats.first_step >> shift
        columns = {
            "run_id": pa.array(list(run_ids), pa.string()).take(numbers(run, pa.int64())),
            "key": pa.array(list(names), pa.string()).take(numbers(name, pa.int64())),
            "step": numbers(bucket << shift, pa.int64()),
            "width": numbers(np.full(len(run), 1 << shift), pa.int64()),
            **{kind: told[f"{kind}_v"] for kind in ("first", "last", "min", "max", "mean")},
            **{kind: told[kind] for kind in ("count", "nan_count", "first_step", "last_step", "min_step", "max_step")},
        }
        return pa.table([columns[field.name] for field in BUCKET_COLUMNS], schema=BUCKET_COLUMNS)


def read_buckets(
    runs: Sequence[RunFiles],
    paths: Paths,
    *,
    keys: Sequence[str],
    buckets: int = 500,
    min_step: int | None = None,
    max_step: int | None = None,
) -> pa.Table:
    """BUCKET_COLUMNS of the rows with min_step <= _step < max_step, by run, key (both as asked for) and step.

    All buckets of an answer have one width, so that runs line up: the least for which at most `buckets` (one or more)
    cover the steps, or that of the stored ones where finer ones would cost more than a million points of a series.

    Raises:
        PartsGone: start over with a fresh listing.
    """
    names = list(dict.fromkeys(keys))
    bounds = _bounds(runs, min_step, max_step)
    if bounds is None or not names:
        return BUCKET_COLUMNS.empty_table()
    of_writers = [(n, files) for n, run in enumerate(runs) for files in _writers(run)]
    units = [_Unit(number, n, files, plain_parts(files)) for number, (n, files) in enumerate(of_writers)]
    shift = 0
    while (bounds[1] >> shift) - (bounds[0] >> shift) >= buckets:
        shift += 1
    meant = [stored_keys(runs, name) for name in names]
    jobs = [
        _Series(n, found[0], [unit for unit in units if unit.plain is not None])
        for n, (name, found) in enumerate(zip(names, meant, strict=True))
        if len(found) == 1 and name not in (STEP, RUNTIME, TIMESTAMP)
    ]
    for job in jobs:
        job.look_up(paths, bounds, shift)
    shift = max([shift, *(job.shift for job in jobs)])
    found = _Found(np.array([unit.run for unit in units], np.int64))
    for job in jobs:
        job.read(paths, bounds, shift, found)
    series = {job.name for job in jobs}
    for n, name in enumerate(names):
        rest = [unit for unit in units if unit.plain is None or n not in series]
        unit_of = np.array([unit.number for unit in rest], np.int64)
        for rows in history_batches([unit.files for unit in rest], paths, keys=[name], samples=None):
            _add_rows(found, rows, unit_of, n, name, bounds, shift)
    return found.table([run.run_id for run in runs], names, shift)


def _writers(run: RunFiles) -> Iterator[RunFiles]:
    for writer_id in dict.fromkeys(part.writer_id for part in run.parts):
        yield run.of_writers(frozenset([writer_id]))


def _bounds(runs: Sequence[RunFiles], min_step: int | None, max_step: int | None) -> _Range | None:
    """The steps that the answer covers; None where there are none."""
    firsts = [part.step_first for run in runs for part in run.parts if part.step_first is not None]
    lasts = [part.step_last for run in runs for part in run.parts if part.step_last is not None]
    if not firsts or not lasts:
        return None
    low = min(firsts) if min_step is None else max(min(firsts), min_step)
    high = max(lasts) if max_step is None else min(max(lasts), max_step - 1)
    return (low, high) if low <= high else None


class _Series:
    """One stored key of plain writers: which figures come from records, and which from points."""

    def __init__(self, name: int, key: str, units: Sequence[_Unit]) -> None:
        self.name, self._key = name, key
        self._parts = [(unit.number, part) for unit in units for part in unit.plain or () if key in part.keys]
        self._records: dict[int, Records] = {}
        self.shift = 0  # buckets must be at least so wide

    def look_up(self, paths: Paths, bounds: _Range, shift: int) -> None:
        """Read the records that exist."""
        sources: dict[str, list[int]] = {}
        for n, (_, part) in enumerate(self._parts):
            if part.rollup is not None:
                sources.setdefault(part.rollup.key, []).append(n)
        for numbers_of in sources.values():
            some = self._parts[numbers_of[0]][1]
            assert some.rollup is not None
            (path,) = paths([replace(some, info=some.rollup)])
            owners = self._owners(numbers_of)
            for owner, records in read_records(path, self._key, set(owners)).items():
                for n in owners[owner]:
                    part = self._parts[n][1]
                    if int(records.stats.count.sum()) != sum((part.whole or part).keys[self._key].counts):
                        continue  # they are not of all its points: nothing may be missed
                    within = records.within(*_of_part(bounds, part))
                    too_many = int(within.stats.count.sum()) > _POINTS_MAX
                    if records.shift > shift and not too_many:
                        continue  # they are too coarse, and the points are few
                    self.shift = max(self.shift, records.shift)
                    self._records[n] = records

    def read(self, paths: Paths, bounds: _Range, shift: int, found: _Found) -> None:
        todo: list[tuple[int, _Range]] = []  # part, steps of its points to read
        for n, (unit, part) in enumerate(self._parts):
            records = self._records.get(n)
            if records is None:
                todo.append((n, bounds))
                continue
            low, high = _of_part(bounds, part)
            whole = records.whole_within(low, high)
            if len(whole.stats):
                found.add(np.full(len(whole.stats), unit), self.name, whole.stats)
            todo += [(n, edge) for edge in records.edges(low, high)]
        sources: dict[str, list[tuple[int, _Range]]] = {}
        for n, steps in todo:
            part = self._parts[n][1]
            if part.step_first is not None and part.step_last is not None:
                steps = max(steps[0], part.step_first), min(steps[1], part.step_last)
                if steps[0] <= steps[1]:
                    sources.setdefault(part.info.key, []).append((n, steps))
        for wanted in sources.values():
            with open_series(paths, self._parts[wanted[0][0]][1]) as file:
                self._read_points(file, wanted, shift, found)

    def _read_points(self, file: SeriesFile, wanted: list[tuple[int, _Range]], shift: int, found: _Found) -> None:
        packed = self._parts[wanted[0][0]][1].packed
        owners = self._owners([n for n, _ in wanted])
        ranges = sorted({steps for _, steps in wanted})
        if len(ranges) > _RANGES_MAX:
            ranges = [(min(low for low, _ in ranges), max(high for _, high in ranges))]
        runs = sorted({run for run, _ in owners}) if packed else None
        groups = sorted({n for steps in ranges for n in file.groups(HISTORY, self._key, runs=runs, steps=steps)})
        columns = ("step", "v", "run", "writer") if packed else ("step", "v")
        limits = _Limits(len(self._parts), wanted)
        for group in groups:
            points = file.read(group, HISTORY, self._key, columns)
            if not len(points):
                continue
            step = points.ints("step")
            for number in _numbers(points, owners, packed=packed):
                at = np.flatnonzero((number >= 0) & limits.hold(number, step))
                if len(at):
                    is_number = np.asarray(points.columns["v"].is_valid().to_numpy(zero_copy_only=False))
                    unit = np.array([unit for unit, _ in self._parts])[number[at]]
                    _add_points(found, unit, self.name, step[at], points.floats("v")[at], is_number[at], shift)

    def _owners(self, numbers_of: Sequence[int]) -> dict[tuple[str, str], list[int]]:
        """(run, writer) to the parts that read what it wrote: several where runs began in it."""
        owners: dict[tuple[str, str], list[int]] = {}
        for n in dict.fromkeys(numbers_of):
            owners.setdefault((self._parts[n][1].run_id, self._parts[n][1].writer_id), []).append(n)
        return owners


def _numbers(
    points: SeriesSlice, owners: Mapping[tuple[str, str], Sequence[int]], *, packed: bool
) -> Iterator[np.ndarray]:
    """The part of each point, -1 for none (any more); once for each part that shares one."""
    if not packed:
        yield from (np.full(len(points), n) for numbers_of in owners.values() for n in numbers_of)
        return
    pairs, which = points.owners()
    shared = [owners.get(pair, ()) for pair in pairs]
    for turn in range(max(map(len, shared), default=0)):
        yield np.array([numbers_of[turn] if turn < len(numbers_of) else -1 for numbers_of in shared])[which]


def _of_part(bounds: _Range, part: RunPart) -> _Range:
    """Where it shows less than its file holds, up to its own last step."""
    return bounds if part.upto_step is None else (bounds[0], min(bounds[1], part.upto_step))


class _Limits:
    """Which steps of each part are asked for: two ranges at most, as a part has two edges."""

    def __init__(self, parts: int, wanted: Sequence[tuple[int, _Range]]) -> None:
        self._low = np.full((2, parts), _INFINITE.max)
        self._high = np.full((2, parts), _INFINITE.min)
        for n, (low, high) in wanted:
            place = 0 if self._low[0, n] == _INFINITE.max else 1
            self._low[place, n], self._high[place, n] = low, high

    def hold(self, part: np.ndarray, step: np.ndarray) -> np.ndarray:
        one, other = ((step >= self._low[n, part]) & (step <= self._high[n, part]) for n in (0, 1))
        return np.asarray(one | other)


def _add_rows(
    found: _Found, rows: Rows, unit_of: np.ndarray, name: int, shown: str, bounds: _Range, shift: int
) -> None:
    steps, column = rows.columns[STEP], rows.columns[shown]
    step = np.asarray(steps.i.to_numpy(zero_copy_only=False)) if steps.i is not None else steps.v.astype(np.int64)
    at = np.flatnonzero((step >= bounds[0]) & (step <= bounds[1]))
    if len(at):
        is_number = column.t[at] <= Type.BOOL
        _add_points(found, unit_of[rows.run[at]], name, step[at], column.v[at], is_number, shift)


def _add_points(
    found: _Found, unit: np.ndarray, name: int, step: np.ndarray, v: np.ndarray, is_number: np.ndarray, shift: int
) -> None:
    """Points in order of (unit, step)."""
    bucket = step >> shift
    starts = np.concatenate(([0], np.flatnonzero((bucket[1:] != bucket[:-1]) | (unit[1:] != unit[:-1])) + 1))
    found.add(unit[starts], name, point_stats(starts, step, v, is_number))


def _combined(
    run: np.ndarray, unit: np.ndarray, name: np.ndarray, stats: Stats, shift: int
) -> tuple[np.ndarray, np.ndarray, Stats]:
    """One entry a run, name and bucket, by these. Those of two writers may overlap; the lesser one comes first."""
    bucket = stats.first_step >> shift
    order = np.lexsort((unit, stats.first_step, bucket, name, run))
    run, name, bucket = run[order], name[order], bucket[order]
    starts = np.concatenate(
        ([0], np.flatnonzero((run[1:] != run[:-1]) | (name[1:] != name[:-1]) | (bucket[1:] != bucket[:-1])) + 1)
    )
    lengths = np.diff(np.append(starts, len(run)))
    group = np.repeat(np.arange(len(starts)), lengths)
    each = stats.take(order)
    last = np.lexsort((unit[order], each.last_step, group))[starts + lengths - 1]
    values = each.value_count
    total = np.add.reduceat(values, starts)
    some = values > 0
    least = np.minimum.reduceat(np.where(some, each.min_v, np.inf), starts)
    most = np.maximum.reduceat(np.where(some, each.max_v, -np.inf), starts)
    with np.errstate(invalid="ignore", over="ignore"):
        share = np.where(some, each.mean_v * (values / np.maximum(total, 1)[group]), 0.0)
        mean = np.where(lengths == 1, each.mean_v[starts], np.add.reduceat(share, starts))
    return (
        run[starts],
        name[starts],
        Stats(
            count=np.add.reduceat(each.count, starts),
            nan_count=np.add.reduceat(each.nan_count, starts),
            other_count=np.add.reduceat(each.other_count, starts),
            first_step=each.first_step[starts],
            last_step=each.last_step[last],
            first_v=each.first_v[starts],
            last_v=each.last_v[last],
            first_is_number=each.first_is_number[starts],
            last_is_number=each.last_is_number[last],
            min_v=np.where(total > 0, least, np.nan),
            max_v=np.where(total > 0, most, np.nan),
            mean_v=np.where(total > 0, mean, np.nan),
            min_step=_first_step(each.min_step, some & (each.min_v == least[group]), starts),
            max_step=_first_step(each.max_step, some & (each.max_v == most[group]), starts),
        ),
    )


def _first_step(step: np.ndarray, counts: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.asarray(np.minimum.reduceat(np.where(counts, step, _INFINITE.max), starts))
