"""What `define_metric` asked of a run, and what follows from it when values are logged.

Keys that no definition speaks of never come here: `log` asks for nothing but a set of keys (see history.py).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from tracker.storage.events import Value
from tracker.storage.metric_rules import (
    AUTOMATIC_KEYS,
    NO_FIGURES,
    Carried,
    Figures,
    MetricRule,
    MetricRules,
    figures_of,
    number_of,
    summary_parts,
)

__all__ = ["Metrics", "Plan"]

_PLANS_MAX: Final = 100_000  # keys whose rule is kept; of others it is looked up again


class _Tally:
    """Figures of a key, one value after the other."""

    __slots__ = ("count", "greatest", "least", "nan_count", "total", "whole")

    def __init__(self, figures: Figures) -> None:
        self.count, self.nan_count = figures.count, figures.nan_count
        self.least, self.greatest = figures.min, figures.max
        self.total = figures.mean * figures.count
        self.whole = figures.whole

    def add(self, value: Any) -> None:
        kind = type(value)
        if kind is float:
            number = value
            self.whole = False
        elif kind is int or kind is bool:
            number = number_of(value)
        else:
            return
        if number != number:
            self.nan_count += 1
            return
        self.count += 1
        self.total += number
        if number < self.least:
            self.least = number
        if number > self.greatest:
            self.greatest = number

    def figures(self) -> Figures:
        mean = self.total / self.count if self.count else 0.0
        if math.isinf(mean) and math.isfinite(self.least) and math.isfinite(self.greatest):
            mean = self.least / 2 + self.greatest / 2  # the sum is beyond all doubles, the mean is not
        return Figures(self.count, self.nan_count, self.least, self.greatest, mean, self.whole)


class Plan:
    """What has to be done with the values of one key."""

    __slots__ = ("drops", "is_step", "step", "tallies", "tally")

    def __init__(self, rule: MetricRule | None, key: str, is_step: bool) -> None:
        automatic = key in AUTOMATIC_KEYS
        step = rule.step_metric if rule is not None and rule.step_sync else None
        self.step = step if step != key and step not in AUTOMATIC_KEYS else None  # its value joins the row (MET-6)
        self.is_step = is_step  # other keys' rows take its value
        self.tallies = rule is not None and bool(rule.parts) and not rule.drops and not automatic
        self.drops = rule is not None and rule.drops and not automatic
        self.tally: _Tally | None = None

    def __bool__(self) -> bool:
        return bool(self.step or self.is_step or self.tallies or self.drops)


class Metrics:
    """Definitions and figures of one run in this process. Calls come under the lock of the run's history.

    A row counts when it is closed, with the values that it ends with. `active`: something is defined.
    """

    __slots__ = ("_has", "_needs", "_open", "_plans", "_steps", "active", "rules")

    def __init__(self) -> None:
        self.rules = MetricRules()
        self.active = False
        self._plans: dict[str, Plan] = {}
        self._steps: dict[str, Value] = {}  # step metric to its last value
        self._needs: set[str] = set()  # step metrics of what the row being filled holds
        self._has: set[str] = set()  # step metrics that it holds
        self._open: dict[str, Any] = {}  # its values that count once it is closed

    def plan(self, key: str) -> Plan:
        """What to do with values of a stored key."""
        found = self._plans.get(key)
        if found is None:
            found = Plan(self.rules.of(key), key, key in self._steps)
            if len(self._plans) < _PLANS_MAX:
                self._plans[key] = found
        return found

    def define(self, rule: MetricRule, last: Mapping[str, Value], by_hand: Collection[str]) -> dict[str, Carried]:
        """`rule` holds from now on. `last`: stored key to its value; those in `by_hand` were not logged.

        Answers the keys that are counted from now on and had been logged before: their last value counts, no other.
        """
        self.rules.put(rule)
        self.active = True
        if rule.step_metric is not None and rule.step_metric not in self._steps:
            self._steps[rule.step_metric] = last.get(rule.step_metric, 0)
            self._plans.pop(rule.step_metric, None)
        begun: dict[str, Carried] = {}
        for key in _keys_of(rule, self._plans, last):
            old = self._plans.pop(key, None)
            plan = self.plan(key)
            if plan.tallies:
                plan.tally = old.tally if old is not None else None
                if plan.tally is None and key in last and key not in by_hand and key not in self._open:
                    begun[key] = Carried(last[key], figures_of([last[key]]))
                    self.restore(key, begun[key])
            else:
                self._open.pop(key, None)
        return begun

    def restore(self, key: str, carried: Carried) -> None:
        """Figures of `key` as they were before."""
        plan = self.plan(key)
        if plan.tallies and carried.figures is not None:
            plan.tally = _Tally(carried.figures)

    def forget(self, path: str) -> None:
        """`path` was set by hand: what is logged there, above or below it from now on counts anew (SUM-3)."""
        for key, plan in self._plans.items():
            if plan.tally is not None and _are_in_line(key, path):
                plan.tally = None
        for key in [one for one in self._open if _are_in_line(one, path)]:
            del self._open[key]

    def parts(self, key: str, last: Value) -> dict[str, Value] | None:
        """What the summary shows of a key whose last value was logged; None: that value."""
        plan, rule = self._plans.get(key), self.rules.of(key)
        if plan is None or plan.tally is None or rule is None:
            return None
        return summary_parts(rule, plan.tally.figures(), last)

    def waits(self, key: str) -> bool:
        """Whether all that there is of a key stands in the row being filled."""
        return key in self._open and self._plans[key].tally is None

    # rows

    def note(self, cells: Mapping[str, Any]) -> None:
        """These cells join the row being filled."""
        plans, needs, has, row = self._plans, self._needs, self._has, self._open
        for key, value in cells.items():
            plan = plans.get(key)
            if plan is None:
                plan = self.plan(key)
            if plan.tallies:
                row[key] = value
            if plan.step is not None:
                needs.add(plan.step)
            if plan.is_step:
                self._steps[key] = value
                has.add(key)

    def close_row(self) -> dict[str, Any]:
        """The row being filled is closed: cells of the step metrics that it wants and does not hold."""
        row, found = self._open, {}
        if self._needs:
            found = {step: self._steps[step] for step in sorted(self._needs - self._has)}
            row.update({step: value for step, value in found.items() if self.plan(step).tallies})
        for key, value in row.items():
            plan = self.plan(key)
            if plan.tally is None:
                plan.tally = _Tally(NO_FIGURES)
            plan.tally.add(value)
        self.leave_row()
        return found

    def leave_row(self) -> None:
        """The row being filled is not ours to close."""
        self._needs.clear()
        self._has.clear()
        self._open.clear()

    def row_alone(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """As `note` and `close_row`, of a row of these cells alone, beside the one that is being filled."""
        kept = self._needs, self._has, self._open
        self._needs, self._has, self._open = set(), set(), {}
        try:
            self.note(cells)
            return self.close_row()
        finally:
            self._needs, self._has, self._open = kept


def _are_in_line(key: str, path: str) -> bool:
    """Whether they are equal, or one lies above the other."""
    return key == path or key.startswith(f"{path}.") or path.startswith(f"{key}.")


def _keys_of(rule: MetricRule, *among: Iterable[str]) -> list[str]:
    """The keys that the rule's name speaks of."""
    if not rule.name.endswith("*"):
        return [rule.name]
    start = rule.name[:-1]
    return [key for key in dict.fromkeys(itertools.chain(*among)) if key.startswith(start)]
