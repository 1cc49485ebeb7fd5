"""Whether one Parquet file of ours is what was written: every page, and everything in the footer that a reader trusts.

Pages carry checksums. The footer carries none, so each of its statements is compared with what the pages say: row
counts, where columns begin and end, null counts, least and greatest values. What a flipped bit in the
footer can still change unseen is what nobody reads (tests/storage/test_fsck_flips.py lists it).
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.storage.errors import CorruptData

__all__ = ["Source", "check_parquet", "open_source"]

Source = bytes | Path

_MAGIC: Final = b"PAR1"
_TAIL: Final = 8  # length of the footer, magic


def open_source(source: Source) -> BinaryIO:
    """A seekable file of bytes, or of a local path."""
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def check_parquet(
    source: Source, name: str, schema: pa.Schema, each: Callable[[pa.Table, int], None] = lambda *_: None
) -> pq.FileMetaData:
    """The footer of a whole, undamaged file with the columns of `schema`; `each` gets every row group and its number.

    One row group is in memory at a time (texts of dictionary columns stay dictionaries).

    Raises:
        CorruptData: something is not as it was written; the message says what.
        FileNotFoundError: the local file is gone.
    """
    try:
        with open_source(source) as raw:
            footer_start = _frame(raw, name)
            names = [field.name for field in schema if pa.types.is_dictionary(field.type)]
            with pq.ParquetFile(raw, page_checksum_verification=True, read_dictionary=names) as file:
                metadata = file.metadata
                _check_columns(metadata, schema, name)
                _check_layout(metadata, footer_start, name)
                for group in range(metadata.num_row_groups):
                    table = file.read_row_group(group, use_threads=False)
                    _check_group(metadata.row_group(group), table, f"{name}, row group {group}")
                    each(table.select(schema.names).cast(_nullable(schema)), group)
                return metadata
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError, OverflowError) as exc:
        why = " ".join(str(exc).split())
        raise CorruptData(f"{name} is damaged or not a whole Parquet file ({why}).") from exc


def _frame(raw: BinaryIO, name: str) -> int:
    """Where the footer begins; magic at both ends."""
    head = raw.read(4)
    size = raw.seek(0, os.SEEK_END)
    raw.seek(max(size - _TAIL, 0))
    tail = raw.read(_TAIL)
    raw.seek(0)
    start = size - _TAIL - int.from_bytes(tail[:4], "little")
    if head != _MAGIC or tail[4:] != _MAGIC or start < len(_MAGIC):
        raise CorruptData(f"{name} is no whole Parquet file: it does not begin and end as one ({size:,} bytes).")
    return start


def _check_columns(metadata: pq.FileMetaData, schema: pa.Schema, name: str) -> None:
    found = metadata.schema.to_arrow_schema()
    if found.names != schema.names:
        raise CorruptData(f"{name} has the columns {', '.join(found.names)}, not {', '.join(schema.names)}.")
    for field in schema:
        stored = found.field(field.name)
        if _plain(stored.type) != _plain(field.type):
            raise CorruptData(f"{name}: column {field.name} is {stored.type}, not {field.type}.")
        if stored.nullable != field.nullable:  # see tracker.storage.schema: pyarrow would end the process
            raise CorruptData(f"{name}: column {field.name} may {'' if stored.nullable else 'not '}be null.")


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _check_layout(metadata: pq.FileMetaData, footer_start: int, name: str) -> None:
    """Column chunks follow each other from the magic to the footer, without gap or overlap, and rows add up."""
    at, rows = len(_MAGIC), 0
    for group in range(metadata.num_row_groups):
        chunks = metadata.row_group(group)
        rows += chunks.num_rows
        for column in range(metadata.num_columns):
            chunk = chunks.column(column)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
                start = min(start, chunk.dictionary_page_offset)
            if start != at:
                raise CorruptData(f"{name}: column {chunk.path_in_schema} begins at byte {start:,}, not {at:,}.")
            at += chunk.total_compressed_size
    if at != footer_start and not (at < footer_start and _has_indexes(metadata)):
        raise CorruptData(f"{name}: its columns end at byte {at:,}, its footer begins at {footer_start:,}.")
    if rows != metadata.num_rows:
        raise CorruptData(f"{name} says {metadata.num_rows:,} rows, its row groups say {rows:,}.")


def _has_indexes(metadata: pq.FileMetaData) -> bool:
    chunks = [metadata.row_group(n).column(0) for n in range(metadata.num_row_groups)]
    return any(chunk.has_offset_index or chunk.has_column_index for chunk in chunks)


def _check_group(group: pq.RowGroupMetaData, table: pa.Table, name: str) -> None:
    if table.num_rows != group.num_rows:
        raise CorruptData(f"{name} has {table.num_rows:,} rows, its footer says {group.num_rows:,}.")
    for number in range(group.num_columns):
        chunk = group.column(number)
        top = chunk.path_in_schema.split(".", 1)[0]
        column = table[top]
        if pa.types.is_nested(column.type):
            continue  # readers never prune by what is in lists
        if chunk.num_values != table.num_rows:
            said = f"{chunk.num_values:,}"
            raise CorruptData(f"{name}: column {top} has {table.num_rows:,} values, its footer says {said}.")
        if chunk.statistics is not None:
            _check_statistics(chunk.statistics, column, f"{name}, column {top}")


def _check_statistics(said: Any, column: pa.ChunkedArray, name: str) -> None:
    """Readers leave out row groups by these: a wrong one would make an answer shorter."""
    if said.has_null_count and said.null_count != column.null_count:
        raise CorruptData(f"{name} has {column.null_count:,} nulls, its footer says {said.null_count:,}.")
    filled = len(column) - column.null_count
    if said.num_values != filled:
        raise CorruptData(f"{name} has {filled:,} values, its footer says {said.num_values:,}.")
    if not said.has_min_max:
        return
    least, greatest = _min_max(column)
    if not _same(said.min, least) or not _same(said.max, greatest) or not _raw_same(said):
        raise CorruptData(f"{name} runs from {least!r} to {greatest!r}, its footer says {said.min!r} to {said.max!r}.")


def _min_max(column: pa.ChunkedArray) -> tuple[Any, Any]:
    """As Parquet counts them: without null and NaN."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = column.filter(pc.invert(pc.is_nan(column)))
    found = pc.min_max(column).as_py()
    return found["min"], found["max"]


def _same(said: Any, found: Any) -> bool:
    if isinstance(said, float) and isinstance(found, float) and math.isnan(said):
        return False  # no NaN stands in statistics
    return bool(said == found)


def _raw_same(said: Any) -> bool:
    """Small integers are stored as 32 bits, of which pyarrow shows the lowest; other readers take them all."""
    return not isinstance(said.min, int) or (said.min_raw, said.max_raw) == (said.min, said.max)


def _nullable(schema: pa.Schema) -> pa.Schema:
    """A damaged file may hold nulls where none belong: what it holds is looked at, not refused by a cast."""
    fields: Sequence[pa.Field] = [field.with_nullable(True) for field in schema]
    return pa.schema(fields)
