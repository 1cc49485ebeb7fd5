"""Changing, deleting and restoring runs through the public classes. Rules RUN-4, RUN-8, RUN-9."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, MadeWriter, made_run

from tracker.apis.public import Api, Run
from tracker.errors import CommError, StorageUnavailable, UsageError
from tracker.storage.clock import HybridClock, wall_us
from tracker.storage.edits import EditWriter
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store

S = 1_000_000


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
        [{"loss": 1.0, "a": {"b": 1}}, {"loss": math.nan, "n": 2}],
        config={"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.999]}, "_wandb": {"x": 1}},
        attrs={"name": "brave-cat", "notes": "first try", "tags": ["x", "y"], "group": "g", "job_type": "train"},
    )
    return Api().run("p/r")


def files(root: str) -> list[str]:
    return [info.key for info in open_store(root).list("") if "/edits/" in info.key]


def test_fields_that_are_set_are_stored_by_update(run: Run) -> None:
    """RUN-8."""
    run.name, run.notes, run.group, run.job_type = "bold-dog", "second try", "h", None
    run.tags.append("z")
    assert Api().run("p/r").name == "brave-cat", "nothing is stored before"
    run.update()
    other = Api().run("p/r")
    for shown in (run, other):
        assert (shown.name, shown.notes, shown.description) == ("bold-dog", "second try", "second try")
        assert (shown.group, shown.job_type, shown.tags) == ("h", None, ["x", "y", "z"])
    assert other.state == "finished"
    assert next(iter(Api().runs("p", {"tags": "z"}))).id == "r"


def test_description_stands_for_the_notes(run: Run) -> None:
    run.description = "told otherwise"
    run.save()
    assert Api().run("p/r").notes == "told otherwise"


def test_an_update_without_a_change_writes_nothing(run: Run, root: str) -> None:
    assert run.config["lr"] == 0.1
    assert math.isnan(run.summary["loss"])
    run.update()
    assert files(root) == []


def test_config_is_stored_leaf_by_leaf(run: Run) -> None:
    """Two people change two leaves of one dict: both changes stay."""
    other = Api().run("p/r")
    run.config["opt"]["name"] = "sgd"
    run.config["new"] = {"deep": {"er": 1}}
    del run.config["lr"]
    other.config["opt"]["betas"] = [0.5]
    run.update()
    other.update()
    fresh = Api().run("p/r")
    assert fresh.config == {"opt": {"name": "sgd", "betas": [0.5]}, "new": {"deep": {"er": 1}}}
    assert fresh.rawconfig["_wandb"] == {"x": 1}
    assert next(iter(Api().runs("p", {"config.opt.name": "sgd"}))).id == "r"


@pytest.mark.parametrize(
    "after",
    [{"opt": 5}, {"opt": {}}, {"opt": {"name": {"first": "a"}}}, {"lr": True}, {"lr": 1.0}, {"a.b": 1, "a": {"b": 2}}],
)
def test_any_shape_becomes_any_other(run: Run, after: dict[str, Any]) -> None:
    run.config.clear()
    run.config.update(after)
    run.update()
    fresh = Api().run("p/r").config
    assert fresh == after
    assert {key: type(value) for key, value in fresh.items()} == {key: type(value) for key, value in after.items()}


def test_the_summary_is_stored_by_its_update_or_with_the_run(run: Run) -> None:
    """RUN-4."""
    run.summary[" best "] = 0.25
    run.summary.note = "by hand"
    run.summary["a"]["c"] = 2
    assert "best" in run.summary
    assert "best" not in Api().run("p/r").summary, "nothing is stored before"
    run.summary.update({"more": [1, 2]})
    shown = Api().run("p/r").summary
    assert (shown["best"], shown.note, shown["a"].c, shown["a"]["b"], shown["more"]) == (0.25, "by hand", 2, 1, [1, 2])
    assert math.isnan(shown["loss"])
    run.summary["best"] = 0.5
    run.update()
    assert Api().run("p/r").summary["best"] == 0.5


def test_summary_values_are_deleted(run: Run) -> None:
    del run.summary["loss"]
    del run.summary.n
    with pytest.raises(KeyError):
        del run.summary["loss"]
    with pytest.raises(AttributeError):
        del run.summary.n
    run.summary.update()
    assert {"loss", "n"}.isdisjoint(Api().run("p/r").summary.keys())


def test_later_points_beat_an_edited_summary(root: str) -> None:
    writer = MadeWriter(open_store(root), RunRef("main", "p", "r")).begin()
    writer.log({"loss": 1.0}).put()
    run = Api().run("p/r")
    run.summary["loss"] = 9.0
    run.update()
    assert Api().run("p/r").summary["loss"] == 9.0
    writer.now_us = T0 + 10**15  # long after this test
    writer.log({"loss": 0.5}).put()
    assert Api().run("p/r").summary["loss"] == 0.5


def test_values_without_a_stored_form_are_refused_and_nothing_is_stored(run: Run, root: str) -> None:
    run.name = "never"
    run.config["z"] = 1j
    with pytest.raises(CommError, match="complex") as caught:
        run.update()
    assert isinstance(caught.value.exc, TypeError)
    run.config["z"], run.config[""] = 1, 1
    with pytest.raises(UsageError, match="must not be empty"):
        run.update()
    assert files(root) == []


def test_a_deleted_run_is_gone_for_everybody_and_can_be_restored(run: Run, root: str) -> None:
    """RUN-9."""
    made_run(root, "q")
    api = Api()
    assert len(api.runs("p")) == 2
    held = api.run("p/r")
    assert held.delete() is None
    for asked in (api, Api()):
        with pytest.raises(CommError, match="could not find run main/p/r") as caught:
            asked.run("p/r")
        assert isinstance(caught.value.exc, ValueError)
        assert [one.id for one in asked.runs("p")] == ["q"]
    with pytest.raises(CommError, match="could not find run"):
        held.load(force=True)
    with pytest.raises(CommError, match="could not find run"):
        held.delete()
    assert held.history(pandas=False) == []
    assert api.restore("p/r").name == "brave-cat"
    assert len(api.runs("p")) == 2
    assert [row["_step"] for row in held.history(pandas=False)] == [0, 1]


def test_a_run_that_never_was_cannot_be_restored(run: Run) -> None:
    with pytest.raises(CommError, match="could not find run main/p/none"):
        Api().restore("p/none")


def test_the_last_run_of_a_project_may_be_deleted(run: Run) -> None:
    run.delete(delete_artifacts=True)
    assert len(Api().runs("p")) == 0


def test_a_run_started_after_the_deletion_is_a_new_one(run: Run, root: str) -> None:
    run.delete()
    writer = MadeWriter(open_store(root), RunRef("main", "p", "r"), 5, T0 + 10**15).begin(config={"fresh": True})
    writer.log({"loss": 3.0}).end()
    again = Api().run("p/r")
    assert (again.config, [row["loss"] for row in again.history(pandas=False)]) == ({"fresh": True}, [3.0])


def test_an_edit_wins_over_what_was_read_whatever_this_machines_clock_says(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machine's clock runs an hour ahead; then two Apis, each of a process of its own, take turns."""
    ahead_us = wall_us() + 3_600 * S
    made_run(root, "r", config={"lr": 0}, start_us=ahead_us)
    os.utime(next(Path(root).rglob("*.parquet")))
    for turn, skew_us in enumerate((0, -7_200 * S, 600 * S, -86_400 * S), start=1):
        other = HybridClock(wall=lambda skew_us=skew_us: wall_us() + skew_us)
        monkeypatch.setattr("tracker.apis.public.run_edits.CLOCK", other)
        monkeypatch.setattr(
            "tracker.apis.public.run_edits.edit_writer",
            lambda store, entity, project, other=other: EditWriter(store, entity, project, clock=other),
        )
        run = Api().run("p/r")
        assert run.config == {"lr": turn - 1}
        run.config["lr"] = turn
        run.update()
        assert Api().run("p/r").config == {"lr": turn}


