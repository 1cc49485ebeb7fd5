"""How runs end: FIN-1..6, in processes of their own on the real writer."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from run_view import run_script, view_run


@pytest.mark.parametrize(
    ("code", "returned", "state", "exit_code"),
    [
        pytest.param("tracker.finish()", 0, "finished", 0, id="finish"),
        pytest.param("", 0, "finished", 0, id="end-of-script"),
        pytest.param("tracker.finish(5)", 0, "failed", 5, id="finish-5"),
        pytest.param("import sys; sys.exit()", 0, "finished", 0, id="exit"),
        pytest.param("import sys; sys.exit(3)", 3, "failed", 3, id="exit-3"),
        pytest.param("import sys; sys.exit('text')", 1, "failed", 1, id="exit-text"),
        pytest.param("raise ValueError('boom')", 1, "failed", 1, id="exception"),
        pytest.param("raise KeyboardInterrupt", -2, "killed", 255, id="interrupt"),
        pytest.param(
            "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(5)",
            -2,
            "killed",
            255,
            id="SIGINT",
        ),
        pytest.param(
            "import sys\ntry: sys.exit(3)\nexcept SystemExit: pass\nrun.log({'a': 2})",
            0,
            "finished",
            0,
            id="caught-exit",
        ),
        pytest.param(
            "import threading, sys; t = threading.Thread(target=sys.exit, args=(4,)); t.start(); t.join()",
            0,
            "finished",
            0,
            id="exit-of-a-thread",
        ),
        pytest.param("with run:\n    raise SystemExit(0)", 0, "failed", 1, id="exit-inside-with"),
        pytest.param("run.mark_preempting(); tracker.finish(1)", 0, "preempted", 1, id="preempted"),
        pytest.param("run.mark_preempting(); tracker.finish(0)", 0, "finished", 0, id="preempting-but-done"),
        pytest.param("tracker.teardown(2)", 0, "failed", 2, id="teardown"),
    ],
)
def test_endings(tmp_path: Path, code: str, returned: int, state: str, exit_code: int) -> None:
    """FIN-3, FIN-5, RE-6; pending rows are written (HIST-9)."""
    process = run_script(f"run = tracker.init()\nrun.log({{'a': 1}}, commit=False)\n{code}", tmp_path)
    assert process.returncode == returned
    view = view_run(tmp_path / "root")
    assert view.state.state == state
    assert view.only["exit_code"] == exit_code
    assert view.only["ended_at"] >= view.only["started_at"]
    assert view.all_rows == [(0, {"a": 2 if "'a': 2" in code else 1})]
    assert "ended with exit code" in process.err  # type: ignore[attr-defined]


def test_hooks_of_others_go_on_working(tmp_path: Path) -> None:
    """FIN-6"""
    process = run_script(
        """
        import sys
        sys.excepthook = lambda kind, value, trace: print("their hook:", value)
        tracker.init()
        raise ValueError("boom")
        """,
        tmp_path,
    )
    assert "their hook: boom" in process.out  # type: ignore[attr-defined]
    assert view_run(tmp_path / "root").state.state == "failed"


def test_the_traceback_is_still_printed(tmp_path: Path) -> None:
    process = run_script("tracker.init()\nraise ValueError('boom')", tmp_path)
    assert "ValueError: boom" in process.err  # type: ignore[attr-defined]


def wait_for(path: Path, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def test_differs_sigterm_ends_the_run_as_killed(tmp_path: Path) -> None:
    """FIN-4. Amid a tight loop of `log`: the process dies of the signal (143 in a shell), no row is lost."""
    process = run_script(
        """
        import pathlib
        run = tracker.init()
        n = 0
        while True:
            run.log({"n": n})
            n += 1
            if n % 100 == 0:
                pathlib.Path("n.tmp").write_text(str(n))
                pathlib.Path("n.tmp").rename("n")
        """,
        tmp_path,
        wait=False,
    )
    wait_for(tmp_path / "n")
    time.sleep(0.3)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    acknowledged = int((tmp_path / "n").read_text())
    view = view_run(tmp_path / "root")
    assert (view.state.state, view.only["exit_code"]) == ("killed", 143)
    from tracker.storage.sync import sync_dir

    sync_dir(tmp_path)
    view = view_run(tmp_path / "root")
    assert sorted(cells["n"] for _, cells in view.all_rows)[:acknowledged] == list(range(acknowledged))


@pytest.mark.parametrize("held_s", [0.5, 1000.0])
def test_sigterm_while_log_holds_its_lock(tmp_path: Path, held_s: float) -> None:
    """The handler takes no lock, so the process ends in bounded time, even when the lock is never given back."""
    process = run_script(
        f"""
        import pathlib, time
        run = tracker.init(settings=dict(x_kill_flush_s=1.0))
        run.log({{"n": 1}})
        history = run.recorder.history
        write = history._write
        def slow(*arguments):
            pathlib.Path("inside").touch()
            deadline = time.monotonic() + {held_s}
            while time.monotonic() < deadline:
                time.sleep(0.01)
            return write(*arguments)
        history._write = slow
        run.log({{"n": 2}})
        time.sleep(60)
        """,
        tmp_path,
        wait=False,
    )
    wait_for(tmp_path / "inside")
    began = time.monotonic()
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    assert time.monotonic() - began < 10
    if held_s < 1:
        view = view_run(tmp_path / "root")
        assert view.state.state == "killed"
        assert [cells for _, cells in view.all_rows] == [{"n": 1}, {"n": 2}]


def test_sigterm_belongs_to_whoever_had_it(tmp_path: Path) -> None:
    """A handler that was there before stays; here it turns the signal into an exit."""
    process = run_script(
        """
        import os, signal, sys
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        run = tracker.init()
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        tmp_path,
    )
    assert process.returncode == 7
    assert (view_run(tmp_path / "root").state.state, view_run(tmp_path / "root").only["exit_code"]) == ("failed", 7)


