"""What readers show of defined metrics is what the writing process showed: MET-13, SUM-1, SUM-3."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.storage.clock import wall_us
from tracker.storage.packing import compact_project
from tracker.storage.stores import open_store

_KEYS = ("m", "t/a", "n.o", "u", "late", "s")
_VALUES = (1, -3, 2.5, True, "x", None, math.nan, 10**20)


def _define(run: Any) -> None:
    run.define_metric("m", summary="min,max,mean,last")
    run.define_metric("t/*", summary="max", step_metric="e")
    run.define_metric("n.o", summary="best", goal="minimize")
    run.define_metric("s", summary="none")


def _write(run: Any, seed: int, calls: int) -> None:
    chance = random.Random(seed)
    for call in range(calls):
        values = {key: chance.choice(_VALUES) for key in chance.sample(_KEYS, 3)}
        values = {key: value for key, value in values.items() if key != "n.o"} | (
            {"n": {"o": values["n.o"]}} if "n.o" in values else {}
        )
        match chance.randrange(10):
            case 0:
                run.summary[chance.choice(["m", "t/a", "late", "s"])] = chance.choice([7, "by hand"])
            case 1:
                run.summary["n"] = {"o": 8} if chance.random() < 0.5 else 9
            case 2:
                run.log(values, commit=False)
            case 3:
                run.log(values, step=run.step + chance.randrange(3))
            case 4:
                run.flush()
            case _:
                run.log(values)
        if call == calls // 2:
            run.define_metric("late", summary="min,max")


def _plain(value: Any) -> Any:
    """Comparable: NaN as text, numbers to 12 digits."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {key: _plain(one) for key, one in sorted(value.items()) if key not in ("_wandb", "_runtime")}
    if isinstance(value, float):
        return "nan" if math.isnan(value) else float(f"{value:.12g}")
    return value


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def _read(root: str) -> list[dict[str, Any]]:
    """Each run of the project by itself, then all of them in a list."""
    api = tracker.Api(overrides={"base_url": root})
    listed = {run.id: _plain(dict(run.summary)) for run in api.runs("p")}
    fresh = [tracker.Api(overrides={"base_url": root}).run(f"p/{run_id}") for run_id in listed]
    return [{run.id: _plain(dict(run.summary)) for run in fresh}, listed]


def test_readers_show_what_the_process_showed(root: str) -> None:
    """MET-9, MET-10, MET-13, SUM-3: of files as they come, of files cut anywhere, of packs"""
    shown = {}
    for seed in range(3):
        run = tracker.init(project="p", id=f"r{seed}", settings={"silent": True})
        _define(run)
        _write(run, seed, 60)
        run.log({"last": seed})
        run.flush()
        shown[run.id] = _plain(run.summary.as_dict())
        run.finish()
    for found in _read(root):
        assert found == shown
    compact_project(open_store(root), "main", "p", now_us=wall_us(), quiet_s=0, finished_quiet_s=0, grace_s=0)
    assert list((Path(root) / "main" / "p" / "packs").glob("*.k.parquet"))
    for found in _read(root):
        assert found == shown


def test_filters_and_orders_see_the_parts(root: str) -> None:
    """MET-9: summary_metrics.<m>.min in filters and orders, columns of the runs"""
    for number in range(3):
        run = tracker.init(project="p", id=f"r{number}", settings={"silent": True})
        run.define_metric("loss", summary="min,best", goal="minimize")
        for value in (9, number, 5):
            run.log({"loss": value})
        run.finish()
    plain = tracker.init(project="p", id="plain", settings={"silent": True})
    plain.log({"loss": 1})
    plain.finish()
    api = tracker.Api(overrides={"base_url": root})
    for _ in ("loose", "packed"):
        found = api.runs("p", {"summary_metrics.loss.min": {"$lte": 1}}, "+created_at")
        assert [run.id for run in found] == ["r0", "r1"]
        assert [run.id for run in api.runs("p", {"summary_metrics.loss": 1})] == ["plain"]
        assert [run.id for run in api.runs("p", order="-summary_metrics.loss.best")][:3] == ["r2", "r1", "r0"]
        compact_project(open_store(root), "main", "p", now_us=wall_us(), quiet_s=0, finished_quiet_s=0, grace_s=0)


def test_definitions_can_be_read(root: str) -> None:
    """MET-11, MET-12, MET-13"""
    run = tracker.init(project="p", id="r", config={"lr": 1}, settings={"silent": True})
    run.define_metric("a.b", step_metric="e", hidden=True, summary="min")
    run.define_metric("t/*", step_metric="e", step_sync=False)
    run.log({"t/x": 1})
    run.finish()
    found = tracker.Api(overrides={"base_url": root}).run("p/r")
    defined = {
        "a.b": {"step_metric": "e", "step_sync": True, "hidden": True, "summary": ["min"]},
        "t/*": {"step_metric": "e"},
    }
    assert found.metrics == defined
    assert found.rawconfig["_wandb"]["metrics"] == defined
    assert found.config == {"lr": 1}


def test_sessions_count_together(root: str) -> None:
    """MET-9, RES-1: a resumed run goes on with its figures, in the process and in the store"""
    for values in ((5, 3), (4, 9)):
        run = tracker.init(project="p", id="r", resume="allow", settings={"silent": True})
        run.define_metric("m", summary="min,max,mean")
        for value in values:
            run.log({"m": value})
        shown = _plain(run.summary["m"])
        run.finish()
    assert shown == {"min": 3, "max": 9, "mean": 5.25}
    for found in _read(root):
        assert found["r"]["m"] == shown


def test_a_fork_goes_on_with_the_figures(root: str) -> None:
    """MET-9, FORK-1: what is carried counts like points"""
    run = tracker.init(project="p", id="a", settings={"silent": True})
    run.define_metric("m", summary="min,max")
    for value in (5, 3, 1):
        run.log({"m": value, "x": value})
    run.finish()
    fork = tracker.init(project="p", id="b", fork_from="a?_step=1", settings={"silent": True})
    fork.log({"m": 4})
    shown = _plain(fork.summary.as_dict())
    fork.finish()
    assert (shown["m"], shown["x"]) == ({"min": 3, "max": 5}, 3)
    for found in _read(root):
        assert found["b"]["m"] == {"min": 3, "max": 5}
        assert found["b"]["x"] == 3


def test_edits_restart_the_tracking_too(root: str) -> None:
    """SUM-3: what somebody else sets by hand"""
    run = tracker.init(project="p", id="r", settings={"silent": True})
    run.define_metric("m", summary="min")
    run.log({"m": 3})
    run.flush()
    public = tracker.Api(overrides={"base_url": root}).run("p/r")
    public.summary["m"] = 10
    public.summary.update()
    assert _read(root)[0]["r"]["m"] == 10
    run.log({"m": 7})
    run.finish()
    for found in _read(root):
        assert found["r"]["m"] == {"min": 7}
