"""`resume=`: what of a run an `init` reads back from the store, and when it refuses (RES-1 to RES-9, INIT-16)."""

from __future__ import annotations

import json
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from run_view import run_script, view_run

import tracker
from tracker.apis.public import Api
from tracker.errors import AuthenticationError, CommError, CredentialsMissing, StorageUnavailable, UsageError
from tracker.sdk import resume
from tracker.storage.local import LocalStore


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_BASE_URL", str(tmp_path / "root"))
    monkeypatch.setenv("TRACKER_CONSOLE", "off")
    monkeypatch.setenv("TRACKER_X_DISABLE_STATS", "true")
    monkeypatch.setenv("TRACKER_X_DISABLE_META", "true")
    return tmp_path / "root"


def first(**arguments: Any) -> None:
    """A run `p/r` of three rows."""
    with tracker.init(project="p", id="r", **arguments) as run:
        for step in range(3):
            run.log({"loss": 3.0 - step, "deep": {"note": f"s{step}"}})


def stored() -> Any:
    return Api().run("p/r")


def test_allow_creates_a_run_that_is_not_there() -> None:
    """RES-1"""
    with tracker.init(project="p", id="r", resume="allow", config={"a": 1}, name="named") as run:
        assert (run.resumed, run.starting_step) == (False, 0)
        run.log({"x": 1})
    assert (stored().config, stored().name, stored().lastHistoryStep) == ({"a": 1}, "named", 0)
    with tracker.init(project="p", id="r") as run:
        run.log({"y": 1})
    assert [row.get("x") for row in stored().scan_history()] == [None], "it had opened a life, which a plain init hides"


@pytest.mark.parametrize("how", ["allow", "must", "auto"])
def test_a_resumed_run_goes_on_behind_its_last_step(how: str) -> None:
    """RES-1, RES-5: also behind rows that a killed session closed out of order."""
    first()
    with tracker.init(project="p", id="r", resume=how) as run:
        assert (run.resumed, run.starting_step, run.step) == (True, 3, 3)
        copy = pickle.loads(pickle.dumps(run))
        assert (copy.resumed, copy.starting_step, copy.step) == (True, 3, 3)
        run.log({"loss": 0.5})
        run.log({"loss": 0.25}, step=10)
    assert [(row["_step"], row["loss"]) for row in stored().scan_history(keys=["_step", "loss"])] == [
        (0, 3.0), (1, 2.0), (2, 1.0), (3, 0.5), (10, 0.25),
    ]  # fmt: skip
    with tracker.init(project="p", id="r", resume=how) as run:
        assert run.starting_step == 11


def test_a_resumed_run_without_rows_begins_at_zero() -> None:
    """RES-5"""
    tracker.init(project="p", id="r").finish()
    with tracker.init(project="p", id="r", resume="must") as run:
        assert (run.resumed, run.starting_step) == (True, 0)


def test_must_refuses_a_run_that_is_not_there_and_leaves_none_active() -> None:
    """RES-2"""
    with pytest.raises(UsageError, match="no run main/p/r"):
        tracker.init(project="p", id="r", resume="must")
    with pytest.raises(UsageError, match="no run"):
        tracker.init(project="p", resume="must")
    assert tracker.run is None
    first()
    Api().run("p/r").delete()
    with pytest.raises(UsageError, match="no run"):
        tracker.init(project="p", id="r", resume="must")


def test_never_refuses_a_run_that_is_there() -> None:
    """RES-2"""
    with tracker.init(project="p", id="r", resume="never") as run:
        assert (run.resumed, run.starting_step) == (False, 0)
    with pytest.raises(UsageError, match="exists"):
        tracker.init(project="p", id="r", resume="never")
    assert tracker.run is None


def test_without_resume_an_existing_run_is_replaced() -> None:
    """RES-4"""
    first(config={"old": 1}, tags=["old"])
    with tracker.init(project="p", id="r", config={"new": 1}) as run:
        assert (run.resumed, run.starting_step, dict(run.config), run.tags) == (False, 0, {"new": 1}, ())
        run.log({"other": 1})
    run = stored()
    assert (run.config, run.tags, run.summary_metrics["other"]) == ({"new": 1}, [], 1)
    assert [row["_step"] for row in run.scan_history()] == [0]


