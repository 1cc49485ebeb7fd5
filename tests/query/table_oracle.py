"""The run table made the plain way: one dict a run, then the narrowest type of each column's Python values."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tracker.query.run_columns import RUN_COLUMNS
from tracker.query.runs import RunRecord
from tracker.storage.events import split_path

__all__ = ["plain_columns", "plain_table", "same"]

Column = tuple[pa.DataType, list[Any]]


def plain_table(records: Sequence[RunRecord], names: Sequence[str] | None = None) -> dict[str, Column]:
    """Type and values of each column, in the order of the table."""
    rows = [_row(record) for record in records]
    found = {name for row in rows for name in row} - set(RUN_COLUMNS)
    ordered = [*RUN_COLUMNS, *sorted(name for name in found if name.startswith("config.")),
               *sorted(name for name in found if name.startswith("summary."))]  # fmt: skip
    return plain_columns(rows, ordered if names is None else names)


def plain_columns(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Column]:
    """Each of `names`, typed by its values."""
    values = {name: [row.get(name) for row in rows] for name in names}
    return {name: (RUN_COLUMNS[name], of) if name in RUN_COLUMNS else _typed(of) for name, of in values.items()}


def _row(record: RunRecord) -> dict[str, Any]:
    shown = record.as_dict()
    row: dict[str, Any] = {name: _utf8(shown[name]) for name in RUN_COLUMNS}
    row["tags"] = [_utf8(tag) for tag in shown["tags"]]
    for kind in ("config", "summary"):
        for path in sorted(record.live.get(kind, {}), key=split_path):  # of those that look alike the last one stays
            row[f"{kind}.{'.'.join(split_path(path))}"] = record.live[kind][path]
    return row


def _typed(values: list[Any]) -> Column:
    there = [value for value in values if value is not None]
    kinds = {type(value) for value in there}
    if not there:
        return pa.null(), values
    if kinds == {bool}:
        return pa.bool_(), values
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in there):
        return pa.int64(), values
    if kinds <= {int, float}:
        with contextlib.suppress(OverflowError):
            return pa.float64(), [None if value is None else float(value) for value in values]
    if kinds == {str} and all(_fits(value) for value in there):
        return pa.string(), values
    return pa.string(), [None if value is None else _text(value) for value in values]


def _text(value: Any) -> str:
    return value if isinstance(value, str) and _fits(value) else json.dumps(value)


def _utf8(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, str) and not _fits(value) else value


def _fits(text: str) -> bool:
    with contextlib.suppress(UnicodeEncodeError):
        return text.encode() is not None
    return False


def same(one: Any, other: Any) -> bool:
    """Equal, and NaN equals NaN, and 0.0 is not -0.0."""
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return type(one) is type(other) and one == other
