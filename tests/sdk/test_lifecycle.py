"""States, status, deprecated ways to end, and processes that end badly: FIN-1, FIN-2, FIN-4, FIN-6, FIN-9."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from run_view import run_script, view_run

import tracker


def test_what_status_tells(tmp_path: Path) -> None:
    """FIN-9: items are the calls that write; the store has all of them after a flush."""
    run = tracker.init(project="p", settings={"base_url": str(tmp_path / "root")})
    first = run.status()
    assert first is not None
    run.log({"a": 1})
    run.log({"a": 2})
    waiting = run.status()
    assert waiting is not None
    assert waiting.sync_items_total == first.sync_items_total + 2
    assert waiting.sync_items_pending > 0
    assert run.flush(30)
    done = run.status()
    assert done is not None
    assert (done.sync_items_total, done.sync_items_pending) == (waiting.sync_items_total, 0)
    assert done.sync_time is not None
    assert abs(done.sync_time - datetime.now(UTC)) < timedelta(minutes=1)
    run.finish()
    with pytest.raises(tracker.UsageError, match="finished"):
        run.status()
    with tracker.init(mode="disabled") as off:
        assert off.status() is None


def test_old_ways_to_end_are_said_to_be_old(start: Any, capsys: Any) -> None:
    """FIN-1: None is code 0."""
    run, writer = start()
    run.finish(quiet=True)
    assert "finish(quiet=) has no effect" in capsys.readouterr().err
    assert (writer.own("state"), writer.own("exit_code")) == ("finished", 0)
    run, writer = start()
    tracker.join(3)
    assert "old name of run.finish()" in capsys.readouterr().err
    assert (writer.own("state"), writer.own("exit_code")) == ("failed", 3)
    run.join()
    assert writer.own("exit_code") == 3


DAY_US = 86_400_000_000


@pytest.mark.parametrize(
    ("code", "later", "state"),
    [
        ("", False, "running"),
        ("", True, "crashed"),
        ("run.mark_preempting(); run.flush()", False, "preempting"),
        ("run.mark_preempting(); run.flush()", True, "preempted"),
    ],
)
def test_what_a_reader_thinks_of_a_run_that_says_nothing_more(
    tmp_path: Path, code: str, later: bool, state: str
) -> None:
    """FIN-2, FIN-4, FIN-5: `os._exit` writes no end; without a sign of life the run counts as crashed."""
    run_script(f"import os\nrun = tracker.init()\nrun.log({{'a': 1}})\nrun.flush()\n{code}\nos._exit(7)", tmp_path)
    now_us = time.time_ns() // 1000
    assert view_run(tmp_path / "root", now_us + DAY_US if later else now_us).state.state == state


def test_an_exception_in_a_thread_does_not_end_the_run(tmp_path: Path) -> None:
    """FIN-6: Python prints it and goes on, and so does the run; a hook of the user's is called."""
    process = run_script(
        """
        import sys, threading
        threading.excepthook = lambda args: print("mine", args.exc_type.__name__, file=sys.stderr)
        run = tracker.init()
        def fail(): raise RuntimeError("in a thread")
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        run.log({"after": 1})
        """,
        tmp_path,
    )
    assert process.returncode == 0
    assert "mine RuntimeError" in process.err  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    assert (view.state.state, view.all_rows) == ("finished", [(0, {"after": 1})])


def test_a_run_that_was_left_open_in_a_thread_is_ended_with_the_process(tmp_path: Path) -> None:
    """FIN-6, HIST-9"""
    process = run_script(
        """
        import threading
        def work():
            run = tracker.init()
            run.log({"a": 1}, commit=False)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """,
        tmp_path,
    )
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    view = view_run(tmp_path / "root")
    assert (view.state.state, view.all_rows) == ("finished", [(0, {"a": 1})])


def test_the_config_as_it_is_stored_and_shown(tmp_path: Path) -> None:
    """CFG-15: the document wraps values; internals are hidden from `config` and shown in `rawconfig`."""
    run = tracker.init(project="p", config={"lr": 0.1, "net": {"w": 1}}, settings={"base_url": str(tmp_path / "root")})
    run.finish()
    found = tracker.Api(overrides={"base_url": str(tmp_path / "root")}).run(f"p/{run.id}")
    document = json.loads(found.json_config)
    assert {key: document[key] for key in ("lr", "net")} == {"lr": {"value": 0.1}, "net": {"value": {"w": 1}}}
    assert found.config == {"lr": 0.1, "net": {"w": 1}}
    assert {key for key in found.rawconfig if not key.startswith("_")} == {"lr", "net"}


def test_a_large_call_of_log_is_kept_and_said_once(tmp_path: Path, capsys: Any) -> None:
    """HIST-19: nothing is refused for its size."""
    run = tracker.init(project="p", settings={"base_url": str(tmp_path / "root")})
    for n in range(3):
        run.log({"text": str(n) * 150_000})
    run.finish()
    assert capsys.readouterr().err.count("bytes slow the training down") == 1
    view = view_run(tmp_path / "root")
    assert [len(cells["text"]) for _, cells in view.all_rows] == [150_000] * 3


@pytest.mark.parametrize("given", [{"tensorboard": True}, {"sync_tensorboard": True}])
def test_the_old_spelling_of_sync_tensorboard(given: dict[str, bool], capsys: Any) -> None:
    """INIT-14"""
    run = tracker.init(mode="disabled", **given)  # type: ignore[arg-type]
    assert run.settings.sync_tensorboard is True
    assert ("old name of sync_tensorboard" in capsys.readouterr().err) == ("tensorboard" in given)
    run.finish()


def test_the_summary_of_a_run_is_updated_with_something(start: Any) -> None:
    """SUM-7: without an argument it is the public class's way to store."""
    run, _ = start()
    with pytest.raises(TypeError):
        run.summary.update()
    run.summary.update({"a": 1})
    assert run.summary["a"] == 1
