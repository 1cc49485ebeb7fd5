"""What the definitions of metrics make of a folded summary. The reference for the SQL form.

A key whose definition has parts (`MetricRule.parts`) shows these instead of its last value, unless that was set by
hand. They are figures of the points behind the last explicit write on the key, above or below it (SUM-3), or behind
what was carried there. A key whose definition drops it has no points at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from tracker.storage.events import KIND_CARRIED, KIND_METRIC, KIND_SUMMARY, Fact, Value, join_path, split_path
from tracker.storage.metric_rules import (
    AUTOMATIC_KEYS,
    NO_FIGURES,
    Carried,
    Figures,
    MetricRules,
    carried_of,
    summary_parts,
)

__all__ = ["SeriesPoints", "carried_points", "defined_summary", "rules_of", "without_dropped"]

Stamp = tuple[int, int, str, int]  # generation number, hlc, writer, seq
Stamped = tuple[Stamp, Fact]


@dataclass(frozen=True, slots=True)
class SeriesPoints:
    """Committed points of a history key by one writer: all of them, or a stretch."""

    writer_id: str
    key: str
    first: tuple[int | None, int]  # hlc of the first one, where it is known, and seq
    last: tuple[int, int]  # hlc and seq of the last one
    figures: Figures
    since: Callable[[int, int], Figures]  # of those with greater (hlc, seq)

    def later_than(self, generation: int, stamp: Stamp) -> Figures:
        """The figures of those behind `stamp`, when the writer belongs to this generation."""
        if (generation, self.last[0], self.writer_id, self.last[1]) <= stamp:
            return NO_FIGURES
        if generation > stamp[0]:
            return self.figures
        hlc, seq = self.first
        if self.writer_id == stamp[2] and seq > stamp[3]:
            return self.figures
        if hlc is not None and (hlc, self.writer_id, seq) > stamp[1:]:
            return self.figures
        behind = stamp[3] if self.writer_id == stamp[2] else -1 if self.writer_id > stamp[2] else 1 << 62
        return self.since(stamp[1], behind)


def rules_of(facts: Collection[Stamped]) -> MetricRules:
    """The definitions that hold."""
    last: dict[str, Stamped] = {}
    for stamped in facts:
        if stamped[1].kind == KIND_METRIC and (stamped[1].path not in last or last[stamped[1].path][0] < stamped[0]):
            last[stamped[1].path] = stamped
    return MetricRules.of_facts({path: fact.value for path, (_, fact) in last.items()})


def carried_points(facts: Iterable[Stamped]) -> list[Stamped]:
    """What was carried, as the last points of its keys: before all else of its frame."""
    found = []
    for (generation, hlc, writer_id, seq), fact in facts:
        segments = split_path(fact.path) if fact.kind == KIND_CARRIED else ()
        if len(segments) == 2 and segments[1] == "last":
            stamp = (generation, hlc, writer_id, seq - 1)
            found.append((stamp, Fact(
                kind=KIND_SUMMARY, subject=fact.subject, path=segments[0], value=fact.value, hlc_us=hlc,
                writer_id=writer_id, seq=seq - 1,
            )))  # fmt: skip
    return found


def without_dropped(points: Iterable[Stamped], rules: MetricRules) -> list[Stamped]:
    """Last points of the keys that are part of the summary."""
    if not any(rule.drops for rule in rules):
        return list(points)
    return [one for one in points if not _drops(rules, one[1].path)]


def _drops(rules: MetricRules, key: str) -> bool:
    rule = rules.of(key)
    return rule is not None and rule.drops and key not in AUTOMATIC_KEYS


def defined_summary(
    live: Mapping[str, Value],
    rules: MetricRules,
    by_hand: Iterable[Stamped],
    carried: Collection[Stamped],
    points: Iterable[Stamped],
    series: Iterable[tuple[int, SeriesPoints]],
) -> tuple[dict[str, Value], dict[str, Carried]]:
    """The summary with parts, and of the keys that have them what their points come to.

    `live`: the summary without them. `by_hand`: explicit writes to it (kind summary). `carried`: facts of kind
    carried. `points`: last points, with what was carried among them. `series`: with the generation of its writer.
    """
    asked = {}
    for key in live:
        rule = rules.of(key)
        if rule is not None and rule.parts and not rule.drops and key not in AUTOMATIC_KEYS:
            asked[key] = rule
    if not asked:
        return dict(live), {}
    restarts = _newest_around(asked, by_hand)
    newest: dict[str, Stamp] = {}
    for stamp, fact in points:
        newest[fact.path] = max(newest.get(fact.path, stamp), stamp)
    bases = _bases(carried)
    of_key: dict[str, list[tuple[int, SeriesPoints]]] = {}
    for generation, one in series:
        if one.key in asked:
            of_key.setdefault(one.key, []).append((generation, one))
    shown: dict[str, Value] = {}
    tracked: dict[str, Carried] = {}
    for key, value in live.items():
        rule = asked.get(key)
        restart, (based, base) = restarts.get(key), bases.get(key, (None, None))
        if rule is None or key not in newest or (restart is not None and restart >= newest[key]):
            shown[key] = value
            continue
        since = max((stamp for stamp in (restart, based) if stamp is not None), default=None)
        figures = base.figures if base is not None and since == based else None
        if since is not None and since == based and figures is None and newest[key] <= since:
            shown[key] = value  # carried, without figures
            continue
        for generation, one in of_key.get(key, []):
            figures = (figures or NO_FIGURES) + (one.figures if since is None else one.later_than(generation, since))
        tracked[key] = Carried(value, figures or NO_FIGURES)
        parts = summary_parts(rule, figures or NO_FIGURES, value)
        shown |= {f"{key}.{part}": one_value for part, one_value in parts.items()}
    return shown, tracked


def _newest_around(keys: Collection[str], by_hand: Iterable[Stamped]) -> dict[str, Stamp]:
    """Key to the stamp of the last explicit write on it, on a proper prefix of its path, or below it."""
    newest: dict[str, Stamp] = {}
    below: dict[str, Stamp] = {}
    for stamp, fact in by_hand:
        newest[fact.path] = max(newest.get(fact.path, stamp), stamp)
    for path, stamp in newest.items():
        for prefix in _prefixes(path):
            below[prefix] = max(below.get(prefix, stamp), stamp)
    found = {}
    for key in keys:
        around = [newest[path] for path in (key, *_prefixes(key)) if path in newest]
        around += [below[key]] if key in below else []
        if around:
            found[key] = max(around)
    return found


def _bases(carried: Collection[Stamped]) -> dict[str, tuple[Stamp | None, Carried | None]]:
    """Key to what was carried last, with its stamp as a point."""
    frames: dict[Stamp, dict[str, Value]] = {}
    for (generation, hlc, writer_id, seq), fact in carried:
        if fact.kind == KIND_CARRIED:
            frames.setdefault((generation, hlc, writer_id, seq - 1), {})[fact.path] = fact.value
    found: dict[str, tuple[Stamp | None, Carried | None]] = {}
    for stamp in sorted(frames):
        found |= {key: (stamp, base) for key, base in carried_of(frames[stamp]).items()}
    return found


def _prefixes(path: str) -> list[str]:
    segments = split_path(path) if "." in path else ()
    return [join_path(segments[:end]) for end in range(1, len(segments))]
