"""What `define_metric` asked of which keys, and the figures that a summary is made of. Pure; both sides use it.

A definition is a fact of kind `metric`. Its path is the name as one segment, because names are not a tree: `a` and
`a.b` can both be defined. The name is a stored key, or the beginning of stored keys and `*`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tracker.storage.events import (
    KIND_CARRIED,
    KIND_METRIC,
    JsonText,
    Value,
    encode_cell,
    join_path,
    split_path,
)

__all__ = [
    "AUTOMATIC_KEYS",
    "CARRIED_PARTS",
    "NO_FIGURES",
    "SUMMARY_WORDS",
    "WHOLE_MAX",
    "Carried",
    "Figures",
    "MetricRule",
    "MetricRules",
    "carried_facts",
    "carried_of",
    "figures_of",
    "number_of",
    "rule_fact",
    "stored_name",
    "summary_parts",
]

SUMMARY_WORDS: Final = ("min", "max", "mean", "best", "last", "copy", "none")
AUTOMATIC_KEYS: Final = ("_step", "_runtime", "_timestamp")  # of every row; no definition changes what they show
WHOLE_MAX: Final = 2**53  # up to here doubles tell integers apart
CARRIED_PARTS: Final = ("last", "count", "nan_count", "min", "max", "mean", "whole")


@dataclass(frozen=True, slots=True)
class Figures:
    """What the points of a key are like. `min`, `max` and `mean` are those of the numbers that are not NaN."""

    count: int = 0  # numbers that are not NaN
    nan_count: int = 0
    min: float = math.inf
    max: float = -math.inf
    mean: float = 0.0
    whole: bool = True  # all numbers are integers or booleans

    def __add__(self, other: Figures) -> Figures:
        """Of both. Exact but for the last digits of the mean."""
        if not other.count and not other.nan_count:
            return self
        count = self.count + other.count
        return Figures(
            count=count,
            nan_count=self.nan_count + other.nan_count,
            min=min(self.min, other.min),
            max=max(self.max, other.max),
            mean=self.mean * (self.count / count) + other.mean * (other.count / count) if count else 0.0,
            whole=self.whole and other.whole,
        )


NO_FIGURES: Final = Figures()


def number_of(value: Any) -> float | None:
    """The number that counts of a logged value: column `v`. None: it is none."""
    return encode_cell(value)[1] if isinstance(value, int | float) else None


def figures_of(values: Iterable[Any]) -> Figures:
    """The figures of these logged values, whatever their types."""
    numbers = [(number, isinstance(value, float)) for value in values if (number := number_of(value)) is not None]
    real = [number for number, _ in numbers if number == number]
    return Figures(
        count=len(real),
        nan_count=len(numbers) - len(real),
        min=min(real, default=math.inf),
        max=max(real, default=-math.inf),
        mean=_mean(real),
        whole=not any(is_float for _, is_float in numbers),
    )


def _mean(numbers: list[float]) -> float:
    if not numbers:
        return 0.0
    total = sum(numbers)
    return total / len(numbers) if math.isfinite(total) else sum(number / len(numbers) for number in numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRule:
    """What is defined for a name. Source: define_metric of W&B 0.19.8 (MET-1 to MET-9)."""

    name: str  # a stored key, or the beginning of stored keys and "*"
    step_metric: str | None = None  # stored key
    step_sync: bool = False
    hidden: bool = False
    summary: tuple[str, ...] = ()  # of SUMMARY_WORDS
    goal: str | None = None  # minimize, maximize

    @property
    def parts(self) -> tuple[str, ...]:
        """What the summary of the key consists of: of min, max, mean, best and last; none of them: the last value."""
        wanted = {word for word in self.summary if word not in ("copy", "none") and (word != "best" or self.goal)}
        return tuple(part for part in ("min", "max", "mean", "best", "last") if part in wanted)

    @property
    def drops(self) -> bool:
        """The key's points are no part of the summary."""
        return "none" in self.summary

    def over(self, older: MetricRule) -> MetricRule:
        """Both as one (MET-8): what this one does not say holds as the older one says."""
        return replace(
            self,
            step_metric=self.step_metric if self.step_metric is not None else older.step_metric,
            step_sync=self.step_sync or older.step_sync,
            hidden=self.hidden or older.hidden,
            summary=tuple(word for word in SUMMARY_WORDS if word in self.summary or word in older.summary),
            goal=self.goal or older.goal,
        )

    def as_dict(self) -> dict[str, Any]:
        """What is said, without what is not."""
        said = {
            "step_metric": self.step_metric,
            "step_sync": self.step_sync,
            "hidden": self.hidden,
            "summary": list(self.summary),
            "goal": self.goal,
        }
        return {field: value for field, value in said.items() if value not in (None, False, [])}


def rule_fact(rule: MetricRule) -> tuple[str, str | None, str, Value]:
    """The fact that tells readers of it, as `RunWriter.write_facts` takes it."""
    text = json.dumps(rule.as_dict(), separators=(",", ":"))
    return KIND_METRIC, None, join_path([rule.name]), JsonText(text)


def stored_name(name: str) -> str:
    """A metric's name as people write it (dots address the tree, `\\.` is a literal dot) as a stored key or glob."""
    star = "*" if name.endswith("*") else ""
    return join_path(split_path(name.removesuffix("*"))) + star


