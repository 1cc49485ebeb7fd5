"""What interrupts a training process: revoked credentials, a laptop that sleeps, forks, spawned processes, threads, and
a kill in the middle of any of them. Every row that `log` returned from is there once (after sync, if killed).
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from chaos import sync_until_clean
from emulator.servers import FaultyStore

import tracker
from tracker.storage.sync import sync_dir

FAST = {"TRACKER_X_FLUSH_MIN_S": "0.1", "TRACKER_X_FLUSH_MAX_S": "0.2", "TRACKER_PROJECT": "p"}
PRELUDE = """
import mmap, os, signal, struct, sys, threading, time
import tracker
def counter(name):
    with open(name, "wb") as file:
        file.write(bytes(8))
    with open(name, "r+b") as file:
        return mmap.mmap(file.fileno(), 8)
def acknowledge(counted, number):
    counted[:8] = struct.pack("<q", number)
"""


def start(code: str, cwd: Path, url: str, **env: str) -> subprocess.Popen[str]:
    """A process that runs `code`, with `counter(name)` and `acknowledge(counter, rows)` to say how far it came."""
    script = cwd / "script.py"
    script.write_text(PRELUDE + textwrap.dedent(code))
    return subprocess.Popen(
        [sys.executable, str(script)],
        cwd=cwd,
        env=os.environ | FAST | {"TRACKER_BASE_URL": url} | env,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What it said, once it has ended well."""
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


def acknowledged(path: Path) -> int:
    data = path.read_bytes() if path.exists() else b""
    count: int = struct.unpack("<q", data)[0] if len(data) == 8 else 0
    return count


