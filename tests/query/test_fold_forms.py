"""A run folded by itself, in Python, is the run folded with its project, in SQL."""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_maker import T0, MadeWriter

from tracker.query.runs import RunRecord, load_runs, visible_files
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.events import DELETED
from tracker.storage.memory import MemoryStore
from tracker.storage.metric_rules import SUMMARY_WORDS, Carried, MetricRule, carried_facts, figures_of, rule_fact
from tracker.storage.names import RunRef

NOW = T0 + 100 * 1_000_000
PATHS = st.sampled_from(["a", "a.b", "a.b.c", r"a\.b", "x"])
VALUES = st.sampled_from([1, 2.5, "t", True, None, [1], DELETED])
DEFINED = st.builds(
    lambda words, goal: {"summary": tuple(words), "goal": goal},
    st.lists(st.sampled_from(SUMMARY_WORDS), max_size=3, unique=True),
    st.sampled_from([None, "minimize", "maximize"]),
)
CARRIED = st.sampled_from([Carried("t"), Carried(3), Carried(2.5, figures_of([1, 2.5])), Carried(7, figures_of([7]))])
STEPS = st.one_of(
    st.tuples(st.sampled_from(["config", "summary", "attr"]), PATHS, VALUES),
    st.tuples(st.just("log"), PATHS, st.integers(0, 3)),
    st.tuples(st.just("open"), PATHS, st.integers(0, 3)),
    st.tuples(st.just("define"), st.sampled_from(["a", "a.b", "*", "x", "a*"]), DEFINED),
    st.tuples(st.just("carry"), PATHS, CARRIED),
)
WRITERS = st.tuples(
    st.lists(STEPS, max_size=6),
    st.integers(0, 60),  # seconds after the first one
    st.booleans(),  # opens a generation
    st.sampled_from([None, "0", "1"]),
    st.sampled_from(["finished", "failed", "killed", None]),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writers=st.lists(WRITERS, min_size=1, max_size=4))
def test_both_forms_of_the_fold_agree(writers: list[tuple], tmp_path: Path) -> None:  # type: ignore[type-arg]
    store = MemoryStore(uuid.uuid4().hex)
    MadeWriter(store, RunRef("main", "p", "other"), 99).begin().put()
    for n, (steps, after_s, opens, rank, end) in enumerate(writers):
        start_us = T0 + after_s * 1_000_000 + n
        writer = MadeWriter(store, RunRef("main", "p", "r"), n, start_us, opens=opens, rank=rank).begin()
        for kind, path, value in steps:
            if kind in ("log", "open"):
                number = math.nan if value == 3 else 0.5 if value == 2 else value
                writer.log({path: number}, commit=kind == "log").put()
            elif kind == "define":
                writer.facts(_plain(rule_fact(MetricRule(name=path, **value))))
            elif kind == "carry":
                writer.facts(*map(_plain, carried_facts(path, value)))
            else:
                writer.facts((kind, path, value))
        if end is None:
            writer.put()
        else:
            writer.end(end)

    def opened(run_id: str | None) -> Snapshot:
        cache = PartCache(tmp_path / "cache", 1 << 30)
        return open_project(store, "main", "p", cache=cache, now_us=NOW, warn=pytest.fail, run_id=run_id)

    alone, among = opened("r"), opened(None)
    assert (len(alone.runs), len(among.runs)) == (1, 2)
    assert _shown(load_runs(alone, ["r"])[0]) == _shown(load_runs(among, ["r"])[0])
    files = [[part.info.key for part in visible_files(snapshot, ["r"])[0].parts] for snapshot in (alone, among)]
    assert files[0] == files[1]


def _plain(fact: Any) -> tuple[str, str, Any]:
    kind, _, path, value = fact
    return kind, path, value


def _shown(record: RunRecord) -> dict[str, object]:
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    fields["duration_s"] = round(record.duration_s, 6)
    assert not math.isnan(record.duration_s)
    fields["live"] = {kind: repr(_told(sorted(leaves.items()))) for kind, leaves in record.live.items() if leaves}
    fields["summary"] = repr(_told(record.summary))  # NaN is not equal to itself
    return fields


def _told(value: Any) -> Any:
    """`value` without the last digits of its floats: where a mean is added up in another order, they differ."""
    if isinstance(value, dict):
        return {key: _told(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_told(one) for one in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value
