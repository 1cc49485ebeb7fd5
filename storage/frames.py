"""Frames: what one operation writes into a writer's log, as msgpack. A frame is never cut by any file.

The training thread encodes (C speed, no loop); the shipper decodes. Values that msgpack has no
exact form for travel as extensions.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tracker.storage.events import DELETED, INT64_MAX, INT64_MIN, Deleted, JsonText, Type, Value, encode_cell

__all__ = [
    "Facts",
    "Frame",
    "Log",
    "Lost",
    "Points",
    "RowMark",
    "decode_frame",
    "encode_frame",
    "pack_value",
    "unpack_value",
]

_EXT_JSON: Final = 1
_EXT_BIG_INT: Final = 2
_EXT_DELETED: Final = 3


class RowMark(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Closes row number `row` of this writer at `step`; `ts_us` and `runtime_s` are those of its last `log`."""

    row: int
    step: int
    ts_us: int
    runtime_s: float


class Log(msgspec.Struct, array_like=True, tag="h", gc=False):
    """One call of `log`: cells of row `row`, and the markers of the rows that it closes."""

    hlc_us: int
    ts_us: int
    row: int
    step: int
    cells: dict[str, Any]  # stored key (escaped path) to packed value
    closes: list[RowMark]


class Points(msgspec.Struct, array_like=True, tag="p", gc=False):
    """System metrics or console lines at one time: no row, no step."""

    hlc_us: int
    ts_us: int
    kind: str
    cells: dict[str, Any]


class Facts(msgspec.Struct, array_like=True, tag="f", gc=False):
    """Facts that hold together: (kind, subject or None for the run, path, packed value)."""

    hlc_us: int
    ts_us: int
    facts: list[tuple[str, str | None, str, Any]]


class Lost(msgspec.Struct, array_like=True, tag="x", gc=False):
    """Stands for a frame whose bytes were damaged on the local disk; `reason` says how it was seen."""

    hlc_us: int
    ts_us: int
    reason: str


Frame = Log | Points | Facts | Lost

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Log | Points | Facts | Lost)
encode_frame = _encoder.encode


def decode_frame(payload: bytes | memoryview) -> Frame:
    """Raises msgspec.DecodeError or msgspec.ValidationError for bytes that are no frame."""
    frame: Frame = _decoder.decode(payload)
    return frame


def pack_value(value: Value) -> Any:
    """A form that msgpack keeps exactly; plain scalars pass through unchanged."""
    match value:
        case None | bool() | float():
            return value
        case int() if INT64_MIN <= value <= INT64_MAX:
            return value
        case Deleted():
            return msgspec.msgpack.Ext(_EXT_DELETED, b"")
    kind, _, _, text = encode_cell(value)
    if kind == Type.STRING:
        return text
    return msgspec.msgpack.Ext(_EXT_BIG_INT if kind == Type.INT else _EXT_JSON, (text or "").encode())


def unpack_value(packed: Any) -> Value:
    """Inverse of `pack_value` (JSON stays text, as the store keeps it)."""
    if not isinstance(packed, msgspec.msgpack.Ext):
        return packed
    match packed.code:
        case 1:  # _EXT_JSON
            return JsonText(bytes(packed.data).decode())
        case 2:  # _EXT_BIG_INT
            return int(bytes(packed.data))
        case 3:  # _EXT_DELETED
            return DELETED
        case code:
            raise ValueError(f"Unknown extension {code} in the local log: a newer tracker wrote it. Upgrade to sync.")
