"""A snapshot's digests as the relations that the fold reads: facts, last points, writers, edits.

Facts about files stay out: they may hold whole texts, and nobody asks many runs for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.edits import EDITS
from tracker.query.figures import writer_figures
from tracker.query.history_plan import Paths
from tracker.query.part_digest import CELLS, FACTS, FIGURES
from tracker.query.run_files import RunFiles, RunPart
from tracker.storage.arrow_arrays import numbers, rows_at, texts
from tracker.storage.events import KIND_FILE, KIND_METRIC, Type

__all__ = ["FoldInput", "fold_input", "last_points"]

_POINTS: Final = pa.schema([field for field in CELLS if field.name != "row"])
_FIGURES: Final = pa.schema([field for field in FIGURES if field.name != "row"])
_WRITERS: Final = pa.schema(
    [
        pa.field("run", pa.string()),
        pa.field("writer", pa.string()),
        pa.field("first_hlc", pa.int64()),
        pa.field("last_wall_us", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class FoldInput:
    """Tables as `tracker.query.fold_sql` wants them."""

    events: pa.Table
    points_last: pa.Table
    writers: pa.Table
    edits: pa.Table
    figures: pa.Table  # of the points of runs that define metrics


def fold_input(runs: Iterable[RunFiles], paths: Paths, edits: pa.Table | None = None) -> FoldInput:
    """Facts of all parts, the last committed cell per key of each part, when each writer was at work, and `edits`."""
    facts = _Pieces(FACTS)
    points = _Pieces(_POINTS)
    automatic: list[_Automatic] = []
    of_writer: dict[tuple[str, str], list[RunPart]] = {}
    figures = _Pieces(_FIGURES)
    writers: list[tuple[str, str]] = []
    spans: list[tuple[int, int]] = []
    for run in runs:
        for writer_id, parts in groupby(run.parts, key=lambda part: part.writer_id):
            held = list(parts)
            owner = run.run_id, writer_id
            for part in held:
                facts.add(owner, part.records.facts)
            cells, own = _last_cells(held)
            for table in cells:
                points.add(owner, table)
            of_writer[owner] = held
            automatic += [_Automatic(owner, cell) for cell in own]
            writers.append(owner)
            spans.append(_span(held))
    events = _without_files(facts.table())
    defining = frozenset(events.filter(pc.equal(events["kind"], KIND_METRIC))["run"].to_pylist())
    for owner, held in of_writer.items() if defining else ():
        if owner[0] in defining:
            for table in writer_figures(held, paths):
                figures.add(owner, table.select(_FIGURES.names))
    first_hlc, last_wall_us = np.array(spans, np.int64).reshape(-1, 2).T
    columns = [*_owner_columns(writers), numbers(first_hlc, pa.int64()), numbers(last_wall_us, pa.int64())]
    owners = _owner_columns([one.owner for one in automatic])
    own_points = _points_table([one.cell for one in automatic])
    named = pa.Table.from_arrays([*owners, *own_points.columns], ["run", "writer", *own_points.column_names])
    return FoldInput(
        events=events,
        points_last=pa.concat_tables([points.table(), named]).combine_chunks(),
        writers=pa.Table.from_arrays(columns, schema=_WRITERS),
        edits=pa.Table.from_batches([], EDITS) if edits is None else _without_files(edits),
        figures=figures.table(),
    )


def _without_files(facts: pa.Table) -> pa.Table:
    others = pc.not_equal(facts["kind"], KIND_FILE)
    return facts if pc.all(others).as_py() in (True, None) else facts.filter(others).combine_chunks()


def last_points(parts: Sequence[RunPart]) -> list[pa.Table]:
    """Last cells of one writer, with those whose row was closed in a later part, and the last row's own values."""
    cells, own = _last_cells(parts)
    return [*cells, _points_table(own)] if own else cells


_Cell = tuple[int, str, Type, float, int | None]  # hlc, key, t, v, i


@dataclass(frozen=True, slots=True)
class _Automatic:
    owner: tuple[str, str]
    cell: _Cell


def _span(parts: Sequence[RunPart]) -> tuple[int, int]:
    """Stamp of the first event, wall time of the last."""
    begun = [part.records.first_hlc_us for part in parts if part.records.first_hlc_us is not None]
    alive = max(part.records.wall_max_us for part in parts)
    return min(begun, default=alive), alive


def _last_cells(parts: Sequence[RunPart]) -> tuple[list[pa.Table], list[_Cell]]:
    """Tables of logged cells (_POINTS), and the last row's own values."""
    found = [part.records.last for part in parts if part.records.last.num_rows]
    open_rows = [part.records.open for part in parts if part.records.open.num_rows]
    if open_rows:
        rows = np.concatenate([part.marks().row for part in parts if part.rows] or [np.empty(0, np.int64)])
        cells = pa.concat_tables(open_rows).combine_chunks()
        cells = rows_at(cells, np.flatnonzero(np.isin(cells["row"].to_numpy(), rows)))
        found += [cells] if cells.num_rows else []
    marks = [mark for part in parts if part.rows and (mark := part.records.last_mark()) is not None]
    tables = [table.select(_POINTS.names) for table in found]
    if not marks:
        return tables, []
    last = max(marks, key=lambda mark: mark.hlc)
    own: list[_Cell] = [
        (last.hlc, "_step", Type.INT, float(last.step), last.step),
        (last.hlc, "_runtime", Type.FLOAT, last.runtime_s, None),
    ]
    logged = any("_timestamp" in part.keys for part in parts)
    if not (logged and any(_has_cell(table, "_timestamp", last.row) for table in found)):
        own.append((last.hlc, "_timestamp", Type.FLOAT, (last.hlc + last.ts) / 1e6, None))
    return tables, own


def _has_cell(cells: pa.Table, key: str, row: int) -> bool:
    pairs = zip(cells["key"].to_pylist(), cells["row"].to_pylist(), strict=True)
    return any(pair == (key, row) for pair in pairs)


def _points_table(cells: Sequence[_Cell]) -> pa.Table:
    """Cells as a table (_POINTS), seq 0."""
    hlc, key, t, v, i = zip(*cells, strict=True) if cells else ((),) * 5
    known = np.array([number is not None for number in i], bool)
    count = len(cells)
    columns = [
        numbers(np.zeros(count), pa.int64()),
        numbers(np.array(hlc, np.int64), pa.int64()),
        texts(key),
        numbers(np.array(t), pa.int8()),
        numbers(np.array(v), pa.float64()),
        numbers(np.array([number or 0 for number in i], np.int64), pa.int64(), known),
        pa.nulls(count, pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=_POINTS)


def _owner_columns(owners: Sequence[tuple[str, str]]) -> list[pa.Array]:
    return [texts([owner[n] for owner in owners]) for n in (0, 1)]


class _Pieces:
    """Small tables of many writers as one, with columns `run` and `writer` before the others."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._owners: list[tuple[str, str]] = []

    def add(self, owner: tuple[str, str], table: pa.Table) -> None:
        if table.num_rows:
            self._tables.append(table)
            self._owners.append(owner)

    def table(self) -> pa.Table:
        joined = pa.concat_tables([pa.Table.from_batches([], self._schema), *self._tables]).combine_chunks()
        counts = [table.num_rows for table in self._tables]
        at = numbers(np.repeat(np.arange(len(counts)), counts), pa.int32())
        owners = [words.take(at) for words in _owner_columns(self._owners)]
        columns = [joined[name] for name in self._schema.names]
        return pa.Table.from_arrays([*owners, *columns], ["run", "writer", *self._schema.names])
