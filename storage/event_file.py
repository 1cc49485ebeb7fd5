"""Files of events read and written as streams of sorted blocks: one row group in memory, whatever the file's size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tracker.storage.arrow_arrays import codes_of, one_chunk, own_words, rows_at, same_text, values_of
from tracker.storage.errors import CorruptData
from tracker.storage.events import POINT_KINDS, family_of
from tracker.storage.kway import Source
from tracker.storage.schema import (
    PACK_SCHEMA,
    SCHEMA,
    Extent,
    PackFooter,
    PartFooter,
    event_file_options,
    parse_any_footer,
)

__all__ = ["PACK_GROUP_ROWS", "SET_GROUP_ROWS", "event_source", "read_blocks", "write_event_file", "write_groups"]

SET_GROUP_ROWS: Final = 64 * 1024
PACK_GROUP_ROWS: Final = 32 * 1024
_GROUP_BYTES_MAX: Final = 16 << 20  # a row group of long texts is closed earlier
_READ_BYTES: Final = 32 * 1024  # of a column's compressed pages at a time, where a stream is read in small blocks
_ROW_BYTES: Final = 80  # of an event without its text

F = TypeVar("F", PartFooter, PackFooter)


def event_source(
    source: Path | pa.Buffer,
    name: str,
    *,
    families: str = "fhsc",
    first: int = 0,
    owner: tuple[str, str] | None = None,
    rows: int,
) -> Source:
    """A stream for `merge_streams` of the events of one file. `rows`: how many it has; the rest as `read_blocks`."""

    def open_it(block_rows: int) -> Iterator[pa.Table]:
        return read_blocks(source, name, block_rows, families=families, first=first, owner=owner)

    return Source(open_it, rows)


def read_blocks(
    source: Path | pa.Buffer,
    name: str,
    rows: int,
    *,
    families: str = "fhsc",
    first: int = 0,
    owner: tuple[str, str] | None = None,
    kind: str | None = None,
    columns: Collection[str] | None = None,
) -> Iterator[pa.Table]:
    """The events of one file in its order, at most `rows` a table; checksums are verified as they come.

    Only events of `families` (letters) whose seq is `first` or more. `owner` (run, writer) stands in two leading
    columns of every table, for files that lack them; None: the columns are the file's. `kind`: only events of it.
    `columns`: of SCHEMA, which kind and seq must be among; None: all.

    Raises:
        CorruptData, FormatTooNew: damaged, or no file of events. FileNotFoundError.
    """
    try:
        metadata = pq.read_metadata(_opened(source))
        footer = parse_any_footer(metadata, name, SCHEMA)
        if metadata.num_rows != footer.rows:
            raise EOFError(f"{metadata.num_rows} events instead of {footer.rows}")
        schema = PACK_SCHEMA if isinstance(footer, PackFooter) else SCHEMA
        names = [one for one in schema.names if columns is None or one in columns or one in ("run", "writer")]
        wanted = pa.schema([schema.field(one) for one in names])
        texts = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        with pq.ParquetFile(
            _opened(source),
            metadata=metadata,
            page_checksum_verification=True,
            read_dictionary=texts,
            pre_buffer=False,
            buffer_size=_READ_BYTES if rows < SET_GROUP_ROWS and isinstance(source, Path) else 0,
        ) as file:
            groups = [n for n in range(metadata.num_row_groups) if _may_hold(metadata, n, families, kind)]
            at_once = min(rows, _rows_of_bytes(metadata, groups))
            if not groups:
                return
            for batch in file.iter_batches(at_once, row_groups=groups, columns=names, use_threads=False):
                at = _wanted(batch, families, kind, first)
                if at is not None and not len(at):
                    continue
                table = _as(batch, wanted)
                if at is not None:
                    table = rows_at(table, at)
                yield table if owner is None else _owned(table, owner)
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError) as exc:
        if isinstance(exc, FileNotFoundError):
            raise
        text = f"{name} is damaged or not a whole Parquet file ({exc}). Keep the file and report it."
        raise CorruptData(text) from exc


def _as(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """The columns of `schema`; what the file has with other nullability, or large strings, is made as it says."""
    columns = [batch.column(field.name) for field in schema]
    if all(column.type.equals(field.type) for column, field in zip(columns, schema, strict=True)):
        return pa.Table.from_arrays(columns, schema=schema)
    return pa.Table.from_arrays(columns, names=schema.names).cast(schema)


def _opened(source: Path | pa.Buffer) -> Path | pa.BufferReader:
    return pa.BufferReader(source) if isinstance(source, pa.Buffer) else source


def write_event_file(
    sink: Path | BinaryIO,
    blocks: Iterable[pa.Table],
    footer: F,
    schema: pa.Schema,
    *,
    level: int = 3,
    on_group: Callable[[pa.Table], None] = lambda _: None,
    breathe: Callable[[], None] = lambda: None,
) -> F:
    """A file of the sorted `blocks` of one family; returns the footer as written, with its counts filled in.

    `on_group` sees every row group before it is written: one chunk a column, dictionaries of just its words.
    """
    writing = write_groups(sink, blocks, footer, schema, level=level, on_group=on_group, breathe=breathe)
    while True:
        try:
            next(writing)
        except StopIteration as end:
            filled: F = end.value
            return filled


def write_groups(
    sink: Path | BinaryIO,
    blocks: Iterable[pa.Table],
    footer: F,
    schema: pa.Schema,
    *,
    level: int = 3,
    on_group: Callable[[pa.Table], None],
    breathe: Callable[[], None],
) -> Generator[None, None, F]:
    """`write_event_file` in steps: yields after each row group, and returns the footer."""
    pool = pa.system_memory_pool()
    extent = Extent(footer.ts_max_us)
    rows = PACK_GROUP_ROWS if "run" in schema.names else SET_GROUP_ROWS
    with pq.ParquetWriter(
        sink if isinstance(sink, Path) else pa.PythonFile(sink, "w"),
        schema,
        **event_file_options(schema, level),
        memory_pool=pool,
    ) as writer:
        for group in _row_groups(blocks, rows):
            events = own_words(one_chunk(group, pool))
            del group
            breathe()
            on_group(events)
            breathe()
            writer.write_table(events, row_group_size=events.num_rows)
            extent.add(events)
            del events
            pool.release_unused()
            breathe()
            yield
        filled = extent.fill(footer)
        writer.add_key_value_metadata(filled.to_metadata())
    return filled


def _row_groups(blocks: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Tables of exactly `rows` rows but the last one; fewer where texts are long."""
    waiting: list[pa.Table] = []
    count = size = 0
    for block in blocks:
        while block.num_rows:
            each = _ROW_BYTES + block["s"].nbytes // block.num_rows
            part = block.slice(0, min(rows - count, max(1, (_GROUP_BYTES_MAX - size) // each)))
            waiting.append(part)
            count, size = count + part.num_rows, size + part.num_rows * each
            block = block.slice(part.num_rows)
            if count >= rows or size >= _GROUP_BYTES_MAX:
                group = pa.concat_tables(waiting)
                waiting, count, size = [], 0, 0
                yield group
                del group  # here and below: what was written is not kept while the next is collected
    if waiting:
        yield pa.concat_tables(waiting)


def _may_hold(metadata: pq.FileMetaData, group: int, families: str, kind: str | None) -> bool:
    """By the statistics of the group's kinds; a group is all facts or all points."""
    stats = metadata.row_group(group).column(_column(metadata, "kind")).statistics
    if stats is None or not stats.has_min_max:
        return True
    if kind is not None:
        return bool(stats.min <= kind <= stats.max)
    if stats.min == stats.max or stats.min not in POINT_KINDS:
        return family_of(stats.min) in families
    return families != "f"


def _column(metadata: pq.FileMetaData, name: str) -> int:
    return int(metadata.schema.names.index(name))


def _rows_of_bytes(metadata: pq.FileMetaData, groups: list[int]) -> int:
    """So many rows that long texts do not burst the memory that `rows` was reckoned from."""
    rows = sum(metadata.row_group(n).num_rows for n in groups)
    text = sum(metadata.row_group(n).column(_column(metadata, "s")).total_uncompressed_size for n in groups)
    return max(64, int(_GROUP_BYTES_MAX // (_ROW_BYTES + text / max(rows, 1))))


def _wanted(batch: pa.RecordBatch, families: str, kind: str | None, first: int) -> np.ndarray | None:
    """Which rows of the batch are asked for; None: all."""
    kinds = batch.column("kind")
    words = kinds.dictionary.to_pylist()
    wanted = np.array([family_of(word) in families if kind is None else word == kind for word in words], bool)
    if not wanted.all() or not len(wanted):
        keep = np.append(wanted, False)[codes_of(kinds)]
    elif not first:
        return None
    else:
        keep = np.ones(batch.num_rows, bool)
    if first:
        keep &= values_of(batch.column("seq")) >= first
    return None if keep.all() else np.flatnonzero(keep)


def _owned(table: pa.Table, owner: tuple[str, str]) -> pa.Table:
    columns = [*(same_text(word, table.num_rows) for word in owner), *table.columns]
    fields = [PACK_SCHEMA.field("run"), PACK_SCHEMA.field("writer"), *table.schema]
    return pa.table(columns, schema=pa.schema(fields))