def test_runtime_goes_on_and_the_summary_is_restored() -> None:
    """RES-6"""
    with tracker.init(project="p", id="r") as run:
        run.log({"loss": 3, "deep": {"note": "x"}, "nan": float("nan")})
        time.sleep(0.3)
        run.log({"loss": 2})
        run.summary["best"] = {"epoch": 7}
        run.summary["loss"] = 99
    with tracker.init(project="p", id="r", resume="must") as run:
        assert run.summary["loss"] == 99
        assert run.summary["best"]["epoch"] == 7
        assert run.summary["deep"]["note"] == "x"
        assert run.summary["nan"] != run.summary["nan"]
        assert (run.summary["_step"], run.summary["_runtime"] > 0.3) == (1, True)
        run.log({"loss": 1})
        assert (run.summary["loss"], run.summary["_step"]) == (1, 2)
    runtimes = [row["_runtime"] for row in stored().scan_history()]
    assert runtimes == sorted(runtimes)
    assert 0.3 < runtimes[1] < runtimes[2] < runtimes[1] + 30
    summary = stored().summary_metrics
    assert (summary["loss"], summary["best"], summary["deep"]) == (1, {"epoch": 7}, {"note": "x"})
    assert summary["_runtime"] == runtimes[2]


def test_name_notes_and_tags_are_kept_unless_they_are_passed() -> None:
    """RES-6"""
    first(name="first", notes="why", tags=["a", "b"], group="g", job_type="train")
    with tracker.init(project="p", id="r", resume="must") as run:
        assert (run.name, run.notes, run.tags, run.group, run.job_type) == ("first", "why", ("a", "b"), "g", "train")
    with tracker.init(project="p", id="r", resume="must", tags=["c"], notes="new") as run:
        assert (run.name, run.notes, run.tags) == ("first", "new", ("c",))
    run = stored()
    assert (run.name, run.notes, run.tags, run.group, run.job_type) == ("first", "new", ["c"], "g", "train")


def test_stored_config_stays_below_what_init_sets() -> None:
    """RES-7: top-level keys, on both sides."""
    first(config={"lr": 0.1, "net": {"depth": 3, "width": 8}, "a.b": 1, "l": [1, {"x": None}]})
    with tracker.init(project="p", id="r", resume="must", config={"lr": 0.2, "net": {"depth": 4}}) as run:
        assert dict(run.config) == {"lr": 0.2, "net": {"depth": 4}, "a.b": 1, "l": [1, {"x": None}]}
        with pytest.raises(tracker.errors.ConfigError):
            run.config["a.b"] = 2
        run.config.update({"seen": True})
    assert stored().config == {"lr": 0.2, "net": {"depth": 4}, "a.b": 1, "l": [1, {"x": None}], "seen": True}


def test_definitions_of_metrics_hold_in_the_resumed_session() -> None:
    """RES-6, MET-6"""
    with tracker.init(project="p", id="r") as run:
        run.define_metric("epoch")
        run.define_metric("loss", step_metric="epoch", summary="min,max")
        run.log({"epoch": 4, "loss": 2.0})
        run.log({"loss": 1.0})
    with tracker.init(project="p", id="r", resume="must") as run:
        assert dict(run.summary["loss"].items()) == {"min": 1.0, "max": 2.0}
        run.log({"loss": 5.0})
        assert dict(run.summary["loss"].items()) == {"min": 1.0, "max": 5.0}
    assert [row["epoch"] for row in stored().scan_history(keys=["epoch", "loss"])] == [4, 4, 4]
    assert stored().summary_metrics["loss"] == {"min": 1.0, "max": 5.0}


def test_a_resumed_run_is_running_again(root: Path) -> None:
    """RES-9"""
    with tracker.init(project="p", id="r") as run:
        run.finish(exit_code=3)
    assert stored().state == "failed"
    run = tracker.init(project="p", id="r", resume="must")
    assert run.flush(20)
    assert stored().state == "running"
    run.finish()
    assert stored().state == "finished"


def test_auto_goes_on_with_what_did_not_end_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """RES-3"""
    run = tracker.init(project="p", resume="auto")
    run.log({"x": 1})
    file = tmp_path / "tracker-runs" / "resume.json"
    assert json.loads(file.read_text()) == {"run_id": run.id}
    run.finish(exit_code=1)
    again = tracker.init(project="p", resume=True)
    assert (again.id, again.resumed, again.starting_step) == (run.id, True, 1)
    again.finish(exit_code=1)
    other = tracker.init(project="p", id="other", resume="auto")
    assert (other.id, other.resumed) == ("other", False)
    assert "is used" in capsys.readouterr().err
    other.finish()
    assert not file.exists()
    assert tracker.init(project="p", resume="auto").resumed is False


