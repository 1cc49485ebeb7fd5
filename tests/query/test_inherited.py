"""What a life had come to at a step, against a plain model of it, from files of every form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from branch_world import FORMS, NOW, Life, make_world, operations
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from store_maker import T0, MadeWriter

from tracker.query.inherited import Past, read_past
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.events import INT64_MAX, join_path
from tracker.storage.memory import MemoryStore
from tracker.storage.metric_rules import NO_FIGURES, Carried, MetricRule, MetricRules, carried_facts, figures_of
from tracker.storage.names import RunRef
from tracker.storage.port import Store

RULES = MetricRules([MetricRule(name="*", summary=("min", "max", "mean"))])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> PartCache:
    return PartCache(tmp_path_factory.mktemp("cache"))


def snapshot_of(store: Store, cache: PartCache, run_id: str) -> Snapshot:
    return open_project(
        store, "main", "p", cache=cache, now_us=NOW, warn=lambda text: pytest.fail(text), run_id=run_id
    )


def past_of(store: Store, cache: PartCache, run_id: str, step: int, writers: Mapping[str, int] | None = None) -> Past:
    snapshot = snapshot_of(store, cache, run_id)
    run = snapshot.runs[run_id]
    return read_past(snapshot, run if writers is None else run.of_writers(frozenset(writers)), step, RULES)


def model(life: Life, step: int, frames: Mapping[str, int] | None = None) -> dict[str, tuple[Any, list[Any]]]:
    """Stored key to the last value, and all values."""
    if life.parent is not None and step < life.step:
        return model(life.parent, step, life.pinned)
    hlc = {writer.id: [frame.hlc_us for frame in writer.frames] for writer in life.writers}
    cells: dict[str, list[tuple[int, Any]]] = {}
    for row in life.rows:
        last = INT64_MAX if frames is None else frames.get(row.writer, -1)
        if row.seq is None or row.seq > last or row.step > step:
            continue
        for key, written in row.cells.items():
            counted = [cell for cell in written if cell.seq <= last]
            if counted:
                cells.setdefault(join_path([key]), []).append((hlc[row.writer][counted[-1].seq], counted[-1].value))
    return {key: (max(found, key=lambda one: one[0])[1], [value for _, value in found]) for key, found in cells.items()}


@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(plan=operations(), form=st.sampled_from(FORMS), early=st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_figures_and_last_values_at_any_step(
    cache: PartCache, plan: list[Any], form: str, early: list[int]
) -> None:
    """FORK-3, REW-1: whichever files hold the rows, and whether their rollups or their cells were counted."""
    world = make_world(plan)
    world.store_as(form, early)
    for life in world.lives:
        writers = {writer.id: INT64_MAX for writer in life.writers}
        for step in (-1, 2, 5, INT64_MAX - 1):
            past = past_of(world.store, cache, life.run_id, step, writers)
            expected = model(life, step)
            found = {key: one for key, one in past.carried.items() if not key.startswith("_")}
            assert found.keys() == expected.keys()
            for key, (last, values) in expected.items():
                assert repr(found[key].last) == repr(last)
                counted, figures = figures_of(values), found[key].figures
                assert figures is not None
                assert replace(figures, mean=0.0) == replace(counted, mean=0.0)
                assert math.isclose(figures.mean, counted.mean, rel_tol=1e-9, abs_tol=1e-12)


def made(store: Store, run_id: str = "r") -> MadeWriter:
    return MadeWriter(store, RunRef("main", "p", run_id), 1, T0).begin()


def carried(writer: MadeWriter, key: str, one: Carried) -> None:
    writer.facts(*[(kind, path, value) for kind, _, path, value in carried_facts(key, one)])


def test_only_points_behind_an_explicit_write_count(cache: PartCache) -> None:
    """SUM-3: on the key, above it or below it; what was set holds until the key is logged again."""
    store = MemoryStore("explicit")
    writer = made(store)
    for n in range(3):
        writer.log({"x": float(n), "tree": {"leaf": n}, "y": n})
    writer.facts(("summary", "x", 100), ("summary", "tree", 5), ("summary", "y.below", 6), ("summary", "z", 7))
    writer.log({"x": 30.0}).log({"y": 8}).put()
    past = past_of(store, cache, "r", 3)
    assert past.carried["x"] == Carried(30.0, figures_of([30.0]))
    assert past.explicit == {"tree": 5, "y.below": 6, "z": 7}
    assert not {"y", "tree.leaf"} & past.carried.keys()
    past = past_of(store, cache, "r", 4)
    assert past.explicit == {"tree": 5, "z": 7}
    assert past.carried["y"] == Carried(8, figures_of([8]))
    past = past_of(store, cache, "r", 1)
    assert past.explicit == {}, "it was set when the run was beyond that step"
    assert past.carried["x"] == Carried(1.0, figures_of([0.0, 1.0]))


def test_what_was_taken_out_of_the_summary_stays_out(cache: PartCache) -> None:
    """SUM-3"""
    from tracker.storage.events import DELETED

    store = MemoryStore("taken")
    writer = made(store).log({"x": 1})
    writer.facts(("summary", "x", DELETED)).log({"y": 1}).put()
    past = past_of(store, cache, "r", 1)
    assert "x" not in past.carried
    assert "x" not in past.explicit


def test_what_was_carried_comes_before_the_points_of_the_life(cache: PartCache) -> None:
    """FORK-3: a branch of a branch takes figures on; those that a later definition began anew count from there."""
    store = MemoryStore("carried")
    writer = made(store)
    carried(writer, "x", Carried(3.0, figures_of([1.0, 3.0])))
    carried(writer, "kept", Carried("text", figures_of(["text"])))
    carried(writer, "bare", Carried(4))
    writer.log({"x": 9.0, "bare": 5})
    carried(writer, "late", Carried(2, figures_of([2])))
    writer.log({"late": 4}).put()
    past = past_of(store, cache, "r", 1)
    assert past.carried["x"] == Carried(9.0, figures_of([1.0, 3.0, 9.0]))
    assert past.carried["kept"] == Carried("text", NO_FIGURES)
    assert past.carried["bare"] == Carried(5, figures_of([5]))
    assert past.carried["late"] == Carried(4, figures_of([2, 4]))
    assert past_of(store, cache, "r", -1).carried["x"] == Carried(3.0, figures_of([1.0, 3.0]))


def test_keys_that_no_definition_speaks_of_have_no_figures(cache: PartCache) -> None:
    store = MemoryStore("plain")
    made(store).log({"x": 1.5, join_path(["a.b"]): 2}).put()
    snapshot = snapshot_of(store, cache, "r")
    past = read_past(snapshot, snapshot.runs["r"], 0, MetricRules())
    assert past.carried["x"] == Carried(1.5)
    assert {"_step", "_runtime", "_timestamp"} <= past.carried.keys()
    assert past.carried["_step"] == Carried(0)


def test_files_are_those_of_before_the_step_was_left(cache: PartCache, tmp_path: Path) -> None:
    """FORK-3"""
    store = MemoryStore("files")
    writer = made(store).facts(("file", "early\\.txt", {"_type": "file", "sha256": "0" * 64, "size": 1}))
    writer.log({"x": 1}).log({"x": 2}).facts(("file", "late\\.txt", {"_type": "file", "sha256": "1" * 64, "size": 1}))
    writer.put()
    assert past_of(store, cache, "r", 0).files.keys() == {"early\\.txt"}
    assert past_of(store, cache, "r", 1).files.keys() == {"early\\.txt", "late\\.txt"}
    assert not list(tmp_path.iterdir())
