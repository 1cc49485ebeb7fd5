"""The one Parquet schema, its encodings and its footer. Final from the first release on.

One row is one event. `ts` is the wall clock minus `hlc`, both in microseconds since the epoch UTC
(almost always 0, so the column costs nothing): wall time = hlc + ts. Files that hold many writers
(packs) have the two leading columns `run` and `writer` as well.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.storage.arrow_arrays import values_of
from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.event_order import event_order
from tracker.storage.events import POINT_KINDS

__all__ = [
    "FORMAT_VERSION",
    "PACK_SCHEMA",
    "SCHEMA",
    "Extent",
    "PackFooter",
    "PartFooter",
    "empty_events",
    "encode_part",
    "event_file_options",
    "holds_facts",
    "parse_any_footer",
    "parse_footer",
    "parse_pack_footer",
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

PACK_SCHEMA: Final = pa.schema(
    [
        pa.field("run", _TEXT, nullable=False),  # the user's id of the run; the writer's name for edits
        pa.field("writer", _TEXT, nullable=False),
        *SCHEMA,
    ]
)

_DELTA = ("seq", "row", "hlc", "ts", "step", "t", "i")
_NAMES = ["kind", "subject", "key"]
_PACK_NAMES = ["run", "writer", *_NAMES]
_ROW_GROUP_ROWS: Final = 64 * 1024
_META: Final = b"tracker."
_WHOLE_NUMBERS: Final = frozenset(
    {"first", "last", "rows", "writers", "ts_max_us", "hlc_min_us", "hlc_max_us", "format"}
)


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
    hlc_min_us: int = 0  # least and greatest stamp of an event; both 0: no event, or a file of before they were kept
    hlc_max_us: int = 0
    format: int = FORMAT_VERSION
    created_by: str = ""

    def to_metadata(self) -> dict[bytes, bytes]:
        return {_META + name.encode(): str(getattr(self, name)).encode() for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackFooter:
    """What a file of a pack says of itself, under the same names."""

    entity: str
    project: str
    pack_id: str
    family: str  # f, h, s, c, r, k or cover
    writers: int  # of the whole pack
    rows: int = 0
    ts_max_us: int = 0
    hlc_min_us: int = 0
    hlc_max_us: int = 0
    format: int = FORMAT_VERSION
    created_by: str = ""

    def to_metadata(self) -> dict[bytes, bytes]:
        return {_META + name.encode(): str(getattr(self, name)).encode() for name in self.__dataclass_fields__}


F = TypeVar("F", PartFooter, PackFooter)


def empty_events() -> pa.Table:
    return pa.Table.from_batches([], SCHEMA)  # `empty_table` imports pandas


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
    seen = Extent(footer.ts_max_us)
    with pq.ParquetWriter(sink, SCHEMA, **event_file_options(SCHEMA, level), memory_pool=pool) as writer:
        for batch in batches:
            events = batch if batch.schema.equals(SCHEMA) else batch.cast(SCHEMA)
            if not events.num_rows:
                continue
            if any(column.num_chunks != 1 for column in events.columns):
                events = events.unify_dictionaries(pool).combine_chunks(pool)
            order, facts = event_order(events, pool)
            for start, end in _row_groups(facts, events.num_rows):
                writer.write_table(pc.take(events, order.slice(start, end - start), memory_pool=pool))
            seen.add(events)
        writer.add_key_value_metadata(seen.fill(footer).to_metadata())
    return sink.getvalue(), seen.rows


def event_file_options(schema: pa.Schema, level: int) -> dict[str, Any]:
    """How files of events are encoded: arguments of `pyarrow.parquet.ParquetWriter`."""
    return {
        "compression": "zstd",
        "compression_level": level,
        "use_dictionary": [name for name in _PACK_NAMES if name in schema.names],
        "column_encoding": {**dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED"), "v": "BYTE_STREAM_SPLIT"},
        "write_page_checksum": True,
        "store_schema": False,
        "data_page_size": 64 * 1024,  # a merge holds a page of every column of sixteen files
    }


class Extent:
    """How many events a file has, and from when to when: what its footer says."""

    def __init__(self, ts_max_us: int = 0) -> None:
        self.rows = 0
        self.ts_max_us, self.hlc_min_us, self.hlc_max_us = ts_max_us, 0, 0

    def add(self, events: pa.Table) -> None:
        """`events` has rows, one chunk a column."""
        hlc, ts = values_of(events["hlc"].chunk(0)), values_of(events["ts"].chunk(0))
        self.ts_max_us = max(self.ts_max_us, int((hlc + ts).max()))
        least, most = int(hlc.min()), int(hlc.max())
        self.hlc_min_us = min(self.hlc_min_us, least) if self.rows else least
        self.hlc_max_us = max(self.hlc_max_us, most) if self.rows else most
        self.rows += events.num_rows

    def fill(self, footer: F) -> F:
        return replace(
            footer,
            rows=self.rows,
            ts_max_us=self.ts_max_us,
            hlc_min_us=self.hlc_min_us,
            hlc_max_us=self.hlc_max_us,
        )


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
    fields = _fields(metadata, name)
    _check_columns(metadata, SCHEMA, name)
    return _footer(PartFooter, fields, name)


def parse_pack_footer(metadata: pq.FileMetaData, name: str, schema: pa.Schema = PACK_SCHEMA) -> PackFooter:
    """As `parse_footer`, of a pack's file with the columns of `schema`."""
    fields = _fields(metadata, name)
    _check_columns(metadata, schema, name)
    return _footer(PackFooter, fields, name)


