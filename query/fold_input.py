"""A snapshot's digests as the relations that the fold reads: facts, last points, writers, edits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.edits import EDITS
from tracker.query.part_digest import CELLS, FACTS
from tracker.query.run_files import RunFiles, RunPart
from tracker.storage.events import Type

__all__ = ["FoldInput", "fold_input", "last_points"]

_POINTS: Final = pa.schema([field for field in CELLS if field.name != "row"])
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


def fold_input(runs: Iterable[RunFiles], edits: pa.Table | None = None) -> FoldInput:
    """Facts of all parts, the last committed cell per key of each part, when each writer was at work, and `edits`."""
    facts = _Pieces(FACTS)
    points = _Pieces(_POINTS)
    writers: list[tuple[str, str, int, int]] = []
    for run in runs:
        by_writer: defaultdict[str, list[RunPart]] = defaultdict(list)
        for part in run.parts:
            by_writer[part.writer_id].append(part)
        for writer_id, parts in by_writer.items():
            for part in parts:
                facts.add(run.run_id, writer_id, part.records.facts)
            for table in last_points(parts):
                points.add(run.run_id, writer_id, table)
            begun = [part.records.first_hlc_us for part in parts if part.records.first_hlc_us is not None]
            alive = max(part.records.wall_max_us for part in parts)
            writers.append((run.run_id, writer_id, min(begun, default=alive), alive))
    columns = list(zip(*writers, strict=True)) or [()] * len(_WRITERS)
    written = pa.table([list(column) for column in columns], schema=_WRITERS)
    return FoldInput(facts.table(), points.table(), written, EDITS.empty_table() if edits is None else edits)


def last_points(parts: Sequence[RunPart]) -> list[pa.Table]:
    """Last cells of one writer, with those whose row was closed in a later part, and the last row's own values."""
    found = [part.records.last for part in parts if part.records.last.num_rows]
    open_rows = [part.records.open for part in parts if part.records.open.num_rows]
    if open_rows:
        closed = pa.array(np.concatenate([part.marks().row for part in parts if part.rows] or [np.empty(0, np.int64)]))
        cells = pa.concat_tables(open_rows)
        cells = cells.filter(pc.is_in(cells["row"], value_set=closed))
        found += [cells] if cells.num_rows else []
    marks = [mark for part in parts if part.rows and (mark := part.records.last_mark()) is not None]
    if not marks:
        return [table.select(_POINTS.names) for table in found]
    last = max(marks, key=lambda mark: mark.hlc)
    own: list[tuple[Any, ...]] = [
        (0, last.hlc, "_step", Type.INT, float(last.step), last.step, None),
        (0, last.hlc, "_runtime", Type.FLOAT, last.runtime_s, None, None),
    ]
    if not any(_has_cell(table, "_timestamp", last.row) for table in found):
        own.append((0, last.hlc, "_timestamp", Type.FLOAT, (last.hlc + last.ts) / 1e6, None, None))
    automatic = pa.table([list(column) for column in zip(*own, strict=True)], schema=_POINTS)
    return [*(table.select(_POINTS.names) for table in found), automatic]


def _has_cell(cells: pa.Table, key: str, row: int) -> bool:
    mine = pc.and_(pc.equal(cells["key"], key), pc.equal(cells["row"], row))
    return bool(pc.any(mine).as_py())


class _Pieces:
    """Small tables of many writers as one, with columns `run` and `writer` before the others."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._owners: list[tuple[str, str]] = []

    def add(self, run_id: str, writer_id: str, table: pa.Table) -> None:
        if table.num_rows:
            self._tables.append(table)
            self._owners.append((run_id, writer_id))

    def table(self) -> pa.Table:
        joined = pa.concat_tables(self._tables) if self._tables else self._schema.empty_table()
        joined = joined.combine_chunks()
        counts = [table.num_rows for table in self._tables]
        at = pa.array(np.repeat(np.arange(len(counts), dtype=np.int32), counts))
        runs, writers = (pa.array([owner[n] for owner in self._owners], pa.string()).take(at) for n in (0, 1))
        return pa.table({"run": runs, "writer": writers} | {name: joined[name] for name in joined.column_names})
