"""The spool: one owner, one shipper, nothing touched by others while its owner lives."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tracker.storage import spool as spool_module
from tracker.storage.clock import HybridClock
from tracker.storage.names import RunRef, new_ulid
from tracker.storage.spool import FileLock, Spool, find_spool_dirs, on_tmpfs, read_hlc, read_json, write_hlc
from tracker.storage.sync import find_spools, sync_dir

REF = RunRef("main", "proj", "x")


def make(directory, writer="0" * 26, url="memory://spool"):
    return Spool.create(directory, "20260101_000000", REF, writer, url)


def hold_spool(directory, ready):
    spool = make(directory)
    ready.set()
    time.sleep(60)
    spool.close()


def adopt(path, start, results):
    spool = Spool.load(path)
    start.wait()
    results.put(spool.try_adopt())
    time.sleep(0.5)


def test_eight_ranks_that_start_in_the_same_second_with_one_id_get_a_spool_each(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make(tmp_path, new_ulid(1_790_000_000_000_000)), range(8)))
    assert len({spool.path for spool in made}) == 8
    assert len(find_spool_dirs(tmp_path)) == 8
    assert all(spool.is_alive() for spool in made)


def test_a_spool_directory_is_never_shared(tmp_path):
    make(tmp_path)
    with pytest.raises(FileExistsError):
        make(tmp_path)


def test_nobody_may_adopt_the_spool_of_a_living_process(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold_spool, args=(tmp_path, ready))
    process.start()
    try:
        assert ready.wait(30)
        (path,) = find_spool_dirs(tmp_path)
        spool = Spool.load(path)
        assert spool.is_alive()
        assert not spool.try_adopt()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert not spool.is_alive()
        assert spool.try_adopt()
        spool.close()
    finally:
        process.kill()


def test_of_two_processes_that_adopt_one_orphan_one_wins(tmp_path):
    make(tmp_path).close()
    (path,) = find_spool_dirs(tmp_path)
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=adopt, args=(path, start, results)) for _ in range(4)]
    for process in processes:
        process.start()
    time.sleep(1)
    start.set()
    assert sorted(results.get(timeout=30) for _ in processes) == [False, False, False, True]
    for process in processes:
        process.join()


def test_a_forked_child_does_not_keep_the_lock_alive(tmp_path):
    """A data loader's worker that outlives its killed parent must not make the orphan look owned."""
    code = f"""
import os, sys, time
from pathlib import Path
from tracker.storage.writer import RunWriter, WriterOptions
from tracker.storage.names import RunRef
writer = RunWriter.open(dir=Path({str(tmp_path)!r}), time_name="t", ref=RunRef("e", "p", "r"),
                        store_url={str(tmp_path / "root")!r}, options=WriterOptions(), notify=lambda *_: None)
os.register_at_fork(after_in_child=writer.abandon_in_child)
pid = os.fork()
if pid == 0:
    os.close(1)
    time.sleep(30)
    os._exit(0)
print(pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    child = int(done.stdout)
    try:
        (path,) = find_spool_dirs(tmp_path)
        spool = Spool.load(path)
        assert spool.try_adopt()
        spool.close()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_spool_from_another_host_is_left_alone_until_it_is_quiet(tmp_path, monkeypatch):
    spool = make(tmp_path)
    spool.close()
    (spool.path / "wal-000000000000.log").write_bytes(b"")
    monkeypatch.setattr(spool_module.socket, "gethostname", lambda: "elsewhere")
    other = Spool.load(spool.path)
    assert not other.try_adopt()
    long_ago = time.time() - 3600
    os.utime(spool.path / "wal-000000000000.log", (long_ago, long_ago))
    assert other.try_adopt()
    other.close()


def test_a_directory_without_a_readable_owner_is_no_spool(tmp_path):
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-1" / "owner.json").write_text("{torn")
    (tmp_path / "run-2").mkdir()
    (tmp_path / "run-2" / "owner.json").write_text(json.dumps({"entity": "e"}))
    assert Spool.load(tmp_path / "run-1") is None
    assert Spool.load(tmp_path / "run-2") is None


def test_stamps_never_go_back_when_the_wall_clock_steps_back_between_two_sessions(tmp_path):
    first = HybridClock(read_hlc(tmp_path), wall=lambda: 2_000_000)
    stamp = first.tick()
    write_hlc(tmp_path, first.last_us)
    second = HybridClock(read_hlc(tmp_path), wall=lambda: 1_000_000)
    assert second.tick() == stamp + 1
    write_hlc(tmp_path, 5)
    assert read_hlc(tmp_path) == stamp


def test_a_removed_directory_cannot_be_locked_by_its_old_name(tmp_path):
    """Between open and flock the owner may have cleaned up: a lock on the unlinked file would mean nothing."""
    path = tmp_path / "lock"
    held = FileLock(path)
    assert held.try_acquire()
    waiting = FileLock(path)
    assert not waiting.try_acquire()
    path.unlink()
    held.release()
    assert waiting.try_acquire()
    waiting.release()


def test_a_spool_that_vanishes_while_it_is_looked_at_is_no_error(tmp_path):
    """A shipping process that outlived its trainer removes the directory when it is done."""
    made = make(tmp_path)
    other = Spool.load(made.path)
    made.remove_log(directory_too=True)
    assert not other.try_adopt()
    assert sync_dir(make(tmp_path / "b").path.parent).failed == []
    assert find_spools(made.path) == []


def test_json_files_are_replaced_in_one_step(tmp_path):
    path = tmp_path / "ship.json"
    spool_module.write_json(path, {"a": 1})
    spool_module.write_json(path, {"a": 2}, durable=True)
    assert read_json(path) == {"a": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["ship.json"]
    path.write_text("[1]")
    assert read_json(path) is None


def test_tmpfs_is_recognised(tmp_path):
    assert on_tmpfs(spool_module.Path("/dev/shm"))
    assert not on_tmpfs(spool_module.Path("/usr"))
