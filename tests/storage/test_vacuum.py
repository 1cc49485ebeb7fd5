"""Vacuum by hand: what nobody needs goes, in two steps where somebody might still publish it."""

from __future__ import annotations

from pack_world import DAY_US, GRACE_S, FakeStore, compact, make_world, read_all, truth

from tracker.storage.manifest import Manifest, newest_manifest, publish_manifest
from tracker.storage.names import new_ulid, pack_key
from tracker.storage.vacuum import VacuumReport, vacuum_project

LATER_US = int(1.5 * GRACE_S * 1e6)


def vacuum(store: FakeStore, **options: object) -> VacuumReport:
    return vacuum_project(store, "main", "p", now_us=store.now_us, grace_s=GRACE_S, **options)


def test_covered_files_go_once_their_pack_is_old_enough():
    store, writers = make_world(3)
    compact(store)
    assert vacuum(store).loose_objects == 0
    store.now_us += LATER_US
    loose = len(store.keys("runs"))
    assert vacuum(store, dry_run=True).loose_objects == loose
    assert len(store.keys("runs")) == loose
    assert vacuum(store).loose_objects == loose
    assert store.keys("runs") == []
    assert read_all(store) == truth(writers)


def test_an_orphan_is_announced_by_a_manifest_before_it_goes():
    store, writers = make_world(2)
    orphan = new_ulid(store.now_us)
    for family in ("f", "h", "cover"):
        store.put_if_absent(pack_key("main", "p", orphan, family), b"never published")
    assert vacuum(store).orphan_packs == 0  # too young: its packer may be at work
    store.now_us += LATER_US
    assert vacuum(store).orphan_packs == 1
    assert newest_manifest(store, "main", "p").gc == {orphan: 0}
    assert len([key for key in store.keys("packs") if orphan in key]) == 3
    stalled = Manifest(number=0, nonce="stalled")
    assert not publish_manifest(store, "main", "p", stalled)  # the fence has taken its number
    report = vacuum(store)
    assert (report.orphan_packs, report.pack_objects) == (0, 0)
    store.now_us += LATER_US
    assert vacuum(store).pack_objects == 3
    assert store.keys("packs") == []
    assert read_all(store) == truth(writers)


def test_small_sets_of_silent_writers_replace_their_parts():
    store, writers = make_world(3)
    store.now_us = store.now_us - DAY_US
    writers[0].merge(0, writers[0].shipped - 1)
    store.now_us += DAY_US + LATER_US
    report = vacuum(store)
    assert report.loose_objects == 3 + 2  # all of the merged one's; and what the set of run2 covers
    assert read_all(store) == truth(writers)
    assert vacuum(store).loose_objects == 0


def test_markers_and_old_manifests_go():
    store, _ = make_world(2)
    store.put_if_absent(f"vacuum/{new_ulid(store.now_us)}", b"clock")
    for number in range(3):
        publish_manifest(store, "main", "p", Manifest(number=number))
        store.now_us += LATER_US
    report = vacuum(store)
    assert (report.markers, report.manifests) == (1, 2)
    assert [key for key in store.objects if "vacuum/" in key] == []
    assert newest_manifest(store, "main", "p").number == 2


def test_a_project_without_anything_is_no_error():
    store = FakeStore()
    report = vacuum(store)
    assert (report.loose_objects, report.pack_objects, report.orphan_packs) == (0, 0, 0)
    assert store.objects == {}
