"""Whether a checkpoint may be read: its size, its footer, and the checksum of every page that a reader looks at.

DuckDB does not compare checksums, and a flipped byte need not break the compression around it: an answer would be wrong
and nobody told. So whoever opens a checkpoint looks at it once: of 100,000 runs in about 50 ms, nothing is decoded.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.storage.checkpoint import CHECKPOINT_COLUMNS
from tracker.storage.derived import DERIVED_SCHEMA, parse_derived_footer
from tracker.storage.errors import CorruptData
from tracker.storage.parquet_check import check_parquet
from tracker.storage.schema import PackFooter

__all__ = ["check_checkpoint", "check_whole_checkpoint"]

_SIZE, _CHECKSUM = 3, 4  # fields of a page header: bytes behind it, and their crc32
_BOOLEANS: Final = (1, 2)
_VARINTS: Final = (4, 5, 6)
_BINARY: Final = 8
_STRUCT: Final = 12
_NAMES: Final[tuple[str, ...]] = tuple(DERIVED_SCHEMA.names)  # each has one column in the file


def check_checkpoint(source: Path | bytes, name: str, checkpoint_id: str, size_bytes: int | None = None) -> None:
    """Returns where every page that readers look at has its checksum. `size_bytes`: what the manifest says.

    Raises:
        CorruptData: it is damaged, or not that checkpoint; the message says why. FormatTooNew.
        FileNotFoundError: the local file is gone.
    """
    try:
        metadata = pq.read_metadata(pa.BufferReader(source) if isinstance(source, bytes) else source)
        _check_footer(metadata, name, checkpoint_id)
        found = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size_bytes is not None and found != size_bytes:
            raise CorruptData(f"{name} has {found:,} bytes, its manifest says {size_bytes:,}.")
        if isinstance(source, bytes):
            _check_groups(metadata, memoryview(source))
            return
        with open(source, "rb", buffering=0) as raw:
            for group in range(metadata.num_row_groups):
                start, end = _extent(metadata, group)
                raw.seek(start)
                _check_group(metadata, group, memoryview(raw.read(end - start)), start)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError, TypeError) as exc:
        why = " ".join(str(exc).split())
        raise CorruptData(f"{name} is damaged or not a whole Parquet file ({why}).") from exc


def check_whole_checkpoint(source: Path | bytes, name: str, checkpoint_id: str) -> None:
    """The same of everything in the file, also what the footer says of it: takes as long as to read it whole."""
    _check_footer(check_parquet(source, name, DERIVED_SCHEMA), name, checkpoint_id)


def _check_footer(metadata: pq.FileMetaData, name: str, checkpoint_id: str) -> None:
    footer = parse_derived_footer(metadata, name)
    found = getattr(footer, "pack_id", ""), footer.family, footer.rows
    if not isinstance(footer, PackFooter) or found != (checkpoint_id, "k", metadata.num_rows):
        raise CorruptData(
            f"{name} says that it is {found[1]} of {found[0]} with {found[2]} records, and has {metadata.num_rows}."
        )


def _check_groups(metadata: pq.FileMetaData, data: memoryview) -> None:
    for group in range(metadata.num_row_groups):
        start, end = _extent(metadata, group)
        _check_group(metadata, group, data[start:end], start)


def _extent(metadata: pq.FileMetaData, group: int) -> tuple[int, int]:
    """Where the columns of a row group begin and end."""
    row_group = metadata.row_group(group)
    last = row_group.column(row_group.num_columns - 1)
    return _start(row_group.column(0)), _start(last) + last.total_compressed_size


def _start(chunk: pq.ColumnChunkMetaData) -> int:
    return int(chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset)


def _check_group(metadata: pq.FileMetaData, group: int, data: memoryview, start: int) -> None:
    """`data`: the bytes of the group's columns, which begin at `start` in the file."""
    row_group = metadata.row_group(group)
    read = _columns_read(row_group)
    for number in range(row_group.num_columns):
        if _NAMES[number] in read:
            chunk = row_group.column(number)
            begin = _start(chunk) - start
            _check_pages(data[begin : begin + chunk.total_compressed_size], _NAMES[number])


def _columns_read(row_group: pq.RowGroupMetaData) -> Collection[str]:
    """Of records of one kind the columns that they fill."""
    if row_group.num_columns != len(_NAMES):
        raise ValueError(f"a row group has {row_group.num_columns} columns")
    stats = row_group.column(0).statistics
    if stats is None or not stats.has_min_max or stats.min != stats.max:
        return _NAMES
    return CHECKPOINT_COLUMNS.get(str(stats.min), _NAMES)


def _check_pages(data: memoryview, column: str) -> None:
    """Raises ValueError or LookupError where a page has not its checksum, or its header is none."""
    at, end = 0, len(data)
    while at < end:
        at, size, checksum = _page(data, at)
        if at + size > end or zlib.crc32(data[at : at + size]) != checksum & 0xFFFFFFFF:
            raise ValueError(f"a page of column {column} has another checksum")
        at += size


def _page(data: memoryview, at: int) -> tuple[int, int, int]:
    """(Where the header of the page at `at` ends, how many bytes follow, their checksum). Decodes nothing else: this
    runs for each of ten thousand pages (see `tracker.storage.thrift_compact` for all of it).
    """
    numbers: dict[int, int] = {}
    field = 0
    while True:
        head = data[at]
        at += 1
        if not head:
            return at, numbers[_SIZE], numbers[_CHECKSUM]
        kind = head & 15
        if not head >> 4:
            raise ValueError("a page header has fields in no order")
        field += head >> 4
        if kind in _VARINTS and field <= _CHECKSUM:
            value = shift = 0
            while (byte := data[at]) & 128:
                value |= (byte & 127) << shift
                shift += 7
                at += 1
            value |= byte << shift
            numbers[field] = (value >> 1) ^ -(value & 1)
            at += 1
        elif kind == _STRUCT:
            at = _behind_struct(data, at)
        else:
            at = _behind(data, at, kind)


def _behind_struct(data: memoryview, at: int) -> int:
    while head := data[at]:
        if not head >> 4:
            raise ValueError("a page header has fields in no order")
        at = _behind_struct(data, at + 1) if head & 15 == _STRUCT else _behind(data, at + 1, head & 15)
    return at + 1


def _behind(data: memoryview, at: int, kind: int) -> int:
    if kind in _BOOLEANS:
        return at
    if kind in _VARINTS:
        while data[at] & 128:
            at += 1
        return at + 1
    if kind == _BINARY:
        size = shift = 0
        while (byte := data[at]) & 128:
            size |= (byte & 127) << shift
            shift += 7
            at += 1
        return at + 1 + (size | byte << shift)
    raise ValueError(f"a page header has a field of type {kind}")
