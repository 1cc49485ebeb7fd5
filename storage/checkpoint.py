"""Checkpoints: the last fact per path, the series and the writers of some packs in one file, `packs/<id>.k.parquet`.

Listing runs reads these few files and no pack. Every pack is in exactly one checkpoint; each record names its pack, so
that a checkpoint can be rewritten without those that were merged away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import codes_of, one_chunk, rows_at, same_text, valid_of, values_of
from tracker.storage.derived import DERIVED_SCHEMA, Record, read_derived, write_derived
from tracker.storage.schema import PackFooter

__all__ = [
    "CHECKPOINT_COLUMNS",
    "LastFacts",
    "checkpoint_records",
    "encode_checkpoint",
    "merge_checkpoints",
    "sorted_records",
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
_NULL: Final = np.int64(2**63 - 1)


class LastFacts:
    """Of facts that come in the order of a pack: the last of each (run, writer, subject, kind, key)."""

    def __init__(self) -> None:
        self._kept: list[pa.Table] = []

    def add(self, facts: pa.Table) -> None:
        """`facts`: PACK_SCHEMA, one chunk a column, sorted; tables follow each other in order."""
        if facts.num_rows:
            self._kept.append(_last_of_each(facts))

    def records(self, pack: str) -> pa.Table:
        """Records `fact`, in order."""
        if not self._kept:
            return _empty(Record.FACT)
        kept = _last_of_each(one_chunk(pa.concat_tables(self._kept)))  # those of neighbouring tables met once more
        columns = {name: kept[name] for name in kept.column_names}
        columns |= {"what": same_text(Record.FACT, kept.num_rows), "pack": same_text(pack, kept.num_rows)}
        return _fields(Record.FACT, pa.table(columns))


def checkpoint_records(derived: Sequence[pa.Table], facts: pa.Table, pack: str) -> dict[str, pa.Table]:
    """Records of a checkpoint by what they are: of a pack's rollup all but the buckets, and its last facts.

    `derived`: tables as `Rollup.records` gives them, each of one kind of record, with the columns that it fills.
    """
    found = {Record.FACT: facts}
    for one in (Record.OPEN, Record.SERIES, Record.WRITER):
        mine = [_fields(one, _of_pack(table, pack)) for table in derived if _what(table) == one]
        found[one] = one_chunk(pa.concat_tables(mine)) if mine else _empty(one)
    return found


def encode_checkpoint(records: Mapping[str, pa.Table], footer: PackFooter) -> bytes:
    """The file, from the records of each kind (with the columns of CHECKPOINT_COLUMNS), each sorted."""

    def slices() -> Iterator[pa.Table]:
        for what in _ORDER:
            table = records[what]
            for start in range(0, table.num_rows, _SLICE_ROWS):
                yield table.slice(start, _SLICE_ROWS)

    return write_derived(slices(), footer)


def merge_checkpoints(
    older: Sequence[Path | pa.Buffer],
    without: Collection[str],
    more: Mapping[str, pa.Table] | None,
    names: Sequence[str],
) -> dict[str, pa.Table]:
    """The records of the checkpoints `older` that belong to no pack in `without`, and `more`; sorted by kind.

    `names`: what messages call them.

    Raises:
        CorruptData, FormatTooNew: a checkpoint cannot be read.
    """
    merged = {}
    for what in _ORDER:
        columns = CHECKPOINT_COLUMNS[what]
        tables = [
            _without(read_derived(source, name, what=[what], columns=columns).select(columns), without)
            for source, name in zip(older, names, strict=True)
        ]
        joined = pa.concat_tables([*tables, *([] if more is None else [more[what].select(columns)])])
        merged[what] = sorted_records(one_chunk(joined)) if joined.num_rows else _empty(what)
    return merged


def sorted_records(records: pa.Table) -> pa.Table:
    """Records of one kind by (kind, key, run, writer, first step), nulls last. One chunk a column."""
    columns = []
    for name in ("kind", "key", "run", "writer"):
        if name in records.column_names:
            columns.append(_ranks(records[name].chunk(0)))
    if "first_step" in records.column_names:
        steps = records["first_step"].chunk(0)
        valid = valid_of(steps)
        columns.append(values_of(steps) if valid is None else np.where(valid, values_of(steps), _NULL))
    return rows_at(records, np.lexsort(columns[::-1]))


def _last_of_each(facts: pa.Table) -> pa.Table:
    """Of rows in the order of a pack, the last of each (kind, key, run, writer, subject), in that order."""
    codes = [codes_of(facts[name].chunk(0)) for name in ("kind", "key", "run", "writer")]
    changes = np.zeros(facts.num_rows, bool)
    changes[0] = True
    for column in codes:
        changes[1:] |= column[1:] != column[:-1]
    subjects = codes_of(facts["subject"].chunk(0))
    if (subjects == subjects[0]).all():
        return rows_at(facts, np.flatnonzero(np.append(changes[1:], True)))
    group = np.cumsum(changes)
    order = np.lexsort((np.arange(facts.num_rows), subjects, group))  # within a group, rows stand by seq
    ends = np.append((group[order][1:] != group[order][:-1]) | (subjects[order][1:] != subjects[order][:-1]), True)
    return rows_at(facts, order[ends])


def _without(records: pa.Table, packs: Collection[str]) -> pa.Table:
    if not records.num_rows or not packs:
        return records
    column = one_chunk(records)["pack"].chunk(0)
    gone = np.array([word in packs for word in column.dictionary.to_pylist()] + [False], bool)
    keep = ~gone[codes_of(column)]
    return records if keep.all() else rows_at(records, np.flatnonzero(keep))


def _ranks(column: pa.DictionaryArray) -> np.ndarray:
    """The place of each word among all, null behind them."""
    words = column.dictionary.to_pylist()
    rank = np.empty(len(words) + 1, np.int64)
    rank[sorted(range(len(words)), key=words.__getitem__)] = np.arange(len(words))
    rank[-1] = len(words)  # a null's code is -1
    return np.asarray(rank[codes_of(column)])


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
