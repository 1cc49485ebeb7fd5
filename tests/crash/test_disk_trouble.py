"""Disks that are full, read-only, or become so while a run goes on: it goes on, says so once, and loses nothing that
`log` returned from; what it had to refuse is counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_disk import run_on_small_disk
from written import history

import tracker
from tracker.storage.stores import open_store
from tracker.storage.sync import sync_dir

FAST = {"TRACKER_X_FLUSH_MIN_S": "0.1", "TRACKER_X_FLUSH_MAX_S": "0.2", "TRACKER_PROJECT": "p"}


def rows_of(url: str) -> list[int]:
    """Values of `n` of the one run, in the order of its rows."""
    (run,) = tracker.Api(overrides={"base_url": url}).runs("main/p")
    return [row["n"] for row in run.scan_history(keys=["n"])]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where the small disk's content stands afterwards."""
    path = tmp_path / "kept"
    path.mkdir()
    return path


def test_a_full_disk_under_the_log_refuses_says_so_and_goes_on_once_the_store_has_it(tmp_path: Path, kept: Path):
    """The log takes more than the disk holds; what the store has acknowledged makes room for what comes."""
    done = run_on_small_disk(
        tmp_path / "disk", "3m", """
        import glob
        run = tracker.init(dir=DISK)
        for n in range(60):
            run.log({"n": n, "text": os.urandom(50_000).hex()})
        wait_for(lambda: not glob.glob(DISK + "/**/wal-000000000000.log", recursive=True), 60)
        for n in range(60, 70):
            run.log({"n": n, "text": os.urandom(50_000).hex()})
        run.finish()
        """,
        env=FAST | {"TRACKER_BASE_URL": str(tmp_path / "root")}, keep=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Cannot write to" in done.stderr
    assert "can be written again" in done.stderr
    print(done.stderr)
    numbers = rows_of(str(tmp_path / "root"))
    assert numbers == sorted(set(numbers))
    assert numbers[-10:] == list(range(60, 70)), "logging went on by itself"
    assert 20 < len(numbers) < 70


def test_a_full_disk_under_the_root_is_waited_for(tmp_path: Path, kept: Path):
    done = run_on_small_disk(
        tmp_path / "disk", "1m", """
        run = tracker.init(dir=os.getcwd())
        for n in range(60):
            run.log({"n": n, "text": os.urandom(20_000).hex()})
            time.sleep(0.01)
        time.sleep(1)
        remount("size=64m")
        run.finish()
        """,
        env=FAST | {"TRACKER_BASE_URL": str(tmp_path / "disk" / "root")}, keep=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "No space left" in done.stderr
    assert "answers again" in done.stderr
    assert rows_of(str(kept / "root")) == list(range(60))


def test_a_root_that_becomes_read_only_is_waited_for(tmp_path: Path, kept: Path):
    done = run_on_small_disk(
        tmp_path / "disk", "64m", """
        run = tracker.init(dir=os.getcwd())
        for n in range(300):
            run.log({"n": n})
            time.sleep(0.01)
            if n == 100:
                remount("ro")
            if n == 250:
                remount("rw")
        run.finish()
        """,
        env=FAST | {"TRACKER_BASE_URL": str(tmp_path / "disk" / "root")}, keep=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Read-only" in done.stderr or "read-only" in done.stderr
    assert rows_of(str(kept / "root")) == list(range(300))


def test_a_read_only_root_costs_nothing_but_a_sync(tmp_path: Path, kept: Path):
    """The run ends as always; its data waits on the local disk and the message says how to send it."""
    done = run_on_small_disk(
        tmp_path / "disk", "64m", """
        remount("ro")
        run = tracker.init(dir=os.getcwd())
        for n in range(50):
            run.log({"n": n})
        run.finish()
        """,
        env=FAST | {"TRACKER_BASE_URL": str(tmp_path / "disk"), "TRACKER_X_FINISH_TIMEOUT_S": "1"}, keep=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tracker sync" in done.stderr
    report = sync_dir(tmp_path, to=str(tmp_path / "elsewhere"))
    assert not report.failed
    (cells,) = history(open_store(str(tmp_path / "elsewhere"))).values()
    assert [value for _, key, value in cells if key == "n"] == list(range(50))


def test_a_read_only_working_directory_is_told_and_replaced(tmp_path: Path, kept: Path):
    done = run_on_small_disk(
        tmp_path / "disk", "64m", """
        remount("ro")
        run = tracker.init(dir=DISK)
        for n in range(20):
            run.log({"n": n})
        run.finish()
        """,
        env=FAST | {"TRACKER_BASE_URL": str(tmp_path / "root")}, keep=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no directory that can be written to" in done.stderr
    assert rows_of(str(tmp_path / "root")) == list(range(20))
