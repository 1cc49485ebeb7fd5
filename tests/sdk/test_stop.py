"""Asking a run to stop from outside: FIN-7."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from run_view import run_script, view_run

import tracker
from tracker.errors import UsageError
from tracker.sdk.interrupt import interrupt_main_thread
from tracker.storage.stops import find_stop, request_stop, stop_key
from tracker.storage.stores import open_store

ENV = {"TRACKER_FLUSH_MIN_S": "0.1", "TRACKER_FLUSH_MAX_S": "0.1", "TRACKER_STOP_CHECK_S": "0.1"}

LONG = """
import time
run = tracker.init(id="long")
tracker.log({"a": 1})
run.flush()
print("ready", flush=True)
"""


def ask_to_stop(process: Any, folder: Path) -> None:
    assert process.stdout.readline() == "ready\n"
    tracker.Api(overrides={"base_url": str(folder / "root")}).run("p/long").stop()


@pytest.mark.parametrize("shipper", ["thread", "process"])
def test_a_run_that_is_asked_to_stop_is_interrupted_and_ends_as_killed(tmp_path: Path, shipper: str) -> None:
    """FIN-7, FIN-3: also in the middle of a sleep."""
    process = run_script(f"{LONG}\ntime.sleep(60)", tmp_path, env={**ENV, "TRACKER_SHIPPER": shipper}, wait=False)
    ask_to_stop(process, tmp_path)
    _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "was asked to stop by" in said
    assert "KeyboardInterrupt" in said
    view = view_run(tmp_path / "root")
    assert (view.state.state, view.only["exit_code"]) == ("killed", 255)


def test_a_training_that_catches_the_interrupt_ends_as_it_likes_and_its_run_as_killed(tmp_path: Path) -> None:
    """FIN-7"""
    process = run_script(
        f"{LONG}\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    tracker.log({{'saved': 1}})\nrun.finish()",
        tmp_path,
        env=ENV,
        wait=False,
    )
    ask_to_stop(process, tmp_path)
    process.communicate(timeout=30)
    assert process.returncode == 0
    view = view_run(tmp_path / "root")
    assert view.state.state == "killed"
    assert view.all_rows == [(0, {"a": 1}), (1, {"saved": 1})]


def test_the_command_asks_too_and_the_store_stays_whole(tmp_path: Path) -> None:
    """FIN-7: `tracker runs stop`; what asks is nothing that `tracker fsck` minds."""
    process = run_script(f"{LONG}\ntime.sleep(60)", tmp_path, env=ENV, wait=False)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    command = [str(Path(sys.executable).with_name("tracker"))]
    url = str(tmp_path / "root")
    stop = [*command, "runs", "stop", "long", "--url", url]
    asked = subprocess.run(stop, capture_output=True, text=True, check=True)
    assert asked.stdout == "long\n"
    assert "asked 1 process of 1 run of main/p to stop" in asked.stderr
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    again = subprocess.run(stop, capture_output=True, text=True, check=False)
    assert (again.returncode, "no process writes it" in again.stderr) == (2, True)
    unknown = subprocess.run([*command, "runs", "stop", "x", "--url", url], capture_output=True, check=False)
    assert unknown.returncode == 3
    checked = subprocess.run([*command, "fsck", url, "--json"], capture_output=True, text=True, check=True)
    (report,) = json.loads(checked.stdout)
    assert (report["sound"], report["findings"]) == (True, [])


def test_a_run_that_nobody_writes_is_not_asked(tmp_path: Path) -> None:
    run = tracker.init(project="p", settings={"base_url": str(tmp_path / "root")})
    run.finish()
    with pytest.raises(UsageError, match="is finished: no process writes it"):
        tracker.Api(overrides={"base_url": str(tmp_path / "root")}).run(f"p/{run.id}").stop()


def test_a_request_is_there_once_and_for_one_writer(store_url: str) -> None:
    store = open_store(store_url)
    assert find_stop(store, "main", "p", "w1") is None
    request_stop(store, "main", "p", "w1", by="me", now_us=1)
    request_stop(store, "main", "p", "w1", by="you", now_us=2)
    assert find_stop(store, "main", "p", "w1") == "me"
    assert find_stop(store, "main", "p", "w2") is None
    store.put_if_absent(stop_key("main", "p", "w3"), b"garbage")
    assert find_stop(store, "main", "p", "w3") == "somebody"
    store.close()


def test_a_process_that_ignores_interrupts_is_interrupted_all_the_same() -> None:
    """FIN-7: as in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        timer = threading.Timer(0.05, interrupt_main_thread)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            wait_in_python()
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)


def wait_in_python() -> None:
    for _ in range(1000):
        time.sleep(0.01)
