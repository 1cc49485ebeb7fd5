"""Cells of a column as an Arrow array of one type: the narrowest that holds all of them.

Integers, floats, booleans or text where they agree; floats where integers and floats meet, or an integer has more than
64 bits. All that mixes otherwise, lists and dicts, and integers that no float comes near, become JSON text, in which
text stands as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracker.query.cells import ABSENT, MISSING, Column
from tracker.query.leaf_cells import LeafTypes
from tracker.storage.arrow_arrays import numbers, texts
from tracker.storage.errors import UsageError
from tracker.storage.events import Type

__all__ = ["array_of_type", "column_type", "shown_texts", "types_of", "utf8_text"]

_TEXTUAL: Final = (Type.STRING, Type.JSON)


def types_of(column: Column) -> LeafTypes:
    """What its cells are."""
    types = column.types() - {ABSENT}
    digits = beyond = False
    if Type.INT in types:
        whole = column.t == Type.INT
        digits = column.i is None or len(column) - column.i.null_count < int(np.count_nonzero(whole))
        beyond = digits and bool(np.isinf(column.v[whole]).any())
    return LeafTypes(frozenset(types), digits, beyond)


def column_type(*found: LeafTypes) -> pa.DataType:
    """The type of a column whose cells are all of these; null where none has a value."""
    types = frozenset[int]().union(*(one.types for one in found)) - {Type.NULL}
    if not types:
        return pa.null()
    if types == {Type.BOOL}:
        return pa.bool_()
    if types == {Type.INT} and not any(one.digits for one in found):
        return pa.int64()
    if types <= {Type.INT, Type.FLOAT} and not any(one.beyond for one in found):
        return pa.float64()
    return pa.string()


def array_of_type(column: Column, kind: pa.DataType) -> pa.Array:
    """The cells as `kind`, which is a `column_type` of theirs, or of theirs and others'; null where there is none.

    Raises:
        UsageError: it is not.
    """
    there = (column.t != ABSENT) & (column.t != Type.NULL)
    if pa.types.is_null(kind) or not there.any():
        return pa.nulls(len(column), kind)
    own = column_type(types_of(column))
    if own != kind and not (pa.types.is_string(kind) or (pa.types.is_floating(kind) and pa.types.is_integer(own))):
        raise UsageError(f"A column of {kind} got a value of another type while runs were read. Read them again.")
    valid = None if there.all() else there
    if pa.types.is_boolean(kind):
        return numbers(column.v != 0, pa.uint8(), valid).cast(pa.bool_())
    if pa.types.is_integer(kind):
        return column.i
    if pa.types.is_floating(kind):
        return numbers(column.v, pa.float64(), valid)
    if column.types() <= {ABSENT, Type.NULL, Type.STRING}:
        return column.s
    return shown_texts(column, json.dumps)


def shown_texts(column: Column, other: Callable[[Any], str]) -> pa.Array:
    """Texts as they are (`utf8_text`), null where there is no value; what `other` makes of the rest."""

    def shown(value: Any) -> str | None:
        if value is None or value is MISSING:
            return None
        return utf8_text(value) if isinstance(value, str) else other(value)

    of_json = cache(lambda text: shown(json.loads(text)))
    said = [None] * len(column) if column.s is None else column.s.to_pylist()
    found = said
    if not column.types() <= {Type.STRING, Type.JSON, Type.NULL, ABSENT}:
        found = [
            text if t in _TEXTUAL else shown(value)
            for t, text, value in zip(column.t.tolist(), said, column.to_list(), strict=True)
        ]
    if Type.JSON in column.types():
        found = [
            of_json(text) if t == Type.JSON else text for t, text in zip(column.t.tolist(), found, strict=True)
        ]
    at = np.array([-1 if text is None else n for n, text in enumerate(found)], np.int64)
    return texts([text or "" for text in found], at)


def utf8_text(text: str) -> str:
    """`text`; as JSON, with its escapes, where UTF-8 cannot hold it (half a surrogate pair)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    return text
