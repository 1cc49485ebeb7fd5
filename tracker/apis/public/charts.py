"""Charts of what runs logged, for pages: a line for each run; of a single one also what lies between its extremes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.buckets import read_buckets
from tracker.query.cells import concat_rows
from tracker.query.frames import to_dicts
from tracker.query.history import history_batches
from tracker.query.run_files import RunFiles
from tracker.query.runs import visible_files
from tracker.query.snapshot import Snapshot
from tracker.sdk.svg_chart import Series, line_chart
from tracker.storage.events import Type, path_text
from tracker.storage.metric_rules import MetricRules

__all__ = ["POINTS_MAX", "charts_of"]

POINTS_MAX: Final = 150  # a line

_NUMBERS: Final = (Type.FLOAT, Type.INT)
_NO_RULES: Final = MetricRules()


def charts_of(
    snapshot: Snapshot, names: Sequence[tuple[str, str]], *, charts_max: int, rules: MetricRules = _NO_RULES
) -> tuple[list[str], int]:
    """Figures (HTML) of the numbers that these runs (id and name) logged more than once, most common keys first, at
    most `charts_max`; and how many there are in all. `rules`: what was defined of metrics; hidden ones are not drawn,
    and those with a step metric over its values.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    held = [(run_id, name) for run_id, name in names if run_id in snapshot.runs]
    files = visible_files(snapshot, [run_id for run_id, _ in held])
    axes = {path_text(key): _axis(rules, key) for key in _drawable(files) if not _is_hidden(rules, key)}
    drawn = dict(list(axes.items())[:charts_max])
    over_steps = [key for key, axis in drawn.items() if axis is None]
    table = read_buckets(files, snapshot.paths, keys=over_steps, buckets=POINTS_MAX)
    figures = []
    for key, axis in drawn.items():
        if axis is None:
            lines = _over_steps(table.filter(pc.equal(table["key"], key)), held)
            figures.append(line_chart(key, lines))
        else:
            figures.append(line_chart(f"{key} over {axis}", _over(snapshot, files, held, key, axis)))
    return [figure for figure in figures if figure], len(axes)


def _drawable(runs: Sequence[RunFiles]) -> list[str]:
    """Stored keys with two numbers or more in some run: those of most runs first, then as they were logged."""
    of_runs: Counter[str] = Counter()
    for run in runs:
        points: Counter[str] = Counter()
        for part in run.parts:
            for key, stats in part.keys.items():
                points[key] += sum(stats.counts[kind] for kind in _NUMBERS)
        for key, count in points.items():
            of_runs[key] += count > 1
    shown = [(key, count) for key, count in of_runs.items() if count and not key.startswith("_")]
    return [key for key, _ in sorted(shown, key=lambda found: -found[1])]


def _is_hidden(rules: MetricRules, key: str) -> bool:
    rule = rules.of(key)
    return rule is not None and rule.hidden


def _axis(rules: MetricRules, key: str) -> str | None:
    """The name of the metric whose values are the x axis of this stored key; None: the step."""
    rule = rules.of(key)
    axis = rule.step_metric if rule is not None else None
    return None if axis in (None, key, "_step") else path_text(str(axis))


def _over_steps(table: pa.Table, names: Sequence[tuple[str, str]]) -> list[Series]:
    """One a run, in their order; of one without a number in this key, an empty one, so that colours stay the run's."""
    lines = []
    for run_id, name in names:
        rows = table.filter(pc.equal(table["run_id"], run_id))
        x = [(first + last) / 2 for first, last in zip(*_columns(rows, "first_step", "last_step"), strict=True)]
        mean, low, high = ([_number(value) for value in column] for column in _columns(rows, "mean", "min", "max"))
        spread = len(names) == 1 and any(least < most for least, most in zip(low, high, strict=True))
        lines.append(Series(name, x, mean, low, high) if spread else Series(name, x, mean))
    return lines


def _over(
    snapshot: Snapshot, files: Sequence[RunFiles], names: Sequence[tuple[str, str]], key: str, axis: str
) -> list[Series]:
    """The values of `key` at those of `axis`, from rows that have both, one series a run."""
    lines = []
    for run, (_, name) in zip(files, names, strict=True):
        found = concat_rows(
            list(history_batches([run], snapshot.paths, keys=[key], x_axis=axis, samples=POINTS_MAX))
        )
        points = [(_number(row[axis]), _number(row[key])) for row in to_dicts(found)]
        points = sorted((x, y) for x, y in points if math.isfinite(x))
        lines.append(Series(name, [x for x, _ in points], [y for _, y in points]))
    return lines


def _columns(rows: pa.Table, *names: str) -> list[list[Any]]:
    return [rows[name].to_pylist() for name in names]


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, (int, float)) else math.nan
    except OverflowError:  # more digits than a double has room for
        return math.nan
