"""Forks and rewinds read as one history: any tree of them, however its frames lie in files, asked in any way."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from branch_world import FORMS, NOW, Life, World, make_world, operations
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tracker.query import history, limited_parts
from tracker.query.buckets import read_buckets
from tracker.query.cells import concat_rows
from tracker.query.frames import to_dicts
from tracker.query.history import history_batches, scan_batches
from tracker.query.key_report import key_report, last_step
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.run_files import RunFiles
from tracker.query.runs import find_runs, visible_files
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
FAST: dict[str, Any] = {"deadline": None, "phases": PHASES, "suppress_health_check": list(HealthCheck)}
CASES: dict[str, Any] = {
    "plan": operations(),
    "form": st.sampled_from(FORMS),
    "early": st.lists(st.integers(0, 30), min_size=1, max_size=4),
    "digested": st.sampled_from([0, 100_000]),
    "small": st.sampled_from([0, 32_000]),
}


def opened(world: World, folder: Path, run_id: str | None = None, as_of_us: int | None = None) -> Snapshot:
    cache = PartCache(folder / "cache", 1 << 30)
    return open_project(
        world.store, "main", "p", cache=cache, now_us=NOW, warn=pytest.fail, run_id=run_id, as_of_us=as_of_us
    )


def bare(row: dict[str, Any]) -> str:
    return repr(sorted((key, value) for key, value in row.items() if key not in ("_runtime", "_timestamp", "run_id")))


def rows_of(snapshot: Snapshot, run_ids: list[str], **asked: Any) -> dict[str, list[dict[str, Any]]]:
    files = visible_files(snapshot, run_ids)
    batches = list(history_batches(files, snapshot.paths, **({"keys": None, "samples": None} | asked)))
    found: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in run_ids}
    for row in to_dicts(concat_rows(batches), run_ids):
        found[row["run_id"]].append(row)
    return found


def check_rows(snapshot: Snapshot, lives: dict[str, Life]) -> None:
    ids = sorted(lives)
    for run_id, rows in rows_of(snapshot, ids).items():
        assert [bare(row) for row in rows] == lives[run_id].as_rows(), run_id
    for keys in (["a"], ["a", "b"], ["b", "c.d"]):
        for run_id, rows in rows_of(snapshot, ids, keys=keys, x_axis="_step").items():
            want = [
                repr(sorted({"_step": row.step, **{key: values[key] for key in keys}}.items()))
                for row, values in lives[run_id].shown()
                if values.keys() >= set(keys)
            ]
            assert [bare(row) for row in rows] == want, (run_id, keys)


def check_scans(snapshot: Snapshot, files: RunFiles, life: Life) -> None:
    for low, high in ((None, None), (2, 6)):
        want = [
            repr(sorted({"_step": row.step, **values}.items()))
            for row, values in life.shown()
            if (low is None or row.step >= low) and (high is None or row.step < high)
        ]
        with patch.object(history, "_SCAN_ROWS", 3):
            found = scan_batches(lambda: (files, snapshot.paths), keys=None, min_step=low, max_step=high)
            assert [bare(row) for rows in found for row in to_dicts(rows)] == want
    with patch.object(history, "_BATCH_CELLS", 12):
        rows = rows_of(snapshot, [files.run_id], samples=3)[files.run_id]
        count = len(life.as_rows())
        picked = range(count) if count <= 3 else [0, (count - 1 + 1) // 2, count - 1]
        assert [bare(row) for row in rows] == [life.as_rows()[n] for n in picked]


def check_reports(files: RunFiles, life: Life, *, tame: bool) -> None:
    """`tame`: every cell is of a closed row, and the only one of its key there."""
    shown = life.shown()
    assert last_step(files) == max((row.step for row, _ in shown), default=-1)
    report = key_report(files)["keys"]
    assert set(report) == {key for _, values in shown for key in values}
    if not tame:
        return
    for key, said in report.items():
        cells = [(row.hlc, row.writer, values[key]) for row, values in shown if key in values]
        assert sum(one["count"] for one in said["typeCounts"]) == len(cells)
        assert repr(said["previousValue"]) == repr(max(cells, key=lambda one: one[:2])[2])
        if len({row.writer for row, _ in shown}) == 1:
            numbers = [value for *_, value in cells if isinstance(value, (int, float))]
            if len(numbers) == len(cells):
                assert said["monotonic"] == (not any(b < a for a, b in pairwise(numbers)))


def check_buckets(snapshot: Snapshot, files: list[RunFiles], lives: dict[str, Life]) -> None:
    """HIST: every number is in a bucket, and of each bucket least and greatest are right."""
    table = read_buckets(files, snapshot.paths, keys=["a", "b"], buckets=4, min_step=1, max_step=8)
    found = {(row["run_id"], row["key"], row["step"]): row for row in table.to_pylist()}
    width = table["width"][0].as_py() if len(table) else 1
    want: dict[tuple[str, str, int], list[Any]] = {}
    for run_id, life in lives.items():
        for row, values in life.shown():
            for key in {"a", "b"} & values.keys():
                if 1 <= row.step < 8:
                    want.setdefault((run_id, key, row.step // width * width), []).append(values[key])
    assert found.keys() == want.keys()
    for place, values in want.items():
        numbers = [value for value in values if isinstance(value, (int, float)) and not math.isnan(value)]
        row = found[place]
        assert row["count"] == len(values)
        assert (row["min"], row["max"]) == (min(numbers, default=None), max(numbers, default=None))


def check(plan: list[Any], form: str, early: list[int], digested: int, small: int, folder: Path) -> None:
    world = make_world(plan)
    world.store_as(form, early)
    with (
        patch.object(limited_parts, "_DIGESTED_EVENTS", digested),
        patch.object(history, "_SMALL_EVENTS", small),
    ):
        snapshot = opened(world, folder)
        ids, _ = find_runs(snapshot, parse_filter({}), parse_order("+created_at"))
        assert sorted(ids) == sorted(world.newest)
        check_rows(snapshot, world.newest)
        files = visible_files(snapshot, sorted(ids))
        rows = [row for life in world.lives for row in life.rows]
        tame = all(row.seq is not None and all(len(cells) == 1 for cells in row.cells.values()) for row in rows)
        for run in files:
            alone = opened(world, folder, run.run_id)
            check_rows(alone, {run.run_id: world.newest[run.run_id]})
            check_scans(alone, *visible_files(alone, [run.run_id]), world.newest[run.run_id])
            check_reports(run, world.newest[run.run_id], tame=tame)
        check_buckets(snapshot, files, world.newest)


@settings(max_examples=15, **FAST)
@given(**CASES)
def test_every_tree_of_branches_reads_as_the_rows_that_it_pins(
    plan: list[Any], form: str, early: list[int], digested: int, small: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """FORK-1, REW-1."""
    check(plan, form, early, digested, small, tmp_path_factory.mktemp("branches"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=1500, **FAST)
@given(**CASES)
def test_every_tree_of_branches_reads_as_the_rows_that_it_pins_at_length(
    plan: list[Any], form: str, early: list[int], digested: int, small: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """FORK-1, REW-1."""
    check(plan, form, early, digested, small, tmp_path_factory.mktemp("branches"))
