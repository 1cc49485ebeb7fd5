"""The event vocabulary: kinds, families, typed values, facts. Written once, never edited.

Two families of events say everything. *Points*: a key has a value at a step (`history`, `system`,
`console`), and the marker that closes a row (`row`). *Facts*: a path of a subject has a value, or
is retracted, from a stamp on (all other kinds).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

__all__ = [
    "CONSOLE",
    "DELETED",
    "HISTORY",
    "INT64_MAX",
    "INT64_MIN",
    "JSON",
    "KIND_ALERT",
    "KIND_ATTR",
    "KIND_BRANCH",
    "KIND_CARRIED",
    "KIND_CONFIG",
    "KIND_FILE",
    "KIND_LOST",
    "KIND_META",
    "KIND_METRIC",
    "KIND_SUMMARY",
    "KIND_TOMBSTONE",
    "KIND_WRITER",
    "POINT_KINDS",
    "ROW",
    "SYSTEM",
    "TOMBSTONE_PATH",
    "Cell",
    "Deleted",
    "Fact",
    "JsonText",
    "Type",
    "Value",
    "decode_cell",
    "encode_cell",
    "family_of",
    "flatten",
    "join_path",
    "path_text",
    "split_path",
    "unflatten",
]

# kinds of points
ROW: Final = "row"  # closes a row: step, v = _runtime; the time of the row is the marker's time
HISTORY: Final = "history"
SYSTEM: Final = "system"
CONSOLE: Final = "console"
POINT_KINDS: Final = frozenset({ROW, HISTORY, SYSTEM, CONSOLE})

# kinds of facts that this version writes; a reader folds kinds it does not know and shows none of them
KIND_CONFIG: Final = "config"
KIND_SUMMARY: Final = "summary"  # explicit writes only; the automatic summary is derived from points
KIND_ATTR: Final = "attr"  # name, notes, tags, group, job_type, ... of the run
KIND_WRITER: Final = "writer"  # path `<writer id>.<field>`: state, exit_code, rank, generation, started_at, ...
KIND_TOMBSTONE: Final = "tombstone"  # path `deleted`: hides what had begun by then; `deleted.<writer>`: that one too
KIND_METRIC: Final = "metric"  # path: key or glob (escaped); value: JSON of what define_metric said
KIND_FILE: Final = "file"  # path: name below the run's files (escaped); value: JSON with _type "file", sha256 or text
KIND_META: Final = "meta"  # path and leaves of the metadata: os, python, git.commit, ...
KIND_ALERT: Final = "alert"  # path: ULID of the alert; value: JSON with title, text, level, time
KIND_BRANCH: Final = "branch"  # path: id of the generation; value: JSON {run, generation, step, writers: {id: frame}}
KIND_CARRIED: Final = "carried"  # path: key; value: JSON of the statistics of a branch's inherited points
KIND_LOST: Final = "lost"  # a frame whose bytes were damaged on the local disk: it keeps its number, so the loss shows

TOMBSTONE_PATH: Final = "deleted"

_FAMILY: Final = {ROW: "h", HISTORY: "h", SYSTEM: "s", CONSOLE: "c"}


def family_of(kind: str) -> str:
    """Which file family holds events of this kind after merging: f, h, s or c."""
    return _FAMILY.get(kind, "f")


class Type(IntEnum):
    """Column `t`: what a cell's value is, and which column holds it."""

    FLOAT = 0  # v
    INT = 1  # i, and v as the nearest double; beyond 64 bits: s has the digits, i is null
    BOOL = 2  # i is 0 or 1, and v
    STRING = 3  # s
    JSON = 4  # s: lists, {}, dicts with "_type", strings that are no UTF-8
    NULL = 5
    DELETED = 6  # the fact is retracted


JSON: Final = Type.JSON
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1


