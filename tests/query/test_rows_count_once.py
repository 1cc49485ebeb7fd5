"""MET-9: a closed row counts once in the figures of a metric, with what it ends with, however its frames were cut."""

from __future__ import annotations

import math
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from store_maker import T0, MadeWriter

from tracker.query.inherited import read_past
from tracker.query.runs import load_runs
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.events import INT64_MAX
from tracker.storage.memory import MemoryStore
from tracker.storage.metric_rules import NO_FIGURES, Figures, MetricRule, MetricRules, figures_of, rule_fact
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project

NOW = T0 + 3_000 * 1_000_000
RULE = MetricRule(name="*", summary=("min", "max", "mean"))
CALLS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("ab"), st.sampled_from([1, -3, 2.5, True, "x", math.nan]), max_size=2),
        st.booleans(),  # ends the row
        st.sampled_from(["", "", "e", "r"]),  # ends a part, which comes as it is or merged
    ),
    min_size=1,
    max_size=12,
)


def _ended(calls: list[Any]) -> dict[str, list[Any]]:
    """The values of each key that closed rows end with."""
    found: dict[str, list[Any]] = {}
    row: dict[str, Any] = {}
    for cells, commit, _ in calls:
        row |= cells
        if commit:
            for key, value in row.items():
                found.setdefault(key, []).append(value)
            row = {}
    return found


def _rounded(figures: Figures) -> tuple[Any, ...]:
    return figures.count, figures.nan_count, figures.min, figures.max, round(figures.mean, 9)


def _shown(figures: Figures) -> dict[str, str]:
    nothing = math.nan if figures.nan_count else None
    some = figures.count > 0
    shown = {
        "min": figures.min if some else nothing,
        "max": figures.max if some else nothing,
        "mean": math.nan if figures.nan_count else figures.mean if some else None,
    }
    return {part: "None" if value is None else f"{float(value):.9g}" for part, value in shown.items()}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS)
@example(calls=[({"a": 1}, False, "e"), ({"a": 2.5}, True, "e")])
@example(calls=[({"a": 1}, False, "r"), ({"a": 2.5}, True, "r"), ({"a": 2.5}, True, "e")])
@example(calls=[({"a": -3}, False, "r"), ({"b": 1}, False, "e"), ({"a": 1, "b": 2.5}, False, ""), ({}, True, "r")])
@example(calls=[({"a": -3}, False, "e"), ({"a": 1}, False, "r"), ({"b": 1}, True, "e"), ({"a": 1}, False, "e")])
def test_a_row_counts_once_however_it_is_cut(calls: list[Any], tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    MadeWriter(store, RunRef("main", "p", "other"), 99).begin().put()
    writer = MadeWriter(store, RunRef("main", "p", "r"), 1)
    kind, _, path, value = rule_fact(RULE)
    writer.begin(extra=[(kind, path, value)])
    ends = [(0, "e")]
    for cells, commit, form in calls:
        writer.log(cells, commit=commit)
        if form:
            ends.append((len(writer.frames) - 1, form))
    writer.put(0, 0)
    for (before, _), (last, form) in pairwise(ends):
        writer.put(before + 1, last)
        if form == "r":
            writer.merge(before + 1, last)
    writer.shipped = ends[-1][0] + 1
    writer.end()
    wanted = {key: figures_of(values) for key, values in _ended(calls).items()}
    cache = PartCache(tmp_path / "cache", 1 << 30)

    def opened(run_id: str | None) -> Snapshot:
        return open_project(store, "main", "p", cache=cache, now_us=NOW, warn=pytest.fail, run_id=run_id)

    def check() -> None:
        for run_id in ("r", None):  # folded by itself, and among others
            (record,) = load_runs(opened(run_id), ["r"])
            for key in "ab":
                parts = record.summary.get(key)
                if key not in wanted:
                    assert parts is None
                else:
                    shown = {part: "None" if one is None else f"{float(one):.9g}" for part, one in parts.items()}
                    assert shown == _shown(wanted[key])
        snapshot = opened("r")
        past = read_past(snapshot, snapshot.runs["r"], INT64_MAX, MetricRules([RULE]))
        for key in wanted:
            assert _rounded(past.carried[key].figures or NO_FIGURES) == _rounded(wanted[key])

    check()
    compact_project(store, "main", "p", now_us=NOW, quiet_s=0, finished_quiet_s=0, grace_s=0)
    check()
