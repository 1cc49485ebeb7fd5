"""The one Parquet schema, its encodings and its footer. Final from the first release on.

One row is one event. `ts` is the wall clock minus `hlc`, both in microseconds since the epoch UTC
(almost always 0, so the column costs nothing): wall time = hlc + ts. Files that hold many writers
(packs) have the two leading columns `run` and `writer` as well.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.event_order import event_order
from tracker.storage.events import POINT_KINDS

__all__ = [
    "FORMAT_VERSION",
    "SCHEMA",
    "PartFooter",
    "empty_events",
    "encode_part",
    "parse_footer",
    "read_events",
    "write_events",
]

FORMAT_VERSION: Final = 1

_TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),  # frame number of the writer
        pa.field("row", pa.int64()),  # row number of the writer, for history cells and row markers
        pa.field("hlc", pa.int64(), nullable=False),
        pa.field("ts", pa.int64(), nullable=False),
        pa.field("kind", _TEXT, nullable=False),
        pa.field("subject", _TEXT),  # null: the file's subject
        pa.field("step", pa.int64()),
        pa.field("key", _TEXT),  # metric key or fact path; null on row markers
        pa.field("t", pa.int8(), nullable=False),
        pa.field("v", pa.float64()),
        pa.field("i", pa.int64()),
        pa.field("s", pa.string()),
    ]
)

_DELTA = ("seq", "row", "hlc", "ts", "step", "i")
_NAMES = ["kind", "subject", "key"]
_ROW_GROUP_ROWS: Final = 64 * 1024
_META: Final = b"tracker."


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFooter:
    """What a part says of itself, under the Parquet key-value names `tracker.<field>`."""

    entity: str
    project: str
    run_id: str
    writer_id: str
    family: str
    first: int
    last: int
    mark: str
    families: str = ""  # of an f file: the letters of the families that its merge wrote files of
    rows: int = 0
    ts_max_us: int = 0  # greatest wall time of an event: the writer was alive then
    format: int = FORMAT_VERSION
    created_by: str = ""

    def to_metadata(self) -> dict[bytes, bytes]:
        return {_META + name.encode(): str(getattr(self, name)).encode() for name in self.__dataclass_fields__}


def empty_events() -> pa.Table:
    return SCHEMA.empty_table()


def write_events(events: pa.Table, footer: PartFooter, *, level: int = 3) -> bytes:
    """One Parquet file of `events` (SCHEMA, any order). The same events and footer give the same bytes."""
    return encode_part([events], footer, level=level)[0]


def encode_part(batches: Iterable[pa.Table], footer: PartFooter, *, level: int = 3) -> tuple[bytes, int]:
    """One Parquet file and how many events it holds; only one batch at a time is in memory.

    Each batch (SCHEMA) is put in the order of `event_order`; batches follow each other in that order, facts
    before points. No row group holds facts and points, so that either is read alone. rows and ts_max_us of
    `footer` are filled in here.
    """
    sink = io.BytesIO()
    pool = pa.system_memory_pool()  # gives back at once what it needed: this runs inside a training process
    rows, ts_max_us = 0, footer.ts_max_us
    with pq.ParquetWriter(
        sink,
        SCHEMA,
        compression="zstd",
        compression_level=level,
        use_dictionary=_NAMES,
        column_encoding={**dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED"), "v": "BYTE_STREAM_SPLIT"},
        write_page_checksum=True,
        store_schema=False,
        memory_pool=pool,
    ) as writer:
        for batch in batches:
            events = batch if batch.schema.equals(SCHEMA) else batch.cast(SCHEMA)
            if not events.num_rows:
                continue
            if any(column.num_chunks != 1 for column in events.columns):
                events = events.unify_dictionaries(pool).combine_chunks(pool)
            order, facts = event_order(events, pool)
            for start, end in _row_groups(facts, events.num_rows):
                writer.write_table(pc.take(events, order.slice(start, end - start), memory_pool=pool))
            rows += events.num_rows
            ts_max_us = max(ts_max_us, pc.max(pc.add(events["hlc"], events["ts"])).as_py())
        filled = replace(footer, rows=rows, ts_max_us=ts_max_us)
        writer.add_key_value_metadata(filled.to_metadata())
    return sink.getvalue(), rows


def _row_groups(facts: int, rows: int) -> list[tuple[int, int]]:
    """(start, end) of each row group: none holds facts and points."""
    halves = ((0, facts), (facts, rows))
    return [
        (start, min(start + _ROW_GROUP_ROWS, last))
        for first, last in halves
        for start in range(first, last, _ROW_GROUP_ROWS)
    ]


def parse_footer(metadata: pq.FileMetaData, name: str) -> PartFooter:
    """What the file says of itself, checked against this version's schema.

    Raises:
        FormatTooNew: a newer tracker wrote it.
        CorruptData: it is Parquet, but no part of ours, or its columns are not the schema's.
    """
    found = metadata.metadata or {}
    try:
        fields = {key[len(_META) :].decode(): value.decode() for key, value in found.items() if key.startswith(_META)}
    except UnicodeDecodeError as exc:
        raise CorruptData(f"{name} has a damaged footer ({exc}). Keep the file and report it.") from None
    try:
        version = int(fields["format"])
    except (KeyError, ValueError):
        raise CorruptData(f"{name} is Parquet, but not written by tracker. Move it out of the store.") from None
    if version > FORMAT_VERSION:
        raise FormatTooNew(
            f"{name} has format {version}; this tracker reads up to {FORMAT_VERSION}. Run: pip install -U tracker"
        )
    columns = metadata.schema.to_arrow_schema()
    wrong = [
        field.name
        for field in SCHEMA
        if field.name not in columns.names or not _same_type(columns.field(field.name).type, field.type)
    ]
    if wrong:
        text = f"{name} lacks the columns {', '.join(wrong)} or has them with other types. Keep the file and report it."
        raise CorruptData(text)
    known = {name: fields[name] for name in PartFooter.__dataclass_fields__ if name in fields}
    numbers = ("first", "last", "rows", "ts_max_us", "format")
    try:
        return PartFooter(**(known | {name: int(known[name]) for name in numbers}))
    except (KeyError, TypeError, ValueError) as exc:
        raise CorruptData(f"{name} has an incomplete footer ({exc}). Keep the file and report it.") from None


def _same_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    plain = wanted.value_type if pa.types.is_dictionary(wanted) else wanted
    stored = found.value_type if pa.types.is_dictionary(found) else found
    return bool(stored.equals(plain) or (pa.types.is_large_string(stored) and pa.types.is_string(plain)))


def read_events(source: object, name: str, *, facts_only: bool = False) -> tuple[PartFooter, pa.Table]:
    """Footer and events (SCHEMA) of one part, page checksums verified. `source`: a path or a binary buffer.

    Raises:
        CorruptData, FormatTooNew: as `parse_footer`; CorruptData also for bytes that are no whole Parquet file.
    """
    try:
        with pq.ParquetFile(source, page_checksum_verification=True, read_dictionary=_NAMES) as file:
            footer = parse_footer(file.metadata, name)
            groups = range(file.metadata.num_row_groups)
            wanted = [n for n in groups if not facts_only or _holds_facts(file.metadata, n)]
            table = file.read_row_groups(wanted, use_threads=False) if wanted else empty_events()
            if not facts_only and table.num_rows != footer.rows:
                raise EOFError(f"{table.num_rows} events instead of {footer.rows}")
            return footer, table.select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError) as exc:  # names in the footer, damaged
        if isinstance(exc, FileNotFoundError):
            raise
        text = f"{name} is damaged or not a whole Parquet file ({exc}). Keep the file and report it."
        raise CorruptData(text) from exc


def _holds_facts(metadata: pq.FileMetaData, group: int) -> bool:
    """A row group is all facts or all points (`write_events`); one look at its statistics tells."""
    chunk = metadata.row_group(group).column(SCHEMA.get_field_index("kind"))
    stats = chunk.statistics
    return stats is None or not stats.has_min_max or stats.min not in POINT_KINDS
