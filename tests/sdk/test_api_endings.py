"""Waiting for the end of a run, deleting it and taking that back. Rules RUN-9, RUN-10, API-8."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from store_maker import MadeWriter, made_run

from tracker.apis.public import Api
from tracker.apis.public import run_endings as endings
from tracker.errors import CommError, UsageError
from tracker.storage.clock import wall_us
from tracker.storage.local import LocalStore
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    return url


@pytest.fixture
def live(root: str) -> MadeWriter:
    return MadeWriter(open_store(root), RunRef("main", "p", "r"), start_us=wall_us() - 9_000_000).begin().put()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long is waited between two questions; nobody waits here."""
    seen: list[float] = []
    monkeypatch.setattr(endings.time, "sleep", seen.append)
    return seen


@pytest.mark.parametrize("state", ["finished", "failed", "killed", "preempted"])
def test_waiting_ends_with_the_run(
    live: MadeWriter, pauses: list[float], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RUN-10: every 5 seconds; what the run came to is shown then, and what was changed here stays."""
    run = Api().run("p/r")
    assert run.state == "running"
    run.notes = "mine"

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            if state == "preempted":
                live.facts(("writer", f"{live.id}.state", "preempting"), ("writer", f"{live.id}.ended_at", 1)).put()
            else:
                live.log({"loss": 0.5}).end(state)

    monkeypatch.setattr(endings.time, "sleep", pause)
    assert run.wait_until_finished() is None
    assert (run.state, pauses, run.notes) == (state, [5.0, 5.0], "mine")
    if state != "preempted":
        assert run.summary["loss"] == 0.5
    assert Api().run("p/r").notes is None


def test_a_run_whose_process_fell_silent_has_crashed(root: str, pauses: list[float]) -> None:
    """RUN-10."""
    made_run(root, "r", [{"loss": 1}], state="crashed", start_us=wall_us() - 3_600_000_000)
    run = Api().run("p/r")
    run.wait_until_finished()
    assert (run.state, pauses) == ("crashed", [])


def test_each_question_is_a_few_requests(live: MadeWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    made_run(live.store, "other")
    asked: list[str] = []
    listing = LocalStore.list
    monkeypatch.setattr(LocalStore, "list", lambda self, prefix: (asked.append(prefix), listing(self, prefix))[1])
    monkeypatch.setattr(endings.time, "sleep", lambda _: live.end() if len(asked) > 20 else None)
    run = Api().run("p/r")
    asked.clear()
    run.wait_until_finished()
    assert not [prefix for prefix in asked if prefix == "main/p/runs/"], "only the run itself is listed"
    assert max(asked.count(prefix) for prefix in asked) <= 21


def test_waiting_for_a_deleted_run_is_an_error(live: MadeWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Api().run("p/r")
    monkeypatch.setattr(endings.time, "sleep", lambda _: Api().run("p/r").delete())
    with pytest.raises(CommError, match="could not find run main/p/r"):
        run.wait_until_finished()


def test_waiting_in_the_past_is_an_error(live: MadeWriter) -> None:
    run = Api(as_of=wall_us() / 1e6).run("p/r")
    with pytest.raises(UsageError, match="was running, and stays so"):
        run.wait_until_finished()


def test_a_failure_while_waiting_is_a_comm_error(live: MadeWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """API-8: wait_until_finished, update, delete, files, file, upload_file, history and scan_history are wrapped."""
    run = Api().run("p/r")
    boom = RuntimeError("the moon is down")
    monkeypatch.setattr(type(run.client), "snapshot", lambda *_, **__: (_ for _ in ()).throw(boom))
    run.tags.append("x")
    calls = {
        "wait_until_finished": run.wait_until_finished,
        "update": run.update,
        "delete": run.delete,
        "undelete": run.undelete,
        "file": lambda: run.file("x"),
        "history": run.history,
        "buckets": lambda: run.buckets(["loss"]),
    }
    for name, call in calls.items():
        with pytest.raises(CommError, match=r"^the moon is down$") as caught:
            call()
        assert caught.value.exc is boom, name
    with pytest.raises(RuntimeError):
        _ = run.lastHistoryStep


def test_wrapped_calls_keep_the_class_of_what_the_rules_name(live: MadeWriter) -> None:
    """API-8: both a CommError and the builtin."""
    run = Api().run("p/r")
    for builtin, call in (
        (TypeError, lambda: run.history(samples="x")),  # type: ignore[arg-type]
        (IndexError, lambda: run.file("none")),
        (ValueError, lambda: Api().run("p/none")),
        (ValueError, lambda: Api().runs("p").histories(format="csv")),  # type: ignore[arg-type]
    ):
        with pytest.raises(builtin) as caught:
            call()
        assert isinstance(caught.value, CommError)
        assert isinstance(caught.value.exc, builtin)


def test_a_run_waits_for_a_process_that_ends(live: MadeWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "_POLL_S", 0.02)
    ending = threading.Timer(0.2, live.end)
    ending.start()
    started = time.monotonic()
    run = Api().run("p/r")
    run.wait_until_finished()
    ending.join()
    assert run.state == "finished"
    assert time.monotonic() - started >= 0.1


def test_a_deleted_run_is_taken_back_by_itself_or_by_its_path(root: str) -> None:
    """RUN-9."""
    made_run(root, "r", [{"loss": 1.0}], config={"lr": 1})
    api = Api()
    run = api.run("p/r")
    run.delete()
    assert len(api.runs("p")) == 0
    assert run.undelete() is None
    assert (run.config, len(api.runs("p"))) == ({"lr": 1}, 1)
    run.delete(delete_artifacts=True)
    with pytest.raises(CommError, match="could not find run"):
        Api().run("p/r")
    assert api.undelete("p/r").id == "r"
    assert Api().run("p/r").summary["loss"] == 1.0
    with pytest.raises(UsageError, match="shows the past"):
        Api(as_of=wall_us() / 1e6).run("p/r").undelete()
