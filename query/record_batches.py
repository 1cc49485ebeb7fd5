"""History as Arrow record batches of one schema, made while they are consumed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracker.query.cells import ABSENT, MISSING, Column, Rows
from tracker.query.history_plan import RUNTIME, STEP, TIMESTAMP, make_plan
from tracker.query.run_files import RunFiles
from tracker.query.writer_columns import writer_column_type
from tracker.storage.errors import UsageError
from tracker.storage.events import Type

__all__ = ["history_schema", "record_batches"]

RUN_ID: Final = "run_id"
_NUMBERS: Final = frozenset({Type.FLOAT, Type.INT, Type.BOOL})
_ALWAYS: Final = {STEP: Type.INT, RUNTIME: Type.FLOAT, TIMESTAMP: Type.FLOAT}


def history_schema(runs: Sequence[RunFiles], shown: Sequence[str] | None, *, with_run_id: bool) -> pa.Schema:
    """Columns of the history of `runs`: `shown`, or every key. With `run_id`: sorted, `run_id` among them.

    A column has the type of all that was logged under its name: float64, int64, bool or string, float64 where
    numbers mix, string (JSON text) for lists, dicts and what mixes text with other things.
    """
    plan = make_plan(runs, shown)
    types: dict[str, set[int]] = {name: {_ALWAYS[name]} if name in _ALWAYS else set() for name in plan.names}
    of_key = {key: name for name, keys in plan.meant.items() for key in keys}
    for run in runs:
        for part in run.parts:
            for key, name in of_key.items() if shown is not None else ((key, of_key.get(key)) for key in part.keys):
                stats = part.keys.get(key)
                if stats is not None and name is not None:
                    types[name].update(n for n, count in enumerate(stats.counts) if count)
    for name in plan.of_writers:
        types[name] = {writer_column_type(name, runs)}
    fields = [pa.field(name, _arrow_type(found - {Type.NULL})) for name, found in types.items()]
    if with_run_id:
        fields = sorted([*fields, pa.field(RUN_ID, pa.string())], key=lambda field: field.name)
    return pa.schema(fields)


def record_batches(
    batches: Iterable[Rows], schema: pa.Schema, run_ids: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Each batch of rows with the columns of `schema` (of `history_schema`). `run_ids`: by run number.

    Raises:
        UsageError: a value does not fit its column: an integer beyond 64 bits, or a type that was logged later.
    """
    for rows in batches:
        columns = []
        for field in schema:
            if field.name == RUN_ID and run_ids is not None:
                columns.append(pa.array(list(run_ids), pa.string()).take(pa.array(rows.run)))
            elif field.name in rows.columns:
                columns.append(_as_type(rows.columns[field.name], field))
            else:
                columns.append(pa.nulls(len(rows), field.type))
        yield pa.record_batch(columns, schema=schema)


def _arrow_type(types: set[int]) -> pa.DataType:
    if not types:
        return pa.null()
    if types == {Type.INT}:
        return pa.int64()
    if types == {Type.BOOL}:
        return pa.bool_()
    return pa.float64() if types <= _NUMBERS else pa.string()


def _as_type(column: Column, field: pa.Field) -> pa.Array:
    types = column.types() - {ABSENT, Type.NULL}
    holes = (column.t == ABSENT) | (column.t == Type.NULL)
    mask = holes if holes.any() else None
    if not types:
        return pa.nulls(len(column), field.type)
    if pa.types.is_string(field.type):
        if types <= {Type.STRING, Type.JSON} and column.s is not None:
            return column.s
        return pa.array([_text(value) for value in column.to_list()], pa.string())
    if field.type == pa.float64() and types <= _NUMBERS:
        return pa.array(column.v, mask=mask)
    if field.type == pa.bool_() and types == {Type.BOOL}:
        return pa.array(column.v != 0, mask=mask)
    if field.type == pa.int64() and types == {Type.INT} and column.i is not None:
        if column.i.null_count == int(np.count_nonzero(holes)):
            return column.i
        raise UsageError(
            f"{field.name!r} holds integers beyond 64 bits, which a stream of record batches has no type for. "
            'Ask for dicts, or for format="arrow", which makes them floats.'
        )
    raise UsageError(f"{field.name!r} was logged with another type while it was read. Read it again.")


def _text(value: Any) -> str | None:
    if value is MISSING or value is None:
        return None
    return value if isinstance(value, str) else json.dumps(value)
