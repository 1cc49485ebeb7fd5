"""Shipping: the log arrives exactly once, whatever fails between cut, put and mark."""

import random
import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import history, read_back

from tracker.storage import merge as merge_module
from tracker.storage.errors import CorruptData, KeyTaken, StorageUnavailable
from tracker.storage.events import KIND_LOST
from tracker.storage.frames import Facts, Log, RowMark, encode_frame
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef, new_ulid, parse_part_key
from tracker.storage.schema import read_events
from tracker.storage.shipper import Shipper, open_row_after
from tracker.storage.spool import ShipState, Spool
from tracker.storage.wal import WalWriter, list_segments

NOW = 1_790_000_000_000_000


class Flaky:
    """A port that fails before or after the store acted, as often as the seeded chance says."""

    def __init__(self, inner, chance, seed=0):
        self._inner, self._chance, self._random = inner, chance, random.Random(seed)
        self.puts = []

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def put_if_absent(self, key, data):
        if self._random.random() < self._chance:
            raise StorageUnavailable("before")
        self.puts.append((key, data))
        self._inner.put_if_absent(key, data)
        if self._random.random() < self._chance:
            raise StorageUnavailable("after")


def memory():
    return MemoryStore(f"memory://{new_ulid(NOW)}")


def make_spool(directory, writer_id=None):
    return Spool.create(directory, "t", RunRef("e", "p", "r"), writer_id or new_ulid(NOW), "memory://unused")


def make_shipper(spool, store, *, grace_s=10.0, stopwatch=time.monotonic, said=None):
    return Shipper(
        spool,
        store,
        wall=lambda: NOW,
        monotonic_s=stopwatch,
        notify=lambda level, text: (said if said is not None else []).append((level, text)),
        grace_s=grace_s,
    )


def row(number, **cells):
    stamp = NOW + number
    mark = RowMark(number, number, stamp, 1.0)
    return encode_frame(Log(stamp, stamp, number, number, cells or {"a": float(number)}, [mark]))


def ship_all(shipper):
    while shipper.ship_once():
        continue


def test_what_was_logged_is_in_the_store_exactly_once(tmp_path):
    spool, store = make_spool(tmp_path), memory()
    wal, shipper = WalWriter(spool.path), make_shipper(spool, store)
    for number in range(100):
        wal.append(row(number, a=number, b=f"text {number}"))
        if number % 7 == 0:
            ship_all(shipper)
    ship_all(shipper)
    (cells,) = history(store).values()
    assert cells == sorted((n, k, v) for n in range(100) for k, v in (("a", n), ("b", f"text {n}")))
    assert not shipper.waiting()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1 << 30), chance=st.sampled_from([0.0, 0.3, 0.6]), crashes=st.floats(0, 0.5))
def test_failures_and_crashes_at_any_request_neither_lose_nor_double_a_frame(tmp_path_factory, seed, chance, crashes):
    """A crash forgets the shipper and, half of the time, its note in the spool; the log and the store remain."""
    chosen = random.Random(seed)
    spool, inner = make_spool(tmp_path_factory.mktemp("s")), memory()
    store = Flaky(inner, chance, seed)
    wal = WalWriter(spool.path, segment_bytes=3000)
    stopwatch = [0.0]
    shipper = make_shipper(spool, store, stopwatch=lambda: stopwatch[0])
    written = 0
    for _ in range(60):
        stopwatch[0] += 3.0
        for _ in range(chosen.randrange(4)):
            wal.append(row(written))
            written += 1
        if chosen.random() < crashes:
            if chosen.random() < 0.5:
                (spool.path / "ship.json").unlink(missing_ok=True)
            shipper = make_shipper(spool, store, stopwatch=lambda: stopwatch[0])
        try:
            shipper.ship_once(bytes_max=chosen.choice([50, 200, 1 << 20]))
            shipper.merge()
            shipper.sweep()
        except StorageUnavailable:
            continue
    quiet = make_shipper(spool, inner)
    ship_all(quiet)
    while quiet.merge(at_finish=True):
        continue
    assert [cell[0] for cells in history(inner).values() for cell in cells] == list(range(written))
    (events,) = read_back(inner).values() if written else ({},)
    if written:
        assert events.num_rows == 2 * written


def test_a_retry_sends_the_same_name_and_the_same_bytes_even_when_more_was_logged(tmp_path):
    spool, inner = make_spool(tmp_path), memory()
    wal, store = WalWriter(spool.path), Flaky(inner, 0.0)
    shipper = make_shipper(spool, store)
    wal.append(row(0))
    store._chance = 0.999999
    for _ in range(20):
        with pytest.raises(StorageUnavailable):
            shipper.ship_once()
        wal.append(row(wal.next_seq))
    store._chance = 0.0
    shipper.ship_once()
    assert len(set(store.puts)) == 1
    assert parse_part_key(store.puts[0][0]).last == 0


