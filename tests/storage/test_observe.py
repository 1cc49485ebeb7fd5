"""A session that goes on with a run wins over what was there, whatever its machine's clock says."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest
from store_maker import T0, MadeWriter

from tracker.storage import writer as writer_module
from tracker.storage.clock import MAX_AHEAD_US, HybridClock, wall_us
from tracker.storage.edits import EditWriter
from tracker.storage.errors import StorageUnavailable
from tracker.storage.manifest import Checkpoint, Manifest, PurgedRun, publish_manifest
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef, ulid_time_us
from tracker.storage.observe import observe_run, observe_within
from tracker.storage.port import ObjectInfo
from tracker.storage.writer import RunWriter, WriterOptions

S = 1_000_000
REF = RunRef("main", "p", "r")


class Dated(MemoryStore):
    """A store whose clock the test sets, and which counts what is asked."""

    now_us = T0
    gets = 0

    def list(self, prefix: str) -> list[ObjectInfo]:
        return [ObjectInfo(info.key, info.size_bytes, self.now_us) for info in super().list(prefix)]

    def get_range(self, key: str, start: int, end: int) -> bytes:
        self.gets += 1
        return super().get_range(key, start, end)


@pytest.fixture
def store() -> Dated:
    return Dated(uuid.uuid4().hex)


def observed(store: MemoryStore, wall: int = T0) -> int:
    clock = HybridClock(wall=lambda: wall)
    observe_run(store, REF, clock)
    return clock.tick()


def test_nothing_is_there_yet(store: Dated) -> None:
    assert observed(store) == T0


def test_the_runs_greatest_stamp_is_passed_whoever_gave_it(store: Dated) -> None:
    first = MadeWriter(store, REF, 1).begin().log({"x": 1}).put().log({"x": 2}).put()
    second = MadeWriter(store, REF, 2, T0 + 3_600 * S).begin().put()
    MadeWriter(store, RunRef("main", "p", "other"), 3, T0 + 7_200 * S).begin().put()
    assert first.now_us < second.now_us
    assert observed(store) == second.now_us + 1
    assert store.gets == 2, "one footer a writer"
    assert observed(store, second.now_us + 5) == second.now_us + 5


def test_the_history_of_a_merged_set_counts_too(store: Dated) -> None:
    writer = MadeWriter(store, REF).begin().log({"x": 1})
    writer.merge(0, 1)
    assert observed(store) == writer.now_us + 1


def test_edits_packs_and_the_purge_of_the_run_count(store: Dated) -> None:
    EditWriter(store, "main", "p", clock=HybridClock(), wall=lambda: T0 + 10 * S).write([("attr", "q", "name", "x")])
    assert observed(store) == T0 + 10 * S + 1
    packed = Checkpoint(id="k" * 26, size_bytes=1, packs=(), hlc_max_us=T0 + 20 * S)
    assert publish_manifest(store, "main", "p", Manifest(number=0, checkpoints=(packed,)))
    assert observed(store) == T0 + 20 * S + 1
    purged = tuple(PurgedRun(run_id=name, hlc_us=T0 + at * S, writers=()) for name, at in (("r", 30), ("other", 40)))
    assert publish_manifest(store, "main", "p", Manifest(number=1, checkpoints=(packed,), purged=purged))
    assert observed(store) == T0 + 30 * S + 1


def test_one_absurd_stamp_hides_no_other(store: Dated) -> None:
    MadeWriter(store, REF, 1, T0 + 2 * MAX_AHEAD_US).begin().put()
    sane = MadeWriter(store, REF, 2, T0 + 3_600 * S).begin().put()
    assert observed(store) == sane.now_us + 1


def test_a_damaged_file_stops_nothing(tmp_path: Path) -> None:
    from tracker.storage.local import LocalStore

    store = LocalStore(tmp_path)
    bad = MadeWriter(store, REF, 1, T0 + 7_200 * S).begin().put()
    good = MadeWriter(store, REF, 2, T0 + 3_600 * S).begin().put()
    for path in tmp_path.rglob("*.parquet"):
        os.utime(path, ns=(T0 * 1000, T0 * 1000))
    (next((tmp_path / "main").rglob(f"*/{bad.id}/*.parquet"))).write_bytes(b"nothing")
    assert observed(store) == good.now_us + 1


def test_a_store_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(MemoryStore):
        def list(self, prefix: str) -> list[ObjectInfo]:
            time.sleep(1.0)
            raise StorageUnavailable("no answer")

    monkeypatch.setattr("tracker.storage.stores.open_store", lambda url: Slow(url))
    begun = time.monotonic()
    assert observe_within(0.1, "memory://x", REF, HybridClock()) is False
    assert time.monotonic() - begun < 0.9
    monkeypatch.setattr("tracker.storage.stores.open_store", lambda url: Dated(uuid.uuid4().hex))
    assert observe_within(20.0, "memory://x", REF, HybridClock()) is True


def test_a_writer_that_goes_on_begins_behind_all_that_it_has_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machine's clock was an hour ahead; its id and its first stamp come after those of the run."""
    clock = HybridClock()
    monkeypatch.setattr(writer_module, "CLOCK", clock)
    monkeypatch.setattr(writer_module, "_tick", clock.tick)
    root = tmp_path / "root"
    from tracker.storage.local import LocalStore

    before = MadeWriter(LocalStore(root), REF, 1, wall_us() + 3_600 * S).begin().put()
    writer = RunWriter.open(
        dir=tmp_path / "work",
        time_name="t",
        ref=REF,
        store_url=str(root),
        options=WriterOptions(observe=True),
        notify=lambda level, text: None,
    )
    assert clock.last_us >= before.now_us
    assert ulid_time_us(writer.writer_id) > before.now_us - 1000
    assert writer.finish(10).shipped
