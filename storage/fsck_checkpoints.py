"""Checkpoints against the packs that they stand for: last facts, series and open cells, record by record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.checkpoint import CHECKPOINT_COLUMNS
from tracker.storage.derived import Record, read_derived
from tracker.storage.errors import CorruptData, FormatTooNew, NotFound
from tracker.storage.event_file import SET_GROUP_ROWS, read_blocks
from tracker.storage.fsck_compare import first_difference, plain_texts
from tracker.storage.fsck_report import FsckReport
from tracker.storage.manifest import Checkpoint, Manifest
from tracker.storage.parquet_check import Source
from tracker.storage.port import Get, LocalPath, ObjectInfo
from tracker.storage.schema import PACK_SCHEMA

__all__ = ["check_checkpoints"]

_FACT: Final = ("run", "writer", "kind", "subject", "key")  # what a fact is about

Objects = Mapping[tuple[str, str], ObjectInfo]


class _Readable(Get, LocalPath, Protocol):
    pass


def check_checkpoints(store: _Readable, manifest: Manifest, objects: Objects, report: FsckReport) -> None:
    """Compare each checkpoint with its packs, which are read once more: their facts and rollups, not their points.

    The facts of one pack are in memory at a time. Files that are damaged or gone have been reported before.
    """
    for checkpoint in manifest.checkpoints:
        key = objects[checkpoint.id, "k"].key if (checkpoint.id, "k") in objects else None
        if key is None:
            continue
        try:
            wrong = _differences(store, checkpoint, key, objects)
        except (KeyError, NotFound, FileNotFoundError, CorruptData, FormatTooNew):
            continue
        if wrong:
            report.add("derived", key, f"{key} is not what its packs come to: {wrong}.")


def _differences(store: _Readable, checkpoint: Checkpoint, key: str, objects: Objects) -> str:
    source = _source(store, key)
    for what in (Record.FACT, Record.SERIES, Record.OPEN):
        columns = [name for name in CHECKPOINT_COLUMNS[what] if name not in ("what", "pack")]
        held = plain_texts(read_derived(_opened(source), key, what=[what], columns=[*columns, "pack"]))
        count = 0
        for pack in checkpoint.packs:
            mine = held.filter(pc.equal(held["pack"], pack)).select(columns)
            is_fact = what == Record.FACT
            made = _facts(store, pack, objects) if is_fact else _rolled(store, pack, what, columns, objects)
            right = made.select(columns)
            count += mine.num_rows
            if mine.num_rows != right.num_rows:
                return f"{mine.num_rows:,} records {what} of pack {pack}, not {right.num_rows:,}"
            odd = first_difference(mine, right, columns)
            if odd is not None:
                return f"column {odd} of its records {what} of pack {pack}"
        if count != held.num_rows:
            return f"{held.num_rows - count:,} records {what} of packs that are not its own"
    return ""


def _facts(store: _Readable, pack: str, objects: Objects) -> pa.Table:
    """The last fact of each writer about each path, from the pack's f file."""
    blocks = [plain_texts(PACK_SCHEMA.empty_table())]
    if (pack, "f") in objects:  # a pack without facts has none
        key = objects[pack, "f"].key
        source = _source(store, key)
        given = pa.py_buffer(source) if isinstance(source, bytes) else source
        blocks += [plain_texts(block) for block in read_blocks(given, key, SET_GROUP_ROWS)]
    facts = pa.concat_tables(blocks)
    numbered = facts.append_column("at", pa.array(range(facts.num_rows), pa.int64()))
    last = numbered.sort_by([("seq", "ascending")]).group_by(list(_FACT), use_threads=False).aggregate([("at", "last")])
    return facts.take(last["at_last"])


def _rolled(store: _Readable, pack: str, what: str, columns: list[str], objects: Objects) -> pa.Table:
    """The same records of the pack's rollup."""
    key = objects[pack, "r"].key
    return plain_texts(read_derived(_opened(_source(store, key)), key, what=[what], columns=columns))


def _source(store: _Readable, key: str) -> Source:
    return store.local_path(key) or store.get(key)


def _opened(source: Source) -> pa.BufferReader | Path:
    return pa.BufferReader(source) if isinstance(source, bytes) else source
