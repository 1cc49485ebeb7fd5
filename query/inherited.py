"""What a life of a run had come to at a step: what one that begins there inherits, so that nobody reads rows for it.

Last values follow from what is kept in memory of each file. Figures (min, max, mean, ...) are made only for the keys
whose definition asks for them: of merged files their rollups say them, of the others the cells are read, some keys at
a time, so that memory is bounded whatever the length of the history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

import numpy as np

from tracker.query.branches import branches_of
from tracker.query.fold_input import last_points
from tracker.query.history_plan import Paths
from tracker.query.limited_parts import limited_part
from tracker.query.plain_parts import is_plain
from tracker.query.point_reader import read_points
from tracker.query.run_files import RunFiles, RunPart
from tracker.query.run_writers import edit_facts, own_facts
from tracker.query.snapshot import Snapshot
from tracker.storage.events import (
    HISTORY,
    INT64_MAX,
    KIND_CARRIED,
    KIND_FILE,
    KIND_SUMMARY,
    Fact,
    Type,
    Value,
    decode_cell,
    join_path,
    split_path,
)
from tracker.storage.fold import fold_facts
from tracker.storage.metric_rules import AUTOMATIC_KEYS, NO_FIGURES, Carried, Figures, MetricRules, carried_of

__all__ = ["Past", "read_past"]

_CELLS_MAX: Final = 4_000_000  # read at once
_KEYS_MAX: Final = 64  # read at once: so many are looked up in the files' statistics
_NUMBERS: Final = (Type.FLOAT, Type.INT, Type.BOOL)

Frames = Mapping[str, int]  # writer to the last frame that counts


@dataclass(frozen=True, slots=True)
class Past:
    """What holds at a step."""

    carried: dict[str, Carried]  # stored key: what its points had come to; those of every row among them
    explicit: dict[str, Value]  # summary values that were set by hand, and that no later point has replaced
    files: dict[str, Value]  # file facts, by path


def read_past(snapshot: Snapshot, run: RunFiles, step: int, rules: MetricRules, frames: Frames | None = None) -> Past:
    """What the life that `run` (its own files, nothing inherited) is of had come to at `step`.

    Facts count that a writer wrote before its first row above the step. Where the life itself begins above the step,
    it is what the life had come to that it began in.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    branch = next(reversed(branches_of(run.parts).values()), None)
    if branch is not None and step < branch.step:
        parent = snapshot.relatives.get(branch.run_id)
        if parent is not None:
            inherited = parent.of_writers(frozenset(branch.writers))
            return read_past(snapshot, inherited, step, rules, branch.writers)
    own = _Life(snapshot, run, step, frames)
    summary = own.facts(KIND_SUMMARY) + own.edits(KIND_SUMMARY)
    base, stamps = _carried(own.facts(KIND_CARRIED))
    explicit = _winners(summary)
    since, restarted = {}, set()
    below = _stamps_above(explicit)
    for key in dict.fromkeys([*own.rows.history_keys(), *AUTOMATIC_KEYS, *base]):
        by_hand = _restart(key, explicit, below)
        since[key] = max(by_hand, stamps.get(key, -1))
        if by_hand >= stamps.get(key, -1):
            restarted.add(key)
    base = {key: carried for key, carried in base.items() if key not in restarted}
    last = _last_values(own.rows, since)
    figures = own.figures([key for key in last if _counts(rules, key)], since)
    carried = {key: _joined(rules, key, base.get(key), last.get(key), figures.get(key)) for key in {**base, **last}}
    return Past(carried, _unhidden(_alive(summary), carried), {f.path: f.value for f in _alive(own.facts(KIND_FILE))})


def _counts(rules: MetricRules, key: str) -> bool:
    """Whether a definition asks for the key's figures."""
    rule = rules.of(key)
    return rule is not None and bool(rule.parts) and not rule.drops and key not in AUTOMATIC_KEYS


def _joined(rules: MetricRules, key: str, base: Carried | None, last: _Last | None, own: Figures | None) -> Carried:
    """What was carried into the life, and its own points behind it."""
    if last is None:
        assert base is not None
        return base
    if key in AUTOMATIC_KEYS or rules.of(key) is None:
        return Carried(last.value)
    earlier = base.figures if base is not None and base.figures is not None else NO_FIGURES
    return Carried(last.value, earlier + (own or NO_FIGURES))


