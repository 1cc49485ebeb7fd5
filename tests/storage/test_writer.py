"""The writer as the SDK sees it: `log` never waits and never raises disk trouble; finish and flush tell the truth."""

import errno
import itertools
import os
import sys
import threading
import time

import pytest
from written import history, read_back

from tracker.storage import wal as wal_module
from tracker.storage.frames import Log, RowMark, encode_frame
from tracker.storage.names import RunRef
from tracker.storage.spool import find_spool_dirs
from tracker.storage.stores import open_store
from tracker.storage.sync import find_spools
from tracker.storage.writer import CLOCK, RunWriter, WriterOptions


@pytest.fixture
def said():
    return []


@pytest.fixture
def make(tmp_path, said):
    opened = []

    def open_writer(*, url=None, **options):
        writer = RunWriter.open(
            dir=tmp_path / "work",
            time_name="20260101_000000",
            ref=RunRef("e", "p", "r"),
            store_url=url or str(tmp_path / "root"),
            options=WriterOptions(**{"flush_min_s": 0.2, **options}),
            notify=lambda level, text: said.append((level, text)),
        )
        opened.append(writer)
        return writer

    yield open_writer
    for writer in opened:
        writer.finish(10.0)


def log(writer, number, **cells):
    stamp = 1_790_000_000_000_000 + number
    return writer.log(stamp, number, number, cells or {"a": number}, [RowMark(number, number, stamp, 0.5)])


def rows(tmp_path):
    return [cell[0] for cells in history(open_store(str(tmp_path / "root"))).values() for cell in cells]


@pytest.mark.parametrize("shipper", ["thread", "process"])
def test_finish_waits_until_the_store_has_everything_and_cleans_up(tmp_path, make, shipper):
    writer = make(shipper=shipper)
    for number in range(500):
        assert log(writer, number)
    report = writer.finish(30.0)
    assert (report.shipped, report.waiting_frames, report.reason) == (True, 0, None)
    assert rows(tmp_path) == list(range(500))
    assert find_spool_dirs(tmp_path / "work") == []


def test_a_run_that_ends_before_its_first_flush_writes_one_file(tmp_path, make):
    writer = make(flush_min_s=60.0)
    writer.write_facts([("config", None, "lr", 0.1)])
    log(writer, 0)
    writer.finish(30.0)
    keys = [info.key for info in open_store(str(tmp_path / "root")).list("")]
    assert len([key for key in keys if key.endswith(".parquet")]) == 1
    assert sorted(keys)[0] == "_format.json"


@pytest.mark.parametrize("shipper", ["thread", "process"])
def test_flush_returns_when_the_store_has_what_was_logged_before(tmp_path, make, shipper):
    writer = make(shipper=shipper, flush_min_s=60.0, flush_max_s=60.0)
    log(writer, 0)
    assert writer.flush(30.0)
    assert rows(tmp_path) == [0]
    log(writer, 1)
    assert rows(tmp_path) == [0]


