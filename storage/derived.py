"""Columns of what is derived from events: rollups (`r`), checkpoints (`k`) and the cover of a pack.

Nothing here is a source: each record follows from the events of the files beside it, so a file of this kind that is
missing or damaged costs time and no data. One schema serves all three; a record uses the columns of its `what`
and leaves the others null:

    series  one (run, writer, kind, key): what its committed points are like, and the one that was written last
    bucket  one history or row series in one range of steps [n * width, (n + 1) * width); first_step // width is n.
            Only of series with at least 16 * BUCKETS_MAX points: of shorter ones the points themselves are as quick.
            Of a row each key counts once, with the cell that was written last
    open    a history cell whose row is not closed within the range: it counts once a later file closes the row
    fact    the last fact of a writer about one (subject, kind, key)
    writer  one (run, writer): what the files hold of it and what it says of itself

`r` of a merged set or pack: series, bucket, open, writer. `k`: series, open, fact, writer. Cover: writer.
Records are sorted by (what, kind, key, run, writer, first_step), words by their letters; no row group mixes two
`what`.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tracker.storage.arrow_arrays import codes_of, one_chunk, own_words, rows_at
from tracker.storage.errors import CorruptData
from tracker.storage.schema import PackFooter, PartFooter, parse_any_footer

__all__ = [
    "BUCKETS_MAX",
    "DERIVED_SCHEMA",
    "Record",
    "count_derived",
    "parse_derived_footer",
    "read_derived",
    "read_derived_blocks",
    "write_derived",
]

BUCKETS_MAX: Final = 1024  # of one series in one file


class Record:
    """Values of the column `what`."""

    SERIES: Final = "series"
    BUCKET: Final = "bucket"
    OPEN: Final = "open"
    FACT: Final = "fact"
    WRITER: Final = "writer"


_TEXT = pa.dictionary(pa.int32(), pa.string())
DERIVED_SCHEMA: Final = pa.schema(
    [
        pa.field("what", _TEXT, nullable=False),
        pa.field("run", _TEXT, nullable=False),  # the user's id of the run
        pa.field("writer", _TEXT, nullable=False),
        pa.field("kind", _TEXT),  # series, bucket: history, system, row (markers; key null, v = _runtime)
        pa.field("subject", _TEXT),
        pa.field("key", _TEXT),
        # the cell (series: the committed point with the greatest seq; open; fact), as in an event
        pa.field("seq", pa.int64()),
        pa.field("row", pa.int64()),
        pa.field("hlc", pa.int64()),
        pa.field("ts", pa.int64()),
        pa.field("step", pa.int64()),
        pa.field("t", pa.int8()),
        pa.field("v", pa.float64()),
        pa.field("i", pa.int64()),
        pa.field("s", pa.string()),
        # series and bucket. Points count when their row is closed; "first" and "last" are by (step, seq)
        pa.field("width", pa.int64()),  # bucket: steps in it, a power of two
        pa.field("count", pa.int64()),  # points
        pa.field("nan_count", pa.int64()),  # of them NaN
        pa.field("other_count", pa.int64()),  # of them no numbers: strings, lists, null
        pa.field("first_step", pa.int64()),  # of the first and the last point, whatever their values
        pa.field("last_step", pa.int64()),
        pa.field("first_v", pa.float64()),  # v of the first and last point, NaN too; null where that is no number
        pa.field("last_v", pa.float64()),
        # of the numbers without NaN (count - nan_count - other_count of them); null where there is none
        pa.field("min_v", pa.float64()),
        pa.field("max_v", pa.float64()),
        pa.field("mean_v", pa.float64()),
        pa.field("min_step", pa.int64()),  # where min_v and max_v stand (the first such step)
        pa.field("max_step", pa.int64()),
        # series
        pa.field("counts", pa.list_(pa.int64())),  # points per Type, indexed by it
        pa.field("rising", pa.bool_()),  # numbers never fall from one (step, seq) to the next
        pa.field("first_seq", pa.int64()),  # frame in which the key was first logged
        # history series, open: number of the key among those of the writer as they were first logged: 0, 1, 2, ...
        pa.field("place", pa.int64()),
        # writer
        pa.field("pack", _TEXT),  # id of the pack that holds frames 0..last_frame; null in the r file of a set
        pa.field("first_frame", pa.int64()),
        pa.field("last_frame", pa.int64()),
        pa.field("mark", pa.string()),
        pa.field("events", pa.int64()),
        pa.field("rows", pa.int64()),  # closed rows
        pa.field("first_hlc", pa.int64()),
        pa.field("last_hlc", pa.int64()),
        pa.field("last_wall_us", pa.int64()),
        # whether rows are simple: every cell's row is closed here, once; no key twice in a row; cells stand at their
        # marker's step; steps rise strictly with the row number. Then a series is in order as it lies in the file.
        pa.field("plain", pa.bool_()),
        pa.field("is_session", pa.bool_()),  # it said anything of itself (facts of kind writer)
        pa.field("generation", pa.string()),
        pa.field("job", pa.string()),
        pa.field("rank", pa.string()),
        pa.field("state", pa.string()),
        pa.field("started_at", pa.int64()),
        pa.field("ended_at", pa.int64()),
    ]
)

_TEXTS: Final = ["what", "run", "writer", "kind", "subject", "key", "pack"]
_DELTA: Final = [field.name for field in DERIVED_SCHEMA if pa.types.is_int64(field.type)]
_SPLIT: Final = [field.name for field in DERIVED_SCHEMA if pa.types.is_float64(field.type)]
_ROW_GROUP_ROWS: Final = 32 * 1024


def write_derived(records: Iterable[pa.Table], footer: PartFooter | PackFooter, *, level: int = 3) -> bytes:
    """A Parquet file of `records` (DERIVED_SCHEMA, in the order above; columns that a table lacks are null).

    Of `footer` rows is filled in.
    """
    pool = pa.system_memory_pool()
    sink = io.BytesIO()
    rows = 0
    with pq.ParquetWriter(
        sink,
        DERIVED_SCHEMA,
        compression="zstd",
        compression_level=level,
        use_dictionary=_TEXTS,
        column_encoding=dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED") | dict.fromkeys(_SPLIT, "BYTE_STREAM_SPLIT"),
        write_page_checksum=True,
        store_schema=False,
        memory_pool=pool,
    ) as writer:
        for table in records:
            rows += table.num_rows
            for start in range(0, table.num_rows, _ROW_GROUP_ROWS):  # nulls of a large table would take much memory
                group = one_chunk(_complete(table.slice(start, _ROW_GROUP_ROWS)), pool)
                for part in _by_what(group):
                    writer.write_table(own_words(part), row_group_size=_ROW_GROUP_ROWS)
        writer.add_key_value_metadata(replace(footer, rows=rows).to_metadata())
    return sink.getvalue()


def parse_derived_footer(metadata: pq.FileMetaData, name: str) -> PartFooter | PackFooter:
    """What the file says of itself. Raises as `tracker.storage.schema.parse_footer`."""
    return parse_any_footer(metadata, name, DERIVED_SCHEMA)


def read_derived(
    source: object, name: str, *, what: Collection[str] | None = None, columns: Collection[str] | None = None
) -> pa.Table:
    """The records of those kinds (None: all), checksums verified, one chunk a column; only row groups that hold them.

    `source`: a path or a binary buffer. `columns`: names (None: all), in the schema's order.

    Raises:
        CorruptData, FormatTooNew: damaged, or no such file.
    """
    wanted = DERIVED_SCHEMA if columns is None else pa.schema([f for f in DERIVED_SCHEMA if f.name in columns])
    with _opened(source, name) as file:
        groups = _groups(file, what)
        if not groups:
            return pa.Table.from_batches([], wanted)  # `empty_table` imports pandas
        asked = wanted.names if what is None or "what" in wanted.names else ["what", *wanted.names]
        table = one_chunk(file.read_row_groups(groups, columns=asked, use_threads=False))
    if what is not None:
        table = _only(table, what)
    return table.select(wanted.names).cast(wanted)


def count_derived(source: object, name: str, what: str) -> int:
    """How many records are of that kind. Raises as `read_derived`."""
    with _opened(source, name) as file:
        return sum(file.metadata.row_group(n).num_rows for n in _groups(file, [what]))


def read_derived_blocks(source: object, name: str, what: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The records of that kind, one row group in memory at a time; the rest as `read_derived`."""
    wanted = pa.schema([DERIVED_SCHEMA.field(one) for one in columns])
    with _opened(source, name) as file:
        for group in _groups(file, [what]):
            table = one_chunk(file.read_row_group(group, columns=["what", *columns], use_threads=False))
            yield _only(table, [what]).select(wanted.names).cast(wanted)


