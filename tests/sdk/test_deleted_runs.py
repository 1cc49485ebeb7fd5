"""Sessions of a run that is deleted, or resumed on a machine whose clock is behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_view import run_script, view_run

from tracker.apis.public import Api
from tracker.errors import CommError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_BASE_URL", str(tmp_path / "root"))
    return tmp_path / "root"


def script(code: str, cwd: Path) -> None:
    process = run_script(code, cwd)
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]


def test_a_process_forked_after_the_deletion_does_not_bring_the_run_back(tmp_path: Path) -> None:
    """A data loader of the next epoch opens a writer of its own, which says whose child it is."""
    script(
        """
        import os, sys
        run = tracker.init(project="p", id="r")
        run.log({"n": 0})
        tracker.log({"n": 1})
        assert run.id == "r"
        from tracker.sdk import session
        session.active_here().recorder.flush(20)
        tracker.Api().run("p/r").delete()
        pid = os.fork()
        if not pid:
            run.log({"child": 1})
            sys.exit(0)
        os.waitpid(pid, 0)
        run.log({"n": 2})
        """,
        tmp_path,
    )
    with pytest.raises(CommError, match="could not find run"):
        Api().run("p/r")
    restored = Api().restore("p/r")
    assert sorted(row.get("n", -1) for row in restored.history(pandas=False)) == [-1, 0, 1, 2]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_child_names_the_session_that_it_comes_from(tmp_path: Path, start: str) -> None:
    script(
        f"""
        import multiprocessing

        def work(run):
            run.log({{"child": 1}})

        if __name__ == "__main__":
            run = tracker.init(project="p", id="r")
            run.log({{"n": 0}})
            child = multiprocessing.get_context({start!r}).Process(target=work, args=(run,))
            child.start()
            child.join()
        """,
        tmp_path,
    )
    own = view_run(tmp_path / "root").own
    (session,) = (writer for writer, said in own.items() if "parent" not in said)
    assert [said["parent"] for said in own.values() if "parent" in said] == [session]
    assert len(own) == 2


def test_a_run_resumed_after_its_deletion_is_a_new_one(tmp_path: Path) -> None:
    script('tracker.init(project="p", id="r", config={"old": 1}).log({"n": 0})', tmp_path)
    Api().run("p/r").delete()
    script('tracker.init(project="p", id="r", resume="allow", config={"new": 1}).log({"n": 1}, step=7)', tmp_path)
    run = Api().run("p/r")
    assert run.config == {"new": 1}
    assert [row["n"] for row in run.history(pandas=False)] == [1]


def test_a_run_started_again_after_its_deletion_is_a_new_one(tmp_path: Path) -> None:
    script('tracker.init(project="p", id="r", config={"old": 1}).log({"n": 0})', tmp_path)
    Api().run("p/r").delete()
    script('tracker.init(project="p", id="r", config={"new": 1}).log({"n": 1})', tmp_path)
    assert Api().run("p/r").config == {"new": 1}


def test_what_a_resumed_session_sets_wins_though_its_clock_is_an_hour_behind(tmp_path: Path) -> None:
    script('tracker.init(project="p", id="r", config={"lr": 1}).log({"n": 0})', tmp_path)
    edited = Api().run("p/r")
    edited.config["note"] = "by hand"
    edited.update()
    behind = """
        import time
        real = time.time_ns
        time.time_ns = lambda: real() - 3_600_000_000_000
        """
    code = 'run = tracker.init(project="p", id="r", resume="allow", config={"lr": 2, "note": "resumed"}, dir="other")'
    (tmp_path / "other").mkdir()
    script(f"{behind}{code}\n        run.log({{'n': 1}}, step=5)", tmp_path)
    assert Api().run("p/r").config == {"lr": 2, "note": "resumed"}
