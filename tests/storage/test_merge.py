"""Merging a writer's parts: which, into what, with every event kept, in steps, through failures and crashes."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_maker import MadeWriter, made_run
from test_shipper import Flaky, make_shipper, make_spool, many_parts, memory, row, ship_all
from written import history, read_back

from tracker.storage import merge as merge_module
from tracker.storage.choose import choose_files
from tracker.storage.derived import Record
from tracker.storage.errors import CorruptData, StorageUnavailable
from tracker.storage.memory import MemoryStore
from tracker.storage.merge import merge_due, merge_parts, put_merged, verify_covering
from tracker.storage.merge_input import MergeInput, fetch_input
from tracker.storage.names import PartName, RunRef, parse_part_key
from tracker.storage.rollup import read_derived
from tracker.storage.schema import read_events
from tracker.storage.wal import WalWriter


def names(count: int) -> list[PartName]:
    return [PartName("r", "0" * 26, "e", n, n, "0" * 16) for n in range(count)]


@given(events=st.lists(st.integers(0, 60_000), max_size=60), at_finish=st.booleans())
def test_a_merge_takes_neighbours_within_its_bounds(events, at_finish):
    due = merge_due(names(len(events)), events, at_finish=at_finish)
    if due is None:
        if at_finish:
            assert len(events) < 2 or sum(events) > 500_000
            assert all(max(pair) >= 32_000 for pair in itertools.pairwise(events))
        return
    first, last = due
    assert last - first >= 2
    assert at_finish or last - first >= 16
    assert not at_finish or sum(events) <= 500_000 or max(events[first:last]) < 32_000


@pytest.mark.parametrize("each", [10, 3_000, 90_000])
def test_live_parts_stay_few_however_long_a_run_goes_on(each):
    """n parts become O(16 log n), and an event is read and written again O(log n) times."""
    live: list[int] = []
    moved = 0
    for _ in range(20_000):
        live.append(each)
        while due := merge_due(names(len(live)), live, at_finish=False):
            total = sum(live[due[0] : due[1]])
            moved += total
            live[due[0] : due[1]] = [total]
    assert len(live) < 100
    assert moved < 6 * sum(live)


SHAPES = st.lists(st.sampled_from(["row", "late", "open", "system", "fact", "text", "wide"]), max_size=25)


def made(store: MemoryStore, shapes: list[str], cuts: set[int]) -> MadeWriter:
    """A writer whose frames have these shapes, in parts that end before the frames `cuts`."""
    writer = MadeWriter(store, RunRef("e", "p", "r")).begin({"name": "x"}, {"lr": 0.1})
    for n, shape in enumerate(shapes):
        if n in cuts:
            writer.put()
        match shape:
            case "row":
                writer.log({"loss": float(n), "acc": n})
            case "late":
                writer.log({"loss": float("nan"), "late": True}, step=n // 2)
            case "open":
                writer.log({"loss": 0.5, f"k{n}": None}, commit=False)
            case "system":
                writer.system({"gpu": n / 7})
            case "fact":
                writer.facts(("config", f"a.{n % 3}", n), ("summary", "best", 1 << 70))
            case "text":
                writer.log({"text": "ä" * n, "big": 1 << 80, "list": [1, n]})
            case "wide":
                writer.log({f"m{k}": k * n for k in range(9)})
    return writer.put()


def all_events(store: MemoryStore) -> list[str]:
    (events,) = read_back(store).values()
    return sorted(map(repr, events.to_pylist()))


@settings(deadline=None, max_examples=60)
@given(shapes=SHAPES, cuts=st.sets(st.integers(0, 25)), split=st.integers(1, 6), small=st.booleans())
def test_every_event_is_kept_by_merges_of_parts_and_of_sets(tmp_path_factory, shapes, cuts, split, small):
    store = memory()
    writer = made(store, shapes, cuts)
    before = all_events(store)
    parts = sorted((name for info in store.list("") if (name := parse_part_key(info.key))), key=lambda one: one.first)
    sets = [(part,) for part in parts]
    wanted = {record["key"]: record for record in series_of(store, writer, sets, tmp_path_factory)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_module, "_SMALL_EVENTS", 10_000 if small else -1)
        halves = [sets[n::1][:split] for n in range(0, len(sets), split)]
        merged = [put_range(store, writer, half, tmp_path_factory.mktemp("m")) for half in halves]
        if len(merged) > 1:
            merged = [put_range(store, writer, merged, tmp_path_factory.mktemp("m"))]
    assert all_events(store) == before
    (pick,) = choose_files(name for info in store.list("") if (name := parse_part_key(info.key))).picks
    assert set(pick.parts) == set(merged[0])
    if not small:
        found = {record["key"]: record for record in series_of(store, writer, merged, tmp_path_factory)}
        assert list(found) == list(wanted)
        for key, record in found.items():
            assert repr(record) == repr(wanted[key] | {"mean_v": record["mean_v"]})


def put_range(
    store: MemoryStore, writer: MadeWriter, sets: list[tuple[PartName, ...]], directory: Path
) -> tuple[PartName, ...]:
    inputs = [fetch_input(store, writer.prefix, parts, parts[0].first, directory) for parts in sets]
    footer = writer.footer(sets[0][0].first, sets[-1][0].last)
    files = merge_parts(inputs, footer, directory=directory)
    for file in files:
        put_merged(store, writer.prefix + file.name.file_name, file)
    families = [file.name.family for file in files]
    assert families in (["e"], [family for family in "hscrf" if family in families])
    return tuple(file.name for file in reversed(files))


def series_of(
    store: MemoryStore, writer: MadeWriter, sets: list[tuple[PartName, ...]], factory: Any
) -> list[dict[str, Any]]:
    """History series of one merge of `sets`, as keys were first logged."""
    directory = factory.mktemp("s")
    inputs = [fetch_input(store, writer.prefix, parts, parts[0].first, directory) for parts in sets]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_module, "_SMALL_EVENTS", -1)
        files = merge_parts(inputs, writer.footer(sets[0][0].first, sets[-1][0].last), directory=directory)
    (derived,) = [file for file in files if file.name.family == "r"]
    records = read_derived(pa.BufferReader(derived.data), "r", what=[Record.SERIES]).to_pylist()
    return sorted((one for one in records if one["kind"] == "history"), key=lambda one: one["place"])


def test_keys_keep_the_order_in_which_they_were_first_logged(tmp_path_factory):
    store = memory()
    writer = MadeWriter(store, RunRef("e", "p", "r")).begin()
    for keys in ("zb", "zba", "q", "cab"):
        writer.log({key: 1.0 for key in keys}).put()
    parts = sorted((name for info in store.list("") if (name := parse_part_key(info.key))), key=lambda one: one.first)
    records = series_of(store, writer, [(part,) for part in parts], tmp_path_factory)
    assert [record["key"] for record in records] == list("zbaqc")


def test_a_merge_takes_only_the_frames_from_its_cut_on(tmp_path):
    store = memory()
    writer = made_run(store, "r", [{"a": n} for n in range(9)])
    (key,) = [info.key for info in store.list("")]
    whole = fetch_input(store, writer.prefix, [parse_part_key(key)], 6, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_module, "_SMALL_EVENTS", -1)
        files = merge_parts([whole], writer.footer(6, whole.parts[0].last), directory=tmp_path)
    tables = {file.name.family: read_events(file.path, "x")[1] for file in files if file.path}
    assert set(tables["h"]["seq"].to_pylist()) == set(range(6, 10))
    assert min(tables["f"]["seq"].to_pylist()) == 10


def test_merging_gives_the_same_bytes_again(tmp_path):
    """A retry after a lost reply must not make a second file."""
    store = memory()
    writer = made(store, ["row", "text", "open", "late", "fact", "system"] * 3, {3, 9})
    parts = sorted((name for info in store.list("") if (name := parse_part_key(info.key))), key=lambda one: one.first)

    def merged(small: int, directory: Path) -> list[bytes]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(merge_module, "_SMALL_EVENTS", small)
            inputs = [fetch_input(store, writer.prefix, [part], part.first, directory) for part in parts]
            files = merge_parts(inputs, writer.footer(0, parts[-1].last), directory=directory)
        return [file.data or file.path.read_bytes() for file in files]

    for small in (-1, 10_000):
        (tmp_path / str(small)).mkdir()
        assert merged(small, tmp_path / str(small)) == merged(small, tmp_path / str(small))


def test_a_set_that_lost_a_file_is_not_merged(tmp_path):
    store = memory()
    writer = made(store, ["row", "system", "row"], set())
    keys = writer.merge(0, 3)
    parts = [parse_part_key(key) for key in reversed(keys) if "/s-" not in key]
    lame = fetch_input(store, writer.prefix, parts, 0, tmp_path)
    with pytest.raises(CorruptData, match="lacks its file of family s"):
        merge_parts([lame], writer.footer(0, 3), directory=tmp_path)


def test_a_file_under_a_wrong_name_is_not_merged(tmp_path):
    store = memory()
    writer = made(store, ["row", "row"], {1})
    one, two = sorted(info.key for info in store.list(""))
    wrong = MergeInput((parse_part_key(one),), 0, {"e": pa.py_buffer(store.get(two))})
    with pytest.raises(CorruptData, match="other frames than its name says"):
        merge_parts([wrong], writer.footer(0, 1), directory=tmp_path)


def test_verify_covering_wants_every_file_whole(tmp_path):
    store = memory()
    many_parts(tmp_path, 2, 5, store)
    found = [info.key.rpartition("/") for info in store.list("")]
    prefix, listed = found[0][0] + "/", [name for _, _, name in found]
    assert verify_covering(store, prefix, listed)
    assert not verify_covering(store, prefix, [*listed, listed[0].replace("e-", "h-")])


def test_of_large_remote_files_the_footer_is_verified(tmp_path, monkeypatch):
    monkeypatch.setattr(merge_module, "_IN_MEMORY_BYTES", 100)
    store = memory()
    writer = made(store, ["row"] * 5, set())
    names_put = [key.removeprefix(writer.prefix) for key in writer.merge(0, 5)]
    assert verify_covering(store, writer.prefix, names_put)
    for name in names_put:
        whole = store.get(writer.prefix + name)
        for damaged in (whole[:-1], whole[:-9] + b"x" + whole[-8:], whole[: len(whole) // 2]):
            store.delete([writer.prefix + name])
            store.put_if_absent(writer.prefix + name, damaged)
            assert not verify_covering(store, writer.prefix, names_put)
        store.delete([writer.prefix + name])
        store.put_if_absent(writer.prefix + name, whole)


def test_a_large_merge_goes_on_between_flushes(tmp_path, monkeypatch):
    """It stops when its time is over, new parts are shipped meanwhile, and the next call goes on."""
    monkeypatch.setattr(merge_module, "_SMALL_EVENTS", 10)
    store, stopwatch = memory(), [0.0]
    spool = make_spool(tmp_path)
    wal, shipper = WalWriter(spool.path), make_shipper(spool, store, grace_s=60.0, stopwatch=lambda: stopwatch[0])
    for number in range(48):
        wal.append(row(number))
        if number % 3 == 2:
            ship_all(shipper)
    assert shipper.merge(until_s=0.0)  # no time at all: begun
    assert len(store.list("")) == 16
    wal.append(row(48))
    ship_all(shipper)
    assert shipper.merge(until_s=1.0)
    assert not shipper.merge(until_s=1.0)
    assert [note["family"] for note in shipper.state.parts] == ["f", "e"]
    assert not (spool.path / "merge").exists()
    (cells,) = history(store).values()
    assert [cell[0] for cell in cells] == list(range(49))
    stopwatch[0] += 61
    assert shipper.sweep() == 16
    (again,) = history(store).values()
    assert again == cells


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1 << 30))
def test_a_crash_between_the_files_of_a_set_leaves_nothing_behind(tmp_path_factory, seed):
    """After it, whatever failed, the same set is put again; so no file stays that nothing covers."""
    chosen = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_module, "_SMALL_EVENTS", 10)
        patch.setattr(merge_module, "_TIERS", (40, 640))
        spool, inner, stopwatch = make_spool(tmp_path_factory.mktemp("s")), memory(), [0.0]
        store = Flaky(inner, 0.3, seed)
        wal = WalWriter(spool.path)
        shipper = make_shipper(spool, store, grace_s=1.0, stopwatch=lambda: stopwatch[0])
        written = 0
        for _ in range(50):
            stopwatch[0] += 1.0
            for _ in range(chosen.randrange(1, 3)):
                wal.append(row(written))
                written += 1
            if chosen.random() < 0.3:  # a crash: the note in the spool stays
                shipper = make_shipper(spool, store, grace_s=1.0, stopwatch=lambda: stopwatch[0])
            try:
                ship_all(shipper)
                shipper.merge(until_s=stopwatch[0] + chosen.choice([0, 1]))
                shipper.sweep()
            except StorageUnavailable:
                continue
        quiet = make_shipper(spool, inner, grace_s=1.0, stopwatch=lambda: stopwatch[0])
        ship_all(quiet)
        while quiet.merge(at_finish=True):
            continue
        later = max(info.modified_us for info in inner.list("")) + 10_000_000
        quiet.sweep(store_now_us=later)
    assert [cell[0] for cells in history(inner).values() for cell in cells] == list(range(written))
    left = {name for info in inner.list("") if (name := parse_part_key(info.key))}
    used = {name for pick in choose_files(left).picks for name in pick.parts}
    assert {name for name in left if name.family != "e"} == {name for name in used if name.family != "e"}


def test_a_full_disk_stops_merging_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(merge_module, "_SMALL_EVENTS", 10)
    said: list[tuple[str, str]] = []
    store, spool = memory(), make_spool(tmp_path)
    wal, shipper = WalWriter(spool.path), make_shipper(spool, store, said=said)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    for number in range(16):
        wal.append(row(number))
        ship_all(shipper)
    with monkeypatch.context() as patch:
        patch.setattr(merge_module, "write_groups", full)
        assert not shipper.merge()
    assert not shipper.merge()  # it waits some minutes
    wal.append(row(16))
    assert shipper.ship_once() == 1
    assert [level for level, text in said if "No space left" in text] == ["warn"]
    assert not (spool.path / "merge").exists()
