"""How the metrics of two runs differ: per key what is the same, and the first step at which they part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tracker.query.align_rows import Aligned, aligned_rows
from tracker.query.cells import ABSENT, MISSING, Column, Rows
from tracker.query.diff_values import EXACT, Tolerance, is_ignored, same_value
from tracker.query.history_plan import RUNTIME, STEP, TIMESTAMP
from tracker.storage.events import Type

__all__ = ["METRICS", "MetricDiff", "align_columns", "metric_diffs"]

METRICS: Final = "metrics"

_TIMES: Final = (RUNTIME, TIMESTAMP)  # they differ in any two runs
_EXACT_MAX: Final = float(2**53)  # from here on not every integer is a double

_OpenRows = Callable[[], tuple[Iterator[Rows], Iterator[Rows]]]


@dataclass(slots=True)
class MetricDiff:
    """One key. Counts are of rows that have a value of it; steps where neither run has one do not count."""

    key: str
    a_count: int = 0
    b_count: int = 0
    differing: int = 0  # both have a value, and they are not the same
    a_only: int = 0  # values at steps where the other run has none
    b_only: int = 0
    first_step: int | None = None  # the first at which the values differ, or only one run has one
    first_a: Any = MISSING  # what they were there
    first_b: Any = MISSING
    max_difference: float | None = None  # greatest |b - a| of numbers; None where nothing can be compared
    mean_difference: float | None = None  # mean |b - a| of all numbers that both have at a step

    _sum: float = 0.0
    _numbers: int = 0

    @property
    def equal(self) -> bool:
        return not (self.differing or self.a_only or self.b_only)

    def to_dict(self) -> dict[str, Any]:
        """Its fields; `first_a` and `first_b` only where there was a value."""
        shown = {
            "key": self.key,
            "equal": self.equal,
            "a_count": self.a_count,
            "b_count": self.b_count,
            "differing": self.differing,
            "a_only": self.a_only,
            "b_only": self.b_only,
            "first_step": self.first_step,
            "max_difference": self.max_difference,
            "mean_difference": self.mean_difference,
        }
        firsts = {"first_a": self.first_a, "first_b": self.first_b}
        return shown | {name: value for name, value in firsts.items() if value is not MISSING}

    def add(self, step: np.ndarray, a: Column, b: Column, tolerance: Tolerance) -> None:
        """Count these rows too, which come behind those that were counted."""
        has_a, has_b = a.present, b.present
        both = has_a & has_b
        differs = both & ~_same(a, b, both, tolerance)
        parts = np.flatnonzero(differs | (has_a != has_b))
        self.a_count += int(has_a.sum())
        self.b_count += int(has_b.sum())
        self.differing += int(differs.sum())
        self.a_only += int((has_a & ~has_b).sum())
        self.b_only += int((has_b & ~has_a).sum())
        if self.first_step is None and len(parts):
            at = parts[:1]
            self.first_step = int(step[at[0]])
            self.first_a, self.first_b = a.take(at).to_list()[0], b.take(at).to_list()[0]
        distance = np.abs(_difference(a, b))
        distance = distance[~np.isnan(distance)]
        if len(distance):
            self._sum += float(distance.sum())
            self._numbers += len(distance)
            self.max_difference = max(float(distance.max()), self.max_difference or 0.0)
            self.mean_difference = self._sum / self._numbers


def metric_diffs(
    rows: _OpenRows, *, keys: Sequence[str] | None, tolerance: Tolerance = EXACT, ignore: Sequence[str] = ()
) -> list[MetricDiff]:
    """One a key that either run has logged, sorted; with `keys` these only. In bounded memory, whatever their length.

    Raises:
        PartsGone: files keep vanishing.
    """
    found: dict[str, MetricDiff] = {}
    for window in aligned_rows(*rows()):
        for name in _shown(window, keys):
            if is_ignored(METRICS, name, ignore):
                continue
            a, b = window.pair(name)
            if name not in found:
                found[name] = MetricDiff(name)
            found[name].add(window.step, a, b, tolerance)
    return sorted((one for one in found.values() if one.a_count or one.b_count), key=lambda one: one.key)


def align_columns(rows: _OpenRows, keys: Sequence[str] | None) -> list[Rows]:
    """The rows of both runs side by side: `_step`, then per key `a.<key>`, `b.<key>`, and `difference.<key>` (b - a).

    A row a step at which either run has one of the keys; `difference` where both are numbers.

    Raises:
        PartsGone: files keep vanishing.
    """
    batches = []
    for window in aligned_rows(*rows()):
        columns = {STEP: Column.of_ints(window.step)}
        some = np.zeros(len(window.step), bool)
        for name in _shown(window, keys):
            a, b = window.pair(name)
            difference = Column.of_floats(_difference(a, b))
            difference.t[~(_numbers(a) & _numbers(b))] = ABSENT
            some |= a.present | b.present
            columns |= {f"a.{name}": a, f"b.{name}": b, f"difference.{name}": difference}
        at = np.flatnonzero(some)
        if len(at) < len(some):
            columns = {name: column.take(at) for name, column in columns.items()}
        if len(at):
            batches.append(Rows(np.zeros(len(at), np.int64), columns))
    return batches


def _shown(window: Aligned, keys: Sequence[str] | None) -> list[str]:
    return [name for name in window.names if (name not in _TIMES if keys is None else name in keys)]


def _numbers(column: Column) -> np.ndarray:
    """Where it holds numbers; booleans are none."""
    return np.asarray((column.t == Type.FLOAT) | (column.t == Type.INT))


def _difference(a: Column, b: Column) -> np.ndarray:
    """b - a as float, NaN where one of them is no number; 0 where both are the same infinity."""
    with np.errstate(invalid="ignore"):
        distance = np.where(a.v == b.v, 0.0, b.v - a.v)
    return np.where(_numbers(a) & _numbers(b), distance, np.nan)


def _same(a: Column, b: Column, both: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    """Where both have a value and it is the same, as `same_value` has it."""
    number = both & _numbers(a) & _numbers(b)
    with np.errstate(invalid="ignore"):
        close = (a.v == b.v) | (np.isnan(a.v) & np.isnan(b.v))
        if not tolerance.is_exact:
            large = np.maximum(np.abs(a.v), np.abs(b.v))
            whole = (a.t == Type.INT) & (b.t == Type.INT)
            within = np.abs(a.v - b.v) <= np.maximum(min(tolerance.relative, 1.0) * large, tolerance.absolute)
            close |= within & np.isfinite(large) & ~whole
        by_value = number & (np.abs(a.v) < _EXACT_MAX) & (np.abs(b.v) < _EXACT_MAX)
    by_value |= number & ((a.t == Type.FLOAT) & (b.t == Type.FLOAT) | np.isnan(a.v) | np.isnan(b.v))
    boolean = both & (a.t == Type.BOOL) & (b.t == Type.BOOL)
    same: np.ndarray = (by_value & close) | (boolean & (a.v == b.v))
    rest = np.flatnonzero(both & ~by_value & ~boolean)
    if len(rest):
        pairs = zip(a.take(rest).to_list(), b.take(rest).to_list(), strict=True)
        same[rest] = [same_value(x, y, tolerance) for x, y in pairs]
    return same
