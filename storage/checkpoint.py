"""Checkpoints: the last fact per path, the series and the writers of some packs in one file, `packs/<id>.k.parquet`.

Listing runs reads these few files and no pack. Every pack is in exactly one checkpoint; each record names its pack, so
that a checkpoint can be rewritten without those that were merged away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import codes_of, one_chunk, own_words, rows_at, same_text
from tracker.storage.derived import DERIVED_SCHEMA, Record, count_derived, read_derived_blocks, write_derived
from tracker.storage.kway import Source, merge_streams
from tracker.storage.schema import PackFooter

__all__ = [
    "CHECKPOINT_COLUMNS",
    "LastFacts",
    "checkpoint_records",
    "encode_checkpoint",
    "merge_checkpoints",
]

_OWNER: Final = ("what", "run", "writer", "pack")
_CELL: Final = ("kind", "subject", "key", "seq", "row", "hlc", "ts", "step", "t", "v", "i", "s")
CHECKPOINT_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {  # of each kind of record those that it fills
    Record.FACT: (*_OWNER, *_CELL),
    Record.OPEN: (*_OWNER, *_CELL),
    Record.SERIES: (
        *(*_OWNER, *_CELL),
        *("count", "nan_count", "other_count", "first_step", "last_step", "first_v", "last_v", "min_v", "max_v"),
        *("mean_v", "min_step", "max_step", "counts", "rising", "first_seq", "place"),
    ),
    Record.WRITER: (
        *_OWNER,
        *("first_frame", "last_frame", "mark", "events", "rows", "first_hlc", "last_hlc", "last_wall_us", "plain"),
        *("is_session", "generation", "job", "rank", "state", "started_at", "ended_at"),
    ),
}
_ORDER: Final = (Record.FACT, Record.OPEN, Record.SERIES, Record.WRITER)  # by their letters
_SLICE_ROWS: Final = 32 * 1024


class LastFacts:
    """Of facts that come in the order of a pack: the last of each (run, writer, subject, kind, key)."""

    def __init__(self) -> None:
        self._kept: list[pa.Table] = []
        self._open: pa.Table | None = None  # facts of the last (kind, key, run, writer): more of it may follow

    def add(self, facts: pa.Table) -> None:
        """`facts`: PACK_SCHEMA, one chunk a column, sorted; tables follow each other in order."""
        if not facts.num_rows:
            return
        if self._open is not None:
            facts = one_chunk(pa.concat_tables([self._open, facts]))
        last = _last_of_each(facts)
        begin = int(np.flatnonzero(_group_begins(last))[-1])
        self._kept.append(last.slice(0, begin))
        self._open = own_words(last.slice(begin))

    def records(self, pack: str) -> pa.Table:
        """Records `fact`, in order; as many chunks as tables were added."""
        tables = [*self._kept, *([] if self._open is None else [self._open])]
        found = [
            _fields(Record.FACT, _of_pack(table, pack).append_column("what", same_text(Record.FACT, table.num_rows)))
            for table in tables
            if table.num_rows
        ]
        return pa.concat_tables(found) if found else _empty(Record.FACT)


def checkpoint_records(derived: Sequence[pa.Table], facts: pa.Table, pack: str) -> dict[str, pa.Table]:
    """Records of a checkpoint by what they are: of a pack's rollup all but the buckets, and its last facts.

    `derived`: tables as `Rollup.records` gives them, each of one kind of record, with the columns that it fills.
    """
    found = {Record.FACT: facts}
    for one in (Record.OPEN, Record.SERIES, Record.WRITER):
        mine = [_fields(one, _of_pack(table, pack)) for table in derived if _what(table) == one]
        found[one] = one_chunk(pa.concat_tables(mine)) if mine else _empty(one)
    return found


def encode_checkpoint(records: Mapping[str, Iterable[pa.Table]], footer: PackFooter) -> bytes:
    """The file, from the records of each kind (with the columns of CHECKPOINT_COLUMNS), each sorted."""

    def groups() -> Iterator[pa.Table]:
        for what in _ORDER:
            yield from _regrouped(records[what])

    return write_derived(groups(), footer)


def merge_checkpoints(
    older: Sequence[Path | pa.Buffer],
    without: Collection[str],
    more: Sequence[Mapping[str, pa.Table]],
    names: Sequence[str],
    *,
    memory_bytes: int = 64 << 20,
) -> dict[str, Iterator[pa.Table]]:
    """Streams of the records of the checkpoints `older` that belong to no pack in `without`, and of `more` (of a
    pack each); sorted.

    `names`: what messages call them. The streams read from `older`, row group by row group.

    Raises, while they are read:
        CorruptData, FormatTooNew: a checkpoint cannot be read.
    """
    merged = {}
    for what in _ORDER:
        sources = [
            source
            for path, name in zip(older, names, strict=True)
            if (source := _record_source(path, name, what, frozenset(without))).rows
        ]
        tables = [one[what].select(CHECKPOINT_COLUMNS[what]) for one in more]
        sources += [_table_source(table) for table in tables if table.num_rows]
        order = ("run", "writer") if what == Record.WRITER else ("kind", "key", "run", "writer")
        merged[what] = merge_streams(sources, order, memory_bytes=memory_bytes)
    return merged


def _record_source(source: Path | pa.Buffer, name: str, what: str, without: frozenset[str]) -> Source:
    def blocks(_: int) -> Iterator[pa.Table]:
        opened = pa.BufferReader(source) if isinstance(source, pa.Buffer) else source
        for table in read_derived_blocks(opened, name, what, CHECKPOINT_COLUMNS[what]):
            kept = _without(table, without)
            if kept.num_rows:
                yield kept

    opened = pa.BufferReader(source) if isinstance(source, pa.Buffer) else source
    return Source(blocks, count_derived(opened, name, what))


def _table_source(records: pa.Table) -> Source:
    def blocks(rows: int) -> Iterator[pa.Table]:
        for start in range(0, records.num_rows, rows):
            yield own_words(one_chunk(records.slice(start, rows)))

    return Source(blocks, records.num_rows)


def _regrouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, _SLICE_ROWS a table."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            part = table.slice(start, _SLICE_ROWS - count)
            waiting.append(part)
            start, count = start + part.num_rows, count + part.num_rows
            if count == _SLICE_ROWS:
                yield one_chunk(pa.concat_tables(waiting))
                waiting, count = [], 0
    if waiting:
        yield one_chunk(pa.concat_tables(waiting))


def _last_of_each(facts: pa.Table) -> pa.Table:
    """Of rows in the order of a pack, the last of each (kind, key, run, writer, subject), in that order."""
    begins = _group_begins(facts)
    subjects = codes_of(facts["subject"].chunk(0))
    if (subjects == subjects[0]).all():
        return rows_at(facts, np.flatnonzero(np.append(begins[1:], True)))
    group = np.cumsum(begins)
    order = np.lexsort((np.arange(facts.num_rows), subjects, group))  # within a group, rows stand by seq
    ends = np.append((group[order][1:] != group[order][:-1]) | (subjects[order][1:] != subjects[order][:-1]), True)
    return rows_at(facts, order[ends])


def _group_begins(facts: pa.Table) -> np.ndarray:
    """Which rows are of another (kind, key, run, writer) than the one before."""
    begins = np.zeros(facts.num_rows, bool)
    begins[0] = True
    for name in ("kind", "key", "run", "writer"):
        codes = codes_of(facts[name].chunk(0))
        begins[1:] |= codes[1:] != codes[:-1]
    return begins


def _without(records: pa.Table, packs: Collection[str]) -> pa.Table:
    if not records.num_rows or not packs:
        return records
    column = one_chunk(records)["pack"].chunk(0)
    gone = np.array([word in packs for word in column.dictionary.to_pylist()] + [False], bool)
    keep = ~gone[codes_of(column)]
    return records if keep.all() else rows_at(records, np.flatnonzero(keep))


def _what(records: pa.Table) -> str | None:
    return str(records["what"].chunk(0)[0].as_py()) if records.num_rows else None


def _of_pack(records: pa.Table, pack: str) -> pa.Table:
    named = records.drop_columns(["pack"]) if "pack" in records.column_names else records
    return named.append_column(DERIVED_SCHEMA.field("pack"), same_text(pack, records.num_rows))


def _fields(what: str, records: pa.Table) -> pa.Table:
    """The columns that records of that kind fill; those that `records` lacks are null."""
    fields = [DERIVED_SCHEMA.field(name) for name in CHECKPOINT_COLUMNS[what]]
    columns = [
        records[field.name] if field.name in records.column_names else pa.nulls(records.num_rows, field.type)
        for field in fields
    ]
    return pa.table(columns, schema=pa.schema(fields))


def _empty(what: str) -> pa.Table:
    return pa.schema([DERIVED_SCHEMA.field(name) for name in CHECKPOINT_COLUMNS[what]]).empty_table()