class MetricRules:
    """The rules of a run, by name."""

    __slots__ = ("_exact", "_globs", "_lengths")

    def __init__(self, rules: Iterable[MetricRule] = ()) -> None:
        self._exact: dict[str, MetricRule] = {}
        self._globs: dict[str, MetricRule] = {}  # by their beginning
        self._lengths: list[int] = []  # of the beginnings, longest first
        for rule in rules:
            self.put(rule)

    @classmethod
    def of_facts(cls, leaves: Mapping[str, Value]) -> MetricRules:
        """From live facts of kind `metric`: path to value. What is no definition is left out."""
        rules = (_rule_of(split_path(path)[0], value) for path, value in sorted(leaves.items()))
        return cls(rule for rule in rules if rule is not None)

    def __bool__(self) -> bool:
        return bool(self._exact or self._globs)

    def __iter__(self) -> Iterator[MetricRule]:
        yield from [*self._exact.values(), *self._globs.values()]

    def put(self, rule: MetricRule) -> None:
        """`rule` holds instead of what was defined for its name."""
        if rule.name.endswith("*"):
            self._globs[rule.name[:-1]] = rule
            if len(rule.name) - 1 not in self._lengths:
                self._lengths = sorted([*self._lengths, len(rule.name) - 1], reverse=True)
        else:
            self._exact[rule.name] = rule

    def get(self, name: str) -> MetricRule | None:
        """What is defined for this very name."""
        return self._globs.get(name[:-1]) if name.endswith("*") else self._exact.get(name)

    def of(self, key: str) -> MetricRule | None:
        """What holds for a stored key: its own rule, else the glob with the longest beginning (MET-4)."""
        found = self._exact.get(key)
        if found is not None or key.startswith("_"):
            return found
        size = len(key)
        for length in self._lengths:
            if length <= size:
                found = self._globs.get(key[:length])
                if found is not None:
                    return found
        return None


def _rule_of(name: str, value: Value) -> MetricRule | None:
    if isinstance(value, JsonText):
        value = json.loads(value.text)
    if not isinstance(value, dict):
        return None
    words = value.get("summary")
    step_metric, goal = value.get("step_metric"), value.get("goal")
    return MetricRule(
        name=name,
        step_metric=step_metric if isinstance(step_metric, str) else None,
        step_sync=value.get("step_sync") is True,
        hidden=value.get("hidden") is True,
        summary=tuple(word for word in SUMMARY_WORDS if isinstance(words, list) and word in words),
        goal=goal if goal in ("minimize", "maximize") else None,
    )


def summary_parts(rule: MetricRule, figures: Figures, last: Value) -> dict[str, Value]:
    """What the summary shows of a key with these points (MET-9, MET-10); `rule` has parts.

    Where there is no number, NaN stands for min, max and mean if there was a NaN, else None. A mean is NaN once a
    NaN was among the points; min and max ignore it.
    """
    nothing = math.nan if figures.nan_count else None
    low, high = (_shown(number, figures.whole) for number in (figures.min, figures.max))
    mean = math.nan if figures.nan_count else figures.mean if figures.count else None
    values: dict[str, Value] = {
        "min": low if figures.count else nothing,
        "max": high if figures.count else nothing,
        "mean": mean,
        "last": last,
    }
    values["best"] = values["max" if rule.goal == "maximize" else "min"]
    return {part: values[part] for part in rule.parts}


def _shown(number: float, whole: bool) -> float:
    return int(number) if whole and abs(number) <= WHOLE_MAX else number


@dataclass(frozen=True, slots=True)
class Carried:
    """What stands for all points of a key, and all explicit writes to it, before a moment.

    `figures` None: the value alone is known, as for a key that no definition speaks of, or that was set by hand.
    """

    last: Value
    figures: Figures | None = None


def carried_facts(key: str, carried: Carried) -> list[tuple[str, str | None, str, Value]]:
    """The facts that say so, to be written in one frame. `key`: a stored key."""
    here = join_path([key])
    figures = carried.figures
    facts: list[tuple[str, str | None, str, Value]] = [(KIND_CARRIED, None, f"{here}.last", carried.last)]
    if figures is not None:
        numbers = (figures.min, figures.max, figures.mean) if figures.count else (None, None, None)
        values = (figures.count, figures.nan_count, *numbers, figures.whole)
        facts += [
            (KIND_CARRIED, None, f"{here}.{part}", value) for part, value in zip(CARRIED_PARTS[1:], values, strict=True)
        ]
    return facts


def carried_of(leaves: Mapping[str, Value]) -> dict[str, Carried]:
    """From live facts of kind `carried`, path to value: stored key to what was carried."""
    found: dict[str, dict[str, Value]] = {}
    for path, value in leaves.items():
        segments = split_path(path)
        if len(segments) == 2:
            found.setdefault(segments[0], {})[segments[1]] = value
    return {key: Carried(said["last"], _figures(said)) for key, said in found.items() if "last" in said}


def _figures(said: Mapping[str, Value]) -> Figures | None:
    if not all(part in said for part in CARRIED_PARTS):
        return None
    count = int(said["count"] or 0)
    if not count:
        return Figures(nan_count=int(said["nan_count"] or 0), whole=bool(said["whole"]))
    low, high, mean = (float(said[part]) for part in ("min", "max", "mean"))
    return Figures(count, int(said["nan_count"] or 0), low, high, mean, bool(said["whole"]))
