"""The views of `tracker.query.sql_views` over one project or several, and where each row comes from.

All views have the columns `entity` and `project`: where there are several projects always, where there is one only if
the statement names them. A run's id is its own within its project only, so joins over several need all three.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from tracker.query.run_columns import RUN_COLUMNS
from tracker.query.snapshot import Snapshot
from tracker.query.sql_views import VIEW_COLUMNS, SqlViews

__all__ = ["SqlProjects", "join_tables"]

PLACE: Final = ("entity", "project")
_PLACE_NAMED: Final = re.compile(r"\b(entity|project)\b", re.IGNORECASE)
_RUNS: Final = "runs"


class SqlProjects(Mapping[str, pa.Table]):
    """Of these runs, project after project. Nothing is read before a view is asked for."""

    NAMES: Final = SqlViews.NAMES

    def __init__(self, projects: Sequence[tuple[Snapshot, Sequence[str]]], statement: str = "") -> None:
        """`projects`: each with the ids of its runs, in order. `statement`: what will be asked."""
        self._projects = projects
        self._statement = statement
        self._is_placed = len(projects) > 1 or _PLACE_NAMED.search(statement) is not None

    def __getitem__(self, name: str) -> pa.Table:
        tables = [self._table(name, snapshot, run_ids) for snapshot, run_ids in self._projects]
        if len(tables) == 1:
            return tables[0]
        first = [*PLACE, *VIEW_COLUMNS[name]] if name != _RUNS else list(RUN_COLUMNS)
        return join_tables(tables, first, truth_is_number=name != _RUNS)

    def __iter__(self) -> Iterator[str]:
        return iter(self.NAMES)

    def __len__(self) -> int:
        return len(self.NAMES)

    def _table(self, name: str, snapshot: Snapshot, run_ids: Sequence[str]) -> pa.Table:
        table = SqlViews(snapshot, run_ids, self._statement)[name]
        if name == _RUNS or not self._is_placed:
            return table
        if len(self._projects) > 1:
            table = table.rename_columns(_besides(table.column_names))
        for at, (column, word) in enumerate(zip(PLACE, (snapshot.entity, snapshot.project), strict=True)):
            if column in table.column_names:  # a metric, which needs no other name where there is one project
                continue
            words = pa.DictionaryArray.from_arrays(pa.array([0] * table.num_rows, pa.int8()), pa.array([word]))
            table = table.add_column(min(at, table.num_columns), column, words.cast(pa.string()))
        return table


def _besides(names: Sequence[str]) -> list[str]:
    """The names, with a number behind metrics that are called as the columns that are added are."""
    found = []
    for name in names:
        number = 1
        while name in PLACE and f"{name}_{number}" in names:
            number += 1
        found.append(f"{name}_{number}" if name in PLACE else name)
    return found


def join_tables(tables: Sequence[pa.Table], first: Sequence[str], *, truth_is_number: bool = False) -> pa.Table:
    """One table after the other, with the columns of all: `first`, then by name. Null where a table lacks one.

    Where their types differ, integers and floats become floats (truth values too, where `truth_is_number`); all else
    that mixes becomes JSON text, in which text stands as it is.
    """
    names = {name for table in tables for name in table.column_names}
    ordered = [name for name in first if name in names]
    ordered += sorted(names.difference(ordered))
    columns = []
    for name in ordered:
        found = [table[name] if name in table.column_names else pa.nulls(table.num_rows) for table in tables]
        kind = _common({column.type for column in found}, truth_is_number)
        columns.append(pa.chunked_array([_as_kind(column, kind) for column in found], kind))
    return pa.table(columns, names=ordered)


def _common(kinds: set[pa.DataType], truth_is_number: bool) -> pa.DataType:
    kinds = {kind for kind in kinds if not pa.types.is_null(kind)}
    if len(kinds) < 2:
        return next(iter(kinds), pa.null())
    numbers = {pa.int64(), pa.float64(), *([pa.bool_()] if truth_is_number else [])}
    return pa.float64() if kinds <= numbers else pa.string()


def _as_kind(column: Any, kind: pa.DataType) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if array.type == kind:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind)
    if pa.types.is_boolean(array.type) and pa.types.is_floating(kind):
        return array.cast(pa.uint8()).cast(kind)
    if pa.types.is_floating(kind):
        return array.cast(kind, safe=False)
    return pa.array([None if value is None else json.dumps(value) for value in array.to_pylist()], pa.string())
