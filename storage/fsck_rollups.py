"""Rollups against the events that they were made of: computed again, and compared record by record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.derived import DERIVED_SCHEMA, Record, read_derived
from tracker.storage.errors import CorruptData, FormatTooNew, NotFound
from tracker.storage.event_file import SET_GROUP_ROWS, read_blocks
from tracker.storage.fsck_compare import first_difference, plain_texts
from tracker.storage.fsck_report import FsckReport
from tracker.storage.names import PartName
from tracker.storage.pack_writers import decode_writers
from tracker.storage.parquet_check import Source
from tracker.storage.port import Get, LocalPath, ObjectInfo
from tracker.storage.rollup import Frames, Owners, Rollup, collect_closed_rows

__all__ = ["RollupToCheck", "check_rollups", "rollups_of_packs", "rollups_of_sets"]

_IN_ORDER: Final = "fhsc"
_LEFT_OUT: Final = frozenset({"place", "pack"})  # known before the merge alone; set later

Progress = Callable[[str, int, int], None]
RollupToCheck = tuple[ObjectInfo, Sequence[ObjectInfo]]  # the r file, and the files beside it


class _Readable(Get, LocalPath, Protocol):
    pass


def rollups_of_sets(objects: Mapping[PartName, ObjectInfo]) -> list[RollupToCheck]:
    """The r files of complete sets, with the set's files."""
    sets: dict[tuple[str, str, int, int, str], dict[str, ObjectInfo]] = {}
    for name, info in objects.items():
        key = (name.run_segment, name.writer_id, name.first, name.last, name.mark)
        sets.setdefault(key, {})[name.family] = info
    return [
        (found["r"], [found[family] for family in _IN_ORDER if family in found])
        for found in sets.values()
        if "r" in found and "f" in found
    ]


def rollups_of_packs(objects: Mapping[tuple[str, str], ObjectInfo]) -> list[RollupToCheck]:
    """The r files of packs, with the pack's files."""
    return [
        (info, [objects[pack, one] for one in _IN_ORDER if (pack, one) in objects])
        for (pack, family), info in sorted(objects.items())
        if family == "r"
    ]


def check_rollups(
    store: _Readable, rollups: Sequence[RollupToCheck], report: FsckReport, progress: Progress = lambda *_: None
) -> None:
    """Compare each with its events, read once more. Files that are damaged or gone have been reported before.

    One rollup's files are in memory at a time, compressed; of a local store none.
    """
    bad = {finding.key for finding in report.findings if finding.code in ("damaged", "too-new", "torn")}
    for count, (rollup, files) in enumerate(rollups):
        progress("rollups", count, len(rollups))
        if bad.intersection([rollup.key, *(info.key for info in files)]):
            continue
        try:
            wrong = _differences(store, rollup, files)
        except (NotFound, FileNotFoundError, CorruptData, FormatTooNew):  # gone or replaced since it was looked at
            continue
        if wrong:
            report.add("derived", rollup.key, f"{rollup.key} is not what its events come to: {wrong}.")
    progress("rollups", len(rollups), len(rollups))


def _differences(store: _Readable, rollup: ObjectInfo, files: Sequence[ObjectInfo]) -> str:
    source = _source(store, rollup.key)
    held = read_derived(_reader(source), rollup.key)
    writers = decode_writers(source, rollup.key)
    frames = {
        (one.run_id, one.writer_id): Frames(one.first_frame or 0, one.last_frame or 0, one.mark or "", one.pack)
        for one in writers
    }
    sources = {info.key: _source(store, info.key) for info in files}

    def blocks(families: str) -> Iterator[pa.Table]:
        for key, one in sources.items():
            if _family(key) in families:
                yield from read_blocks(_opened(one), key, SET_GROUP_ROWS)

    owners = Owners(frames)
    made = Rollup(owners, collect_closed_rows(lambda: blocks("h"), owners, lambda: None))
    try:
        for block in blocks(_IN_ORDER):
            made.add(block)
    except KeyError as exc:
        return f"it does not name {exc.args[0]!r}"
    tables = [table for table in made.records(frames) if table.num_rows]
    again = pa.concat_tables([_whole(table) for table in tables]) if tables else DERIVED_SCHEMA.empty_table()
    return _compare(held, again)


def _compare(held: pa.Table, again: pa.Table) -> str:
    """What differs, in words; empty where nothing does."""
    held, again = plain_texts(held), plain_texts(again)
    compared = [name for name in DERIVED_SCHEMA.names if name not in _LEFT_OUT]
    for what in (Record.SERIES, Record.BUCKET, Record.OPEN, Record.WRITER):
        mine, right = (table.filter(pc.equal(table["what"], what)) for table in (held, again))
        if mine.num_rows != right.num_rows:
            return f"it has {mine.num_rows:,} records {what}, not {right.num_rows:,}"
        odd = first_difference(mine, right, compared)
        if odd is not None:
            return f"column {odd} of its records {what}"
    return ""


def _whole(table: pa.Table) -> pa.Table:
    """With all columns of DERIVED_SCHEMA, texts plain."""
    columns = {}
    for field in DERIVED_SCHEMA:
        kind = pa.string() if pa.types.is_dictionary(field.type) else field.type
        there = field.name in table.column_names
        columns[field.name] = table[field.name].cast(kind) if there else pa.nulls(table.num_rows, kind)
    return pa.table(columns)


def _family(key: str) -> str:
    """The letter in the name of a part or of a pack's file."""
    name = key.rsplit("/", 1)[1]
    return name[0] if name[1] == "-" else name.split(".")[1]


def _source(store: _Readable, key: str) -> Source:
    return store.local_path(key) or store.get(key)


def _reader(source: Source) -> pa.BufferReader | Path:
    return pa.BufferReader(source) if isinstance(source, bytes) else source


def _opened(source: Source) -> pa.Buffer | Path:
    return pa.py_buffer(source) if isinstance(source, bytes) else source