def test_init_outside_the_main_thread(tmp_path: Path) -> None:
    process = run_script(
        """
        import threading
        def work():
            run = tracker.init()
            run.log({"a": 1})
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """,
        tmp_path,
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    assert view_run(tmp_path / "root").state.state == "finished"


def test_log_from_a_signal_handler_that_interrupts_log(tmp_path: Path) -> None:
    """No deadlock and no lost row: the handler's call waits until the interrupted one is done."""
    process = run_script(
        """
        import itertools, signal, time
        run = tracker.init()
        numbers = itertools.count()  # the handler may interrupt itself
        def handler(*_):
            number = next(numbers)
            run.log({"handler": number})
            run.summary["handlers"] = number
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
        n, end = 0, time.monotonic() + 1.5
        while time.monotonic() < end:
            run.log({"main": n})
            n += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(n, next(numbers))
        """,
        tmp_path,
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    main, handled = map(int, process.out.split())  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    cells = [cells for _, cells in view.all_rows]
    assert sorted(c["main"] for c in cells if "main" in c) == list(range(main))
    assert sorted(c["handler"] for c in cells if "handler" in c) == list(range(handled))
    assert handled > 10
    assert [step for step, _ in sorted(view.all_rows)] == list(range(main + handled))


def test_finish_from_a_signal_handler_that_interrupts_log(tmp_path: Path) -> None:
    process = run_script(
        """
        import signal, sys
        run = tracker.init()
        stop = []
        def handler(*_):
            run.finish(exit_code=9)
            stop.append(1)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        n = 0
        try:
            while True:
                run.log({"n": n})
                n += 1
        except tracker.UsageError:
            print(n, bool(stop))
        """,
        tmp_path,
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    count, stopped = process.out.split()  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    assert (view.only["exit_code"], stopped) == (9, "True")
    assert len(view.all_rows) == int(count)


def test_a_killed_process_leaves_its_run_to_the_reader(tmp_path: Path) -> None:
    """FIN-4: no end is recorded; after 5 minutes without a sign of life a reader calls it crashed."""
    from tracker.storage.sync import sync_dir

    run_script("import os; run = tracker.init(); run.log({'a': 1}); os._exit(0)", tmp_path)
    sync_dir(tmp_path)
    assert view_run(tmp_path / "root").state.state == "running"
    later = time.time_ns() // 1000 + 301 * 1_000_000
    assert view_run(tmp_path / "root", now_us=later).state.state == "crashed"


def test_an_endpoint_that_never_answers(tmp_path: Path) -> None:
    """init returns at once, log stays fast, the script ends with 0 in bounded time, and says how to send the data."""
    process = run_script(
        """
        import time
        t0 = time.perf_counter()
        run = tracker.init(dir="s3://bucket/runs", settings=dict(x_finish_timeout_s=1.0))
        t1 = time.perf_counter()
        for n in range(1000):
            run.log({"n": n})
        t2 = time.perf_counter()
        run.finish()
        print(t1 - t0, t2 - t1, time.perf_counter() - t2)
        """,
        tmp_path,
        env={"AWS_ENDPOINT_URL": "http://10.255.255.1:9", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"},
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    init_s, log_s, finish_s = map(float, process.out.split())  # type: ignore[attr-defined]
    assert init_s < 1.0  # 0.3 s on an idle machine, see benchmarks/
    assert log_s < 1.0
    assert finish_s < 10
    assert "1002 records wait on this machine" in process.err  # type: ignore[attr-defined]
    assert f"tracker sync {tmp_path}/tracker-runs" in process.err  # type: ignore[attr-defined]


def test_differs_the_local_directory_is_removed_when_all_is_sent(tmp_path: Path) -> None:
    """NAME-5, unless the user put files there."""
    run_script("run = tracker.init()\nrun.log({'a': 1})\nprint(run.dir)", tmp_path)
    assert not list((tmp_path / "tracker-runs").glob("run-*"))
    run_script("with tracker.init(): print('kept with the run')", tmp_path, env={"TRACKER_CONSOLE": "wrap"})
    assert not list((tmp_path / "tracker-runs").glob("run-*"))
    process = run_script("import pathlib; pathlib.Path(tracker.init().dir, 'mine').write_text('x')", tmp_path)
    assert process.returncode == 0
    assert len(list((tmp_path / "tracker-runs").glob("run-*/files/mine"))) == 1


def test_the_shipper_as_a_process(tmp_path: Path) -> None:
    """The same run, sent by a helper process; SIGTERM ends it as killed just as well."""
    env = {"TRACKER_SHIPPER": "process"}
    process = run_script("run = tracker.init()\nfor n in range(5): run.log({'n': n})", tmp_path, env=env)
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    assert view.all_rows == [(n, {"n": n}) for n in range(5)]
    assert view.state.state == "finished"