def test_data_arrives_by_itself_within_the_flush_interval(tmp_path, make):
    (tmp_path / "root").mkdir()
    writer = make()
    log(writer, 0)
    deadline = time.monotonic() + 20
    while not (found := rows(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == [0]


def test_an_unreachable_store_is_said_once_and_the_data_waits(tmp_path, make, said):
    blocked = tmp_path / "root"
    blocked.write_text("a file where the root should be")
    writer = make()
    for number in range(10):
        log(writer, number)
        time.sleep(0.1)
    started = time.monotonic()
    report = writer.finish(1.0)
    assert time.monotonic() - started < 5
    assert not report.shipped
    assert report.waiting_frames == 10
    assert report.reason
    assert [level for level, _ in said].count("warn") == 1
    assert str(writer.spool_dir) in said[0][1]
    (info,) = find_spools(tmp_path / "work")
    assert info.waiting_frames == 10
    blocked.unlink()
    assert writer._ship.done.wait(30)  # the process lives on: what waited goes as soon as the store answers
    assert rows(tmp_path) == list(range(10))
    assert said[-1][0] == "info"


def test_a_full_disk_refuses_says_so_once_counts_and_goes_on(tmp_path, make, said, monkeypatch):
    writer = make()
    assert log(writer, 0)
    real = os.write

    def full(fd, data):
        if data.startswith(wal_module.MAGIC):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(wal_module.os, "write", full)
        assert [log(writer, number) for number in (1, 2, 3)] == [False, False, False]
    assert log(writer, 4)
    assert log(writer, 5)
    writer.finish(30.0)
    assert rows(tmp_path) == [0, 4, 5]
    errors = [text for level, text in said if level == "error"]
    assert len(errors) == 1
    assert "No space left on device" in errors[0]
    (events,) = read_back(open_store(str(tmp_path / "root"))).values()
    refused = [event["i"] for event in events.to_pylist() if event["key"] == f"{writer.writer_id}.refused"]
    assert refused == [3]


def test_the_limit_of_waiting_data_refuses_like_a_full_disk(tmp_path, make, said):
    (tmp_path / "root").write_text("in the way")
    writer = make(spool_bytes_max=2000)
    outcomes = [log(writer, number, a="x" * 100) for number in range(40)]
    assert outcomes[0]
    assert not outcomes[-1]
    assert outcomes == sorted(outcomes, reverse=True)
    assert any("limit" in text for level, text in said if level == "error")
    (tmp_path / "root").unlink()


def test_values_that_need_packing_raise_and_write_nothing(tmp_path, make):
    writer = make()
    before = writer.next_seq
    with pytest.raises(OverflowError):
        log(writer, 0, a=2**70)
    with pytest.raises(TypeError):
        log(writer, 0, a=object())
    assert writer.next_seq == before
    assert log(writer, 0)


def test_rows_of_many_threads_are_all_there(tmp_path, make):
    writer = make()
    counter, lock = iter(range(4000)), threading.Lock()

    def work():
        while True:
            with lock:
                number = next(counter, None)
            if number is None:
                return
            log(writer, number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.finish(30.0)
    assert rows(tmp_path) == list(range(4000))


def test_stamps_of_a_writer_only_grow(tmp_path, make):
    writer = make()
    ahead = CLOCK.last_us + 5_000_000
    CLOCK.observe(ahead)
    for number in range(5):
        log(writer, number)
    writer.finish(30.0)
    (events,) = read_back(open_store(str(tmp_path / "root"))).values()
    stamps = sorted({(event["seq"], event["hlc"]) for event in events.to_pylist()})
    assert [seq for seq, _ in stamps] == [0, 1, 2, 3, 4]
    assert all(a[1] < b[1] for a, b in itertools.pairwise(stamps))
    assert stamps[0][1] > ahead
    assert int((tmp_path / "work" / "hlc").read_text()) >= stamps[-1][1]


def test_a_writer_beats_when_nothing_was_shipped_for_long(tmp_path, make):
    writer = make(heartbeat_s=0.3)
    log(writer, 0)
    deadline = time.monotonic() + 20
    while writer.next_seq < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    writer.finish(30.0)
    (events,) = read_back(open_store(str(tmp_path / "root"))).values()
    assert f"{writer.writer_id}.heartbeat" in {event["key"] for event in events.to_pylist()}


def test_shipping_imports_no_pandas_and_no_fsspec_on_a_local_root(tmp_path):
    """pyarrow imports pandas behind one's back (0.2 s, 30 MB); a training process must not pay for it."""
    import subprocess

    code = f"""
import sys
from pathlib import Path
from tracker.storage.writer import RunWriter, WriterOptions
from tracker.storage.frames import Log, RowMark, encode_frame
from tracker.storage.names import RunRef
for turn in range(3):
    writer = RunWriter.open(dir=Path({str(tmp_path)!r}), time_name=str(turn), ref=RunRef("e", "p", "r"),
                            store_url={str(tmp_path / "root")!r}, options=WriterOptions(flush_min_s=0.1), notify=print)
    for number in range(3):
        writer.log(1, number, number, {{"a": 1.5, "b": "x", "c": None, "d": 3}}, [RowMark(number, number, 1, 0.5)])
        writer.flush(10.0)
    assert writer.finish(10.0).shipped
print([name for name in ("pandas", "fsspec", "polars", "duckdb", "s3fs") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_hot_path_writes_the_bytes_of_a_log_frame():
    """`RunWriter.log` encodes a tuple in place of a Log; whoever changes the one must change the other."""
    cells, closes = {"a": 1.5}, [RowMark(3, 4, 5, 0.5)]
    assert encode_frame(("h", 1, 2, 3, 4, cells, closes)) == encode_frame(Log(1, 2, 3, 4, cells, closes))
