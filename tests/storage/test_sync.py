"""`sync`: what processes left behind arrives, once, and one bad spool stops nothing else."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from store_maker import made_run
from written import history, read_back

from tracker.query.things import read_things
from tracker.storage.cache import PartCache
from tracker.storage.clock import wall_us
from tracker.storage.edits import EditWriter
from tracker.storage.errors import NotFound, UsageError
from tracker.storage.format_file import ensure_format
from tracker.storage.packing import compact_project
from tracker.storage.spool import Spool, find_spool_dirs, write_json
from tracker.storage.stores import open_store
from tracker.storage.sync import copy_root, find_spools, resume_orphans, sync_dir
from tracker.storage.things import ThingWriter

LEAVE = """
import os, sys, time
from pathlib import Path
from tracker.storage.frames import RowMark
from tracker.storage.names import RunRef
from tracker.storage.writer import RunWriter, WriterOptions
work, url, run, count, how = sys.argv[1:]
writer = RunWriter.open(dir=Path(work), time_name="t", ref=RunRef("e", "p", run), store_url=url,
                        options=WriterOptions(flush_min_s=0.2), notify=lambda *_: None)
if how == "partly":
    writer.log(1, 0, 0, {"a": 0}, [RowMark(0, 0, 1, 0.5)])
    assert writer.flush(30.0)
for number in range(int(how == "partly"), int(count)):
    stamp = 1 + number * 1000000
    writer.log(stamp, number, number, {"a": number}, [RowMark(number, number, stamp, 0.5 + number)])
if how == "open":
    stamp = 1 + int(count) * 1000000
    writer.log(stamp, int(count), int(count), {"pending": 1.0}, [])
