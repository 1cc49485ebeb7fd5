"""Last values and figures of the points of some rows: of merged files by their rollups, of others by reading cells.

Cells are read some keys at a time, so that memory is bounded whatever the length of the history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

import numpy as np

from tracker.query.fold_input import last_points
from tracker.query.history_plan import Paths
from tracker.query.plain_parts import is_plain
from tracker.query.point_reader import read_points
from tracker.query.run_files import RunFiles, RunPart
from tracker.storage.events import HISTORY, Type, Value, decode_cell
from tracker.storage.metric_rules import AUTOMATIC_KEYS, NO_FIGURES, Figures

__all__ = ["LastPoint", "last_values", "read_figures"]

_CELLS_MAX: Final = 4_000_000  # read at once
_KEYS_MAX: Final = 64  # read at once: so many are looked up in the files' statistics
_NUMBERS: Final = (Type.FLOAT, Type.INT, Type.BOOL)

Since = Mapping[str, int]  # key to a stamp: only later points of it count, -1 for all


@dataclass(frozen=True, slots=True)
class LastPoint:
    """The committed point of a key that was logged last."""

    hlc_us: int
    value: Value


def last_values(rows: RunFiles, since: Since) -> dict[str, LastPoint]:
    """Stored key to the value that was logged last, in the order in which keys were first logged."""
    found: dict[str, LastPoint] = {}
    for _, parts in groupby(rows.parts, key=lambda part: part.writer_id):
        for table in last_points(list(parts)):
            for cell in table.to_pylist():
                key, hlc_us = cell["key"], cell["hlc"]
                if hlc_us > since.get(key, -1) and (key not in found or found[key].hlc_us < hlc_us):
                    found[key] = LastPoint(hlc_us, decode_cell(cell["t"], cell["v"], cell["i"], cell["s"]))
    order = dict.fromkeys([*rows.history_keys(), *AUTOMATIC_KEYS])
    return {key: found[key] for key in order if key in found}


def read_figures(rows: RunFiles, paths: Paths, keys: Collection[str], since: Since) -> dict[str, Figures]:
    """Of the committed points of these keys, those with later stamps than `since`.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    found = dict.fromkeys(keys, NO_FIGURES)
    to_read: list[tuple[RunPart, frozenset[str]]] = []
    waiting = _Waiting()
    for part in rows.parts if found else ():
        mine = found.keys() & part.keys.keys()
        begun = waiting.ended_by(part)
        told = {key for key in mine - begun if since[key] < 0 and _add_record(part, key, found)}
        if mine - told:
            to_read.append((part, frozenset(mine - told)))
    if to_read:
        closed = _ClosedRows(rows)
        for group in _groups(to_read):
            _add_cells(to_read, paths, group, since, closed, found)
    return found


class _Waiting:
    """Keys of rows that parts read so far have left open, per writer."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[int, set[str]]] = {}

    def ended_by(self, part: RunPart) -> set[str]:
        """The keys of those rows that the part closes: its records count such a row by what it holds of it itself."""
        rows = self._rows.setdefault(part.writer_id, {})
        closed = part.marks().row if rows and part.rows else ()
        ended = {key for row in rows.keys() & set(np.asarray(closed).tolist()) for key in rows.pop(row)}
        opened = part.records.open
        for row, key in zip(opened["row"].to_pylist(), opened["key"].to_pylist(), strict=True):
            rows.setdefault(row, set()).add(key)
        return ended


def _add_record(part: RunPart, key: str, found: dict[str, Figures]) -> bool:
    """What the part's rollups say of a key. False: they do not."""
    if part.whole is not None or not is_plain(part):
        return False
    series = part.series(key)
    if series is None:
        return False
    counts = part.keys[key].counts
    count = sum(counts[kind] for kind in _NUMBERS) - series.nan_count
    if count or series.nan_count:
        known = Figures(count=count, nan_count=series.nan_count, whole=not counts[Type.FLOAT])
        if count:
            assert series.min_v is not None
            assert series.max_v is not None
            assert series.mean_v is not None
            known = replace(known, min=series.min_v, max=series.max_v, mean=series.mean_v)
        found[key] = found[key] + known
    return True


def _groups(to_read: Iterable[tuple[RunPart, frozenset[str]]]) -> Iterator[list[str]]:
    """All keys, as many at a time as may be read at once."""
    cells: dict[str, int] = {}
    for part, keys in to_read:
        for key in sorted(keys):
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
    """Which rows are closed. A row is one number: its writer's, and its own."""

    def __init__(self, run: RunFiles) -> None:
        self._writers = {writer: n for n, writer in enumerate(dict.fromkeys(part.writer_id for part in run.parts))}
        closed = [self.places(part, part.marks().row) for part in run.parts if part.rows]
        self._places = np.unique(np.concatenate([np.empty(0, np.int64), *closed]))

    def places(self, part: RunPart, rows: np.ndarray) -> np.ndarray:
        return np.asarray((np.int64(self._writers[part.writer_id]) << 48) + rows)

    def have(self, places: np.ndarray) -> np.ndarray:
        return np.isin(places, self._places)


def _add_cells(
    to_read: list[tuple[RunPart, frozenset[str]]],
    paths: Paths,
    keys: list[str],
    since: Since,
    closed: _ClosedRows,
    found: dict[str, Figures],
) -> None:
    wanted = [(part, mine) for part, mine in to_read if not mine.isdisjoint(keys)]
    names = {f"key{n}": key for n, key in enumerate(keys)}
    table = read_points(
        [part for part, _ in wanted],
        paths,
        kind=HISTORY,
        columns='(list_position($keys, key) - 1)::INTEGER AS code, "row", seq, hlc, t, v',
        where=f"key IN ({', '.join(f'${name}' for name in names)})",
        params={"keys": keys, **names},
    )
    code, part, row = (table[name].to_numpy() for name in ("code", "part", "row"))
    places = np.zeros(len(row), np.int64)
    for number, (one, _) in enumerate(wanted):
        at = np.flatnonzero(part == number)
        places[at] = closed.places(one, row[at])
    asked = np.array([[key in mine for key in keys] for _, mine in wanted])
    later = np.array([since.get(key, -1) for key in keys], np.int64)
    kept = np.flatnonzero(asked[part, code] & (table["hlc"].to_numpy() > later[code]) & closed.have(places))
    order = kept[np.lexsort((table["seq"].to_numpy()[kept], places[kept], code[kept]))]
    replaced = np.zeros(len(order), bool)  # by a later value of the same row
    replaced[:-1] = (code[order][1:] == code[order][:-1]) & (places[order][1:] == places[order][:-1])
    order = order[~replaced]
    t, v = table["t"].to_numpy(), table["v"].to_numpy()
    for number, key in enumerate(keys):
        low, high = np.searchsorted(code[order], [number, number + 1])
        found[key] = found[key] + _figures(t[order[low:high]], v[order[low:high]])


def _figures(t: np.ndarray, v: np.ndarray) -> Figures:
    """Of points with these types and numbers."""
    is_number = np.isin(t, _NUMBERS)
    numbers = v[is_number]
    real = numbers[~np.isnan(numbers)]
    if not len(real):
        return Figures(nan_count=len(numbers), whole=not (t == Type.FLOAT).any())
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(real.sum())
        mean = total / len(real) if np.isfinite(total) else float((real / len(real)).sum())
    low, high = float(real.min()), float(real.max())
    return Figures(len(real), len(numbers) - len(real), low, high, mean, not (t == Type.FLOAT).any())