@contextmanager
def _opened(source: object, name: str) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(source) as file:
            metadata = file.metadata
        footer = parse_derived_footer(metadata, name)
        with pq.ParquetFile(
            source, metadata=metadata, page_checksum_verification=True, read_dictionary=_TEXTS
        ) as file:
            if file.metadata.num_rows != footer.rows:
                raise EOFError(f"{file.metadata.num_rows} records instead of {footer.rows}")
            yield file
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError) as exc:
        if isinstance(exc, FileNotFoundError):
            raise
        text = f"{name} is damaged or not a whole Parquet file ({exc}). Keep the file and report it."
        raise CorruptData(text) from exc


def _groups(file: pq.ParquetFile, what: Collection[str] | None) -> list[int]:
    return [n for n in range(file.num_row_groups) if what is None or _may_hold(file.metadata, n, what)]


def _complete(table: pa.Table) -> pa.Table:
    columns = [
        table[field.name] if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in DERIVED_SCHEMA
    ]
    return pa.table(columns, schema=DERIVED_SCHEMA)


def _by_what(table: pa.Table) -> list[pa.Table]:
    codes = codes_of(table["what"].chunk(0))
    ends = [0, *(np.flatnonzero(codes[1:] != codes[:-1]) + 1).tolist(), len(codes)]
    return [table.slice(start, end - start) for start, end in itertools.pairwise(ends)]


def _may_hold(metadata: pq.FileMetaData, group: int, what: Collection[str]) -> bool:
    stats = metadata.row_group(group).column(0).statistics
    return stats is None or not stats.has_min_max or any(stats.min <= one <= stats.max for one in what)


def _only(table: pa.Table, what: Collection[str]) -> pa.Table:
    if not table.num_rows:
        return table
    column = table["what"].chunk(0)
    wanted = [word in what for word in column.dictionary.to_pylist()]
    if all(wanted):
        return table
    return rows_at(table, np.flatnonzero(np.array(wanted, bool)[codes_of(column)]))
