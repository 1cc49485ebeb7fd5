"""Several processes and one run: forks, multiprocessing, pickles, the ranks of a job (RE-5, SET-6)."""

from __future__ import annotations

import signal
import textwrap
import time
from pathlib import Path

import pytest
from run_view import run_script, view_run


def test_differs_a_forked_child_logs_rows_of_its_own(tmp_path: Path) -> None:
    """RE-5. The parent's writer is left alone, and the child does not decide how the run ended."""
    process = run_script(
        """
        import os, sys
        run = tracker.init(config={"a": 1})
        run.log({"n": 0})
        run.log({"pending": 1}, commit=False)
        pid = os.fork()
        if not pid:
            run.log({"child": 1})
            tracker.log({"child": 2})
            run.summary["from"] = "child"
            sys.exit(5)
        os.waitpid(pid, 0)
        run.log({"n": 1})
        """,
        tmp_path,
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    assert view.state.state == "finished"
    assert view.all_rows == [(0, {"n": 0}), (1, {"child": 1}), (1, {"n": 1, "pending": 1}), (2, {"child": 2})]
    assert view.state.live["summary"]["from"] == "child"
    assert view.state.live["config"] == {"a": 1}
    assert len(view.own) == 2
    assert "goes on with run" in process.err  # type: ignore[attr-defined]


def test_a_forked_child_that_does_not_log_leaves_no_trace(tmp_path: Path) -> None:
    process = run_script(
        """
        import os, sys
        run = tracker.init()
        run.log({"n": 0})
        pid = os.fork()
        if not pid:
            tracker.finish()
            assert tracker.run is None
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        run.log({"n": 1})
        """,
        tmp_path,
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    assert (view.state.state, view.all_rows, len(view.own)) == ("finished", [(0, {"n": 0}), (1, {"n": 1})], 1)


def test_a_forked_child_starts_a_run_of_its_own(tmp_path: Path) -> None:
    """`init` in a child does not return the parent's run."""
    process = run_script(
        """
        import os, sys
        run = tracker.init(project="parents")
        pid = os.fork()
        if not pid:
            other = tracker.init(project="p")
            assert other is not run and tracker.run is other
            other.log({"n": 1})
            sys.exit(4)
        os.waitpid(pid, 0)
        assert tracker.run is run
        """,
        tmp_path,
        env={"TRACKER_BASE_URL": ""},
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    from tracker.storage.stores import open_store

    keys = [info.key for info in open_store(str(tmp_path / "data")).list("")]
    assert sum("/parents/" in key for key in keys) == sum("/p/" in key for key in keys) == 1


@pytest.mark.parametrize("how", ["log", "init"])
def test_multiprocessing_children_finish_what_they_began(tmp_path: Path, how: str) -> None:
    """Forked multiprocessing children skip atexit; their data is in the store all the same when they are gone."""
    process = run_script(
        f"""
        import multiprocessing
        def work(n):
            if {how!r} == "init":
                tracker.init(id="r", resume="allow")
            tracker.log({{"child": n}})
        if __name__ == "__main__":
            run = tracker.init(id="r")
            children = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in range(3)]
            for child in children: child.start()
            for child in children: child.join()
            run.log({{"parent": 1}})
        """,
        tmp_path,
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    logged = [*({"child": n} for n in range(3)), {"parent": 1}]
    assert sorted((cells for _, cells in view.all_rows), key=repr) == logged
    if how == "log":  # who resumes goes on behind what the store has of the others by then
        assert {step for step, _ in view.all_rows} == {0}
    assert view.state.state == "finished"
    assert not list((tmp_path / "tracker-runs").glob("run-*/wal-*")), "every log was shipped and removed"


def test_a_run_passed_to_a_spawned_process(tmp_path: Path) -> None:
    """RE-5: pickled, it goes on there with a writer of its own."""
    process = run_script(
        """
        import multiprocessing
        def work(run):
            run.log({"child": run.config.a})
        if __name__ == "__main__":
            run = tracker.init(config={"a": 1})
            run.log({"n": 0})
            child = multiprocessing.get_context("spawn").Process(target=work, args=(run,))
            child.start(); child.join()
            assert child.exitcode == 0
        """,
        tmp_path,
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    assert view.all_rows == [(0, {"n": 0}), (1, {"child": 1})]
    assert view.state.state == "finished"


def test_a_pickled_run_takes_its_definitions_along(tmp_path: Path) -> None:
    """RE-5, MET-6: rows of the copy get the step metric too, with its last value"""
    process = run_script(
        """
        import multiprocessing
        def work(run):
            run.log({"m": 2})
            assert run.summary["m"] == {"min": 2}
        if __name__ == "__main__":
            run = tracker.init()
            run.define_metric("m", step_metric="epoch", summary="min")
            run.log({"epoch": 3, "m": 1})
            child = multiprocessing.get_context("spawn").Process(target=work, args=(run,))
            child.start(); child.join()
            assert child.exitcode == 0
        """,
        tmp_path,
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    assert view.all_rows == [(0, {"epoch": 3, "m": 1}), (1, {"m": 2, "epoch": 3})]


def test_a_forked_child_dies_of_sigterm(tmp_path: Path) -> None:
    """The thread that serves SIGTERM does not come along: without care, the child could not be terminated."""
    process = run_script(
        """
        import os, signal, time
        run = tracker.init()
        pid = os.fork()
        if not pid:
            run.log({"child": 1})
            time.sleep(60)
            os._exit(0)
        time.sleep(0.5)
        os.kill(pid, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
        tmp_path,
    )
    assert process.out.strip() == str(-signal.SIGTERM), process.err  # type: ignore[attr-defined]
    assert view_run(tmp_path / "root").state.state == "finished"


def test_a_fork_while_another_thread_logs(tmp_path: Path) -> None:
    """The child must not wait for a lock that a thread held which does not exist there."""
    process = run_script(
        """
        import os, threading
        run = tracker.init()
        stop = threading.Event()
        def work():
            while not stop.is_set():
                run.log({"n": 1})
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for n in range(20):
            pid = os.fork()
            if not pid:
                run.log({"child": n})
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        stop.set()
        for thread in threads: thread.join()
        """,
        tmp_path,
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    from tracker.storage.sync import sync_dir

    sync_dir(tmp_path)
    view = view_run(tmp_path / "root")
    assert sorted(cells["child"] for _, cells in view.all_rows if "child" in cells) == list(range(20))


@pytest.mark.parametrize("job", ["named", "unnamed"])
def test_differs_eight_ranks_of_one_job_land_in_one_run(tmp_path: Path, job: str) -> None:
    """A few moments apart, rank 3 before rank 0; nothing is hidden but an older life of the run.

    Without a name for the job, time decides: ranks then have to live until rank 0 has begun.
    """
    code = f"""
        import os, time
        run = tracker.init(id="x", config={{"lr": 1}})
        for n in range(5):
            run.log({{"rank": int(os.environ["RANK"]), "n": n}})
            time.sleep({0.0 if job == "named" else 0.6})
    """
    common = {"WORLD_SIZE": "8", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none"}
    run_script(code, tmp_path, env=common | {"RANK": "0"} | ({"SLURM_JOB_ID": "76"} if job == "named" else {}))
    old = set(view_run(tmp_path / "root").own)
    processes = []
    for rank in (3, 0, 1, 2, 4, 5, 6, 7):
        environment = common | {"RANK": str(rank)} | ({"SLURM_JOB_ID": "77"} if job == "named" else {})
        processes.append(run_script(code, tmp_path, env=environment, wait=False))
        time.sleep(0.2)
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    view = view_run(tmp_path / "root")
    shown = {writer: own["rank"] for writer, own in view.own.items() if writer in view.rows}
    assert sorted(shown.values()) == [str(n) for n in range(8)], view.own
    assert not old & set(shown)
    for writer, rank in shown.items():
        assert [cells for _, cells in view.rows[writer]] == [{"rank": int(rank), "n": n} for n in range(5)]
    assert view.state.state == "finished"
    assert view.state.live["attr"]["name"]


def test_left_over_spools_are_sent_by_the_next_init(tmp_path: Path) -> None:
    run_script("import os; run = tracker.init(id='lost'); run.log({'a': 1}); os._exit(0)", tmp_path)
    assert list((tmp_path / "tracker-runs").glob("run-*/wal-*"))
    process = run_script("import time; run = tracker.init(id='next', project='other'); time.sleep(6)", tmp_path)
    assert process.returncode == 0
    assert not list((tmp_path / "tracker-runs").glob("run-*/wal-*"))
    assert "runs lost" in process.err  # type: ignore[attr-defined]


def test_processes_that_share_a_run_by_label(tmp_path: Path) -> None:
    """SET-6: every writer under its label; only a primary one describes the run, only one that may ends it."""
    code = """
        import sys, time
        run = tracker.init(
            id="x",
            mode="shared",
            name=f"by {sys.argv[1]}",
            config={sys.argv[1]: 1},
            settings=tracker.Settings(
                x_label=sys.argv[1], x_primary=sys.argv[1] == "main", x_update_finish_state=sys.argv[1] == "main"
            ),
        )
        run.log({"who": sys.argv[1]})
        run.finish(exit_code=int(sys.argv[2]))
    """
    environment = {"TRACKER_DISABLE_GIT": "true"}
    for label, exit_code in (("node-1", "3"), ("main", "0"), ("node-2", "4")):
        script = f"import sys; sys.argv[1:] = [{label!r}, {exit_code!r}]\n" + textwrap.dedent(code)
        process = run_script(script, tmp_path, env=environment)
        assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    shown = {own["rank"]: view.rows[writer] for writer, own in view.own.items()}
    assert shown == {label: [(0, {"who": label})] for label in ("node-1", "main", "node-2")}
    assert view.state.state == "finished"
    assert view.state.live["attr"]["name"] == "by main"
    assert view.state.live["config"] == {"main": 1}
