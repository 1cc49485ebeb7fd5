"""Buckets from stored records, from points and from rows are the same, and what a plain reading of the rows gives."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from packed_runs import MadeRuns
from store_maker import MadeWriter
from test_history_plain import writers_of

from tracker.query import buckets as buckets_module
from tracker.query import history
from tracker.query.buckets import BUCKET_COLUMNS, read_buckets
from tracker.query.cells import concat_rows
from tracker.query.frames import to_dicts
from tracker.query.history import history_batches
from tracker.query.run_files import RunFiles

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # shrinking takes minutes and gains little: cases are small
Points = list[tuple[int, Any]]  # step, value


def points_of(run: RunFiles, made: MadeRuns, key: str) -> Points:
    """What each writer's rows have, writer by writer, then in order of steps."""
    found: Points = []
    with patch.object(history, "_worth_it", lambda run: None):
        for writer_id in sorted({part.writer_id for part in run.parts}):
            batches = history_batches([run.of_writers(frozenset([writer_id]))], made.paths, keys=[key], samples=None)
            found += [(row["_step"], row[key]) for row in to_dicts(concat_rows(list(batches)))]
    return sorted(found, key=lambda point: point[0])


def number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, (bool, int, float)) else None
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def expected(points: Points, shift: int) -> list[dict[str, Any]]:
    by_bucket: defaultdict[int, Points] = defaultdict(list)
    for step, value in points:
        by_bucket[step >> shift].append((step, number(value)))
    rows = []
    for bucket, held in sorted(by_bucket.items()):
        values = [(step, v) for step, v in held if v is not None and not math.isnan(v)]
        row: dict[str, Any] = {"step": bucket << shift, "width": 1 << shift, "count": len(held)}
        row |= {"nan_count": sum(v is not None and math.isnan(v) for _, v in held)}
        row |= {"first_step": held[0][0], "last_step": held[-1][0], "first": held[0][1], "last": held[-1][1]}
        row |= dict.fromkeys(["min", "max", "mean", "min_step", "max_step"])
        if values:
            row["min"], row["max"] = min(v for _, v in values), max(v for _, v in values)
            row["mean"] = sum(v / len(values) for _, v in values)
            row["min_step"] = min(step for step, v in values if v == row["min"])
            row["max_step"] = min(step for step, v in values if v == row["max"])
        rows.append(row)
    return rows


def same(found: Any, want: Any) -> bool:
    if isinstance(found, float) and isinstance(want, float):
        if math.isnan(want):
            return math.isnan(found)
        return found == want or math.isclose(found, want, rel_tol=1e-9, abs_tol=1e-12)
    return bool(found == want)


def check(table: pa.Table, runs: Sequence[RunFiles], made: MadeRuns, keys: list[str], low: Any, high: Any) -> int:
    assert table.schema == BUCKET_COLUMNS
    rows = table.to_pylist()
    width = rows[0]["width"] if rows else 1
    want = [
        {"run_id": run.run_id, "key": key} | row
        for run in runs
        for key in keys
        for row in expected(
            [
                point
                for point in points_of(run, made, key)
                if (low is None or point[0] >= low) and (high is None or point[0] < high)
            ],
            width.bit_length() - 1,
        )
    ]
    assert len(rows) == len(want)
    for row, wanted in zip(rows, want, strict=True):
        loose = {"mean"} if any(isinstance(v, float) and abs(v) > 1e100 for v in wanted.values()) else set()
        assert {name for name in wanted if not same(row[name], wanted[name])} <= loose, (row, wanted)
    return int(width)


@settings(max_examples=15, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(
    writers=writers_of(),
    cuts=st.lists(st.integers(1, 14), max_size=2),
    until=st.none() | st.integers(1, 10),
    count=st.integers(1, 20),
    low=st.none() | st.integers(0, 6),
    high=st.none() | st.integers(3, 20),
    points_max=st.sampled_from([0, 1000]),
)
def test_buckets_are_what_the_rows_say(
    writers: list[MadeWriter],
    cuts: list[int],
    until: int | None,
    count: int,
    low: int | None,
    high: int | None,
    points_max: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    for rolled in (False, True):
        made = MadeRuns(tmp_path_factory.mktemp("files"), rolled=rolled)
        for runs in (made.loose(writers, cuts), made.packed(writers, until)):
            with patch.object(buckets_module, "_POINTS_MAX", points_max):
                keys = ["a", "c.d", "none"]
                table = read_buckets(runs, made.paths, keys=keys, buckets=count, min_step=low, max_step=high)
            width = check(table, runs, made, keys, low, high)
            for run_id in set(table["run_id"].to_pylist()):
                for key in keys:
                    mine = [row for row in table.to_pylist() if (row["run_id"], row["key"]) == (run_id, key)]
                    assert len(mine) <= count
            assert width & (width - 1) == 0
