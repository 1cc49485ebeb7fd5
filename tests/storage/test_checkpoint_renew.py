"""A checkpoint follows from its packs: looked at, made again, and put in the place of a damaged one."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_maker import T0, made_run

from tracker.storage import fsck
from tracker.storage.checkpoint import CHECKPOINT_COLUMNS
from tracker.storage.checkpoint_check import check_checkpoint, check_whole_checkpoint
from tracker.storage.checkpoint_rebuild import rebuild_checkpoint
from tracker.storage.checkpoint_renew import repair_checkpoints
from tracker.storage.derived import read_derived
from tracker.storage.errors import CorruptData, NotFound
from tracker.storage.format_file import ensure_format
from tracker.storage.fsck import check_project
from tracker.storage.manifest import Manifest, Pack, newest_manifest
from tracker.storage.memory import MemoryStore, forget_memory
from tracker.storage.names import pack_key
from tracker.storage.packing import CompactReport, compact_project
from tracker.storage.quarantine import repair


def compact(store: MemoryStore) -> CompactReport:
    return compact_project(store, "main", "p", now_us=T0, quiet_s=0, finished_quiet_s=0)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    """Two packs in one checkpoint; one run is in both, one has a row that was not closed."""
    monkeypatch.setattr(fsck, "_PAUSES_S", (0.0, 0.0))
    name = uuid.uuid4().hex
    made = MemoryStore(name)
    ensure_format(made)
    for run_id in "abc":
        made_run(made, run_id, [{"loss": 1 / (n + 1), "acc": n} for n in range(9)], config={"name": run_id})
    late = made_run(made, "late", [{"z": 1, "a": n} for n in range(5)], state="running")
    late.log({"open": 1}, commit=False).put(late.shipped)
    compact(made)
    late.log({"open": 2}).system({"gpu": 3}).end()
    compact(made)
    made.delete([info.key for info in made.list("main/p/runs/")])
    yield made
    forget_memory(name)


def manifest(store: MemoryStore) -> Manifest:
    return newest_manifest(store, "main", "p")


def checkpoint_key(store: MemoryStore) -> str:
    (checkpoint,) = manifest(store).checkpoints
    return pack_key("main", "p", checkpoint.id, "k")


def change(store: MemoryStore, key: str, how: Callable[[bytes], bytes]) -> None:
    data = how(store.get(key))
    store.delete([key])
    store.put_if_absent(key, data)


def flip(data: bytes) -> bytes:
    at = len(data) // 3
    return data[:at] + bytes(byte ^ 1 for byte in data[at : at + 64]) + data[at + 64 :]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def opener(store: MemoryStore, directory: Path) -> Callable[[Pack, str], Path]:
    def open_pack(pack: Pack, family: str) -> Path:
        path = directory / f"{pack.id}.{family}"
        path.write_bytes(store.get(pack_key("main", "p", pack.id, family)))
        return path

    return open_pack


def again(store: MemoryStore, directory: Path) -> bytes:
    newest = manifest(store)
    (checkpoint,) = newest.checkpoints
    return rebuild_checkpoint(checkpoint.id, "main", "p", newest.packs, opener(store, directory))


def test_what_is_made_again_is_what_was_there(store: MemoryStore, tmp_path: Path) -> None:
    assert len(manifest(store).packs) == 2
    held, made = (
        read_derived(pa.BufferReader(data), "k").to_pylist()
        for data in (store.get(checkpoint_key(store)), again(store, tmp_path))
    )
    assert held == made
    assert {record["what"] for record in held} == {"fact", "open", "series", "writer"}


@pytest.mark.parametrize("how", [flip, cut, None])
def test_without_the_rollup_only_the_order_of_keys_is_lost(
    store: MemoryStore, tmp_path: Path, how: Callable[[bytes], bytes] | None
) -> None:
    for pack in manifest(store).packs:
        key = pack_key("main", "p", pack.id, "r")
        store.delete([key]) if how is None else change(store, key, how)
    held, made = (
        read_derived(pa.BufferReader(data), "k").drop_columns(["place"]).to_pylist()
        for data in (store.get(checkpoint_key(store)), again(store, tmp_path))
    )
    assert held == made


def test_without_the_facts_nothing_can_be_made(store: MemoryStore, tmp_path: Path) -> None:
    key = pack_key("main", "p", manifest(store).packs[0].id, "f")
    change(store, key, flip)
    with pytest.raises(CorruptData):
        again(store, tmp_path)
    store.delete([key])
    with pytest.raises(NotFound):
        again(store, tmp_path)


def test_a_look_finds_every_flipped_byte_of_the_pages_that_are_read(store: MemoryStore) -> None:
    (checkpoint,) = manifest(store).checkpoints
    data = store.get(checkpoint_key(store))
    check_checkpoint(data, "k", checkpoint.id, checkpoint.size_bytes)
    check_whole_checkpoint(data, "k", checkpoint.id)
    with pq.ParquetFile(io.BytesIO(data)) as file:
        for group in range(file.num_row_groups):
            what = file.metadata.row_group(group).column(0).statistics.min
            for number, name in enumerate(file.schema_arrow.names):
                chunk = file.metadata.row_group(group).column(number)
                damaged = bytearray(data)  # the last byte is one of a page, not of its header
                damaged[chunk.data_page_offset + chunk.total_compressed_size - 1 - _dictionary_bytes(chunk)] ^= 4
                if name in CHECKPOINT_COLUMNS[what]:
                    with pytest.raises(CorruptData, match=f"a page of column {name} has another checksum"):
                        check_checkpoint(bytes(damaged), "k", checkpoint.id, checkpoint.size_bytes)


def _dictionary_bytes(chunk: pq.ColumnChunkMetaData) -> int:
    return int(chunk.data_page_offset - chunk.dictionary_page_offset) if chunk.has_dictionary_page else 0


def test_a_look_refuses_another_checkpoint_and_another_size(store: MemoryStore, tmp_path: Path) -> None:
    (checkpoint,) = manifest(store).checkpoints
    data = store.get(checkpoint_key(store))
    with pytest.raises(CorruptData, match="says that it is k of"):
        check_checkpoint(data, "k", "0" * 26)
    with pytest.raises(CorruptData, match="its manifest says"):
        check_checkpoint(data, "k", checkpoint.id, len(data) + 1)
    for damaged in (cut(data), data[:-1], b"", flip(data)):
        path = tmp_path / "k.parquet"
        path.write_bytes(damaged)
        with pytest.raises(CorruptData):
            check_checkpoint(path, "k", checkpoint.id)
    with pytest.raises(FileNotFoundError):
        check_checkpoint(tmp_path / "none", "k", checkpoint.id)


@pytest.mark.parametrize("how", [cut, None])
def test_compaction_puts_a_good_checkpoint_in_the_place_of_a_missing_or_short_one(
    store: MemoryStore, how: Callable[[bytes], bytes] | None
) -> None:
    before, key = manifest(store), checkpoint_key(store)
    good = read_derived(pa.BufferReader(store.get(key)), "k")
    store.delete([key]) if how is None else change(store, key, how)
    report = compact(store)
    assert any(key in note for note in report.notes)
    after = manifest(store)
    assert after.number == before.number + 1
    assert after.packs == before.packs
    assert after.gc[before.checkpoints[0].id] == after.number
    assert read_derived(pa.BufferReader(store.get(checkpoint_key(store))), "k").equals(good)
    assert check_project(store, "main", "p").is_sound
    assert compact(store).manifest == after.number


def test_compaction_goes_on_where_a_checkpoint_that_it_rewrites_is_damaged(store: MemoryStore) -> None:
    change(store, checkpoint_key(store), flip)
    made_run(store, "more", [{"loss": 1}])
    assert compact(store).packed_writers == 1
    report = check_project(store, "main", "p")
    assert [one for one in report.findings if one.level != "note"] == []
    assert report.runs == 5


@pytest.mark.parametrize("how", [flip, cut, None])
def test_a_repair_renews_a_damaged_checkpoint(store: MemoryStore, how: Callable[[bytes], bytes] | None) -> None:
    before, key = manifest(store), checkpoint_key(store)
    store.delete([key]) if how is None else change(store, key, how)
    report = check_project(store, "main", "p")
    assert {one.code for one in report.findings if one.level != "note"} == {"derived"}
    repair_checkpoints(store, report, now_us=T0, dry_run=True)
    assert len(report.renewed) == 1
    assert manifest(store) == before
    report = check_project(store, "main", "p")
    repair(store, report, now_us=T0, dry_run=False)
    repair_checkpoints(store, report, now_us=T0, dry_run=False)
    assert report.moved == report.kept == []
    assert [one.endswith(key.rsplit("/", 1)[1]) for one in report.renewed] == [True]
    assert manifest(store).packs == before.packs
    assert [one for one in check_project(store, "main", "p").findings if one.level != "note"] == []


def test_a_repair_leaves_a_checkpoint_whose_pack_is_damaged(store: MemoryStore) -> None:
    before, key = manifest(store), checkpoint_key(store)
    change(store, key, flip)
    change(store, pack_key("main", "p", before.packs[0].id, "f"), flip)
    report = check_project(store, "main", "p")
    repair_checkpoints(store, report, now_us=T0, dry_run=False)
    assert report.renewed == []
    assert [name for name, why in report.kept if "cannot be made again" in why] == [key]
    assert replace(manifest(store), modified_us=0) == replace(before, modified_us=0)
