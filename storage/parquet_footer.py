"""The statements of a Parquet footer that readers trust, as plain values, before any library acts upon them.

Source: github.com/apache/parquet-format, src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from tracker.storage.errors import CorruptData
from tracker.storage.thrift_compact import ThriftError, read_struct

__all__ = ["Chunk", "Group", "ParquetFooter", "check_pages", "parse_parquet_footer"]

_NUMBERS: Final = {0: "<?", 1: "<i", 2: "<q", 4: "<f", 5: "<d"}  # by physical type; 6: bytes
_BYTES: Final = 6
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PAGES: Final = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}  # kind of page to the field with its own header
_OF_DICTIONARIES: Final = frozenset({0, 2})  # both spellings: plain
_REQUIRED, _OPTIONAL, _REPEATED = range(3)

Bound = bool | int | float | bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column of one row group."""

    column: str  # the top name of its path
    is_nested: bool
    start: int
    size_bytes: int
    plain_bytes: int  # of its pages before compression, with their headers
    encodings: frozenset[int]
    values: int
    null_count: int | None
    bounds: tuple[Bound, Bound] | None  # least and greatest value
    old_bounds: tuple[Bound, Bound] | None  # the same in the fields of before 2017


@dataclass(frozen=True, slots=True)
class Group:
    """One row group."""

    rows: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class ParquetFooter:
    """`columns`: names of the schema's top level."""

    rows: int
    columns: tuple[str, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A column as the schema has it: how many levels its values are optional and repeated."""

    path: tuple[str, ...]
    type: int
    optional: int
    repeated: int


def parse_parquet_footer(data: bytes, name: str) -> ParquetFooter:
    """The footer in `data` (Thrift, without length and magic).

    Raises:
        CorruptData: it is no footer, or contradicts itself.
    """
    try:
        fields, end = read_struct(data)
        if end != len(data):
            raise ThriftError(f"it ends {len(data) - end} bytes early")
        leaves, columns = _schema(fields[2])
        groups = tuple(_group(group, leaves) for group in fields[4])
        return ParquetFooter(_number(fields[3]), columns, groups)
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration, struct.error) as exc:
        why = f"field {exc} is missing" if isinstance(exc, KeyError) else exc
        raise CorruptData(f"{name} has a damaged footer ({why}). Keep the file and report it.") from None


def check_pages(data: bytes, chunk: Chunk, name: str) -> None:
    """The page headers in `data` (the column's bytes) say together what the footer says of the column.

    Raises:
        CorruptData: they do not.
    """
    at = values = plain = 0
    try:
        while at < len(data):
            header, end = read_struct(data, at)
            values += _values_of_page(header, chunk)
            plain += end - at + _number(header[2])
            at = end + _number(header[3])
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        raise CorruptData(f"{name} has a damaged page header ({exc}). Keep the file and report it.") from None
    if (at, values, plain) != (len(data), chunk.values, chunk.plain_bytes):
        raise CorruptData(f"{name}: its pages hold {values:,} values and {plain:,} bytes, its footer says otherwise.")


def _values_of_page(header: dict[int, Any], chunk: Chunk) -> int:
    """How many values a page brings; a dictionary brings none."""
    if header[1] not in _PAGES or 4 not in header:
        raise ThriftError("a page of an unknown kind, or without a checksum")
    said = header[_PAGES[header[1]]]
    if said[4 if header[1] == _DATA_V2 else 2] not in chunk.encodings | _OF_DICTIONARIES:
        raise ThriftError("its encoding is not one of the column's")
    return 0 if header[1] == _DICTIONARY else _number(said[1])


def _schema(elements: list[dict[int, Any]]) -> tuple[list[_Leaf], tuple[str, ...]]:
    leaves: list[_Leaf] = []
    rest = iter(elements)

    def walk(element: dict[int, Any], path: tuple[str, ...], optional: int, repeated: int) -> None:
        repetition = element.get(3, _REQUIRED)
        if repetition not in (_REQUIRED, _OPTIONAL, _REPEATED):
            raise ThriftError(f"repetition {repetition} is unknown")
        here = (*path, element[4].decode())
        optional, repeated = optional + (repetition != _REQUIRED), repeated + (repetition == _REPEATED)
        children = element.get(5, 0)
        if not children:
            leaves.append(_Leaf(here, element[1], optional, repeated))
        for _ in range(children):
            walk(next(rest), here, optional, repeated)

    root = next(rest)
    tops = []
    for _ in range(root[5]):
        top = next(rest)
        tops.append(top[4].decode())
        walk(top, (), 0, 0)
    if next(rest, None) is not None:
        raise ThriftError("its schema has columns that belong nowhere")
    return leaves, tuple(tops)


def _group(fields: dict[int, Any], leaves: list[_Leaf]) -> Group:
    chunks = fields[1]
    if len(chunks) != len(leaves):
        raise ThriftError(f"a row group has {len(chunks)} columns, the schema {len(leaves)}")
    return Group(_number(fields[3]), tuple(_chunk(one, leaf) for one, leaf in zip(chunks, leaves, strict=True)))


def _chunk(fields: dict[int, Any], leaf: _Leaf) -> Chunk:
    meta = fields[3]
    if tuple(part.decode() for part in meta[3]) != leaf.path or meta[1] != leaf.type:
        raise ThriftError(f"a column is called {b'.'.join(meta[3])!r}, the schema says {'.'.join(leaf.path)}")
    starts = [_number(meta[field]) for field in (9, 11) if field in meta]
    _check_sizes(meta.get(16, {}), leaf, _number(meta[5]))
    said = meta.get(12, {})
    null_count = said.get(3)
    return Chunk(
        column=leaf.path[0],
        is_nested=len(leaf.path) > 1,
        start=min(starts),
        size_bytes=_number(meta[7]),
        plain_bytes=_number(meta[6]),
        encodings=frozenset(meta[2]),
        values=_number(meta[5]),
        null_count=None if null_count is None else _number(null_count),
        bounds=_bounds(said, 6, 5, leaf.type),
        old_bounds=_bounds(said, 2, 1, leaf.type),
    )


def _check_sizes(said: dict[int, Any], leaf: _Leaf, values: int) -> None:
    """How often each level occurs: lists as long as there are levels, or absent. pyarrow dies of others."""
    for field, levels in ((2, leaf.repeated), (3, leaf.optional)):
        found = said.get(field, [])
        if found and (len(found) != levels + 1 or sum(map(_number, found)) != values):
            raise ThriftError(f"size statistics of {'.'.join(leaf.path)} contradict its values")


def _bounds(said: dict[int, Any], least: int, greatest: int, kind: int) -> tuple[Bound, Bound] | None:
    if least not in said or greatest not in said:
        return None
    return _decoded(said[least], kind), _decoded(said[greatest], kind)


def _decoded(raw: bytes, kind: int) -> Bound:
    if kind == _BYTES:
        return raw
    found: Bound = struct.unpack(_NUMBERS[kind], raw)[0]
    return found


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ThriftError(f"{value!r} is no count")
    return value

