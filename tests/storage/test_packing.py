"""Compaction by anyone: what it makes of a project, what it leaves alone, what it costs."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest
from pack_world import DAY_US, GRACE_S, HOUR_US, FakeStore, compact, make_world, read_all, truth
from store_maker import T0, MadeWriter, made_run

from tracker.storage import packing
from tracker.storage.derived import Record, read_derived
from tracker.storage.errors import CorruptData
from tracker.storage.format_file import ensure_format
from tracker.storage.local import LocalStore
from tracker.storage.manifest import newest_manifest
from tracker.storage.names import RunRef, encode_name, pack_key, parse_pack_key
from tracker.storage.pack_plan import PackRules
from tracker.storage.packing import compact_project
from tracker.storage.packs import packed_frames
from tracker.storage.vacuum import vacuum_project

LATER_US = int(1.5 * GRACE_S * 1e6)


def checkpoint_writers(store: FakeStore) -> pa.Table:
    manifest = newest_manifest(store, "main", "p")
    tables = []
    for one in manifest.checkpoints:
        key = pack_key("main", "p", one.id, "k")
        tables.append(read_derived(pa.BufferReader(store.get(key)), key, what=[Record.WRITER]))
    return pa.concat_tables(tables).unify_dictionaries()


def test_runs_that_ended_become_one_pack_and_their_files_go_after_the_grace_time():
    store, writers = make_world(7)
    expected = truth(writers)
    report = compact(store)
    assert (report.packed_writers, report.packs_written, report.packed_events) == (7, 1, sum(expected.values()))
    assert read_all(store) == expected
    store.now_us += LATER_US
    report = compact(store)
    assert (report.packed_writers, report.packs_written) == (0, 0)
    assert report.deleted_bytes > 0
    assert store.keys("runs") == []
    assert read_all(store) == expected
    assert len(store.objects) == 8  # format, manifest, f, h, s, r, cover, k


def test_a_checkpoint_says_which_frames_packs_hold():
    store, writers = make_world(4)
    compact(store)
    expected = {(encode_name(one.ref.run_id), one.id): one.shipped - 1 for one in writers}
    found = checkpoint_writers(store)
    assert packed_frames(found) == expected
    assert set(found["pack"].to_pylist()) == {pack.id for pack in newest_manifest(store, "main", "p").packs}
    assert dict(zip(found["writer"].to_pylist(), found["events"].to_pylist(), strict=True)) == {
        one.id: sum(truth([one]).values()) for one in writers
    }


def test_a_writer_is_packed_when_it_ended_and_is_silent_or_is_silent_for_a_day():
    store = FakeStore()
    ensure_format(store)
    store.now_us = T0
    ended, alive = made_run(store, "ended"), made_run(store, "alive", state="running")
    store.now_us = T0 + HOUR_US // 2
    assert compact(store).packed_writers == 0  # younger than the grace time
    store.now_us = T0 + 2 * HOUR_US
    report = compact(store)
    assert (report.packed_writers, report.waiting_writers) == (1, 1)
    assert set(packed_frames(checkpoint_writers(store))) == {("ended", ended.id)}
    store.now_us = T0 + DAY_US
    assert compact(store).packed_writers == 1
    assert ("alive", alive.id) in packed_frames(checkpoint_writers(store))


def test_many_small_packs_become_few():
    store = FakeStore()
    ensure_format(store)
    writers, most = [], 0
    for n in range(40):
        writers.append(made_run(store, f"run{n:02d}", [{"loss": n / 7}]))
        store.now_us += 25 * HOUR_US
        report = compact(store)
        assert report.packed_writers == 1
        manifest = newest_manifest(store, "main", "p")
        most = max(most, len(manifest.packs))
        assert len(manifest.checkpoints) <= 2
        assert sorted(pack for one in manifest.checkpoints for pack in one.packs) == sorted(
            pack.id for pack in manifest.packs
        )
    assert most <= 16
    assert read_all(store) == truth(writers)
    for _ in range(3):
        store.now_us += LATER_US
        compact(store)
    live = {pack.id for pack in manifest.packs} | {one.id for one in manifest.checkpoints}
    assert {name[0] for key in store.keys("packs") if (name := parse_pack_key(key)) is not None} == live
    assert store.keys("runs") == []
    assert len(store.keys("manifests")) == 1
    assert packed_frames(checkpoint_writers(store)) == {
        (encode_name(one.ref.run_id), one.id): one.shipped - 1 for one in writers
    }


def test_a_pack_has_at_most_so_many_bytes():
    store, writers = make_world(9)
    report = compact(store, pack_bytes_max=20_000)
    assert report.packs_written > 2
    assert report.packed_writers == 9
    assert read_all(store) == truth(writers)


def test_little_memory_gives_the_same_packs():
    """Batches that do not fit lie on disk meanwhile; bytes differ only in the names inside."""
    store, writers = make_world(9)
    report = compact(store, memory_bytes=1 << 20)
    assert report.packed_writers == 9
    assert read_all(store) == truth(writers)


def test_a_large_file_is_packed_row_group_by_row_group(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tracker.storage.pack_sources.SMALL_BYTES", 100)
    monkeypatch.setattr("tracker.storage.pack_loose.SMALL_BYTES", 100)
    store, writers = make_world(6)
    report = compact(store, finished_quiet_s=0)
    assert report.packed_writers == 6
    assert read_all(store) == truth(writers)


def test_a_writer_that_is_too_large_for_packs_is_merged_and_stays_loose(monkeypatch: pytest.MonkeyPatch):
    store, writers = make_world(2)
    monkeypatch.setattr(packing, "PackRules", lambda **given: PackRules(**(given | {"writer_bytes_max": 10})))
    report = compact(store)
    assert (report.packed_writers, report.merged_writers) == (0, 2)
    assert len(store.keys("runs")) == 6 + 2
    assert read_all(store) == truth(writers)
    store.now_us += 25 * HOUR_US
    compact(store)
    assert len(store.keys("runs")) == 2
    assert read_all(store) == truth(writers)


def test_a_root_that_is_not_packed_is_merged():
    store, writers = make_world(3, exclusive=False)
    report = compact(store)
    assert (report.packs_allowed, report.merged_writers) == (False, 3)
    store.now_us += 25 * HOUR_US
    compact(store)
    assert len(store.keys("runs")) == 3
    assert read_all(store) == truth(writers)


def test_a_damaged_file_keeps_its_writer_out_and_nobody_else():
    store, writers = make_world(4)
    key = next(key for key in store.keys("runs") if "/run1/" in key)
    data, at = store.objects[key]
    store.objects[key] = (data[:100] + b"\0\0\0\0" + data[104:], at)
    report = compact(store)
    assert (report.packed_writers, report.broken_writers) == (3, 1)
    assert key in report.notes[0]
    store.now_us += LATER_US
    compact(store)
    assert {key.split("/")[4] for key in store.keys("runs")} == {"run1"}
    assert set(packed_frames(checkpoint_writers(store))) == {
        (one.ref.run_id, one.id) for one in writers if one.ref.run_id != "run1"
    }


@pytest.mark.parametrize("family", ["h", "f", "cover"])
def test_nothing_is_deleted_on_the_word_of_a_damaged_pack(family: str):
    store, _ = make_world(3)
    compact(store)
    loose = store.keys("runs")
    key = next(key for key in store.keys("packs") if f".{family}." in key)
    data, at = store.objects[key]
    store.now_us += LATER_US
    store.objects[key] = (data[:60] + bytes([data[60] ^ 1]) + data[61:], at)
    if family == "cover":
        with pytest.raises(CorruptData):
            compact(store)
    else:
        assert key in "".join(compact(store).notes)
    assert store.keys("runs") == loose
    del store.objects[key]
    if family == "cover":
        with pytest.raises(CorruptData, match="fsck"):
            compact(store)
    else:
        compact(store)
    assert store.keys("runs") == loose


def test_a_dry_run_changes_nothing_and_says_what_would_be_done():
    store, _ = make_world(5)
    before = dict(store.objects)
    report = compact(store, dry_run=True)
    assert (report.packed_writers, report.packs_written) == (5, 1)
    assert store.objects == before
    compact(store)
    store.now_us += LATER_US
    before = dict(store.objects)
    report = compact(store, dry_run=True)
    assert report.deleted_objects == len(store.keys("runs"))
    assert store.objects == before


def test_too_few_writers_wait():
    store, _ = make_world(3)
    assert compact(store, writers_min=4).packed_writers == 0
    assert compact(store, writers_min=3).packed_writers == 3


def test_one_run_alone_can_be_compacted():
    store, writers = make_world(3)
    assert compact(store, run_id="run1").packed_writers == 1
    assert set(packed_frames(checkpoint_writers(store))) == {("run1", writers[1].id)}
    assert read_all(store) == truth(writers)


def test_an_idle_compaction_costs_few_requests():
    store, _ = make_world(9)
    compact(store)
    store.now_us += LATER_US
    compact(store)
    assert compact(store).requests <= 12


def test_awkward_names_and_values_survive(tmp_path):
    store = FakeStore()
    ensure_format(store)
    store.now_us = T0
    names = ["Ünï", "CON", "a/b", "x" * 200, "run 1", "."]
    writers = [
        made_run(store, name, [{"a.b": float("inf"), "ä": 2**70, "list": [1, 2], "s": "\0 x", "none": None}])
        for name in names
    ]
    late = MadeWriter(store, RunRef("main", "p", "run 1"), 99, T0 + 5).log({"x": 1.0}).log({"y": 2}, commit=False)
    writers.append(late.put())
    store.now_us = T0 + 2 * DAY_US
    assert compact(store).packed_writers == len(writers)
    store.now_us += LATER_US
    compact(store)
    assert store.keys("runs") == []
    assert read_all(store) == truth(writers)


def test_a_local_root_is_packed_in_place(tmp_path):
    store = LocalStore(tmp_path / "root")
    ensure_format(store)
    runs = [made_run(store, f"run{n}", [{"loss": n / 3}]) for n in range(20)]
    now_us = T0 + 3 * DAY_US
    report = compact_project(store, "main", "p", now_us=now_us, finished_quiet_s=0, grace_s=0)
    assert report.packed_writers == len(runs)
    report = compact_project(store, "main", "p", now_us=now_us, finished_quiet_s=0, grace_s=0)
    assert report.deleted_objects == 20
    assert not (tmp_path / "root/main/p/runs").exists() or not list((tmp_path / "root/main/p/runs").rglob("*.parquet"))
    temporary = tmp_path / "root/main/p/packs/.tmp-left"
    temporary.write_bytes(b"half")
    os.utime(temporary, (0, 0))
    assert vacuum_project(store, "main", "p", now_us=now_us).temporary_files == 1
    assert not temporary.exists()
