"""kill -9 in the middle of logging loses no record that `log` returned from, after `tracker sync`.

10 random kills in the default run; 200 with `pytest -m slow tests/crash`.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from written import history

from tracker.storage.spool import find_spool_dirs
from tracker.storage.stores import open_store
from tracker.storage.sync import sync_dir

SCRIPT = Path(__file__).with_name("killed_writer.py")


def kill_one(work: Path, url: str, run: str, seed: int) -> tuple[str, int]:
    """Start a writer, kill it at a random moment; returns its id and the last acknowledged number (-1: none)."""
    chosen = random.Random(seed)
    shipper = chosen.choice(["thread", "thread", "process"])
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(work), url, run, shipper, str(seed)], stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    writer_id = b""
    while not writer_id.endswith(b"\n"):
        piece = os.read(process.stdout.fileno(), 27 - len(writer_id))
        assert piece, "the writer died by itself"
        writer_id += piece
    os.set_blocking(process.stdout.fileno(), False)
    said, deadline = b"", time.monotonic() + chosen.uniform(0.0, 1.2)
    while time.monotonic() < deadline:
        try:
            said += os.read(process.stdout.fileno(), 1 << 16)
        except BlockingIOError:
            time.sleep(0.0005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    os.set_blocking(process.stdout.fileno(), True)
    said += process.stdout.read()
    process.stdout.close()
    whole = said[: said.rindex(b"\n")].split(b"\n") if b"\n" in said else []
    return writer_id.decode().strip(), int(whole[-1]) if whole else -1


def sync_until_clean(work: Path) -> None:
    """A shipping process may outlive its trainer: then sync finds the spool in good hands and comes again."""
    deadline = time.monotonic() + 60
    while True:
        report = sync_dir(work) if find_spool_dirs(work) else None
        if report is None or (not report.live and not report.failed):
            return
        assert time.monotonic() < deadline, report
        time.sleep(0.2)


def check(work: Path, url: str, kills: int, seed: int) -> None:
    acknowledged = {}
    for count in range(kills):
        writer_id, last = kill_one(work, url, f"run-{count % 3}", seed + count)
        acknowledged[writer_id] = last
        if count % 4 == 3:
            sync_until_clean(work)
    sync_until_clean(work)
    found = history(open_store(url))
    for writer_id, last in acknowledged.items():
        numbers = [value for _, key, value in found.get(writer_id, []) if key == "n"]
        assert numbers == list(range(len(numbers))), f"writer {writer_id}: rows missing or twice"
        assert len(numbers) > last, f"writer {writer_id}: {last} was acknowledged, {len(numbers)} rows are there"
    assert max(acknowledged.values()) > 100


@pytest.mark.parametrize("seed", [1])
def test_ten_random_kills_lose_nothing(tmp_path, seed):
    check(tmp_path / "work", str(tmp_path / "root"), 10, seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(1000, 9000, 1000))
def test_two_hundred_random_kills_lose_nothing(tmp_path, seed):
    check(tmp_path / "work", str(tmp_path / "root"), 25, seed)


def test_kills_on_the_s3_emulator_lose_nothing(tmp_path, s3_url):
    check(tmp_path / "work", s3_url, 3, 77)


def test_kills_on_the_gcs_emulator_lose_nothing(tmp_path, gcs_url):
    check(tmp_path / "work", gcs_url, 3, 99)
