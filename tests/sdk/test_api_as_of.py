"""`Api(as_of=...)`: everything as it was at a time, and nothing can be changed there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, MadeWriter, made_run

from tracker.apis.public import Api
from tracker.errors import CommError, UsageError
from tracker.storage.clock import HybridClock
from tracker.storage.edits import EditWriter, delete_edit, restore_edit
from tracker.storage.format_file import ensure_format
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project
from tracker.storage.stores import open_store

S = 1_000_000
NOW = T0 + 1_000 * S
START = datetime.fromtimestamp(T0 // S, UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run of ten rows from second 0 on, edited at 30, deleted at 40, restored at 50, started anew at 60."""
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    for module in ("api", "client"):  # looked at from a thousand seconds later, whatever the year of the test
        monkeypatch.setattr(f"tracker.apis.public.{module}.wall_us", lambda: NOW)
    store = open_store(url)
    run = MadeWriter(store, RunRef("main", "p", "r"), 1).begin({"name": "first"}, {"lr": 1, "m": {"x": 1}})
    for n in range(10):
        run.log({"loss": float(n)}).put()
    run.end()
    made_run(store, "q", [{"loss": 5.0}], start_us=T0 + 20 * S)
    at = 0
    editor = EditWriter(store, "main", "p", clock=HybridClock(), wall=lambda: T0 + at * S)
    for at, edits in (  # noqa: B007 - the wall clock above reads it
        (30, [("attr", "r", "name", "second"), ("config", "r", "m", 2)]),
        (40, delete_edit("r")),
        (50, restore_edit("r")),
    ):
        editor.write(edits)
    anew = MadeWriter(store, RunRef("main", "p", "r"), 2, T0 + 60 * S).begin({"name": "anew"}, {"lr": 3})
    anew.log({"loss": -1.0}).end()
    return url


def ids(api: Api) -> list[str]:
    return [run.id for run in api.runs("p")]


def test_a_run_grows_with_the_time(root: str) -> None:
    run = Api(as_of=after(5)).run("p/r")
    assert (run.state, run.name, run.config) == ("running", "first", {"lr": 1, "m": {"x": 1}})
    assert [row["loss"] for row in run.history(pandas=False)] == [0.0, 1.0, 2.0, 3.0]
    assert (run.summary["loss"], run.lastHistoryStep) == (3.0, 3)
    assert [row["_step"] for row in run.scan_history()] == [0, 1, 2, 3]
    assert run.history_keys["keys"]["loss"]["previousValue"] == 3.0
    assert Api(as_of=after(15)).run("p/r").state == "finished"


def test_later_runs_edits_and_deletions_are_not_there_yet(root: str) -> None:
    assert ids(Api(as_of=after(15))) == ["r"]
    assert ids(Api(as_of=after(35))) == ["r", "q"]
    edited = Api(as_of=after(35)).run("p/r")
    assert (edited.name, edited.config) == ("second", {"lr": 1, "m": 2})
    gone = Api(as_of=after(45))
    assert ids(gone) == ["q"]
    with pytest.raises(CommError, match="could not find run main/p/r"):
        gone.run("p/r")
    assert Api(as_of=after(55)).run("p/r").config == {"lr": 1, "m": 2}


def test_a_hidden_generation_stays_readable(root: str) -> None:
    now = Api().run("p/r")
    assert (now.name, now.config, [row["loss"] for row in now.history(pandas=False)]) == ("anew", {"lr": 3}, [-1.0])
    before = Api(as_of=after(59)).run("p/r")
    assert (before.name, len(before.history(pandas=False))) == ("second", 10)


def test_before_everything_there_is_nothing(root: str) -> None:
    early = Api(as_of=after(-1))
    with pytest.raises(CommError, match="could not find run"):
        early.run("p/r")
    with pytest.raises(ValueError, match="could not find project"):
        len(early.runs("p"))


def test_collections_filter_and_give_histories_as_of_then(root: str) -> None:
    api = Api(as_of=after(5))
    assert [run.id for run in api.runs("p", {"summary_metrics.loss": 3.0})] == ["r"]
    assert [run.id for run in api.runs("p", {"state": "finished"})] == []
    rows = api.runs("p").histories(keys=["loss"], samples=None)
    assert [row["loss"] for row in rows] == [0.0, 1.0, 2.0, 3.0]


def test_compaction_changes_nothing_of_it(root: str) -> None:
    moments = [after(at) for at in (5, 15, 35, 45, 55, 65)]

    def answers() -> list[object]:
        found: list[object] = []
        for moment in moments:
            api = Api(as_of=moment)
            runs = api.runs("p")
            found.append([(run.id, run.state, run.name, run.config, run.summary_metrics) for run in runs])
            found.append(runs.histories(samples=None))
            found.append([run.history(pandas=False) for run in runs])
        return found

    loose = answers()
    store = open_store(root)
    ensure_format(store)
    for _ in range(2):
        compact_project(store, "main", "p", now_us=NOW, quiet_s=0, finished_quiet_s=0, grace_s=0)
    assert not any("/runs/" in info.key for info in store.list(""))
    assert answers() == loose


def test_now_stays_now_beside_it(root: str) -> None:
    """Both look at the same files at the same time: nothing that is kept in memory is mixed up."""
    past, now = Api(as_of=after(5)), Api()
    for _ in range(2):
        assert (past.run("p/r").name, now.run("p/r").name) == ("first", "anew")
        assert (ids(past), sorted(ids(now))) == (["r"], ["q", "r"])
        past.flush()
        now.flush()


@pytest.mark.parametrize(
    "as_of",
    [
        after(35),
        after(35).astimezone(timezone(timedelta(hours=5))),
        after(35).replace(tzinfo=None),
        after(35).isoformat(),
        after(35).isoformat().replace("+00:00", "Z"),
        T0 / 1e6 + 35,
        T0 // S + 35,
    ],
)
def test_times_are_given_in_any_way(root: str, as_of: Any) -> None:
    api = Api(as_of=as_of)
    assert api.as_of is not None
    assert abs(api.as_of - after(35)) < timedelta(milliseconds=1)
    assert api.run("p/r").name == "second"


def test_a_partial_time_is_its_start(root: str) -> None:
    assert Api(as_of="2026-09").as_of == datetime(2026, 9, 1, tzinfo=UTC)
    assert Api(as_of="2026").as_of == datetime(2026, 1, 1, tzinfo=UTC)
    assert Api().as_of is None


@pytest.mark.parametrize(
    "as_of", ["yesterday", "", True, float("nan"), float("inf"), -1, [], T0, T0 / 1e3, "2999-01-01"]
)
def test_what_is_no_time_is_refused(root: str, as_of: Any) -> None:
    """Milliseconds and microseconds lie in the far future as seconds."""
    with pytest.raises(UsageError, match="as_of"):
        Api(as_of=as_of)


def test_a_time_to_come_is_now(root: str) -> None:
    assert Api(as_of=NOW / 1e6 + 3_600).run("p/r").name == "anew"


def test_the_past_cannot_be_changed(root: str) -> None:
    api = Api(as_of=after(35))
    run = api.run("p/r")
    assert run.read_only
    run.name = "rewritten"
    run.summary["x"] = 1
    for change in (run.update, run.save, run.delete, run.summary.update, lambda: api.restore("p/r")):
        with pytest.raises(UsageError, match="cannot be changed"):
            change()
    assert sum("/edits/" in info.key for info in open_store(root).list("")) == 3
