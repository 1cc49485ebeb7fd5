"""Runs as one table of typed columns: run fields, then `config.<path>`, then `summary.<path>`, each by name.

It is made of the folded project column by column; no run becomes an object. What types the columns of config and
summary have says `tracker.query.typed_cells`. Where a run has two paths that look alike (`a.b` as one name, and `b`
in `a`), the one with the longer names first stands in the column.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.cells import Column
from tracker.query.errors import FilterTypeError
from tracker.query.folded import folded
from tracker.query.history import PartsGone
from tracker.query.leaf_cells import Leaf, among_leaves, chosen_runs, leaf_columns, leaf_types
from tracker.query.snapshot import Snapshot
from tracker.query.typed_cells import array_of_type, column_type, shown_texts, types_of, utf8_text
from tracker.storage.arrow_arrays import numbers, texts
from tracker.storage.events import (
    KIND_ATTR,
    KIND_CONFIG,
    KIND_SUMMARY,
    Type,
    flatten,
    join_path,
    path_text,
    split_path,
)

__all__ = ["RUN_COLUMNS", "column_name", "flat_record", "runs_reader", "runs_table"]

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

_JUDGED: Final = ("state", "created_at", "heartbeat_at", "duration")  # what the fold says of the run itself
_ATTRS: Final = ("name", "group", "job_type", "username", "host", "sweep", "commit", "notes", "tags")
_LEAVES: Final = {KIND_CONFIG: "config.", KIND_SUMMARY: "summary."}
_DOTS_MAX: Final = 6  # in a name that is looked up; one with more is found by reading all of its kind
_CELLS_MAX: Final = 2_000_000  # in one batch of a reader
_ATTEMPTS_MAX: Final = 4
_BATCH_RUNS: Final = (100, 20_000)  # at least and at most


def runs_table(snapshot: Snapshot, run_ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
    """One row a run, in this order. Ids that the snapshot does not hold are left out.

    `columns` (`column_name`) selects and orders; one that no run has is null. Without it: every run field, then config
    and summary by name.

    Raises:
        FilterTypeError: `columns` is no list of names.
        PartsGone: a checkpoint is no more in the store. Open a new snapshot.
    """
    asked = _asked(columns)
    con, heads = _open(snapshot, run_ids, asked)
    if heads is None:
        return pa.table([pa.nulls(0, field.type) for field in _schema(asked, {})], schema=_schema(asked, {}))
    with snapshot.runs.packed.reading():
        found = _read(con, heads["run"].to_pylist(), asked, len(snapshot.runs))
    kinds = {name: column_type(types_of(column)) for name, column in found.leaves.items()}
    schema = _schema(asked, kinds)
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
    asked = _asked(columns)
    con, heads = _open(snapshot, run_ids, asked)
    if heads is None:
        return pa.RecordBatchReader.from_batches(_schema(asked, {}), iter(()))
    chosen, params = chosen_runs(heads["run"].to_pylist(), len(snapshot.runs), exactly=True)
    among, named = among_leaves(asked.paths)
    with snapshot.runs.packed.reading():
        types = leaf_types(con, f"{chosen} AND {among}", [*params, *named])
    shown = _by_name(asked, types)
    schema = _schema(asked, {name: column_type(*(types[leaf] for leaf in leaves)) for name, leaves in shown.items()})
    return pa.RecordBatchReader.from_batches(schema, _batches(snapshot, heads, asked, schema, again))


def _batches(
    snapshot: Snapshot, heads: pa.Table, asked: _Asked, schema: pa.Schema, again: Callable[[], Snapshot] | None
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
            _, fresh = _open(snapshot, heads["run"].to_pylist(), asked)
            heads = heads.slice(0, 0) if fresh is None else fresh
            continue
        yield _batch(snapshot, part, found, schema)
        heads = heads.slice(size)


def column_name(name: str) -> str:
    """A run field or a path of config or summary as it is; any other name is a metric, that is its summary."""
    if name in RUN_COLUMNS or name.startswith(("config.", "summary.")):
        return name
    return f"summary.{name.removeprefix('summary_metrics.')}"


def flat_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Run fields, and the leaves of config and summary under `config.<path>` and `summary.<path>`."""
    flat = {name: record.get(name) for name in RUN_COLUMNS}
    for kind in ("config", "summary"):
        flat |= {f"{kind}.{path_text(path)}": value for path, value in flatten(dict(record.get(kind) or {}))}
    return flat


@dataclass(frozen=True, slots=True)
class _Asked:
    """`names`: columns as they were asked for, or None for all. `paths`: stored paths by kind, None for all of them."""

    names: tuple[str, ...] | None
    paths: dict[str, list[str] | None]

    @property
    def fields(self) -> list[str]:
        return [name for name in RUN_COLUMNS if self.names is None or name in self.names]


