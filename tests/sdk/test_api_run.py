"""One run's attributes. Rules RUN-1..7, 14, 15."""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from store_maker import T0, MadeWriter, made_run

from tracker.apis.public import Api, Run
from tracker.storage.events import DELETED
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    return url


@pytest.fixture
def run(root: str) -> Run:
    made_run(
        root,
        "r",
        [{"loss": 1.0, "a": {"b": 1}}, {"loss": 0.5, "n": 2}],
        config={"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.999]}, "_wandb": {"x": 1}, "_mine": 2},
        attrs={
            "name": "brave-cat",
            "notes": "first try",
            "tags": ["x", "y"],
            "group": "g",
            "job_type": "train",
            "host": "h",
            "username": "u",
            "commit": "c0ffee",
        },
    )
    return Api().run("p/r")


def test_every_attribute_is_there(run: Run) -> None:
    """RUN-1, RUN-2."""
    assert {name: getattr(run, name) for name in ("id", "name", "entity", "project", "state", "group", "job_type")} == {
        "id": "r",
        "name": "brave-cat",
        "entity": "main",
        "project": "p",
        "state": "finished",
        "group": "g",
        "job_type": "train",
    }
    assert (run.tags, run.notes, run.description) == (["x", "y"], "first try", "first try")
    assert (run.username, run.host, run.commit) == ("u", "h", "c0ffee")
    assert run.path == ["main", "p", "r"]
    assert run.url.startswith("file://")
    assert run.url.endswith(run.storage_id)
    assert run.storage_id.startswith("main/p/runs/")
    assert (run.sweep, run.sweep_name, run.metadata, run.read_only) == (None, None, None, False)
    assert os.path.isdir(run.dir)
    assert run.duration == 3.0
    run.name = "renamed"
    assert run.name == "renamed"
    assert repr(run) == "<Run main/p/r (finished)>"


def test_a_run_without_a_name_shows_its_id(root: str) -> None:
    """RUN-2."""
    MadeWriter(open_store(root), RunRef("main", "p", "bare")).begin().put()
    run = Api().run("p/bare")
    assert (run.name, run.tags, run.notes, run.group, run.config) == ("bare", [], None, None, {})


def test_config_has_no_internal_keys_and_rawconfig_has(run: Run) -> None:
    """RUN-3."""
    assert run.config == {"_mine": 2, "lr": 0.1, "opt": {"betas": [0.9, 0.999], "name": "adam"}}
    assert run.rawconfig["_wandb"] == {"x": 1}
    assert json.loads(run.json_config)["lr"] == {"value": 0.1}
    run.config["opt"]["name"] = "mine now"
    assert Api().run("p/r").config["opt"]["name"] == "adam"


def test_the_summary_is_dict_like(run: Run) -> None:
    """RUN-4."""
    summary = run.summary
    assert summary["loss"] == summary.loss == summary.get(" loss ") == 0.5
    assert "loss" in summary
    assert "none" not in summary
    assert summary.get("none") is None
    assert summary.get("none", 3) == 3
    assert set(summary.keys()) == {"loss", "a", "n", "_step", "_runtime", "_timestamp"} == set(dict(summary.items()))
    assert summary["a"]["b"] == summary.a.b == 1
    assert summary._json_dict["a"] == {"b": 1}
    assert run.summary_metrics == summary
    assert len(summary) == 6
    assert sorted(summary) == sorted(summary.keys())
    assert dict(zip(summary.keys(), summary.values(), strict=True))["loss"] == 0.5
    with pytest.raises(KeyError):
        _ = summary["none"]
    with pytest.raises(AttributeError, match="none"):
        _ = summary.none


def test_the_summary_has_the_last_values_and_explicit_ones_by_time(root: str) -> None:
    """EX-30, EX-31, EX-32."""
    writer = MadeWriter(open_store(root), RunRef("main", "p", "s")).begin()
    writer.log({"early": 3, "late": 3, "a": {"b": 1, "c": "x"}})
    writer.facts(("summary", "early", 10), ("summary", "late", 10), ("summary", "a", DELETED), ("summary", "a.d", 5))
    writer.log({"late": 2}).log({"unseen": 1}, commit=False).end()
    summary = Api().run("p/s").summary
    assert (summary["early"], summary["late"], summary["a"]) == (10, 2, {"d": 5})
    assert "unseen" not in summary
    assert (summary["_step"], summary["_runtime"]) == (1, 4.0)


def test_a_late_row_is_the_last_value_though_its_step_is_lower(root: str) -> None:
    made_run(root, "s", [{"a": 1, "_step": 9}, {"a": 2, "_step": 3}])
    run = Api().run("p/s")
    assert run.summary["a"] == 2
    assert run.summary["_step"] == 3
    assert run.lastHistoryStep == 9


def test_nan_in_the_summary(root: str) -> None:
    made_run(root, "s", [{"a": math.nan}])
    assert math.isnan(Api().run("p/s").summary["a"])


def test_system_metrics(root: str) -> None:
    """RUN-5, HQ-8."""
    writer = MadeWriter(open_store(root), RunRef("main", "p", "s")).begin()
    writer.system({"cpu": 10.0, "gpu.0.memory": 1}).log({"a": 1}).put().system({"cpu": 30.0}).end()
    run = Api().run("p/s")
    assert run.system_metrics == {"system.cpu": 30.0, "system.gpu.0.memory": 1}
    rows = run.history(stream="system", pandas=False)
    at = T0 / 1e6
    assert rows == [
        {"system.cpu": 10.0, "system.gpu.0.memory": 1, "_runtime": 2.0, "_timestamp": at + 2, "_wandb": True},
        {"system.cpu": 30.0, "_runtime": 4.0, "_timestamp": at + 4, "_wandb": True},
    ]
    assert run.history(stream="system", pandas=False, samples=1) == rows[1:]
    assert len(Api().runs("p").histories(stream="system", format="polars")) == 2
    made_run(root, "none")
    assert Api().run("p/none").history(stream="system", pandas=False) == []


def test_times_are_iso_strings_in_utc(run: Run) -> None:
    """RUN-6."""
    assert run.created_at == "2026-09-21T14:13:20.000000Z"
    assert datetime.fromisoformat(run.heartbeat_at).tzinfo == UTC
    assert run.heartbeat_at > run.created_at


def test_history_keys(run: Run, root: str) -> None:
    """RUN-7."""
    report = run.history_keys
    assert report["lastStep"] == run.lastHistoryStep == 1
    assert report["sets"] == []
    assert report["keys"] == {
        "loss": {"typeCounts": [{"type": "number", "count": 2}], "monotonic": False, "previousValue": 0.5},
        "a.b": {"typeCounts": [{"type": "number", "count": 1}], "monotonic": True, "previousValue": 1},
        "n": {"typeCounts": [{"type": "number", "count": 1}], "monotonic": True, "previousValue": 2},
    }
    made_run(root, "empty")
    assert Api().run("p/empty").lastHistoryStep == -1
    assert Api().run("p/empty").history_keys == {"sets": [], "keys": {}, "lastStep": -1}


def test_history_keys_over_several_parts(root: str) -> None:
    writer = MadeWriter(open_store(root), RunRef("main", "p", "s")).begin()
    for value in (1, 2.5, "x", None, [1], True):
        writer.log({"mixed": value}).put()
    for value in (1, 3, 2):
        writer.log({"falls": value}).put()
    keys = Api().run("p/s").history_keys["keys"]
    assert {entry["type"]: entry["count"] for entry in keys["mixed"]["typeCounts"]} == {
        "number": 2,
        "string": 1,
        "nil": 1,
        "map": 1,
        "boolean": 1,
    }
    assert not keys["falls"]["monotonic"]
    assert keys["falls"]["previousValue"] == 2


def test_overlapping_lives_of_a_run_are_shown_with_a_warning(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    store, ref = open_store(root), RunRef("main", "p", "s")
    first = MadeWriter(store, ref, 1).begin().log({"a": 1}).log({"a": 2})
    MadeWriter(store, ref, 2, start_us=T0 + 1_500_000).begin().log({"a": 3}).end()
    first.end()
    run = Api().run("p/s")
    assert len(run.history(pandas=False)) == 3
    assert "started anew while it was still being written" in capsys.readouterr().err
