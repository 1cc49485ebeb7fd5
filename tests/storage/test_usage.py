"""What a root holds, counted from one listing."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from store_maker import made_run

from tracker.storage.derived import DERIVED_SCHEMA, write_derived
from tracker.storage.manifest import Manifest, Pack, publish_manifest
from tracker.storage.memory import MemoryStore, forget_memory
from tracker.storage.names import new_ulid, pack_key, project_prefix
from tracker.storage.schema import PackFooter
from tracker.storage.usage import Amount, measure_usage


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    yield MemoryStore("usage")
    forget_memory("usage")


def put_pack(store: MemoryStore, events: dict[tuple[str, str], int], size_bytes: int) -> None:
    """A pack of `size_bytes` in its h file, whose cover says how many events each (run, writer) has in it."""
    pack_id = new_ulid(1_000_000)
    records = [
        {"what": "writer", "run": run, "writer": writer, "pack": pack_id, "first_frame": 0, "last_frame": 9,
         "mark": "0" * 16, "events": count, "rows": 1, "last_hlc": 5}
        for (run, writer), count in events.items()
    ]  # fmt: skip
    footer = PackFooter(entity="main", project="p", pack_id=pack_id, family="cover", writers=len(events))
    cover = write_derived([pa.Table.from_pylist(records, DERIVED_SCHEMA)], footer)
    store.put_if_absent(pack_key("main", "p", pack_id, "h"), b"h" * size_bytes)
    store.put_if_absent(pack_key("main", "p", pack_id, "cover"), cover)
    families = {"h": size_bytes}
    pack = Pack(id=pack_id, families=families, writers=len(events), events=sum(events.values()), hlc_max_us=5, since=0)
    assert publish_manifest(store, "main", "p", Manifest(number=0, packs=(pack,)))


def test_every_object_is_counted_once(store: MemoryStore) -> None:
    writer = made_run(store, "Run one", [{"x": n} for n in range(5)])
    writer.merge(0, 3)
    made_run(store, "other", [{"x": 1}], project="q", entity="team")
    store.put_if_absent("_format.json", b"{}")
    store.put_if_absent("_quarantine/2026/main/p/runs/0/r/x", b"bad")
    store.put_if_absent("main/p/blobs/ab/abcd", b"12345")
    store.put_if_absent("main/p/readme.txt", b"hello")
    usage = measure_usage(store)
    listed = store.list("")
    assert usage.total == Amount(len(listed), sum(info.size_bytes for info in listed))
    assert usage.elsewhere == Amount(2, 5)
    assert [(found.entity, found.project) for found in usage.projects] == [("main", "p"), ("team", "q")]
    assert sum(found.total.size_bytes for found in usage.projects) + 5 == usage.total.size_bytes
    first = usage.projects[0]
    assert sum(area.objects for area in first.areas.values()) == first.total.objects
    assert first.areas["blobs"] == Amount(1, 5)
    assert first.areas["other"] == Amount(1, 5)
    families = {family: amount.objects for (_, family), amount in first.families.items()}
    assert families["e"] == 1
    assert families["f"] == families["h"] == 1
    assert list(first.runs) == ["Run one"]
    assert first.runs["Run one"].loose == first.areas["loose"]
    assert first.runs["Run one"].writers == 1


def test_one_project_alone(store: MemoryStore) -> None:
    made_run(store, "a")
    made_run(store, "b", project="q")
    usage = measure_usage(store, project_prefix("main", "q"))
    assert [found.project for found in usage.projects] == ["q"]
    assert usage.total == usage.projects[0].total
    assert usage.total.objects == 1


def test_a_packed_run_has_its_share_by_events(store: MemoryStore) -> None:
    made_run(store, "loose")
    put_pack(store, {("a", "w1"): 30, ("a", "w2"): 10, ("loose", "w3"): 60}, 1000)
    (project,) = measure_usage(store, runs=True).projects
    assert project.runs["a"].packed_bytes == 400
    assert project.runs["a"].loose == Amount()
    assert project.runs["a"].writers == 2
    assert project.runs["loose"].packed_bytes == 600
    assert project.runs["loose"].loose.objects == 1
    assert project.families["packs", "cover"].objects == 1
    assert project.unread == []


def test_what_cannot_be_read_leaves_the_sums_and_is_named(store: MemoryStore) -> None:
    put_pack(store, {("a", "w"): 1}, 10)
    (cover,) = [info.key for info in store.list("") if ".cover." in info.key]
    store.delete([cover])
    store.put_if_absent(cover, b"no cover")
    (project,) = measure_usage(store, runs=True).projects
    assert project.total.objects == 3
    assert project.runs == {}
    assert len(project.unread) == 1
    assert cover in project.unread[0]
    store.put_if_absent("main/p/manifests/000000000001.json", b"{")
    (project,) = measure_usage(store, runs=True).projects
    assert "000000000001.json is no manifest" in project.unread[0]
