"""What the points of a history come to, up to a step: what a branch begins with, so that nobody has to read them again.

Of merged files that lie wholly below the step their rollups say it; of the others the cells are read, some keys at
a time, so that memory is bounded whatever the length of the history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.query.history_plan import RUNTIME, STEP, TIMESTAMP, Paths
from tracker.query.plain_parts import is_plain
from tracker.query.point_reader import read_points
from tracker.query.run_files import RunFiles, RunPart
from tracker.storage.events import HISTORY, Type, Value, decode_cell

__all__ = ["AUTOMATIC_KEYS", "Inherited", "first_beyond", "inherited_points"]

AUTOMATIC_KEYS: Final = (STEP, RUNTIME, TIMESTAMP)

_CELLS_MAX: Final = 4_000_000  # read at once
_KEYS_MAX: Final = 64  # read at once: so many are looked up in the files' statistics
_NUMBERS: Final = (Type.FLOAT, Type.INT, Type.BOOL)


@dataclass(slots=True)
class Inherited:
    """Points of one key. The figures are those of its numbers, NaN left out; None where there is none."""

    last: Value = None
    last_hlc_us: int = -1
    count: int = 0  # points
    nan_count: int = 0
    numbers: int = 0
    total: float = 0.0
    least: float | None = None
    greatest: float | None = None

    @property
    def mean(self) -> float | None:
        return self.total / self.numbers if self.numbers else None

    def add_last(self, hlc_us: int, value: Value) -> None:
        """One of the points: the last one, unless one with a later stamp comes."""
        if hlc_us >= self.last_hlc_us:
            self.last, self.last_hlc_us = value, hlc_us

    def add(self, count: int, nan_count: int, numbers: int, total: float, least: float, greatest: float) -> None:
        """So many more points. Without a number `total`, `least` and `greatest` say nothing."""
        self.count += count
        self.nan_count += nan_count
        if numbers:
            self.numbers += numbers
            self.total += total
            self.least = least if self.least is None else min(self.least, least)
            self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)


def inherited_points(
    run: RunFiles, paths: Paths, step: int, since: Mapping[str, int] | None = None
) -> dict[str, Inherited]:
    """Stored key to its points in rows with `_step` <= `step`, keys in the order in which they were first logged.

    `since`: of these keys only points with a later stamp. `_step`, `_runtime` and `_timestamp` are there too: as last
    value what the row that was closed last says.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    since = since or {}
    found: dict[str, Inherited] = {}
    to_read: list[tuple[RunPart, frozenset[str]]] = []
    for part in run.parts:
        known = _add_records(part, step, since, found)
        if len(known) < len(part.keys):
            to_read.append((part, frozenset(part.keys) - known))
    if to_read:
        closed = _ClosedRows(run, step)
        for keys in _groups(to_read):
            _add_cells(to_read, paths, keys, step, since, closed, found)
    _add_automatic(run, step, since, found)
    order = dict.fromkeys([*run.history_keys(), *AUTOMATIC_KEYS])
    return {key: found[key] for key in order if key in found and found[key].count}


def first_beyond(run: RunFiles, step: int) -> dict[str, int]:
    """Per writer the stamp of the first row that it closed above `step`; without writers that closed none there."""
    found: dict[str, int] = {}
    for part in run.parts:
        if part.step_last is not None and part.step_last > step:
            marks = part.marks()
            beyond = marks.hlc[marks.step > step]
            if len(beyond):
                first = int(beyond.min())
                found[part.writer_id] = min(first, found.get(part.writer_id, first))
    return found


def _add_records(part: RunPart, step: int, since: Mapping[str, int], found: dict[str, Inherited]) -> set[str]:
    """What the part's rollups say of keys whose points all count. The keys that need no more reading."""
    if not is_plain(part) or part.step_last is None or part.step_last > step:
        return set()
    known: set[str] = set()
    for key in part.keys:
        series = part.series(key) if key not in since else None
        if series is not None:
            numbers = sum(part.keys[key].counts[kind] for kind in _NUMBERS) - series.nan_count
            least, greatest = series.min_v or 0.0, series.max_v or 0.0
            total = (series.mean_v or 0.0) * numbers
            found.setdefault(key, Inherited()).add(series.count, series.nan_count, numbers, total, least, greatest)
            known.add(key)
    if known:
        for cell in part.records.last.to_pylist():
            if cell["key"] in known:
                found[cell["key"]].add_last(cell["hlc"], decode_cell(cell["t"], cell["v"], cell["i"], cell["s"]))
    return known


def _groups(to_read: list[tuple[RunPart, frozenset[str]]]) -> Iterator[list[str]]:
    """All keys, as many at a time as may be read at once."""
    cells: dict[str, int] = {}
    for part, keys in to_read:
        for key in keys:
            cells[key] = cells.get(key, 0) + sum(part.keys[key].counts)
    group: list[str] = []
    held = 0
    for key, count in cells.items():
        if group and (held + count > _CELLS_MAX or len(group) == _KEYS_MAX):
            yield group
            group, held = [], 0
        group.append(key)
        held += count
    if group:
        yield group


