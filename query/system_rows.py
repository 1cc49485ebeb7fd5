"""System metrics as rows: one row a sample, keys `system.<name>`, then `_runtime`, `_timestamp` and `_wandb`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.query.cells import ABSENT, Column, Rows
from tracker.query.history_plan import Paths
from tracker.query.point_reader import read_points
from tracker.query.run_files import RunFiles
from tracker.query.sampling import sample_rows
from tracker.storage.events import SYSTEM, Type, decode_cell, path_text

__all__ = ["last_system_metrics", "system_batches"]

_RUNS_A_READ: Final = 200


def system_batches(
    runs: Sequence[RunFiles], paths: Paths, started_us: Mapping[str, int], *, samples: int | None = 500
) -> Iterator[Rows]:
    """One batch per run that has any, by time; at most `samples` rows of each. `started_us`: of each run, by id.

    Raises:
        PartsGone: start over with a fresh listing.
    """
    for start in range(0, len(runs), _RUNS_A_READ):
        for n, points in _points_of(runs[start : start + _RUNS_A_READ], paths):
            rows = _rows_of(points, started_us.get(runs[start + n].run_id, 0), samples)
            if rows is not None:
                yield Rows(np.full(len(rows["_timestamp"]), start + n), rows)


def last_system_metrics(run: RunFiles) -> dict[str, object]:
    """The newest value of every system metric."""
    found: dict[str, tuple[int, object]] = {}
    for part in run.parts:
        for cell in part.records.system.to_pylist():
            name = _name(cell["key"])
            if name not in found or found[name][0] < cell["hlc"]:
                found[name] = (cell["hlc"], decode_cell(cell["t"], cell["v"], cell["i"], cell["s"]))
    return {name: value for name, (_, value) in sorted(found.items())}


def _points_of(runs: Sequence[RunFiles], paths: Paths) -> Iterator[tuple[int, pa.Table]]:
    """System points of each run that has any, with `writer`, the place of the writer among the run's."""
    parts = [
        (n, writer, part.of_system())
        for n, run in enumerate(runs)
        for writer, (_, members) in enumerate(groupby(run.parts, key=lambda part: part.writer_id))
        for part in members
    ]
    held = [(n, writer, part) for n, writer, part in parts if part is not None]
    if not held:
        return
    columns = "seq, hlc, hlc + ts AS wall, key, t, v, i, s"
    points = read_points([part for _, _, part in held], paths, kind=SYSTEM, columns=columns)
    owner = points["part"].to_numpy()
    points = points.append_column("writer", pa.array(np.array([writer for _, writer, _ in held])[owner]))
    run = np.array([n for n, _, _ in held])[owner]
    order = np.argsort(run, kind="stable")
    for n in np.unique(run).tolist():
        low, high = np.searchsorted(run, [n, n + 1], sorter=order)
        yield n, points.take(pa.array(order[low:high])).combine_chunks()


def _rows_of(points: pa.Table, started_us: int, samples: int | None) -> dict[str, Column] | None:
    seq, hlc, wall, writer = (points[name].to_numpy() for name in ("seq", "hlc", "wall", "writer"))
    frame = writer * (int(seq.max()) + 1) + seq
    _, first, number = np.unique(frame, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    by_time = np.lexsort((hlc[first], wall[first]))
    rank[by_time] = np.arange(len(first))
    place = rank[number]
    picked = sample_rows(len(first), samples)
    if not len(picked):
        return None
    walls = wall[first][by_time][picked]
    columns = _metric_columns(points, place, len(first), picked)
    begun_us = min(started_us, int(walls[0]))  # what a rewind left of earlier lives was before this one began
    columns["_runtime"] = Column.of_floats((walls - begun_us) / 1e6)
    columns["_timestamp"] = Column.of_floats(walls / 1e6)
    columns["_wandb"] = Column(np.full(len(picked), Type.BOOL, np.int8), np.ones(len(picked)))
    return columns


def _metric_columns(points: pa.Table, place: np.ndarray, count: int, picked: np.ndarray) -> dict[str, Column]:
    keys = points["key"].combine_chunks().dictionary_encode()
    codes = keys.indices.to_numpy(zero_copy_only=False)
    names = keys.dictionary.to_pylist()
    columns = {}
    for code in sorted(range(len(names)), key=lambda code: _name(names[code])):
        at = np.flatnonzero(codes == code)
        source = np.full(count, -1)
        source[place[at]] = at
        source = source[picked]
        holes = source < 0
        index = pa.array(source, mask=holes)
        column = Column(
            np.where(holes, np.int8(ABSENT), points["t"].to_numpy()[source]),
            np.where(holes, np.nan, points["v"].to_numpy()[source]),
            points["i"].take(index).combine_chunks(),
            points["s"].take(index).combine_chunks(),
        )
        if not holes.all():
            columns[_name(names[code])] = column
    return columns


def _name(key: str) -> str:
    name = path_text(key)
    return name if name.startswith("system.") else f"system.{name}"