def test_a_killed_session_is_resumed_behind_all_that_it_had_logged(tmp_path: Path) -> None:
    """RES-5, RES-9: also what was not shipped yet, where the resumed session begins on the same machine."""
    code = """
        import os
        run = tracker.init(project="p", id="r", settings={"console": "off", "x_flush_min_s": 60.0})
        for step in range(5):
            run.log({"n": step})
        assert run.flush(20)
        run.log({"n": 5})
        run.log({"n": 6})
        os.kill(os.getpid(), 9)
        """
    assert run_script(code, tmp_path).returncode == -9
    assert stored().lastHistoryStep == 4
    with tracker.init(project="p", id="r", resume="must") as run:
        assert (run.starting_step, run.summary["n"]) == (7, 6)
        run.log({"n": 7})
    assert stored().state == "finished"
    assert [row["n"] for row in stored().scan_history(keys=["n"])] == list(range(8))


def test_ranks_go_on_at_one_step(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RES-5: a rank that comes late does not count what its fellows have logged since."""
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    for rank in ("0", "1"):
        monkeypatch.setenv("SLURM_PROCID", rank)
        with tracker.init(project="p", id="r") as run:
            for n in range(4):
                run.log({f"rank{rank}": n})
    for rank in ("0", "1"):  # queued again under the same number
        monkeypatch.setenv("SLURM_PROCID", rank)
        with tracker.init(project="p", id="r", resume="allow") as run:
            assert (run.resumed, run.starting_step) == (True, 4)
            run.log({f"rank{rank}": 10})
    monkeypatch.setenv("SLURM_JOB_ID", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("SLURM_PROCID", rank)
        with tracker.init(project="p", id="r", resume="must") as run:
            assert run.starting_step == 5
            run.log({f"rank{rank}": 11})
    steps = sorted(row["_step"] for row in stored().scan_history())
    assert steps == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert len({said.get("generation") for said in view_run(root).own.values()} - {None}) == 1


def test_ranks_that_begin_a_run_with_allow_begin_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RES-1"""
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    for rank in ("0", "1", "2"):
        monkeypatch.setenv("SLURM_PROCID", rank)
        with tracker.init(project="p", id="r", resume="allow", config={"rank": "all"}) as run:
            assert (run.resumed, run.starting_step) == (False, 0)
            run.log({"n": 1})
    assert [row["_step"] for row in stored().scan_history()] == [0, 0, 0]
    assert stored()._loaded.generations == 1


def test_offline_and_disabled_runs_ask_nobody(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """MODE-2, RES-2"""
    monkeypatch.setattr(resume, "_ask", None)
    with tracker.init(project="p", id="r", resume="must", mode="offline") as run:
        assert run.starting_step == 0
    assert "no effect offline" in capsys.readouterr().err
    with tracker.init(project="p", id="r", resume="must", mode="disabled") as run:
        assert run.resumed is False


def test_a_store_that_says_nothing_ends_init_with_a_comm_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """INIT-16"""
    first()
    silent = threading.Event()
    real = LocalStore.list
    monkeypatch.setattr(LocalStore, "list", lambda self, prefix: silent.wait(20) and real(self, prefix))
    begun = time.monotonic()
    try:
        with pytest.raises(CommError, match="init_timeout") as caught:
            tracker.init(project="p", id="r", resume="must", settings={"init_timeout": 0.3})
    finally:
        silent.set()
    assert time.monotonic() - begun < 5
    assert caught.value.exc is None
    assert tracker.run is None


def test_a_store_that_is_away_is_asked_again_until_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """INIT-16"""
    first()
    real, refused = LocalStore.list, []

    def away(store: LocalStore, prefix: str) -> Any:
        if len(refused) < 2:
            refused.append(prefix)
            raise StorageUnavailable("the cable is out")
        return real(store, prefix)

    monkeypatch.setattr(LocalStore, "list", away)
    monkeypatch.setattr(resume, "_PAUSES_S", (0.01,))
    with tracker.init(project="p", id="r", resume="must") as run:
        assert run.starting_step == 3
    assert capsys.readouterr().err.count("the cable is out") == 1
    monkeypatch.setattr(LocalStore, "list", _always_away)
    with pytest.raises(CommError, match="the cable is out") as caught:
        tracker.init(project="p", id="r", resume="must", settings={"init_timeout": 0.3})
    assert isinstance(caught.value.exc, StorageUnavailable)


def _always_away(store: LocalStore, prefix: str) -> Any:
    raise StorageUnavailable(f"the cable is out of {store.url} at {prefix}")


def test_a_store_that_refuses_us_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """INIT-16"""
    first()

    def refuse(store: LocalStore, prefix: str) -> Any:
        raise CredentialsMissing(f"no key for {store.url} {prefix}")

    monkeypatch.setattr(LocalStore, "list", refuse)
    with pytest.raises(AuthenticationError, match="no key") as caught:
        tracker.init(project="p", id="r", resume="must")
    assert isinstance(caught.value.exc, CredentialsMissing)
