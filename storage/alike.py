"""Frames that are alike, decoded as one matrix: what a training loop logs has the same keys and widths again and again.

Taking such frames one by one costs 10 us each under the interpreter lock, which the training wants; as a matrix they
cost a tenth of it, and most of that lies outside the lock. Whatever is not alike goes the general way, frame by frame,
with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracker.storage.crc_blocks import payloads_match
from tracker.storage.events import INT64_MAX, Type
from tracker.storage.wal import HEADER_BYTES, FrameBlock

__all__ = ["AlikeRows", "count_alike", "decode_alike"]

_NUMBERS: Final = {0xCC: "u1", 0xCD: ">u2", 0xCE: ">u4", 0xCF: ">u8", 0xD0: "i1", 0xD1: ">i2", 0xD2: ">i4", 0xD3: ">i8"}
_FLOAT: Final = 0xCB
_FIXED: Final = {0xC0: Type.NULL, 0xC2: Type.BOOL, 0xC3: Type.BOOL}
_ROWS_MIN: Final = 8  # fewer are not worth a matrix


@dataclass(frozen=True, slots=True)
class AlikeRows:
    """`count` calls of `log`, each of which ends its own row; arrays have one entry a call."""

    count: int
    hlc: np.ndarray
    ts: np.ndarray
    row: np.ndarray
    step: np.ndarray
    mark_ts: np.ndarray
    runtime_s: np.ndarray
    cells: list[tuple[str, Type, np.ndarray]]  # key, type, values


def count_alike(view: memoryview, at: int) -> int:
    """How many whole, undamaged frames of one length and with consecutive numbers begin at `at`; 0 if hardly any."""
    length = HEADER_BYTES + int.from_bytes(view[at + 4 : at + 8], "little")
    count = (len(view) - at) // length
    if count < _ROWS_MIN:
        return 0
    frames = np.frombuffer(view, np.uint8, count * length, at).reshape(count, length)
    heads = np.ascontiguousarray(frames[:, :HEADER_BYTES])
    words = heads.view("<u4")  # magic, length, crc32, number (two words)
    numbers = np.ascontiguousarray(heads[:, 12:]).view("<u8")[:, 0]
    wanted = numbers[0] + np.arange(count, dtype=np.uint64)
    count = _prefix((words[:, 0] == words[0, 0]) & (words[:, 1] == words[0, 1]) & (numbers == wanted))
    if count < _ROWS_MIN:
        return 0
    payloads = np.ascontiguousarray(frames[:count, HEADER_BYTES:])
    starts = numbers[:count].astype(np.uint32)  # the lower half, as the log takes it
    return count if payloads_match(payloads, starts, words[:count, 2].astype(np.uint32)) else 0


def decode_alike(block: FrameBlock, skip: int = 0) -> AlikeRows | None:
    """The frames of `block` behind the first `skip`, as far as they look like the first of them.

    None: too few do, or it is no `log` call of numbers that ends just its own row.
    """
    frames = np.frombuffer(block.raw, np.uint8).reshape(block.count, -1)[skip:, HEADER_BYTES:]
    if len(frames) < _ROWS_MIN:
        return None
    try:
        shape = _shape_of(bytes(frames[0]))
    except (IndexError, UnicodeDecodeError):
        return None
    if shape is None:
        return None
    fixed, numbers, cells = shape
    count = _prefix(~((frames != frames[0]) & fixed).any(axis=1))
    if count < _ROWS_MIN:
        return None
    frames = frames[:count]
    hlc, ts, row, step, mark_row, mark_step, mark_ts, runtime_s = (_column(frames, *where) for where in numbers)
    values = [(key, kind, _column(frames, at, form)) for key, kind, at, form in cells]
    wide = [found for found in (hlc, ts, mark_ts, *(value for _, _, value in values)) if found.dtype == np.uint64]
    if any((found > INT64_MAX).any() for found in wide):
        return None
    if not (np.array_equal(row, mark_row) and np.array_equal(step, mark_step)):
        return None
    return AlikeRows(count, hlc, ts, row, step, mark_ts, runtime_s, values)


_Where = tuple[int, str]  # offset of the bytes of a number, how they are to be read
_Cell = tuple[str, Type, int, str]


def _shape_of(payload: bytes) -> tuple[np.ndarray, list[_Where], list[_Cell]] | None:
    """Which bytes are the same in every frame that looks like this one; where its numbers are; its cells.

    Raises IndexError or UnicodeDecodeError for bytes that are no frame.
    """
    walk = _Walk(payload)
    if payload[:3] != b"\x97\xa1h":
        return None
    walk.at = 3
    head = [walk.number() for _ in range(4)]
    cells: list[_Cell] = []
    for _ in range(walk.map_size()):
        key = walk.text()
        kind = walk.type()
        where = walk.number()
        if key is None or kind is None or where is None:
            return None
        cells.append((key, kind, *where))
    if payload[walk.at : walk.at + 2] != b"\x91\x94":
        return None
    walk.at += 2
    numbers = head + [walk.number() for _ in range(4)]
    known = [where for where in numbers if where is not None]
    if len(known) != 8 or known[7][1] != ">f8" or walk.at != len(payload):
        return None
    return walk.fixed, known, cells


class _Walk:
    """Reads one msgpack text from left to right; `fixed` marks the bytes that are no part of a number."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.at = 0
        self.fixed = np.ones(len(payload), bool)

    def type(self) -> Type | None:
        tag = self._payload[self.at]
        if tag == _FLOAT:
            return Type.FLOAT
        return Type.INT if tag in _NUMBERS or tag < 0x80 or tag >= 0xE0 else _FIXED.get(tag)

    def number(self) -> _Where | None:
        """Step over a number; a small integer, True, False and None are their own tag and stay fixed bytes."""
        tag = self._payload[self.at]
        form = ">f8" if tag == _FLOAT else _NUMBERS.get(tag)
        if form is not None:
            start, self.at = self.at + 1, self.at + 1 + np.dtype(form).itemsize
            self.fixed[start : self.at] = False
            return start, form
        self.at += 1
        if tag < 0x80 or tag >= 0xE0:
            return self.at - 1, "i1"
        return (self.at - 1, "true" if tag == 0xC3 else "zero") if tag in _FIXED else None

    def map_size(self) -> int:
        tag = self._payload[self.at]
        if tag & 0xF0 == 0x80:
            self.at += 1
            return tag & 0x0F
        if tag == 0xDE:
            self.at += 3
            return int.from_bytes(self._payload[self.at - 2 : self.at])
        raise IndexError("no map")

    def text(self) -> str | None:
        tag = self._payload[self.at]
        if tag & 0xE0 == 0xA0:
            size, self.at = tag & 0x1F, self.at + 1
        elif tag in (0xD9, 0xDA):
            width = tag - 0xD8
            size = int.from_bytes(self._payload[self.at + 1 : self.at + 1 + width])
            self.at += 1 + width
        else:
            return None
        self.at += size
        return self._payload[self.at - size : self.at].decode()


def _column(frames: np.ndarray, at: int, form: str) -> np.ndarray:
    if form in ("true", "zero"):
        return np.full(len(frames), int(form == "true"), np.int64)
    kind = np.dtype(form)
    found: np.ndarray = np.ascontiguousarray(frames[:, at : at + kind.itemsize]).view(kind)[:, 0]
    return found.astype(kind.newbyteorder("="), copy=False)


def _prefix(good: np.ndarray) -> int:
    """How many are True before the first that is not."""
    return len(good) if good.all() else int(np.argmin(good))
