"""Whether one Parquet file of ours is what was written: every page, and everything in the footer that a reader trusts.

Pages carry checksums. The footer carries none, so each of its statements is compared with what the pages say: row
counts, where columns begin and end, null counts, least and greatest values. What a flipped bit in the
footer can still change unseen is what nobody reads (tests/storage/test_fsck_flips.py lists it).
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.storage.errors import CorruptData
from tracker.storage.parquet_footer import Chunk, Group, ParquetFooter, check_pages, parse_parquet_footer

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
            start, data = _read_footer(raw, name)
            footer = parse_parquet_footer(data, name)
            if footer.columns != tuple(schema.names):
                said = f"{', '.join(footer.columns)}, not {', '.join(schema.names)}"
                raise CorruptData(f"{name} has the columns {said}.")
            _check_layout(footer, start, name)
            for group in footer.groups:
                for chunk in group.chunks:
                    raw.seek(chunk.start)
                    check_pages(raw.read(chunk.size_bytes), chunk, f"{name}, column {chunk.column}")
            raw.seek(0)
            names = [field.name for field in schema if pa.types.is_dictionary(field.type)]
            with pq.ParquetFile(raw, page_checksum_verification=True, read_dictionary=names) as file:
                _check_columns(file.metadata, schema, name)
                for number, group in enumerate(footer.groups):
                    table = file.read_row_group(number, use_threads=False)
                    _check_group(group, table, f"{name}, row group {number}")
                    each(table.select(schema.names).cast(_nullable(schema)), number)
                return file.metadata
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError, OverflowError) as exc:
        why = " ".join(str(exc).split())
        raise CorruptData(f"{name} is damaged or not a whole Parquet file ({why}).") from exc


def _read_footer(raw: BinaryIO, name: str) -> tuple[int, bytes]:
    """Where the footer begins, and the footer; the magic stands at both ends of the file."""
    head = raw.read(4)
    size = raw.seek(0, os.SEEK_END)
    raw.seek(max(size - _TAIL, 0))
    tail = raw.read(_TAIL)
    start = size - _TAIL - int.from_bytes(tail[:4], "little")
    if head != _MAGIC or tail[4:] != _MAGIC or start < len(_MAGIC):
        raise CorruptData(f"{name} is no whole Parquet file: it does not begin and end as one ({size:,} bytes).")
    raw.seek(start)
    data = raw.read(size - _TAIL - start)
    raw.seek(0)
    return start, data


def _check_columns(metadata: pq.FileMetaData, schema: pa.Schema, name: str) -> None:
    found = metadata.schema.to_arrow_schema()
    for field in schema:
        stored = found.field(field.name)
        if _plain(stored.type) != _plain(field.type):
            raise CorruptData(f"{name}: column {field.name} is {stored.type}, not {field.type}.")
        if stored.nullable != field.nullable:  # see tracker.storage.schema: pyarrow would end the process
            raise CorruptData(f"{name}: column {field.name} may {'' if stored.nullable else 'not '}be null.")


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _check_layout(footer: ParquetFooter, footer_start: int, name: str) -> None:
    """Columns follow each other from the magic to the footer, without gap or overlap, and rows add up."""
    at = len(_MAGIC)
    for group in footer.groups:
        for chunk in group.chunks:
            if chunk.start != at:
                raise CorruptData(f"{name}: column {chunk.column} begins at byte {chunk.start:,}, not {at:,}.")
            at += chunk.size_bytes
    if at != footer_start:
        raise CorruptData(f"{name}: its columns end at byte {at:,}, its footer begins at {footer_start:,}.")
    rows = sum(group.rows for group in footer.groups)
    if rows != footer.rows:
        raise CorruptData(f"{name} says {footer.rows:,} rows, its row groups say {rows:,}.")


def _check_group(group: Group, table: pa.Table, name: str) -> None:
    if table.num_rows != group.rows:
        raise CorruptData(f"{name} has {table.num_rows:,} rows, its footer says {group.rows:,}.")
    for chunk in group.chunks:
        if chunk.is_nested:
            continue  # readers never prune by what is in lists
        column, where = table[chunk.column], f"{name}, column {chunk.column}"
        if chunk.values != len(column):
            raise CorruptData(f"{where} has {len(column):,} values, its footer says {chunk.values:,}.")
        if chunk.null_count not in (None, column.null_count):
            raise CorruptData(f"{where} has {column.null_count:,} nulls, its footer says {chunk.null_count:,}.")
        _check_bounds(chunk, column, where)


def _check_bounds(chunk: Chunk, column: pa.ChunkedArray, where: str) -> None:
    """Readers leave out row groups by the least and greatest value: a wrong one would make an answer shorter."""
    if chunk.bounds is None and chunk.old_bounds is None:
        return
    found = _min_max(column)
    for said in (chunk.bounds, chunk.old_bounds):
        if said is not None and said != found:  # a NaN in `said` is unequal too: none stands in statistics
            shown = f"{said[0]!r} to {said[1]!r}"
            raise CorruptData(f"{where} runs from {found[0]!r} to {found[1]!r}, its footer says {shown}.")


def _min_max(column: pa.ChunkedArray) -> tuple[Any, Any]:
    """As Parquet counts them: without null and NaN; texts as bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = column.filter(pc.invert(pc.is_nan(column)))
    if pa.types.is_string(column.type):
        column = column.cast(pa.binary())
    found = pc.min_max(column).as_py()
    return found["min"], found["max"]


def _nullable(schema: pa.Schema) -> pa.Schema:
    """A damaged file may hold nulls where none belong: what it holds is looked at, not refused by a cast."""
    fields: Sequence[pa.Field] = [field.with_nullable(True) for field in schema]
    return pa.schema(fields)