@dataclass(frozen=True, slots=True)
class _Found:
    attrs: dict[str, Column]
    leaves: dict[str, Column]  # by name of the column


def _asked(columns: Sequence[str] | None) -> _Asked:
    if columns is None:
        return _Asked(None, {KIND_ATTR: list(_ATTRS), KIND_CONFIG: None, KIND_SUMMARY: None})
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise FilterTypeError(f'columns is a list of names such as ["config.lr", "loss"], not {columns!r:.80}.')
    names = tuple(dict.fromkeys(map(column_name, columns)))
    paths: dict[str, list[str] | None] = {}
    attrs = [name for name in names if name in _ATTRS]
    if attrs:
        paths[KIND_ATTR] = attrs
    for kind, head in _LEAVES.items():
        wanted = [name.removeprefix(head) for name in names if name.startswith(head) and name not in RUN_COLUMNS]
        readings = [_readings(text) for text in wanted]
        if wanted:
            paths[kind] = None if None in readings else sorted({path for one in readings for path in one or ()})
    return _Asked(names, paths)


def _readings(text: str) -> list[str] | None:
    """Stored paths that look like `text`; None where there are too many to try."""
    segments = text.split(".")
    inner = range(1, len(segments))
    if len(inner) > _DOTS_MAX or "\\" in text:
        return None
    cuts = (cut for count in range(len(inner) + 1) for cut in combinations(inner, count))
    return [
        join_path([".".join(segments[start:end]) for start, end in zip((0, *cut), (*cut, len(segments)), strict=True)])
        for cut in cuts
    ]


def _open(
    snapshot: Snapshot, run_ids: Sequence[str], asked: _Asked
) -> tuple[duckdb.DuckDBPyConnection, pa.Table | None]:
    """The folded project, and what it says of these runs, in this order."""
    con = folded(snapshot).con if snapshot.runs else duckdb.connect(":memory:")
    if not snapshot.runs or not run_ids:
        return con, None
    chosen, params = chosen_runs(run_ids, len(snapshot.runs))
    judged = [name for name in _JUDGED if name in asked.fields]
    with snapshot.runs.packed.reading():
        heads = con.sql(
            f"SELECT {', '.join(['run', *judged])} FROM runs WHERE {chosen}", params=params
        ).to_arrow_table()
    at = pc.index_in(texts(run_ids), value_set=heads["run"]).drop_null()
    return con, heads.take(at).combine_chunks()


def _read(con: duckdb.DuckDBPyConnection, run_ids: list[str], asked: _Asked, held: int) -> _Found:
    chosen, params = chosen_runs(run_ids, held)
    among, named = among_leaves(asked.paths)
    cells = leaf_columns(con, run_ids, f"{chosen} AND {among}", [*params, *named]) if asked.paths else {}
    leaves: dict[str, Column] = {}
    for name, alike in _by_name(asked, cells).items():
        column = cells[alike[0]]
        for leaf in alike[1:]:
            column = column.or_else(cells[leaf])
        leaves[name] = column
    return _Found({key: column for (kind, key), column in cells.items() if kind == KIND_ATTR}, leaves)


def _by_name(asked: _Asked, leaves: Mapping[Leaf, object]) -> dict[str, list[Leaf]]:
    """Columns, sorted as they stand in the table, each with the paths that look like it, the one that counts first."""
    found: dict[str, list[Leaf]] = {}
    for kind, head in _LEAVES.items():
        named: dict[str, list[Leaf]] = {}
        for leaf in leaves:
            if leaf[0] == kind:
                named.setdefault(f"{head}{path_text(leaf[1])}", []).append(leaf)
        for name in sorted(named):
            if asked.names is None or name in asked.names:
                found[name] = sorted(named[name], key=lambda leaf: split_path(leaf[1]), reverse=True)
    return found


def _schema(asked: _Asked, leaves: Mapping[str, pa.DataType]) -> pa.Schema:
    names = (*RUN_COLUMNS, *leaves) if asked.names is None else asked.names
    return pa.schema([pa.field(name, RUN_COLUMNS.get(name) or leaves.get(name, pa.null())) for name in names])


def _batch(snapshot: Snapshot, heads: pa.Table, found: _Found, schema: pa.Schema) -> pa.RecordBatch:
    count = heads.num_rows
    same = np.zeros(count, np.int64)
    arrays = []
    for field in schema:
        name, kind = field.name, field.type
        if name in _JUDGED:
            array = heads[name].combine_chunks().cast(kind)
        elif name in RUN_COLUMNS and name in _ATTRS:
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
