"""Charts of what runs logged, for pages: a line for each run; of a single one also what lies between its extremes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.buckets import read_buckets
from tracker.query.run_files import RunFiles
from tracker.query.runs import visible_files
from tracker.query.snapshot import Snapshot
from tracker.sdk.svg_chart import Series, line_chart
from tracker.storage.events import Type, path_text

__all__ = ["BUCKETS", "charts_of"]

BUCKETS: Final = 150  # at most so many points a line

_NUMBERS: Final = (Type.FLOAT, Type.INT)


def charts_of(
    snapshot: Snapshot, names: Sequence[tuple[str, str]], *, charts_max: int, hidden: Sequence[str] = ()
) -> tuple[list[str], int]:
    """Figures (HTML) of the numbers that these runs (id and name) logged more than once, most common keys first, at
    most `charts_max`; and how many there are in all. `hidden`: names of metrics that are not drawn, or their
    beginning and `*`.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    held = [(run_id, name) for run_id, name in names if run_id in snapshot.runs]
    files = visible_files(snapshot, [run_id for run_id, _ in held])
    keys = [key for key in _drawable(files) if not _is_hidden(key, hidden)]
    table = read_buckets(files, snapshot.paths, keys=keys[:charts_max], buckets=BUCKETS)
    figures = [line_chart(key, _lines(table.filter(pc.equal(table["key"], key)), held)) for key in keys[:charts_max]]
    return [figure for figure in figures if figure], len(keys)


def _drawable(runs: Sequence[RunFiles]) -> list[str]:
    """Keys with two numbers or more in some run: those of most runs first, then as they were logged."""
    of_runs: Counter[str] = Counter()
    for run in runs:
        points: Counter[str] = Counter()
        for part in run.parts:
            for key, stats in part.keys.items():
                points[key] += sum(stats.counts[kind] for kind in _NUMBERS)
        for key, count in points.items():
            of_runs[path_text(key)] += count > 1
    shown = [(key, count) for key, count in of_runs.items() if count and not key.startswith("_")]
    return [key for key, _ in sorted(shown, key=lambda found: -found[1])]


def _is_hidden(key: str, hidden: Sequence[str]) -> bool:
    return any(key.startswith(name[:-1]) if name.endswith("*") else key == name for name in hidden)


def _lines(table: pa.Table, names: Sequence[tuple[str, str]]) -> list[Series]:
    """One a run, in their order; of one without a number in this key, an empty one, so that colours stay the run's."""
    lines = []
    for run_id, name in names:
        rows = table.filter(pc.equal(table["run_id"], run_id))
        x = [(first + last) / 2 for first, last in zip(*_columns(rows, "first_step", "last_step"), strict=True)]
        mean, low, high = ([_number(value) for value in column] for column in _columns(rows, "mean", "min", "max"))
        spread = len(names) == 1 and any(least < most for least, most in zip(low, high, strict=True))
        lines.append(Series(name, x, mean, low, high) if spread else Series(name, x, mean))
    return lines


def _columns(rows: pa.Table, *names: str) -> list[list[Any]]:
    return [rows[name].to_pylist() for name in names]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
