"""The public Api over packed runs: pages that are loaded long after the runs were found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packed_store import packed_project

import tracker
from tracker.storage.derived import parse_derived_footer, read_derived, write_derived
from tracker.storage.local import LocalStore
from tracker.storage.manifest import PurgedRun, newest_manifest, publish_manifest
from tracker.storage.names import new_ulid, pack_key
from tracker.storage.schema import PackFooter


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def found(store: LocalStore, tmp_path: Path) -> tracker.apis.public.Runs:
    runs = tracker.Api({"base_url": str(tmp_path / "store")}).runs("main/p", order="+config.p0", per_page=20)
    assert (len(runs), runs[0].id) == (100, "r000000")
    return runs


def replace_checkpoint(store: LocalStore, purged: tuple[PurgedRun, ...] = ()) -> None:
    """As a merge of checkpoints does, whose old ones were deleted after the grace time."""
    manifest = newest_manifest(store, "main", "p")
    (old,) = manifest.checkpoints
    key = pack_key("main", "p", old.id, "k")
    source = pa.py_buffer(store.get(key))
    footer = parse_derived_footer(pq.read_metadata(pa.BufferReader(source)), key)
    assert isinstance(footer, PackFooter)
    made = new_ulid(1_790_000_000_000_000)
    data = write_derived([read_derived(pa.BufferReader(source), key)], replace(footer, pack_id=made))
    new = replace(old, id=made, size_bytes=len(data))
    store.put_if_absent(pack_key("main", "p", made, "k"), data)
    changed = replace(manifest, number=manifest.number + 1, checkpoints=(new,), purged=purged)
    assert publish_manifest(store, "main", "p", changed)
    store.delete([key])


def test_later_pages_come_although_the_checkpoint_was_replaced(store: LocalStore, tmp_path: Path) -> None:
    packed_project(store, 100)
    runs = found(store, tmp_path)
    replace_checkpoint(store)
    assert [run.config["p0"] for run in runs] == list(range(100))


def test_runs_that_were_purged_meanwhile_are_left_out(store: LocalStore, tmp_path: Path) -> None:
    packed_project(store, 100)
    runs = found(store, tmp_path)
    gone = tuple(PurgedRun(run_id=f"r{n:06d}", hlc_us=2**60, writers=()) for n in range(40, 60))
    replace_checkpoint(store, gone)
    assert [run.config["p0"] for run in runs] == [*range(40), *range(60, 100)]
    assert len(runs) == 80
