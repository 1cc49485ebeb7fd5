"""Forks and rewinds of runs that are being written, by several processes, in other modes, on object stores."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from branched_runs import losses, source, stored
from run_view import run_script

import tracker
from tracker.apis.public import Api, origin
from tracker.errors import UsageError
from tracker.sdk import resume
from tracker.storage.names import parse_part_key
from tracker.storage.spool import Spool
from tracker.storage.stores import open_store

PLACES = [
    "local",
    pytest.param("s3", marks=pytest.mark.slow),
    pytest.param("gcs", marks=pytest.mark.slow),
]


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The root of the test's runs, of the kind that it is parametrized with."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    return url


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_BASE_URL", str(tmp_path / "root"))
    monkeypatch.setenv("TRACKER_CONSOLE", "off")
    monkeypatch.setenv("TRACKER_X_DISABLE_STATS", "true")
    monkeypatch.setenv("TRACKER_X_DISABLE_META", "true")


# runs that are being written


@pytest.mark.parametrize("place", PLACES, indirect=True)
@pytest.mark.usefixtures("place")
def test_a_step_that_is_not_shipped_yet_is_waited_for(tmp_path: Path) -> None:
    """FORK-1: of a run that is being written, two flushes at most; it is said."""
    run = tracker.init(project="p", id="a", settings={"x_flush_min_s": 0.3, "x_flush_max_s": 0.3})
    for step in range(5):
        run.log({"loss": 10 - step})
    assert run.flush(20)
    code = """
        import tracker
        run = tracker.init(project="p", id="b", fork_from="a?_step=6", settings={"console": "off"})
        assert run.starting_step == 7, run.starting_step
        run.log({"loss": -1})
        """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    with child:
        assert child.stderr is not None
        assert any("has not come to that step" in line for line in child.stderr)
        for _ in range(4):
            run.log({"loss": 4})
        rest = child.stderr.read()
        assert child.wait(60) == 0, rest
    assert "has not come" not in rest
    run.finish()
    assert losses("b") == [(0, 10), (1, 9), (2, 8), (3, 7), (4, 6), (5, 4), (6, 4), (7, -1)]


def test_a_step_that_never_comes_is_waited_for_no_longer_than_two_flushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FORK-4, INIT-16"""
    run = tracker.init(project="p", id="a")
    run.log({"loss": 1})
    assert run.flush(20)
    waits: list[float] = []

    def wait(pause_s: float) -> bool:
        waits.append(pause_s)
        return True

    ref = run.recorder.ref
    with pytest.raises(UsageError, match="no step 5"):
        origin.read_branch_origin(str(tmp_path / "root"), ref, 5, job=None, rank=None, patience_s=3.0, wait=wait)
    assert 3.0 <= sum(waits) < 4.0
    found = origin.read_branch_origin(str(tmp_path / "root"), ref, 0, job=None, rank=None, patience_s=3.0, wait=wait)
    assert found.last_step == 0
    run.finish(exit_code=1)
    waits.clear()
    with pytest.raises(UsageError, match="no step 5"):
        origin.read_branch_origin(str(tmp_path / "root"), ref, 5, job=None, rank=None, patience_s=3.0, wait=wait)
    assert not waits, "nobody writes it any more"
    assert resume._SHIPPING_S < 5


def test_ranks_that_lag_are_waited_for_but_not_ranks_without_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """FORK-1: rows of all ranks up to the step, as far as they come within the two flushes."""
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    runs = []
    for rank, rows in (("0", 4), ("1", 2), ("2", 0)):
        monkeypatch.setenv("SLURM_PROCID", rank)
        runs.append(tracker.init(project="p", id="a"))
        tracker.sdk.session.unbind()
        for n in range(rows):
            runs[-1].log({"loss": n})
        assert runs[-1].flush(20)
    polls: list[float] = []

    def wait(pause_s: float) -> bool:
        polls.append(pause_s)
        if len(polls) == 2:
            for n in (2, 3):
                runs[1].log({"loss": n})
            assert runs[1].flush(20)
        return True

    found = origin.read_branch_origin(
        str(tmp_path / "root"), runs[0].recorder.ref, 3, job=None, rank=None, patience_s=9.0, wait=wait
    )
    assert len(polls) == 2
    assert len(found.writers) == 3
    for run in runs:
        run.finish()


# several processes, crashes, other modes


def test_ranks_fork_into_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """FORK-1: rank 0 opens the life, the others join it; all begin behind the step."""
    source(5)
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    for rank in ("0", "1"):
        monkeypatch.setenv("SLURM_PROCID", rank)
        with tracker.init(project="p", id="b", fork_from="a?_step=3", config={"lr": 1}) as run:
            assert (run.starting_step, run.summary["loss"]) == (4, 7)
            run.log({"loss": int(rank)})
    assert losses("b") == [(0, 10), (1, 9), (2, 8), (3, 7), (4, 0), (4, 1)]
    for rank in ("0", "1"):
        monkeypatch.setenv("SLURM_JOB_ID", "10")
        monkeypatch.setenv("SLURM_PROCID", rank)
        with tracker.init(project="p", resume_from="b?_step=4") as run:
            run.log({"loss": 100 + int(rank)})
    assert sorted(losses("b")) == [(0, 10), (1, 9), (2, 8), (3, 7), (4, 0), (4, 1), (5, 100), (5, 101)]