class Deleted:
    """The value of a fact that takes the path back."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DELETED"


DELETED: Final = Deleted()


@dataclass(frozen=True, slots=True)
class JsonText:
    """A value that is already JSON text: kept as it is, decoded when read."""

    text: str


Value = Any  # None, bool, int, float, str, JsonText, Deleted, or lists and dicts of plain values
Cell = tuple[int, float | None, int | None, str | None]  # columns t, v, i, s


def encode_cell(value: Value) -> Cell:
    """The four value columns. Loses nothing: `decode_cell(*encode_cell(x)) == x`, NaN and -0.0 included.

    Raises:
        TypeError: a type without a stored form.
    """
    match value:
        case None:
            return Type.NULL, None, None, None
        case bool():
            return Type.BOOL, float(value), int(value), None
        case int() if INT64_MIN <= value <= INT64_MAX:
            return Type.INT, float(value), int(value), None
        case int():
            return Type.INT, _nearest_double(value), None, str(value)
        case float():
            return Type.FLOAT, float(value), None, None
        case str():
            return _encode_text(str(value))
        case JsonText(text):
            return Type.JSON, None, None, text
        case Deleted():
            return Type.DELETED, None, None, None
        case list() | tuple() | dict():
            return Type.JSON, None, None, json.dumps(value, ensure_ascii=True, separators=(",", ":"))
        case _:
            raise TypeError(f"A value of type {type(value).__name__} has no stored form: {value!r:.80}")


def _encode_text(text: str) -> Cell:
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates: JSON can escape them, UTF-8 can not hold them
        return Type.JSON, None, None, json.dumps(text)
    return Type.STRING, None, None, text


def _nearest_double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def decode_cell(t: int, v: float | None, i: int | None, s: str | None) -> Value:
    """The one decoder: the value that was written, or DELETED."""
    match t:
        case Type.FLOAT:
            return v
        case Type.INT:
            return int(s) if i is None and s is not None else i
        case Type.BOOL:
            return bool(i)
        case Type.STRING:
            return s
        case Type.JSON:
            return json.loads(s) if s is not None else None
        case Type.NULL:
            return None
        case Type.DELETED:
            return DELETED
        case _:
            raise ValueError(f"Unknown value type {t}: written by a newer tracker. Upgrade tracker to read it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """`path` of `subject` has `value` from `hlc_us` on, as this writer saw it."""

    kind: str
    subject: str  # the run's id (or another subject's name)
    path: str  # segments joined by ".", literal "." and "\" escaped by "\"
    value: Value  # DELETED takes it back
    hlc_us: int  # orders facts, with generation before and writer, seq behind
    writer_id: str
    seq: int  # the frame; one frame has at most one fact per kind, subject and path


def join_path(segments: tuple[str, ...] | list[str]) -> str:
    """`("a.b", "c")` to `a\\.b.c`. Injective; `split_path` inverts it."""
    return ".".join(segment.replace("\\", "\\\\").replace(".", "\\.") for segment in segments)


def split_path(path: str) -> tuple[str, ...]:
    """Segments of a path, unescaped. A backslash before any other character stands for itself."""
    if "\\" not in path:
        return tuple(path.split("."))
    segments, current, at = [], "", 0
    while at < len(path):
        char = path[at]
        if char == "\\" and path[at + 1 : at + 2] in {".", "\\"}:
            current += path[at + 1]
            at += 2
            continue
        if char == ".":
            segments.append(current)
            current = ""
        else:
            current += char
        at += 1
    return (*segments, current)


def path_text(path: str) -> str:
    """The path as people read it: `a\\.b` and `a.b` both show as `a.b` (the literal key wins where both exist)."""
    return path if "\\" not in path else ".".join(split_path(path))


def flatten(tree: dict[str, Value], prefix: tuple[str, ...] = ()) -> list[tuple[str, Value]]:
    """Leaves of nested dicts as (path, value). Lists, `{}` and dicts with `_type` are leaves."""
    leaves: list[tuple[str, Value]] = []
    for key, value in tree.items():
        here = (*prefix, str(key))
        if isinstance(value, dict) and value and "_type" not in value:
            leaves += flatten(value, here)
        else:
            leaves.append((join_path(here), value))
    return leaves


def unflatten(leaves: list[tuple[str, Value]]) -> dict[str, Value]:
    """Nested dicts from (path, value). A leaf in the way of a longer path gives way to it."""
    tree: dict[str, Value] = {}
    for path, value in leaves:
        *parents, last = split_path(path)
        node = tree
        for segment in parents:
            child = node.get(segment)
            if not isinstance(child, dict) or "_type" in child:
                child = node[segment] = {}
            node = child
        node[last] = value
    return tree