class _ClosedRows:
    """Which rows are closed at a step that counts. A row is one number: its writer's, and its own."""

    def __init__(self, run: RunFiles, step: int) -> None:
        self._writers = {writer: n for n, writer in enumerate(dict.fromkeys(part.writer_id for part in run.parts))}
        places = [np.empty(0, np.int64)]
        for part in run.parts:
            if part.rows and part.step_first is not None and part.step_first <= step:
                marks = part.marks()
                places.append(self.places(np.full(len(marks), self.of(part)), marks.row)[marks.step <= step])
        self._places = np.unique(np.concatenate(places))

    def of(self, part: RunPart) -> int:
        return self._writers[part.writer_id]

    @staticmethod
    def places(writer: np.ndarray, row: np.ndarray) -> np.ndarray:
        return np.asarray((writer.astype(np.int64) << 48) + row)

    def have(self, places: np.ndarray) -> np.ndarray:
        return np.isin(places, self._places)


def _add_cells(
    to_read: list[tuple[RunPart, frozenset[str]]],
    paths: Paths,
    keys: list[str],
    step: int,
    since: Mapping[str, int],
    closed: _ClosedRows,
    found: dict[str, Inherited],
) -> None:
    wanted = [(part, mine) for part, mine in to_read if not mine.isdisjoint(keys)]
    parts = [part for part, _ in wanted]
    names = {f"key{n}": key for n, key in enumerate(keys)}
    table = read_points(
        parts,
        paths,
        kind=HISTORY,
        columns='(list_position($keys, key) - 1)::INTEGER AS code, "row", seq, hlc, t, v, i, s',
        where=f"key IN ({', '.join(f'${name}' for name in names)}) AND step <= $step",
        params={"keys": keys, "step": step, **names},
    )
    code, number, hlc = (table[name].to_numpy() for name in ("code", "part", "hlc"))
    of_part = np.array([[key in mine for key in keys] for _, mine in wanted])
    later = np.array([since.get(key, -1) for key in keys])
    places = closed.places(np.array([closed.of(part) for part in parts])[number], table["row"].to_numpy())
    counts = of_part[number, code] & (hlc > later[code]) & closed.have(places)
    at = np.flatnonzero(counts)
    order = at[np.lexsort((table["seq"].to_numpy()[at], places[at], code[at]))]
    same = (code[order][1:] == code[order][:-1]) & (places[order][1:] == places[order][:-1])
    order = order[np.append(~same, [True] * bool(len(order)))]  # of one row's values the one written last
    _add_groups(table, order, code[order], keys, found)


def _add_groups(
    table: pa.Table, order: np.ndarray, code: np.ndarray, keys: list[str], found: dict[str, Inherited]
) -> None:
    """Cells of some keys, key by key. `order`: the rows of the table that count; `code`: the key of each."""
    if not len(order):
        return
    hlc, t, v = (table[name].to_numpy()[order] for name in ("hlc", "t", "v"))
    starts = np.concatenate(([0], np.flatnonzero(np.diff(code)) + 1))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(code)], strict=True):
        inherited = found.setdefault(keys[code[start]], Inherited())
        is_number = np.isin(t[start:end], _NUMBERS)
        numbers = v[start:end][is_number]
        plain = numbers[~np.isnan(numbers)]
        least, greatest = (plain.min(), plain.max()) if len(plain) else (0.0, 0.0)
        nan_count = len(numbers) - len(plain)
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(plain.sum())
        inherited.add(end - start, nan_count, len(plain), total, float(least), float(greatest))
        last = start + int(np.argmax(hlc[start:end]))
        if hlc[last] >= inherited.last_hlc_us:
            cell = table.slice(int(order[last]), 1).to_pylist()[0]
            inherited.add_last(cell["hlc"], decode_cell(cell["t"], cell["v"], cell["i"], cell["s"]))


def _add_automatic(run: RunFiles, step: int, since: Mapping[str, int], found: dict[str, Inherited]) -> None:
    """What rows say by themselves: the last one's step, run time and time. What was logged under these names wins."""
    marks = [part.marks() for part in run.parts if part.rows and (part.step_first is None or part.step_first <= step)]
    for key, name in ((STEP, "step"), (RUNTIME, "runtime_s"), (TIMESTAMP, "wall_us")):
        if key in found and key == TIMESTAMP:
            continue
        own = found[key] = Inherited()
        for rows in marks:
            at = np.flatnonzero((rows.step <= step) & (rows.hlc > since.get(key, -1)))
            if len(at):
                values = getattr(rows, name)[at] / (1e6 if key == TIMESTAMP else 1)
                last = values[int(np.argmax(rows.hlc[at]))]
                own.add(len(at), 0, len(at), float(values.sum()), float(values.min()), float(values.max()))
                own.add_last(int(rows.hlc[at].max()), int(last) if key == STEP else float(last))
