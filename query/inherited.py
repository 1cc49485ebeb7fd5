"""What a life of a run had come to at a step: what one that begins there inherits, so that nobody reads rows for it.

Last values follow from what is kept in memory of each file. Figures (min, max, mean, ...) are made only for the keys
whose definition asks for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from tracker.query.branches import branches_of
from tracker.query.inherited_points import LastPoint, last_values, read_figures
from tracker.query.limited_parts import limited_part
from tracker.query.run_files import RunFiles
from tracker.query.run_writers import edit_facts, own_facts
from tracker.query.snapshot import Snapshot
from tracker.storage.events import (
    INT64_MAX,
    KIND_CARRIED,
    KIND_FILE,
    KIND_SUMMARY,
    Fact,
    Value,
    join_path,
    split_path,
)
from tracker.storage.fold import fold_facts
from tracker.storage.metric_rules import AUTOMATIC_KEYS, NO_FIGURES, Carried, Figures, MetricRules, carried_of

__all__ = ["Past", "read_past"]

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
    last = last_values(own.rows, since)
    figures = read_figures(own.rows, snapshot.paths, [key for key in last if _counts(rules, key)], since)
    carried = {key: _joined(rules, key, base.get(key), last.get(key), figures.get(key)) for key in {**base, **last}}
    return Past(carried, _unhidden(_alive(summary), carried), {f.path: f.value for f in _alive(own.facts(KIND_FILE))})


def _counts(rules: MetricRules, key: str) -> bool:
    """Whether a definition asks for the key's figures."""
    rule = rules.of(key)
    return rule is not None and bool(rule.parts) and not rule.drops and key not in AUTOMATIC_KEYS


def _joined(rules: MetricRules, key: str, base: Carried | None, last: LastPoint | None, own: Figures | None) -> Carried:
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
