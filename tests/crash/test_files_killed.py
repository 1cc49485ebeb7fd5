"""kill -9 between staging, shipping and naming loses no file that was handed over, after `tracker sync`.

3 random kills in the default run; 40 with `pytest -m slow tests/crash`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from written import read_back

from tracker.apis.public import Api
from tracker.storage.fsck import check_project
from tracker.storage.names import blob_key
from tracker.storage.spool import find_spool_dirs
from tracker.storage.stores import open_store
from tracker.storage.sync import sync_dir

SCRIPT = Path(__file__).with_name("files_writer.py")


def killed(work: Path, url: str, seed: int) -> tuple[str, list[list[str]]]:
    """The id of a run that was killed at a random moment, and what it had said."""
    chosen = random.Random(seed)
    shipper = chosen.choice(["thread", "process"])
    command = [sys.executable, str(SCRIPT), str(work), url, shipper, str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    run_id = process.stdout.readline().decode().strip()
    assert run_id, "it died by itself"
    time.sleep(chosen.uniform(0.05, 0.8))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lines = process.stdout.read().decode().split("\n")[:-1]
    process.stdout.close()
    return run_id, [line.split() for line in lines]


def sync_until_clean(work: Path) -> None:
    deadline = time.monotonic() + 60
    while find_spool_dirs(work):
        report = sync_dir(work)
        assert not report.failed
        if not report.live:
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def check(tmp_path: Path, kills: int, seed: int) -> None:
    url = str(tmp_path / "root")
    work = tmp_path / "work"
    work.mkdir()
    said = dict(killed(work, url, seed + count) for count in range(kills))
    sync_until_clean(work / "tracker-runs")
    store = open_store(url)
    assert check_project(store, "main", "p").is_sound
    media = {
        json.loads(row["s"])["sha256"]
        for events in read_back(store).values()
        for row in events.to_pylist()
        if row["kind"] == "history" and row["key"] == "media"
    }
    total = 0
    for run_id, lines in said.items():
        files = {file.name: file.sha256 for file in Api({"base_url": url}).run(f"main/p/{run_id}").files()}
        for what, name, sha256 in lines:
            assert sha256 in media if what == "media" else files[name] == sha256, (run_id, what, name)
            assert (Path(url) / blob_key("main", "p", sha256)).exists()
            total += 1
    assert total > 10


@pytest.mark.parametrize("seed", [1])
def test_no_file_is_lost(tmp_path: Path, seed: int) -> None:
    """SAVE-6, FIN-4."""
    check(tmp_path, 3, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [100, 200, 300, 400])
def test_no_file_is_lost_in_many_kills(tmp_path: Path, seed: int) -> None:
    check(tmp_path, 10, seed)
