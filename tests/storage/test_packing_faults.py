"""Whatever happens to a packer, and whoever else is at work: a reader finds every event once, and nothing piles up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pack_world import GRACE_S, HOUR_US, Died, FakeStore, compact, make_world, read_all, truth
from store_maker import MadeWriter

from tracker.storage.errors import StorageUnavailable
from tracker.storage.manifest import newest_manifest
from tracker.storage.names import parse_pack_key
from tracker.storage.packing import compact_project
from tracker.storage.vacuum import vacuum_project

LATER_US = int(1.5 * GRACE_S * 1e6)
STRIDES = [  # which requests of a compaction: some by default, all in the slow suite
    pytest.param(7, id="some"),
    pytest.param(1, id="all", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
]


def requests_of_a_compaction(store: FakeStore) -> int:
    twin = store.copy()
    compact(twin)
    return twin.requests


def settle(store: FakeStore, expected: object) -> None:
    """Everybody went home: some compactions later each event is in one place, and hardly an object is left."""
    for _ in range(6):
        store.now_us += 25 * HOUR_US
        compact(store)
        assert read_all(store) == expected
    assert store.keys("runs") == []
    assert len(store.keys("manifests")) <= 2
    manifest = newest_manifest(store, "main", "p")
    held = {name[0] for key in store.keys("packs") if (name := parse_pack_key(key)) is not None}
    assert held == {pack.id for pack in manifest.packs} | {one.id for one in manifest.checkpoints}
    assert not [key for key in store.objects if "vacuum" in key]


def half_packed() -> tuple[FakeStore, list[MadeWriter]]:
    """A project of which some runs are packed and due to be deleted, and others are due to be packed."""
    store, writers = make_world(3)
    compact(store, run_id="run0")
    store.now_us += LATER_US
    return store, writers


MakeWorld = Callable[[], tuple[FakeStore, list[MadeWriter]]]
STORES: dict[str, MakeWorld] = {"nothing packed": lambda: make_world(3), "half packed": half_packed}


@pytest.mark.parametrize("make", STORES.values(), ids=STORES.keys())
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("stride", STRIDES)
def test_a_packer_may_die_at_any_request(make: MakeWorld, moment: str, stride: int):
    origin, writers = make()
    expected = truth(writers)
    for n in range(stride // 2, requests_of_a_compaction(origin), stride):
        store = origin.copy()

        def die(number: int, verb: str, key: str, n: int = n) -> None:
            if number == n:
                raise Died

        setattr(store, "at" if moment == "before" else "after", die)
        with pytest.raises(Died):
            compact(store)
        store.at = store.after = lambda *_: None
        assert read_all(store) == expected, f"died at request {n}"
        store.objects = {key: value for key, value in store.objects.items() if not key.startswith("vacuum/")}
        settle(store, expected)


@pytest.mark.parametrize("make", STORES.values(), ids=STORES.keys())
@pytest.mark.parametrize("stride", STRIDES)
def test_a_lost_reply_to_any_request_ends_the_packer_or_does_not_matter(make: MakeWorld, stride: int):
    """The request was served; its client sees an error, and whoever comes next goes on."""
    origin, writers = make()
    expected = truth(writers)
    for n in range(stride // 2, requests_of_a_compaction(origin), stride):
        store = origin.copy()

        def lose(number: int, verb: str, key: str, n: int = n) -> None:
            if number == n:
                raise StorageUnavailable("the reply was lost")

        store.after = lose
        try:
            compact(store)
        except StorageUnavailable:
            assert read_all(store) == expected
        store.after = lambda *_: None
        compact(store)
        assert read_all(store) == expected, f"lost reply {n}"


@pytest.mark.parametrize("make", STORES.values(), ids=STORES.keys())
@pytest.mark.parametrize("stall_s", [0, 1.5 * GRACE_S, 72 * 3600.0], ids=["no time", "grace", "days"])
@pytest.mark.parametrize("stride", STRIDES)
def test_others_may_do_anything_while_a_packer_stalls_at_any_request(make: MakeWorld, stall_s: float, stride: int):
    """Two packers, one of them paused before one of its requests while the other packs, vacuums, packs again."""
    origin, writers = make()
    expected = truth(writers)
    for n in range(stride // 2, requests_of_a_compaction(origin), stride):
        store = origin.copy()

        def others(number: int, verb: str, key: str, n: int = n, store: FakeStore = store) -> None:
            if number != n:
                return
            store.at = lambda *_: None
            compact(store)
            for _ in range(3):
                store.now_us += int(stall_s * 1e6 / 3)
                vacuum_project(store, "main", "p", now_us=store.now_us, grace_s=GRACE_S)
                compact(store)
                assert read_all(store) == expected

        store.at = others
        compact(store)
        assert read_all(store) == expected, f"stalled at request {n}"
        settle(store, expected)


def test_a_part_put_again_long_after_it_was_packed_and_deleted_does_not_count_twice():
    store, writers = make_world(3)
    expected = truth(writers)
    parts = {key: store.objects[key] for key in store.keys("runs")}
    compact(store)
    store.now_us += LATER_US
    compact(store)
    assert store.keys("runs") == []
    for key, (data, _) in parts.items():
        store.put_if_absent(key, data)
        assert read_all(store) == expected
    settle(store, expected)


def test_a_manifest_that_arrives_when_its_number_is_long_gone_changes_nothing():
    """The put of a packer that was given up for dead is delivered after its number was taken, used and deleted."""
    store, writers = make_world(3)
    expected = truth(writers)
    stalled = store.copy()
    compact(stalled)
    late = {key: value for key, value in stalled.objects.items() if "/manifests/" in key}
    for _ in range(3):
        compact(store)
        store.now_us += LATER_US
        writers.append(_one_more(store, len(writers)))
        store.now_us += 25 * HOUR_US
    expected = truth(writers)
    compact(store)
    assert not late.keys() & store.objects.keys()
    for key, (data, _) in late.items():
        store.put_if_absent(key, data)
    assert read_all(store) == expected
    settle(store, expected)


def test_a_late_writer_goes_on_where_its_pack_ends():
    store, writers = make_world(1)
    writer = writers[0]
    compact(store)
    for round_ in range(3):
        store.now_us += 25 * HOUR_US
        writer.log({"loss": 0.1 * round_}).log({"loss": 0.2})
        first = max(writer.shipped - 2, 0)  # cut again from an older mark: it overlaps what is packed
        writer.put(first, len(writer.frames) - 1)
        assert read_all(store) == truth(writers)
        store.now_us += 25 * HOUR_US
        report = compact(store)
        assert report.packed_writers == 1
        assert read_all(store) == truth(writers)
    store.now_us += LATER_US
    compact(store)
    assert store.keys("runs") == []
    assert read_all(store) == truth(writers)


def test_a_store_without_put_if_absent_is_not_packed():
    store, writers = make_world(2, exclusive=False)
    report = compact(store)
    assert not report.packs_allowed
    assert "does not refuse a second put" in report.notes[0]
    assert store.keys("packs") == store.keys("manifests") == []
    assert read_all(store) == truth(writers)


def test_a_root_whose_readers_need_not_know_packs_is_not_packed():
    store, writers = make_world(2)
    store.objects["_format.json"] = (b'{"format": 1}', store.now_us)
    report = compact(store)
    assert not report.packs_allowed
    assert store.keys("packs") == store.keys("manifests") == []
    assert read_all(store) == truth(writers)


def test_nothing_is_deleted_while_a_reader_may_still_need_it():
    store, _ = make_world(3)
    compact(store)
    loose = store.keys("runs")
    store.now_us += int((GRACE_S - 1) * 1e6)
    compact(store)
    assert store.keys("runs") == loose
    store.now_us += 2_000_000
    compact(store)
    assert store.keys("runs") == []


def test_two_histories_of_one_writer_are_not_packed_and_stay():
    store, writers = make_world(2)
    twin = MadeWriter(store, writers[0].ref, writers[0].number, writers[0].start_us)
    for n in range(len(writers[0].frames)):
        twin.log({"other": n})
    store.now_us -= 25 * HOUR_US
    twin.put(0, len(writers[0].frames) - 1)
    store.now_us += 25 * HOUR_US
    report = compact(store)
    assert report.packed_writers == 1
    store.now_us += LATER_US
    compact(store)
    assert len(store.keys("runs")) == 4  # three files of one history, one of the other


def _one_more(store: FakeStore, number: int) -> MadeWriter:
    from store_maker import made_run

    return made_run(store, f"late{number}", [{"loss": 1.0}])


def test_the_project_of_a_compaction_is_its_own():
    store, writers = make_world(2)
    compact_project(store, "main", "other", now_us=store.now_us, grace_s=GRACE_S)
    assert read_all(store) == truth(writers)
    assert store.keys("packs") == []
