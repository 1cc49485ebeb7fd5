"""Runs as one table of typed columns: run fields, then `config.<path>`, then `summary.<path>`, each by name.

It is made of the folded project column by column; no run becomes an object. What types the columns of config and
summary have says `tracker.query.typed_cells`. Where a run has two paths that look alike (`a.b` as one name, and `b`
in `a`), the one with the longer names first stands in the column.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.cells import Column
from tracker.query.folded import folded
from tracker.query.history import PartsGone
from tracker.query.leaf_cells import among_leaves, chosen_runs, leaf_columns, leaf_types
from tracker.query.run_columns import RUN_ATTRS, RUN_COLUMNS, AskedColumns, asked_columns
from tracker.query.snapshot import Snapshot
from tracker.query.typed_cells import array_of_type, column_type, shown_texts, types_of, utf8_text
from tracker.storage.arrow_arrays import numbers, texts
from tracker.storage.events import KIND_ATTR, Type

__all__ = ["runs_reader", "runs_table"]

_JUDGED: Final = ("state", "created_at", "heartbeat_at", "duration")  # what the fold says of the run itself
_CELLS_MAX: Final = 2_000_000  # in one batch of a reader
_ATTEMPTS_MAX: Final = 4
_BATCH_RUNS: Final = (100, 20_000)  # at least and at most


def runs_table(snapshot: Snapshot, run_ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
    """One row a run, in this order. Ids that the snapshot does not hold are left out.

    `columns` (`tracker.query.run_columns.column_name`) selects and orders; one that no run has is null. Without it:
    every run field, then config and summary by name.

    Raises:
        FilterTypeError: `columns` is no list of names.
        PartsGone: a checkpoint is no more in the store. Open a new snapshot.
    """
    asked = asked_columns(columns)
    heads = _heads(snapshot, run_ids, asked)
    if heads is None:
        return pa.Table.from_batches([], asked.schema({}))  # `empty_table` would import pandas
    with snapshot.runs.packed.reading():
        found = _read(folded(snapshot).con, heads["run"].to_pylist(), asked, len(snapshot.runs))
    kinds = {name: column_type(types_of(column)) for name, column in found.leaves.items()}
    schema = asked.schema(kinds)
    return pa.Table.from_batches([_batch(snapshot, heads, found, schema)], schema)


def runs_reader(
    snapshot: Snapshot,
    run_ids: Sequence[str],
    columns: Sequence[str] | None = None,
    *,
    again: Callable[[], Snapshot] | None = None,
) -> pa.RecordBatchReader:
    """The rows of `runs_table` in record batches, read as they are consumed: memory is that of a batch.

    Types are looked up first, so cells are read twice. `again`: where a checkpoint is replaced meanwhile it goes on
    with such a snapshot; runs that are gone by then are left out.

    Raises:
        FilterTypeError, PartsGone: as `runs_table`. Without `again` also PartsGone while it is consumed.
        UsageError: while it is consumed: a run changed so that a value does not fit its column any more.
    """
    asked = asked_columns(columns)
    heads = _heads(snapshot, run_ids, asked)
    if heads is None:
        return pa.RecordBatchReader.from_batches(asked.schema({}), iter(()))
    chosen, params = chosen_runs(heads["run"].to_pylist(), len(snapshot.runs), exactly=True)
    among, named = among_leaves(asked.paths)
    with snapshot.runs.packed.reading():
        types = leaf_types(folded(snapshot).con, f"{chosen} AND {among}", [*params, *named])
    shown = asked.by_name(types)
    schema = asked.schema({name: column_type(*(types[leaf] for leaf in leaves)) for name, leaves in shown.items()})
    return pa.RecordBatchReader.from_batches(schema, _batches(snapshot, heads, asked, schema, again))


def _batches(
    snapshot: Snapshot, heads: pa.Table, asked: AskedColumns, schema: pa.Schema, again: Callable[[], Snapshot] | None
) -> Iterator[pa.RecordBatch]:
    least, most = _BATCH_RUNS
    size = min(max(_CELLS_MAX // max(len(schema), 1), least), most)
    attempts = 0
    while heads.num_rows:
        part = heads.slice(0, size).combine_chunks()
        try:
            con = folded(snapshot).con
            with snapshot.runs.packed.reading():
                found = _read(con, part["run"].to_pylist(), asked, len(snapshot.runs))
        except PartsGone:
            attempts += 1
            if again is None or attempts == _ATTEMPTS_MAX:
                raise
            snapshot = again()
            fresh = _heads(snapshot, heads["run"].to_pylist(), asked)
            heads = heads.slice(0, 0) if fresh is None else fresh
            continue
        yield _batch(snapshot, part, found, schema)
        heads = heads.slice(size)


@dataclass(frozen=True, slots=True)
class _Found:
    attrs: dict[str, Column]
    leaves: dict[str, Column]  # by name of the column


def _heads(snapshot: Snapshot, run_ids: Sequence[str], asked: AskedColumns) -> pa.Table | None:
    """What the fold says of these runs themselves, in this order; None where there is none of them."""
    if not snapshot.runs or not run_ids:
        return None
    chosen, params = chosen_runs(run_ids, len(snapshot.runs))
    judged = [name for name in _JUDGED if name in asked.fields]
    query = f"SELECT {', '.join(['run', *judged])} FROM runs WHERE {chosen}"
    with snapshot.runs.packed.reading():
        heads = folded(snapshot).con.sql(query, params=params).to_arrow_table()
    at = pc.index_in(texts(run_ids), value_set=heads["run"]).drop_null()
    return heads.take(at).combine_chunks()


def _read(con: duckdb.DuckDBPyConnection, run_ids: list[str], asked: AskedColumns, held: int) -> _Found:
    chosen, params = chosen_runs(run_ids, held)
    among, named = among_leaves(asked.paths)
    cells = leaf_columns(con, run_ids, f"{chosen} AND {among}", [*params, *named]) if asked.paths else {}
    leaves: dict[str, Column] = {}
    for name, alike in asked.by_name(cells).items():
        column = cells[alike[0]]
        for leaf in alike[1:]:
            column = column.or_else(cells[leaf])
        leaves[name] = column
    return _Found({key: column for (kind, key), column in cells.items() if kind == KIND_ATTR}, leaves)


def _batch(snapshot: Snapshot, heads: pa.Table, found: _Found, schema: pa.Schema) -> pa.RecordBatch:
    count = heads.num_rows
    same = np.zeros(count, np.int64)
    arrays = []
    for field in schema:
        name, kind = field.name, field.type
        if name in _JUDGED:
            array = heads[name].combine_chunks().cast(kind)
        elif name in RUN_COLUMNS and name in RUN_ATTRS:
            array = _attr_array(name, found.attrs.get(name), count)
        elif name in RUN_COLUMNS:
            of_all = {"entity": snapshot.entity, "project": snapshot.project}
            array = texts([of_all[name]], same) if name in of_all else heads["run"].combine_chunks()
        elif name in found.leaves:
            array = array_of_type(found.leaves[name], kind)
        else:
            array = pa.nulls(count, kind)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _attr_array(name: str, column: Column | None, count: int) -> pa.Array:
    if name == "tags":
        return _tags(column, count)
    return pa.nulls(count, pa.string()) if column is None else shown_texts(column, str)


def _tags(column: Column | None, count: int) -> pa.Array:
    """The texts among the tags; none where a run has no list of them."""
    of_text = cache(_texts_among)
    said = [None] * count if column is None or column.s is None else column.s.to_pylist()
    kinds = [0] * count if column is None else column.t.tolist()
    tags = [of_text(text) if t == Type.JSON else () for t, text in zip(kinds, said, strict=True)]
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum([len(one) for one in tags], out=offsets[1:])
    return pa.ListArray.from_arrays(numbers(offsets, pa.int32()), texts([tag for one in tags for tag in one]))


def _texts_among(text: str) -> tuple[str, ...]:
    tags = json.loads(text)
    return tuple(utf8_text(tag) for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