@pytest.mark.slow
def test_two_processes_fork_at_once_into_runs_of_their_own(tmp_path: Path) -> None:
    """FORK-1"""
    source(5)
    code = """
        run = tracker.init(project="p", fork_from="a?_step=2", settings={"console": "off"})
        run.log({"loss": -1})
        """
    threads = [threading.Thread(target=run_script, args=(code, tmp_path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    children = [run.id for run in Api().runs("main/p") if run.id != "a"]
    assert len(children) == 2
    for child in children:
        assert losses(child) == [(0, 10), (1, 9), (2, 8), (3, -1)]


@pytest.mark.parametrize("where", [pytest.param("before", marks=pytest.mark.slow), "after"])
@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_fork_that_dies_in_between_is_there_whole_or_not_at_all(tmp_path: Path, where: str, place: str) -> None:
    """FORK-1: all that a branch says is one frame."""
    source(5, config={"lr": 1})
    code = """
        import os
        from tracker.sdk import session
        from tracker.storage import pump, writer

        def die(*_, **__):
            os.kill(os.getpid(), 9)

        if WHERE == "before":
            writer.RunWriter.write_facts = die
        else:
            pump.Pump.run = lambda self: None
            session.bind = die
        tracker.init(project="p", id="b", fork_from="a?_step=2", settings={"console": "off"})
        """
    died = run_script(code.replace("WHERE", repr(where)), tmp_path, env={"TRACKER_BASE_URL": place})
    assert died.returncode == -9, died.err  # type: ignore[attr-defined]
    from tracker.storage.sync import sync_dir

    sync_dir(tmp_path)
    if where == "before":
        assert [run.id for run in Api().runs("main/p")] == ["a"]
        return
    assert losses("b") == [(0, 10), (1, 9), (2, 8)]
    assert stored("b").config == {"lr": 1}
    assert stored("b").summary_metrics["loss"] == 8


def test_an_offline_fork_begins_in_an_offline_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MODE-2, FORK-1: the working directory's own store is all that there is; both are synced as they are."""
    source(5, mode="offline")
    with tracker.init(project="p", id="b", fork_from="a?_step=2", mode="offline") as run:
        assert run.starting_step == 3
        run.log({"loss": -1})
    with tracker.init(project="p", id="c", fork_from="elsewhere?_step=2", mode="offline") as run:
        assert run.starting_step == 0
    assert "fork_from has no effect offline" in capsys.readouterr().err
    with tracker.init(project="p", resume_from="elsewhere?_step=2", mode="offline") as run:
        assert (run.id, run.starting_step) == ("elsewhere", 0)
    from tracker.storage.sync import copy_root

    copy_root(str(tmp_path / "tracker-runs" / "offline"), str(tmp_path / "root"))
    assert losses("b") == [(0, 10), (1, 9), (2, 8), (3, -1)]


def test_a_disabled_run_begins_nowhere() -> None:
    """MODE-3"""
    with tracker.init(project="p", fork_from="a?_step=2", mode="disabled") as run:
        assert (run.starting_step, run.resumed, run.step) == (0, False, 0)


def test_the_hot_path_is_the_same_in_a_fork(tmp_path: Path) -> None:
    """FORK-1: what was inherited costs `log` nothing: keys are learned as in any run."""
    source(5)
    with tracker.init(project="p", id="b", fork_from="a?_step=4") as run:
        run.log({"loss": 1})
        run.log({"loss": 2})
        assert "loss" in run.recorder.live.fast
    spools = [Spool.load(path) for path in (tmp_path / "tracker-runs").glob("run-*-b-*")]
    assert len(spools) <= 1


# on object stores


@pytest.mark.parametrize("place", ["s3", "gcs"], indirect=True)
def test_forks_and_rewinds_on_object_stores(place: str) -> None:
    """FORK-1, REW-1, RES-5: a fork of a fork, two rewinds, and a session that goes on behind them."""
    source(6)
    with tracker.init(project="p", id="b", fork_from="a?_step=3") as run:
        run.log({"loss": 33})
    with tracker.init(project="p", id="c", fork_from="b?_step=4") as run:
        run.log({"loss": 44})
    for step in (4, 1):
        with tracker.init(project="p", resume_from=f"a?_step={step}") as run:
            run.log({"loss": 11})
    with tracker.init(project="p", id="a", resume="must") as run:
        assert run.starting_step == 3
        run.log({"loss": 12})
    assert losses("c") == [(0, 10), (1, 9), (2, 8), (3, 7), (4, 33), (5, 44)]
    assert losses("a") == [(0, 10), (1, 9), (2, 11), (3, 12)]
    keys = [info.key for info in open_store(place).list("")]
    assert len([key for key in keys if parse_part_key(key) is not None]) == 6, "no row was copied"
    with pytest.raises(UsageError, match="no run"):
        tracker.init(project="p", id="missing", resume="must")