def wait_for(path: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while acknowledged(path) < count:
        assert time.monotonic() < deadline, f"{path.name} did not reach {count}"
        time.sleep(0.02)


def rows_of(url: str) -> list[dict[str, Any]]:
    return [row for run in tracker.Api(overrides={"base_url": url}).runs("main/p") for row in run.scan_history()]


STEADY = """
run = tracker.init(dir=os.getcwd())
counted = counter("count")
for n in range(400):
    run.log({"n": n})
    acknowledge(counted, n + 1)
    time.sleep(0.01)
run.finish()
"""


def test_credentials_that_are_revoked_and_given_again(tmp_path: Path, s3_faults: FaultyStore):
    process = start(STEADY, tmp_path, s3_faults.url)
    wait_for(tmp_path / "count", 100)
    s3_faults.proxy.set_faults({"mode": "err_before", "status": 403})
    wait_for(tmp_path / "count", 300)
    s3_faults.proxy.set_faults()
    said = ended(process)
    assert "goes on" in said
    assert "answers again" in said
    assert [row["n"] for row in rows_of(s3_faults.url)] == list(range(400))


def test_credentials_that_stay_revoked_keep_the_data_for_sync(tmp_path: Path, s3_faults: FaultyStore):
    process = start(STEADY, tmp_path, s3_faults.url, TRACKER_X_FINISH_TIMEOUT_S="1")
    wait_for(tmp_path / "count", 100)
    s3_faults.proxy.set_faults({"mode": "err_before", "status": 403})
    said = ended(process)
    assert "tracker sync" in said
    s3_faults.proxy.set_faults()
    sync_until_clean(tmp_path / "tracker-runs")
    assert [row["n"] for row in rows_of(s3_faults.url)] == list(range(400))


def test_a_process_that_sleeps_is_not_taken_for_dead_and_goes_on(tmp_path: Path, s3_faults: FaultyStore):
    """While it is stopped its connections break, and somebody syncs the machine's runs."""
    process = start(STEADY, tmp_path, s3_faults.url)
    for count in (100, 200):
        wait_for(tmp_path / "count", count)
        s3_faults.proxy.set_faults({"mode": "delay", "delay_s": 0.3})  # so that a request is under way
        time.sleep(0.2)
        process.send_signal(signal.SIGSTOP)
        s3_faults.proxy.set_faults({"mode": "drop_after"})
        report = sync_dir(tmp_path)
        assert [info.state for info in report.live] == ["live"]
        assert not report.shipped
        time.sleep(1.0)
        s3_faults.proxy.set_faults()
        process.send_signal(signal.SIGCONT)
    ended(process)
    assert [row["n"] for row in rows_of(s3_faults.url)] == list(range(400))
    (run,) = tracker.Api(overrides={"base_url": s3_faults.url}).runs("main/p")
    assert run.state == "finished"


def test_workers_forked_while_the_parent_logs(tmp_path: Path):
    """As a DataLoader does: some only compute, some log, some are killed; then the parent is killed as well."""
    url = str(tmp_path / "root")
    process = start(
        """
        run = tracker.init(dir=os.getcwd())
        counted, n = counter("parent"), 0
        def log_some(count):
            global n
            for _ in range(count):
                run.log({"n": n, "of": "parent"})
                n += 1
                acknowledge(counted, n)
        for worker in range(8):
            log_some(20)
            if not os.fork():
                if worker % 4 == 0:
                    os._exit(0)
                if worker % 4 == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                mine = counter(f"worker-{worker}")
                for k in range(10):
                    tracker.log({"n": k, "of": f"worker-{worker}"})
                    acknowledge(mine, k + 1)
                if worker % 4 == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                sys.exit(0)
        for _ in range(8):
            os.wait()
            log_some(10)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path, url,
    )  # fmt: skip
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    sync_until_clean(tmp_path / "tracker-runs")
    found = by_origin(rows_of(url))
    assert found["parent"] == list(range(240)) == list(range(acknowledged(tmp_path / "parent")))
    assert {name: found[name] for name in found if name != "parent"} == {
        f"worker-{worker}": list(range(10)) for worker in (2, 3, 6, 7)
    }


def test_processes_spawned_into_one_run(tmp_path: Path):
    url = str(tmp_path / "root")
    (tmp_path / "spawned.py").write_text(
        PRELUDE
        + textwrap.dedent(
            """
            def work(name):
                run = tracker.init(dir=os.getcwd(), id="shared", settings=tracker.Settings(mode="shared"))
                mine = counter(name)
                for n in range(200):
                    run.log({"n": n, "of": name})
                    acknowledge(mine, n + 1)
                    if n == 150 and name == "worker-1":
                        os.kill(os.getpid(), signal.SIGKILL)
                run.finish()
            """
        )
    )
    process = start(
        """
        import multiprocessing
        from spawned import work
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            workers = [context.Process(target=work, args=(f"worker-{n}",)) for n in range(3)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        """,
        tmp_path, url,
    )  # fmt: skip
    ended(process)
    sync_until_clean(tmp_path / "tracker-runs")
    assert by_origin(rows_of(url)) == {
        "worker-0": list(range(200)),
        "worker-1": list(range(151)),
        "worker-2": list(range(200)),
    }


@pytest.mark.parametrize("delay_s", [0.3, 1.0])
def test_threads_that_log_at_once_and_are_killed(tmp_path: Path, delay_s: float):
    url = str(tmp_path / "root")
    process = start(
        """
        run = tracker.init(dir=os.getcwd())
        def work(name):
            mine = counter(name)
            n = 0
            while True:
                run.log({"n": n, "of": name})
                n += 1
                acknowledge(mine, n)
        for k in range(8):
            threading.Thread(target=work, args=(f"thread-{k}",), daemon=True).start()
        time.sleep(60)
        """,
        tmp_path, url,
    )  # fmt: skip
    for k in range(8):
        wait_for(tmp_path / f"thread-{k}", 1)
    time.sleep(delay_s)
    process.kill()
    process.communicate(timeout=10)
    sync_until_clean(tmp_path / "tracker-runs")
    found = by_origin(rows_of(url))
    for k in range(8):
        count = acknowledged(tmp_path / f"thread-{k}")
        assert found[f"thread-{k}"] == list(range(len(found[f"thread-{k}"])))
        assert count <= len(found[f"thread-{k}"]) <= count + 1


def by_origin(rows: list[dict[str, Any]]) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        found[row["of"]].append(row["n"])
    return {name: sorted(numbers) for name, numbers in sorted(found.items())}