def test_a_stamp_more_than_a_day_ahead_of_the_store_is_folded_but_not_adopted(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine in 2100 must not make every edit of the others a thing of 2100. Its run can still be deleted."""
    clock = HybridClock()
    monkeypatch.setattr("tracker.apis.public.run_edits.CLOCK", clock)
    monkeypatch.setattr(
        "tracker.apis.public.run_edits.edit_writer",
        lambda store, entity, project: EditWriter(store, entity, project, clock=clock),
    )
    made_run(root, "r", config={"lr": 0}, start_us=wall_us() + 86_400 * 365 * S)
    run = Api().run("p/r")
    assert run.config == {"lr": 0}
    assert clock.tick() < wall_us() + 60 * S
    run.delete()
    with pytest.raises(CommError, match="could not find run"):
        Api().run("p/r")
    assert Api().restore("p/r").config == {"lr": 0}


def test_a_store_that_takes_no_edit_is_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(key: str, data: bytes) -> None:
        raise StorageUnavailable("no room")

    api = Api(timeout=0)
    run = api.run("p/r")
    run.name = "x"
    monkeypatch.setattr(api.client.store, "put_if_absent", refuse)
    monkeypatch.setattr("tracker.storage.edits._writers", {})
    with pytest.raises(StorageUnavailable, match="no room"):
        run.update()
    monkeypatch.undo()
    assert run.name == "x"
