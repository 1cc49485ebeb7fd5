"""`tracker status` shows what waits, `tracker sync` ships it, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Tracker

KILLED = """
import os, signal, sys, tracker
settings = tracker.Settings(x_flush_min_s=3600, x_flush_max_s=3600)
run = tracker.init(project="p", id="killed", dir=sys.argv[1], settings=settings)
for step in range(100):
    run.log({"x": step})
os.kill(os.getpid(), signal.SIGKILL)
"""
OFFLINE = """
import sys, tracker
with tracker.init(project="p", id="offline", dir=sys.argv[1], mode="offline") as run:
    run.log({"x": 1})
"""
LIVE = """
import sys, tracker
run = tracker.init(project="p", id="live", dir=sys.argv[1])
run.log({"x": 1})
print("ready", flush=True)
sys.stdin.read()
"""


def run_script(code: str, work: Path, store: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRACKER_BASE_URL": store}
    command = [sys.executable, "-c", code, str(work)]
    return subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_what_a_killed_process_logged_waits_is_shown_and_shipped_once(
    tracker: Tracker, work: Path, store_url: str
) -> None:
    assert run_script(KILLED, work, store_url).returncode == -signal.SIGKILL
    shown = json.loads(tracker("status", str(work), "--format", "json").out)
    (spool,) = shown["spools"]
    assert (spool["state"], spool["run"], spool["store"]) == ("waiting", "main/p/killed", store_url)
    assert spool["waiting_records"] >= 100
    status = tracker("status", str(work))
    assert "waiting  main/p/killed" in status.out
    assert f"tracker sync {work}" in status.err

    done = tracker("sync", str(work))
    assert (done.code, done.out) == (0, "")
    assert "of 1 process(es)" in done.err
    for _ in range(2):
        rows = tracker("query", store_url, "--history", "--format", "jsonl").records()
        assert [row["x"] for row in rows] == list(range(100))
        assert "waiting  nothing" in tracker("status", str(work)).out
        tracker("sync", str(work))


def test_sync_can_send_it_elsewhere(tracker: Tracker, work: Path, tmp_path: Path) -> None:
    run_script(KILLED, work, str(tmp_path / "wanted"))
    other = str(tmp_path / "other")
    assert tracker("sync", str(work), "--to", other).code == 0
    assert len(tracker("query", other, "--history", "--format", "jsonl").records()) == 100
    assert tracker("query", str(tmp_path / "wanted")).code == 3


def test_offline_runs_are_copied_to_where_they_shall_go(tracker: Tracker, work: Path, tmp_path: Path) -> None:
    assert run_script(OFFLINE, work, str(tmp_path / "store")).returncode == 0
    done = tracker("sync", str(work), "--to", str(tmp_path / "store"))
    assert done.code == 0
    assert "logged offline" in done.err
    assert [run["id"] for run in tracker("query", str(tmp_path / "store"), "--format", "jsonl").records()] == [
        "offline"
    ]


def test_a_store_that_is_away_leaves_everything_and_says_so(tracker: Tracker, work: Path, tmp_path: Path) -> None:
    run_script(KILLED, work, str(tmp_path / "store"))
    (tmp_path / "store").write_text("a file where the root should be")
    done = tracker("sync", str(work))
    assert done.code == 4
    assert "warning: not shipped, kept on this disk" in done.err
    assert "error[storage-unavailable]: 1 of the data directories could not be shipped." in done.err
    (tmp_path / "store").unlink()
    assert tracker("sync", str(work)).code == 0
    rows = tracker("query", str(tmp_path / "store"), "--history", "--format", "jsonl").records()
    assert len(rows) == 100


def test_a_living_process_is_left_alone(tracker: Tracker, work: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "TRACKER_BASE_URL": str(tmp_path / "store")}
    command = [sys.executable, "-c", LIVE, str(work)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert "live     main/p/live" in tracker("status", str(work)).out
        done = tracker("sync", str(work))
        process.communicate("", timeout=60)
    assert done.code == 0
    assert "left alone: run live" in done.err
    assert process.returncode == 0


def test_a_whole_root_is_copied(tracker: Tracker, work: Path, s3_url: str, tmp_path: Path) -> None:
    run_script(OFFLINE.replace('mode="offline"', 'mode="online"'), work, s3_url)
    done = tracker("sync", s3_url, "--to", str(tmp_path / "copy"))
    assert done.code == 0
    assert "copied 1 objects" in done.err
    assert len(tracker("query", str(tmp_path / "copy"), "--format", "jsonl").records()) == 1


def test_status_says_where_data_goes_and_why(tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tracker("status", str(tmp_path)).out
    assert "named by nobody: the user data directory of this platform" in first
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.example.org")
    assert tracker("status", str(tmp_path)).out == first
    monkeypatch.setenv("WANDB_BASE_URL", "s3://bucket/runs/")
    assert "root     s3://bucket/runs\nnamed by the environment variable WANDB_BASE_URL" in tracker("status").out
    monkeypatch.setenv("TRACKER_BASE_URL", str(tmp_path / "mine"))
    assert f"root     {tmp_path / 'mine'}\nnamed by the environment variable TRACKER_BASE_URL" in tracker("status").out