class _Life:
    """The files of a life, and what of them counts."""

    def __init__(self, snapshot: Snapshot, run: RunFiles, step: int, frames: Frames | None) -> None:
        self._snapshot, self._run, self._step = snapshot, run, step
        self._frames = frames if frames is not None else {part.writer_id: INT64_MAX for part in run.parts}
        root = snapshot.store.url
        cut = (limited_part(part, snapshot.paths, root, step, self._frames[part.writer_id]) for part in run.parts)
        self.rows = replace(run, parts=tuple(part for part in cut if part is not None))
        self._beyond = self._first_beyond()

    def facts(self, kind: str) -> list[Fact]:
        """Those that count, in no order."""
        return [
            fact
            for fact in own_facts(self._run, kind)
            if fact.seq <= self._frames[fact.writer_id] and fact.hlc_us < self._beyond.get(fact.writer_id, INT64_MAX)
        ]

    def edits(self, kind: str) -> list[Fact]:
        """What others changed since the life began, and before any of its writers came above the step."""
        begun = [part.records.first_hlc_us for part in self._run.parts if part.records.first_hlc_us is not None]
        first_us, end_us = min(begun, default=0), min(self._beyond.values(), default=INT64_MAX)
        return [
            fact
            for fact in edit_facts(self._run, self._snapshot.edits, kind)
            if first_us <= fact.hlc_us < end_us
        ]

    def figures(self, keys: Collection[str], since: Mapping[str, int]) -> dict[str, Figures]:
        """Of the committed points of these keys, those with later stamps than `since`."""
        found = dict.fromkeys(keys, NO_FIGURES)
        to_read: list[tuple[RunPart, frozenset[str]]] = []
        for part in self.rows.parts if found else ():
            mine = found.keys() & part.keys.keys()
            told = {key for key in mine if since[key] < 0 and _add_record(part, key, found)}
            if mine - told:
                to_read.append((part, frozenset(mine - told)))
        if to_read:
            closed = _ClosedRows(self.rows)
            for group in _groups(to_read):
                _add_cells(to_read, self._snapshot.paths, group, since, closed, found)
        return found

    def _first_beyond(self) -> dict[str, int]:
        """Per writer the stamp of the first row that it closed above the step."""
        found: dict[str, int] = {}
        for part in self._run.parts:
            if part.step_last is not None and part.step_last > self._step:
                marks = part.marks()
                beyond = marks.hlc[marks.step > self._step]
                if len(beyond):
                    first = int(beyond.min())
                    found[part.writer_id] = min(first, found.get(part.writer_id, first))
        return found


# last values


@dataclass(frozen=True, slots=True)
class _Last:
    hlc_us: int
    value: Value


def _last_values(rows: RunFiles, since: Mapping[str, int]) -> dict[str, _Last]:
    """Stored key to the value that was logged last, in the order in which keys were first logged."""
    found: dict[str, _Last] = {}
    for _, parts in groupby(rows.parts, key=lambda part: part.writer_id):
        for table in last_points(list(parts)):
            for cell in table.to_pylist():
                key, hlc_us = cell["key"], cell["hlc"]
                if hlc_us > since.get(key, -1) and (key not in found or found[key].hlc_us < hlc_us):
                    found[key] = _Last(hlc_us, decode_cell(cell["t"], cell["v"], cell["i"], cell["s"]))
    order = dict.fromkeys([*rows.history_keys(), *AUTOMATIC_KEYS])
    return {key: found[key] for key in order if key in found}


# figures


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
    since: Mapping[str, int],
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


# facts


def _carried(facts: list[Fact]) -> tuple[dict[str, Carried], dict[str, int]]:
    """By key what was carried last, and its stamp."""
    by_key: dict[str, list[Fact]] = {}
    for fact in facts:
        by_key.setdefault(split_path(fact.path)[0], []).append(fact)
    found: dict[str, Carried] = {}
    stamps: dict[str, int] = {}
    for key, said in by_key.items():
        stamp = max(fact.hlc_us for fact in said)
        one = carried_of({fact.path: fact.value for fact in said if fact.hlc_us == stamp}).get(key)
        if one is not None:
            found[key], stamps[key] = one, stamp
    return found, stamps


def _winners(facts: Iterable[Fact]) -> dict[str, Fact]:
    return {fact.path: fact for fact in sorted(facts, key=lambda fact: (fact.hlc_us, fact.writer_id, fact.seq))}


def _alive(facts: Collection[Fact]) -> list[Fact]:
    """The facts of one kind that hold."""
    winners = _winners(facts)
    live = fold_facts(((0, fact.hlc_us, fact.writer_id, fact.seq), fact) for fact in facts)
    return [winners[path] for leaves in live.values() for path in leaves]


def _stamps_above(explicit: Mapping[str, Fact]) -> dict[str, int]:
    """Of paths that lie above explicit writes the last stamp of these."""
    found: dict[str, int] = {}
    for path, fact in explicit.items():
        for prefix in _prefixes(path):
            found[prefix] = max(fact.hlc_us, found.get(prefix, -1))
    return found


def _restart(key: str, explicit: Mapping[str, Fact], above: Mapping[str, int]) -> int:
    """Stamp of the last explicit write on the key, above or below it, -1 without any."""
    on = [explicit[path].hlc_us for path in (key, *_prefixes(key)) if path in explicit]
    return max([*on, above.get(key, -1)])


def _unhidden(explicit: Iterable[Fact], carried: Collection[str]) -> dict[str, Value]:
    """Values that no later point has replaced, at their path, above or below it."""
    above = {prefix for key in carried for prefix in _prefixes(key)}
    return {
        fact.path: fact.value
        for fact in explicit
        if fact.path not in carried
        and fact.path not in above
        and not any(prefix in carried for prefix in _prefixes(fact.path))
    }


def _prefixes(path: str) -> list[str]:
    segments = split_path(path) if "." in path else ()
    return [join_path(segments[:end]) for end in range(1, len(segments))]
