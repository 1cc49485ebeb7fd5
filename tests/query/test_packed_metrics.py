"""Listing packed runs whose metrics are defined: as each run by itself tells, and without the general fold."""

from __future__ import annotations

import json
import math
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from store_maker import T0, MadeWriter

from tracker.query.folded import folded
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.runs import find_runs, load_runs
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.events import DELETED, JsonText, join_path
from tracker.storage.format_file import ensure_format
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project

S = 1_000_000
NOW = T0 + 100 * S
PATHS = ["a", "a.b", r"a\.b", "x"]
VALUES = [1, 3, -2, 2.5, math.nan, math.inf, 2**60, True, "t", None]
WORDS = ["min", "max", "mean", "best", "last", "none", "copy"]
DEFINED = st.builds(
    lambda words, goal: JsonText(json.dumps({"summary": words} | ({"goal": goal} if goal else {}))),
    st.lists(st.sampled_from(WORDS), max_size=3, unique=True),
    st.sampled_from([None, "minimize", "maximize"]),
)
STEPS = st.one_of(
    st.tuples(st.just("log"), st.sampled_from(PATHS), st.sampled_from(VALUES)),
    st.tuples(st.just("log"), st.sampled_from(["x", "y"]), st.sampled_from(VALUES)),
    st.tuples(st.just("open"), st.sampled_from(PATHS), st.sampled_from(VALUES)),
    st.tuples(st.just("summary"), st.sampled_from([*PATHS, "z"]), st.sampled_from([7, "by hand", DELETED])),
    st.tuples(st.just("metric"), st.sampled_from(["a", "a.b", "*", "x", "a*"]), st.one_of(DEFINED, st.just(DELETED))),
)
RUNS = st.lists(st.lists(STEPS, min_size=1, max_size=8), min_size=1, max_size=4)
LOW = JsonText('{"summary":["min"]}')
ORDINARY = [("metric", "x", JsonText('{"summary":["min","max","mean","last"]}')), ("log", "x", 3), ("log", "x", 2)]


def packed(runs: list[list[tuple[str, str, Any]]]) -> MemoryStore:
    store = MemoryStore(uuid.uuid4().hex)
    ensure_format(store)
    for n, steps in enumerate(runs):
        writer = MadeWriter(store, RunRef("main", "p", f"r{n}"), n, T0 + n * S, opens=True).begin()
        for kind, path, value in steps:
            if kind in ("log", "open"):
                writer.log({path: value}, commit=kind == "log")
            else:
                writer.facts((kind, join_path([path]) if kind == "metric" else path, value))
        writer.end()
    compact_project(store, "main", "p", now_us=NOW, quiet_s=0, finished_quiet_s=0, grace_s=0)
    return store


def opened(store: MemoryStore, tmp_path: Path, run_id: str | None = None) -> Snapshot:
    cache = PartCache(tmp_path / "cache", 1 << 30)
    return open_project(store, "main", "p", cache=cache, now_us=NOW, warn=pytest.fail, run_id=run_id)


def plain(value: Any) -> Any:
    """Comparable: types and NaN are told, numbers to 12 digits."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in sorted(value.items())}
    return f"{value:.12g} float" if isinstance(value, float) else repr(value)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=RUNS)
@example(runs=[ORDINARY, [*ORDINARY, ("summary", "x", 7)], ORDINARY[1:], [("metric", "*", LOW), *ORDINARY]])
@example(runs=[[("metric", "a", LOW), ("log", "a.b", 1), ("log", "a", 2)], [("log", "a", 1), ("log", "a.b", 3)]])
def test_a_list_of_packed_runs_shows_what_each_run_shows(
    runs: list[list[tuple[str, str, Any]]], tmp_path: Path
) -> None:
    """MET-9, MET-10, MET-13, SUM-3"""
    check(packed(runs), len(runs), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=RUNS)
def test_many_lists_show_what_each_run_shows(runs: list[list[tuple[str, str, Any]]], tmp_path: Path) -> None:
    check(packed(runs), len(runs), tmp_path)


def check(store: MemoryStore, count: int, tmp_path: Path) -> None:
    ids = [f"r{n}" for n in range(count)]
    listed = load_runs(opened(store, tmp_path), ids)
    alone = [load_runs(opened(store, tmp_path, run_id), [run_id])[0] for run_id in ids]
    assert [plain(record.summary) for record in listed] == [plain(record.summary) for record in alone]


def test_only_exceptional_runs_are_folded_in_general(tmp_path: Path) -> None:
    """MET-9, SUM-3"""
    runs: dict[str, tuple[list[tuple[str, str, Any]], Any]] = {
        "ordinary": (ORDINARY, {"min": 2, "max": 3, "mean": 2.5, "last": 2}),
        "another rule": ([("metric", "*", LOW), *ORDINARY[1:]], {"min": 2}),
        "no rule": (ORDINARY[1:], 2),
        "other keys by hand": ([*ORDINARY, ("summary", "z", 1)], {"min": 2, "max": 3, "mean": 2.5, "last": 2}),
        "by hand without a rule": ([*ORDINARY[1:], ("summary", "x", 5)], 5),
        "dropped": ([("metric", "x", JsonText('{"summary":["none"]}')), *ORDINARY[1:]], None),
        "a rule for the steps": ([("metric", "x", JsonText('{"step_metric":"y"}')), *ORDINARY[1:]], 2),
        "by hand": ([*ORDINARY, ("summary", "x", 5)], 5),
        "below by hand": ([*ORDINARY, ("summary", "x.best", 1), ("log", "x", 4)], None),
        "open row": ([*ORDINARY, ("open", "x", 1)], {"min": 2, "max": 3, "mean": 2.5, "last": 2}),
    }
    snapshot = opened(packed([steps for steps, _ in runs.values()]), tmp_path)
    base = folded(snapshot).base
    assert base is not None
    names = list(runs)
    assert {names[int(run[1:])] for run in base.complex} == {"by hand", "below by hand", "open row"}
    records = load_runs(snapshot, [f"r{n}" for n in range(len(runs))])
    for name, record in zip(names, records, strict=True):
        if name != "below by hand":
            assert record.summary.get("x") == runs[name][1], name
    found = find_runs(snapshot, parse_filter({"summary_metrics.x.min": {"$lte": 2}}), parse_order("+created_at"))
    assert [names[int(run[1:])] for run in found[0]] == ["ordinary", "another rule", "other keys by hand", "open row"]
    found = find_runs(snapshot, parse_filter({"summary_metrics.x": 2}), parse_order("+created_at"))
    assert [names[int(run[1:])] for run in found[0]] == ["no rule", "a rule for the steps"]
