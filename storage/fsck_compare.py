"""Two tables of derived records: what differs, whatever order they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["first_difference", "plain_texts"]

_SORTED: Final = ("what", "kind", "subject", "key", "run", "writer", "first_step", "row", "seq")
_ROUNDED: Final = frozenset({"mean_v"})
_OFF: Final = 1e-9


def plain_texts(table: pa.Table) -> pa.Table:
    """The same with texts instead of dictionaries, one chunk a column."""
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(at, field.name, table.column(at).cast(pa.string()))
    return table.combine_chunks()


def first_difference(one: pa.Table, other: pa.Table, columns: Sequence[str]) -> str | None:
    """The first of `columns` in which the tables (of `plain_texts`) differ, both sorted by what identifies a record.

    None: they are the same. NaN is itself, and means may differ in their last digits. The numbers of rows are equal.
    """
    order = [(name, "ascending") for name in _SORTED if name in one.column_names]
    one, other = one.sort_by(order), other.sort_by(order)
    for name in columns:
        same = _near if name in _ROUNDED else _same
        if not same(one[name].combine_chunks(), other[name].combine_chunks()):
            return name
    return None


def _same(one: pa.Array, other: pa.Array) -> bool:
    if pa.types.is_floating(one.type):
        one, other = one.view(pa.int64()), other.view(pa.int64())
    return bool(one.equals(other))


def _near(one: pa.Array, other: pa.Array) -> bool:
    if not one.is_null().equals(other.is_null()):
        return False
    finite = pc.and_(pc.is_finite(one), pc.is_finite(other))
    allowed = pc.multiply(pc.add(pc.abs(other), 1.0), _OFF)
    near = pc.less_equal(pc.abs(pc.subtract(one, other)), allowed)
    return bool(pc.all(pc.or_(pc.invert(finite), near), min_count=0).as_py())
