"""Runs as one table of typed columns: run fields, then `config.<path>`, then `summary.<path>`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from tracker.storage.events import INT64_MAX, INT64_MIN, flatten, path_text

__all__ = ["RUN_COLUMNS", "column_array", "flat_record", "runs_table"]

RUN_COLUMNS: Final = {
    "id": pa.string(),
    "name": pa.string(),
    "state": pa.string(),
    "created_at": pa.timestamp("us", "UTC"),
    "heartbeat_at": pa.timestamp("us", "UTC"),
    "duration": pa.float64(),
    "entity": pa.string(),
    "project": pa.string(),
    "group": pa.string(),
    "job_type": pa.string(),
    "username": pa.string(),
    "host": pa.string(),
    "sweep": pa.string(),
    "commit": pa.string(),
    "notes": pa.string(),
    "tags": pa.list_(pa.string()),
}


def runs_table(records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> pa.Table:
    """One row a record, in order. A record has the keys of RUN_COLUMNS, and `config` and `summary` as nested dicts.

    `columns` selects and orders (null where a run lacks one). Without it: every run field, then config and
    summary by name. A column has the type of its values: integers, floats, booleans or strings where they
    agree, else JSON text.
    """
    flat = [flat_record(record) for record in records]
    names = _all_columns(flat) if columns is None else list(dict.fromkeys(columns))
    arrays = [
        pa.array([row.get(name) for row in flat], RUN_COLUMNS[name])
        if name in RUN_COLUMNS
        else column_array([row.get(name) for row in flat])
        for name in names
    ]
    return pa.table(arrays, names=names)


def flat_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Run fields, and the leaves of config and summary under `config.<path>` and `summary.<path>`."""
    flat = {name: record.get(name) for name in RUN_COLUMNS}
    for kind in ("config", "summary"):
        flat |= {f"{kind}.{path_text(path)}": value for path, value in flatten(dict(record.get(kind) or {}))}
    return flat


def column_array(values: Sequence[Any]) -> pa.Array:
    """The narrowest type that holds all of `values`, None as null; what does not agree becomes JSON text."""
    kinds = {_kind(value) for value in values if value is not None}
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {"bool"}:
        return pa.array(values, pa.bool_())
    if kinds == {"int"}:
        return pa.array(values, pa.int64())
    if kinds <= {"int", "big", "float"}:
        with contextlib.suppress(OverflowError):  # an integer beyond every double stays digits
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {"text"}:
        return pa.array(values, pa.string())
    return pa.array([_as_text(value) for value in values], pa.string())


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int" if INT64_MIN <= value <= INT64_MAX else "big"
        case float():
            return "float"
        case str():
            return "text"
        case _:
            return "other"


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, datetime) else json.dumps(value)


def _all_columns(flat: Iterable[Mapping[str, Any]]) -> list[str]:
    found = {name for row in flat for name in row} - set(RUN_COLUMNS)
    return [*RUN_COLUMNS, *sorted(name for name in found if name.startswith("config.")),
            *sorted(name for name in found if name.startswith("summary."))]  # fmt: skip
