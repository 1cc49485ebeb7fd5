"""Reads the compact form of Thrift into plain values: what a Parquet footer is written in.

Source: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md. pyarrow reads footers too, but where one
contradicts itself it does not raise: as soon as a column's metadata is asked for, it ends the process.
"""

from __future__ import annotations

import struct
from typing import Any, Final

__all__ = ["ThriftError", "read_struct"]

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_DEPTH_MAX: Final = 16

Struct = dict[int, Any]


class ThriftError(ValueError):
    """The bytes are no such struct."""


def read_struct(data: bytes, at: int = 0) -> tuple[Struct, int]:
    """(field number to value, where it ends). Structs are dicts, lists lists, texts bytes, numbers int and float.

    Raises:
        ThriftError: cut short, an unknown type, a field twice, or nested too deeply.
    """
    reader = _Reader(data, at)
    try:
        found = reader.struct(0)
    except (IndexError, struct.error):
        raise ThriftError("it is cut short") from None
    return found, reader.at


class _Reader:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def struct(self, depth: int) -> Struct:
        if depth > _DEPTH_MAX:
            raise ThriftError("it is nested too deeply")
        data, fields, last = self.data, Struct(), 0
        while True:
            head = data[self.at]
            self.at += 1
            if head == 0:
                return fields
            kind = head & 15
            last = last + (head >> 4) if head >> 4 else self._zigzag()
            if last in fields:
                raise ThriftError(f"it has field {last} twice")
            fields[last] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _BINARY:
            size = self._varint()
            start = self.at
            self.at += size
            if self.at > len(self.data):
                raise ThriftError("a text is cut short")
            return self.data[start : self.at]
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind in (_BYTE, _TRUE, _FALSE):  # in lists booleans take a byte
            self.at += 1
            return self.data[self.at - 1]
        if kind == _DOUBLE:
            self.at += 8
            return struct.unpack_from("<d", self.data, self.at - 8)[0]
        raise ThriftError(f"type {kind} is unknown")

    def _list(self, depth: int) -> list[Any]:
        head = self.data[self.at]
        self.at += 1
        size = head >> 4 if head >> 4 != 15 else self._varint()
        if size > len(self.data) - self.at:
            raise ThriftError("a list is longer than the file")
        return [self._value(head & 15, depth) for _ in range(size)]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ThriftError("a number is too long")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