def test_segments_are_removed_once_the_store_has_them_and_the_newest_stays(tmp_path):
    spool, store = make_spool(tmp_path), memory()
    wal, shipper = WalWriter(spool.path, segment_bytes=500), make_shipper(spool, store)
    for number in range(100):
        wal.append(row(number))
    assert len(list_segments(spool.path)) > 5
    ship_all(shipper)
    assert len(list_segments(spool.path)) == 1


def test_without_its_note_the_shipper_finds_its_place_by_the_names_in_the_store(tmp_path):
    spool, store = make_spool(tmp_path), memory()
    wal, shipper = WalWriter(spool.path, segment_bytes=500), make_shipper(spool, store)
    for number in range(30):
        wal.append(row(number))
    ship_all(shipper)
    (spool.path / "ship.json").write_text("torn {")
    again = make_shipper(spool, store)
    assert (again.state.next_seq, again.state.mark) == (30, shipper.state.mark)
    wal.append(row(30))
    assert again.ship_once() == 1
    assert [cell[0] for cells in history(store).values() for cell in cells] == list(range(31))


def test_a_damaged_frame_keeps_its_number_and_the_loss_shows(tmp_path):
    spool, store, said = make_spool(tmp_path), memory(), []
    wal = WalWriter(spool.path)
    for number in range(10):
        wal.append(row(number))
    path = list_segments(spool.path)[0][1]
    data = bytearray(path.read_bytes())
    data[4 * (len(data) // 10) + 25] ^= 0xFF
    path.write_bytes(data)
    ship_all(make_shipper(spool, store, said=said))
    (cells,) = history(store).values()
    assert [cell[0] for cell in cells] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    (events,) = read_back(store).values()
    lost = [event for event in events.to_pylist() if event["kind"] == KIND_LOST]
    assert [(event["seq"], event["key"]) for event in lost] == [(4, "4")]
    assert "damaged on disk" in lost[0]["s"]
    assert said[0][0] == "error"


def test_a_frame_of_bytes_that_are_no_message_is_recorded_as_lost(tmp_path):
    spool, store, said = make_spool(tmp_path), memory(), []
    wal = WalWriter(spool.path)
    for payload in (row(0), b"\xc1 not msgpack", row(2)):
        wal.append(payload)
    ship_all(make_shipper(spool, store, said=said))
    (cells,) = history(store).values()
    assert [cell[0] for cell in cells] == [0, 2]
    assert "cannot be decoded" in said[0][1]


@pytest.mark.parametrize("history_is_the_same", [True, False])
def test_a_taken_name_is_fine_if_it_holds_the_same_history_and_stops_us_if_not(tmp_path, history_is_the_same):
    """Another release may encode the same frames to other bytes. Another history is divergence: keep both, stop."""
    spool, store = make_spool(tmp_path), memory()
    wal, shipper = WalWriter(spool.path), make_shipper(spool, store)
    wal.append(row(0))
    ship_all(shipper)
    held = store.get(store.list("")[0].key)
    if not history_is_the_same:
        held = held.replace(shipper.state.mark.encode(), b"0123456789abcdef")

    class Taken:
        def put_if_absent(self, key, data):
            raise KeyTaken(key)

        def get(self, key):
            return held

    again = make_shipper(spool, Taken())
    again._state = ShipState()
    if history_is_the_same:
        assert again.ship_once() == 1
    else:
        with pytest.raises(CorruptData, match="another history"):
            again.ship_once()


def test_a_merge_keeps_every_event_of_parts_that_mix_facts_and_points(tmp_path):
    """Such a part has two row groups, so its columns come in two chunks: both must be taken."""
    spool, store = make_spool(tmp_path), memory()
    wal, shipper = WalWriter(spool.path), make_shipper(spool, store)
    for number in range(5):
        wal.append(row(number, a=number, b=None))
        wal.append(encode_frame(Facts(NOW, NOW, [("config", None, f"k{number}", number), ("attr", None, "name", "x")])))
        ship_all(shipper)
    (before,) = read_back(store).values()
    assert shipper.merge(at_finish=True)
    assert not shipper.merge(at_finish=True)
    (after,) = read_back(store).values()
    assert before.num_rows == 5 * 5
    assert sorted(map(repr, after.to_pylist())) == sorted(map(repr, before.to_pylist()))
    assert len(store.list("")) == 6


def many_parts(tmp_path, parts, rows_each, store, **options):
    spool = make_spool(tmp_path)
    wal, shipper = WalWriter(spool.path), make_shipper(spool, store, **options)
    written = 0
    for _ in range(parts):
        for _ in range(rows_each):
            wal.append(row(written))
            written += 1
        ship_all(shipper)
    return spool, shipper


def test_sixteen_small_parts_become_one_and_the_old_ones_go_after_the_grace_time(tmp_path):
    store, stopwatch = memory(), [100.0]
    _, shipper = many_parts(tmp_path, 16, 3, store, grace_s=60.0, stopwatch=lambda: stopwatch[0])
    assert shipper.merge()
    assert not shipper.merge()
    assert len(store.list("")) == 17
    assert shipper.sweep() == 0
    stopwatch[0] += 61
    assert shipper.sweep() == 16
    assert len(store.list("")) == 1
    (cells,) = history(store).values()
    assert [cell[0] for cell in cells] == list(range(48))


def test_nothing_is_deleted_while_its_covering_file_is_damaged(tmp_path):
    store, stopwatch = memory(), [0.0]
    _, shipper = many_parts(tmp_path, 16, 3, store, grace_s=1.0, stopwatch=lambda: stopwatch[0])
    shipper.merge()
    stopwatch[0] += 10
    keys = [info.key for info in store.list("")]
    (merged,) = [key for key in keys if "e-000000000000-000000000047" in key]
    good = store.get(merged)
    store.delete([merged])
    assert shipper.sweep() == 0
    store.put_if_absent(merged, good[:-20])
    assert shipper.sweep() == 0
    assert len(store.list("")) == 17


def test_a_later_process_deletes_by_the_clock_of_the_store(tmp_path):
    store = memory()
    spool, shipper = many_parts(tmp_path, 16, 3, store, grace_s=3600.0)
    shipper.merge()
    put_at = max(info.modified_us for info in store.list(""))
    later = make_shipper(spool, store, grace_s=3600.0)
    assert later.sweep() == 0
    assert later.sweep(store_now_us=put_at + 3_599_000_000) == 0
    assert later.sweep(store_now_us=put_at + 3_601_000_000) == 16


def test_a_part_that_ends_with_a_segment_does_not_hide_the_next_segment(tmp_path):
    """Shipping it removes the segment that the reader stands at the end of; found by the simulation, seed 117."""
    spool, store = make_spool(tmp_path), memory()
    wal = WalWriter(spool.path, segment_bytes=1)  # a segment a frame
    for number in range(4):
        wal.append(row(number))
    wal.close()
    shipper = make_shipper(spool, store)
    shipped = 0
    while count := shipper.ship_once(bytes_max=1, writer_gone=True):
        shipped += count
    assert shipped == 4
    shipper.mark_finished()
    assert [cell[0] for cells in history(store).values() for cell in cells] == [0, 1, 2, 3]


def test_a_log_that_is_not_shipped_is_never_dropped(tmp_path):
    spool, store = make_spool(tmp_path), memory()
    wal, shipper = WalWriter(spool.path), make_shipper(spool, store)
    wal.append(row(0))
    with pytest.raises(StorageUnavailable, match="Frames from 0 on"):
        shipper.mark_finished()
    assert shipper.waiting()
    ship_all(shipper)
    shipper.mark_finished()
    assert not spool.path.exists()


def test_what_somebody_packed_and_deleted_keeps_no_directory_alive(tmp_path):
    """Else every sync would find the spool again, for ever."""
    store = memory()
    spool, shipper = many_parts(tmp_path, 16, 3, store, grace_s=3600.0)
    shipper.merge()
    later = make_shipper(spool, store, grace_s=3600.0)
    store.delete([info.key for info in store.list("")])
    assert later.sweep(store_now_us=NOW) == 0
    assert later.state.covered == []
    later.mark_finished()
    assert not spool.path.exists()


def test_a_large_merge_is_cut_by_family_and_its_f_file_comes_last(tmp_path, monkeypatch):
    monkeypatch.setattr(merge_module, "_SMALL_EVENTS", 10)
    inner = memory()
    store = Flaky(inner, 0.0)
    spool = make_spool(tmp_path)
    wal, shipper = WalWriter(spool.path), make_shipper(spool, store)
    wal.append(encode_frame(Facts(NOW, NOW, [("config", None, "lr", 0.1)])))
    shipper.ship_once()
    for number in range(8):
        wal.append(row(number))
        shipper.ship_once()
    while shipper.merge(at_finish=True):
        continue
    families = [parse_part_key(key).family for key, _ in store.puts]
    assert families[-3:] == ["h", "r", "f"]
    facts = store.puts[-1]
    footer, events = read_events(pa.BufferReader(facts[1]), facts[0])
    assert (footer.families, events.num_rows, footer.first, footer.last) == ("hf", 1, 0, 8)
    (cells,) = history(inner).values()
    assert [cell[0] for cell in cells] == list(range(8))


def mark(number):
    return RowMark(number, number, NOW, 2.0)


@pytest.mark.parametrize(
    ("frames", "open_row"),
    [
        ([Log(1, NOW, 0, 5, {"a": 1}, [])], [0, 5, NOW]),
        ([Log(1, NOW, 0, 5, {"a": 1}, []), Log(2, NOW, 0, 5, {"b": 1}, [mark(0)])], None),
        ([Log(1, NOW, 0, 5, {"a": 1}, []), Log(2, NOW, 1, 6, {"b": 1}, [mark(0)])], [1, 6, NOW]),
        ([Log(1, NOW, 0, 5, {"a": 1}, []), Log(2, NOW, 1, 2, {"late": 1}, [mark(1)])], [0, 5, NOW]),
        ([Log(1, NOW, 0, 5, {}, [mark(0)])], None),
    ],
)
def test_the_open_row_is_the_one_whose_cells_wait_for_a_marker(frames, open_row):
    state = None
    for frame in frames:
        state = open_row_after(state, frame)
    assert state == open_row