def parse_any_footer(metadata: pq.FileMetaData, name: str, schema: pa.Schema) -> PartFooter | PackFooter:
    """As `parse_footer`, of a file with the columns of `schema` that may belong to a set or to a pack."""
    fields = _fields(metadata, name)
    _check_columns(metadata, schema, name)
    return _footer(PackFooter, fields, name) if "pack_id" in fields else _footer(PartFooter, fields, name)


def _fields(metadata: pq.FileMetaData, name: str) -> dict[str, str]:
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
    return fields


def _check_columns(metadata: pq.FileMetaData, schema: pa.Schema, name: str) -> None:
    columns = metadata.schema.to_arrow_schema()
    wrong = [
        field.name
        for field in schema
        if field.name not in columns.names or not _same_field(columns.field(field.name), field)
    ]
    if wrong:
        text = f"{name} lacks the columns {', '.join(wrong)} or has them with other types. Keep the file and report it."
        raise CorruptData(text)


def _footer(kind: type[F], fields: dict[str, str], name: str) -> F:
    known: dict[str, Any] = {one: fields[one] for one in kind.__dataclass_fields__ if one in fields}
    try:
        for one in _WHOLE_NUMBERS.intersection(known):
            known[one] = int(known[one])
        if "rows" not in known or "ts_max_us" not in known:
            raise KeyError("rows, ts_max_us")
        return kind(**known)
    except (KeyError, TypeError, ValueError) as exc:
        raise CorruptData(f"{name} has an incomplete footer ({exc}). Keep the file and report it.") from None


def _same_field(found: pa.Field, wanted: pa.Field) -> bool:
    """Type and nullability. Where a flipped bit makes the latter contradict the rest of a footer, pyarrow does not
    raise but ends the process as soon as a column's metadata is asked for, so nothing may ask before this."""
    return found.nullable == wanted.nullable and _same_type(found.type, wanted.type)


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
            wanted = [n for n in groups if not facts_only or holds_facts(file.metadata, n)]
            table = file.read_row_groups(wanted, use_threads=False) if wanted else empty_events()
            if not facts_only and table.num_rows != footer.rows:
                raise EOFError(f"{table.num_rows} events instead of {footer.rows}")
            return footer, table.select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError) as exc:  # names in the footer, damaged
        if isinstance(exc, FileNotFoundError):
            raise
        text = f"{name} is damaged or not a whole Parquet file ({exc}). Keep the file and report it."
        raise CorruptData(text) from exc


def holds_facts(metadata: pq.FileMetaData, group: int) -> bool:
    """A row group is all facts or all points (`write_events`); one look at its statistics tells."""
    chunk = metadata.row_group(group).column(metadata.schema.names.index("kind"))
    stats = chunk.statistics
    return stats is None or not stats.has_min_max or stats.min not in POINT_KINDS