os.kill(os.getpid(), 9)
"""


def leave(work, url, run="r", count=5, how="plain"):
    """A process that logs and is killed before (or after) anything was shipped."""
    command = [sys.executable, "-c", textwrap.dedent(LEAVE), str(work), str(url), run, str(count), how]
    done = subprocess.run(command, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


def cells(root):
    return sorted(cell for found in history(open_store(str(root))).values() for cell in found)


def test_a_killed_process_loses_nothing_and_syncing_twice_changes_nothing(tmp_path):
    work, root = tmp_path / "tracker-runs", tmp_path / "root"
    leave(work, root, how="partly")
    assert [info.state for info in find_spools(work)] == ["waiting"]
    report = sync_dir(tmp_path)
    assert [info.run_id for info in report.shipped] == ["r"]
    assert not report.failed
    assert cells(root) == [(n, "a", n) for n in range(5)]
    before = {info.key for info in open_store(str(root)).list("")}
    if find_spool_dirs(work):
        assert not sync_dir(work).failed
    assert {info.key for info in open_store(str(root)).list("")} == before


def test_a_row_left_open_is_closed_and_flagged(tmp_path):
    """`log(..., commit=False)` and then a kill: the cells were accepted, so they are a row."""
    work, root = tmp_path / "work", tmp_path / "root"
    leave(work, root, count=3, how="open")
    sync_dir(work)
    assert (3, "pending", 1.0) in cells(root)
    (events,) = read_back(open_store(str(root))).values()
    rows = events.to_pylist()
    (mark,) = [row for row in rows if row["kind"] == "row" and row["row"] == 3]
    assert mark["step"] == 3
    assert mark["hlc"] + mark["ts"] == 3_000_001
    assert mark["v"] == pytest.approx(2.5 + 1.0)
    assert [row["i"] for row in rows if str(row["key"]).endswith(".recovered")] == [1]


def test_one_spool_that_cannot_be_sent_does_not_stop_the_others(tmp_path):
    work, root, blocked = tmp_path / "work", tmp_path / "root", tmp_path / "blocked"
    blocked.write_text("no directory")
    leave(work, blocked, run="bad")
    leave(work, root, run="good")
    report = sync_dir(work)
    assert [info.run_id for info in report.shipped] == ["good"]
    assert len(report.failed) == 1
    assert "blocked" in report.failed[0][1]
    blocked.unlink()
    assert [info.run_id for info in sync_dir(work).shipped] == ["bad"]
    assert len(cells(blocked)) == 5


def test_to_sends_a_whole_log_elsewhere_and_refuses_a_log_of_which_the_start_is_gone(tmp_path):
    work, root, other = tmp_path / "work", tmp_path / "root", tmp_path / "other"
    leave(work, root)
    assert not sync_dir(work, to=str(other)).failed
    assert len(cells(other)) == 5
    assert not root.exists()
    leave(work, root, run="two")
    (path,) = find_spool_dirs(work)
    (path / "wal-000000000000.log").rename(path / "wal-000000000002.log")
    report = sync_dir(work, to=str(other))
    assert "Sync without --to first" in report.failed[0][1]


def test_a_living_spool_is_reported_and_left_alone(tmp_path):
    work = tmp_path / "work"
    leave(work, tmp_path / "root")
    (path,) = find_spool_dirs(work)
    owner = Spool.load(path)
    assert owner.lock.try_acquire()
    report = sync_dir(work)
    assert [info.state for info in report.live] == ["live"]
    assert not report.shipped
    owner.close()
    assert len(sync_dir(work).shipped) == 1


def test_offline_runs_are_copied_and_what_is_there_is_not_copied_again(tmp_path):
    work, target = tmp_path / "tracker-runs", tmp_path / "target"
    leave(work, work / "offline")
    report = sync_dir(tmp_path, default_to=str(target))
    assert report.copied_objects == 1
    assert len(cells(target)) == 5
    again = sync_dir(tmp_path, default_to=str(target))
    assert again.copied_objects == 0
    assert copy_root(str(work / "offline"), str(target)) == (0, 0)


def test_offline_data_without_a_target_is_a_failure_that_names_the_remedy(tmp_path):
    work = tmp_path / "tracker-runs"
    leave(work, work / "offline")
    report = sync_dir(tmp_path)
    assert "--to URL" in report.failed[0][1]


def test_an_empty_directory_says_what_to_give(tmp_path):
    with pytest.raises(NotFound, match="tracker-runs"):
        sync_dir(tmp_path)


def test_the_next_process_in_the_directory_sends_what_was_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tracker.storage.sync._ORPHANS_AFTER_S", 0.0)
    work, root, said = tmp_path / "work", tmp_path / "root", []
    leave(work, root)
    resume_orphans(work, lambda level, text: said.append(text))
    deadline = time.monotonic() + 30
    while find_spool_dirs(work) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(cells(root)) == 5
    while not said and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "earlier process" in said[0]


def test_what_a_finished_run_could_not_delete_yet_goes_at_a_later_sync(tmp_path, monkeypatch):
    work, root = tmp_path / "work", tmp_path / "root"
    leave(work, root, how="partly", count=400)
    sync_dir(work)
    store = open_store(str(root))
    parts = [info for info in store.list("") if info.key.endswith(".parquet")]
    assert len(parts) == 3
    assert [info.state for info in find_spools(work)] == ["shipped"]
    monkeypatch.setattr("tracker.storage.pump._LOCAL_GRACE_S", 0.0)
    time.sleep(0.01)
    sync_dir(work)
    assert len([info for info in store.list("") if info.key.endswith(".parquet")]) == 1
    assert find_spool_dirs(work) == []
    assert len(cells(root)) == 400


def test_a_spool_with_an_unknown_owner_file_is_not_touched(tmp_path):
    work = tmp_path / "work"
    leave(work, tmp_path / "root")
    (path,) = find_spool_dirs(work)
    write_json(path / "owner.json", {"something": "else"})
    assert find_spools(work) == []
    assert os.listdir(path)


def test_edits_are_copied_with_the_runs(tmp_path):
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    made_run(source, "r")
    EditWriter(open_store(source), "main", "p").write([("attr", "r", "name", "x")])
    assert copy_root(source, target)[0] == 2
    keys = [[info.key for info in open_store(root).list("main/")] for root in (source, target)]
    assert keys[0] == keys[1]


def test_things_are_copied_with_the_runs_and_both_sides_of_a_change_stay(tmp_path):
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    for root, value in ((source, 1), (target, 2)):
        ThingWriter(open_store(root), "main", "p", "report", "one").write([(f"at{value}", value)])
    assert copy_root(source, target)[0] == 1
    assert copy_root(source, target)[0] == 0
    cache = PartCache(tmp_path / "cache", 1 << 20)
    found = read_things(open_store(target), cache, "main", "p", "report", warn=pytest.fail)
    assert found["one"].value == {"at1": 1, "at2": 2}


def test_a_packed_root_is_not_copied_in_part(tmp_path):
    """What stands in packs alone would be missing at the target, and nothing would tell."""
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    made_run(source, "r")
    store = open_store(source)
    ensure_format(store)
    compact_project(store, "main", "p", now_us=wall_us(), quiet_s=0, finished_quiet_s=0, grace_s=0)
    with pytest.raises(UsageError, match=r"are in packs.* Copy the whole root to an empty place .*cp -r"):
        copy_root(source, target)
    assert not (tmp_path / "target").exists()
