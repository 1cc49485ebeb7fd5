"""A purged run shows no more, whatever is synced later; its bytes go; nothing else does."""

from __future__ import annotations

import pytest
from pack_world import GRACE_S, HOUR_US, Died, FakeStore, compact, make_world, read_all, truth
from store_maker import MadeWriter, made_run

from tracker.storage.errors import NotFound, UsageError
from tracker.storage.manifest import newest_manifest
from tracker.storage.names import RunRef
from tracker.storage.purge import PurgeReport, purge_runs

LATER_US = int(1.5 * GRACE_S * 1e6)


def purge(store: FakeStore, *run_ids: str, **options: object) -> PurgeReport:
    return purge_runs(store, "main", "p", run_ids, now_us=store.now_us, grace_s=GRACE_S, **options)


def bytes_of(store: FakeStore, run_id: str) -> list[str]:
    """Objects that still hold something of the run, by name or content."""
    return [key for key, (data, _) in store.objects.items() if f"/{run_id}/" in key or run_id.encode() in data]


@pytest.mark.parametrize("packed", [False, True], ids=["loose", "packed"])
def test_a_purged_run_is_hidden_at_once_and_gone_after_the_grace_time(packed: bool):
    store, writers = make_world(4)
    if packed:
        compact(store)
    before = store.keys("runs")
    report = purge(store, "run1")
    assert (report.runs, report.writers, report.packs_rewritten) == (1, 1, int(packed))
    expected = truth(one for one in writers if one.ref.run_id != "run1")
    assert read_all(store) == expected
    assert store.keys("runs") == before  # a reader that listed before may need them
    for _ in range(3):
        store.now_us += LATER_US
        compact(store)
        assert read_all(store) == expected
    manifest = f"{newest_manifest(store, 'main', 'p').number:012d}.json"
    assert [key for key in bytes_of(store, "run1") if not key.endswith(manifest)] == []


def test_what_is_synced_late_stays_hidden_and_a_new_run_of_that_name_shows():
    store, writers = make_world(2)
    old = writers[0]
    late = MadeWriter(store, old.ref, 77, start_us=store.now_us - 5 * HOUR_US)  # offline since before the purge
    purge(store, "run0")
    expected = truth(writers[1:])
    store.now_us += LATER_US
    old.log({"loss": 9.0}).put()
    late.begin().log({"loss": 8.0}).end()
    assert read_all(store) == expected
    new = MadeWriter(store, old.ref, 78, start_us=store.now_us).begin().log({"loss": 7.0}).end()
    assert read_all(store) == expected + truth([new])
    for _ in range(3):
        store.now_us += 25 * HOUR_US
        compact(store)
        assert read_all(store) == expected + truth([new])
    assert all(late.id in key for key in store.keys("runs")), "of what was not known only a clock says that it is old"
    assert purge(store, "run0").writers >= 2
    assert read_all(store) == expected
    for _ in range(3):
        store.now_us += LATER_US
        compact(store)
    assert store.keys("runs") == []
    assert read_all(store) == expected


def test_a_purge_may_die_at_any_request_and_is_finished_by_whoever_comes_next():
    origin, writers = make_world(3)
    compact(origin)
    origin.now_us += LATER_US
    origin_twin = origin.copy()
    purge(origin_twin, "run1")
    kept = truth(one for one in writers if one.ref.run_id != "run1")
    for n in range(0, origin_twin.requests, 2):
        for moment in ("at", "after"):
            store = origin.copy()

            def die(number: int, verb: str, key: str, n: int = n) -> None:
                if number == n:
                    raise Died

            setattr(store, moment, die)
            with pytest.raises(Died):
                purge(store, "run1")
            store.at = store.after = lambda *_: None
            hidden = bool(newest_manifest(store, "main", "p").purged)
            assert read_all(store) == (kept if hidden else truth(writers))
            for _ in range(4):
                store.now_us += 25 * HOUR_US
                compact(store)
                assert read_all(store) == (kept if hidden else truth(writers))
            if hidden:
                left = bytes_of(store, "run1")
                assert all("/manifests/" in key for key in left), (n, left)


def test_two_purges_at_once_both_count():
    origin, writers = make_world(4)
    compact(origin)
    twin = origin.copy()
    purge(twin, "run1")
    for n in range(0, twin.requests, 3):
        store = origin.copy()

        def other(number: int, verb: str, key: str, n: int = n, store: FakeStore = store) -> None:
            if number == n:
                store.at = lambda *_: None
                purge(store, "run2")

        store.at = other
        purge(store, "run1")
        purge(store, "run1")  # what the first one left to the other
        assert read_all(store) == truth(one for one in writers if one.ref.run_id in ("run0", "run3"))


def test_all_runs_of_a_pack_can_go():
    store, _ = make_world(3)
    compact(store)
    purge(store, "run0", "run1", "run2")
    assert not read_all(store)
    manifest = newest_manifest(store, "main", "p")
    assert manifest.packs == manifest.checkpoints == ()
    for _ in range(3):
        store.now_us += LATER_US
        compact(store)
    assert store.keys("runs") == store.keys("packs") == []


def test_a_dry_run_purges_nothing():
    store, writers = make_world(2)
    before = dict(store.objects)
    report = purge(store, "run0", dry_run=True)
    assert (report.runs, report.writers, report.waiting_objects) == (1, 1, 3)
    assert store.objects == before
    assert read_all(store) == truth(writers)


def test_a_run_that_is_not_there_is_named_and_nothing_is_purged():
    store, writers = make_world(1)
    with pytest.raises(NotFound, match="run7"):
        purge(store, "run0", "run7")
    assert read_all(store) == truth(writers)


def test_a_root_whose_readers_would_not_know_is_not_purged():
    store, _ = make_world(1)
    store.objects["_format.json"] = (b'{"format": 1}', store.now_us)
    with pytest.raises(UsageError, match="cannot be purged"):
        purge(store, "run0")
    store, _ = make_world(1, exclusive=False)
    with pytest.raises(UsageError, match="second put"):
        purge(store, "run0")


def test_a_clock_that_runs_ahead_hides_no_later_run():
    store, writers = make_world(1)
    ahead_us = store.now_us + 10 * HOUR_US
    purge_runs(store, "main", "p", ["run0"], now_us=ahead_us, grace_s=GRACE_S)
    store.now_us += HOUR_US
    new = made_run(store, "other", [{"x": 1}])
    again = MadeWriter(store, RunRef("main", "p", "run0"), 5, start_us=store.now_us).begin().log({"x": 2}).end()
    assert read_all(store) == truth([new, again])
    assert writers[0].id != again.id
