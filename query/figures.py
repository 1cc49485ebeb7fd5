"""Series of a run's keys whose definition asks for more than the last value, as the fold takes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from itertools import groupby

import numpy as np
import pyarrow as pa

from tracker.query.history_plan import Paths
from tracker.query.part_figures import part_figures
from tracker.query.point_reader import read_points
from tracker.query.run_files import CountedRecords, RunFiles, RunPart
from tracker.storage.arrow_arrays import rows_at
from tracker.storage.events import HISTORY, KIND_METRIC, Type
from tracker.storage.last_in_row import replaced_cells
from tracker.storage.metric_rules import NO_FIGURES, Figures
from tracker.storage.summary_fold import SeriesPoints

__all__ = ["defines", "figures_of_points", "figures_since", "run_series", "writer_figures"]


def defines(facts: pa.Table) -> bool:
    """Whether a metric is defined among these facts (column `kind`)."""
    return KIND_METRIC in facts["kind"].unique().to_pylist() if facts.num_rows else False


def writer_figures(parts: Sequence[RunPart], paths: Paths) -> list[pa.Table]:
    """FIGURES of one writer's points whose row is closed, in whichever part; as their rows end.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    both = [part_figures(part) for part in parts]
    found = [closed for closed, _ in both if closed.num_rows]
    opened = [table for _, table in both if table.num_rows]
    if opened:
        cells = pa.concat_tables(opened).combine_chunks()
        rows = cells["row"].to_numpy()
        cells = rows_at(cells, np.flatnonzero(np.isin(rows, _closed_rows(parts))))
        later = _later_cells(parts, paths, cells["row"].to_numpy())
        kept: dict[tuple[int, str], int] = {}
        places = zip(cells["row"].to_pylist(), cells["key"].to_pylist(), strict=True)
        for n, cell in enumerate(places):  # in the order of the parts: the last one counts
            if cell not in later:
                kept[cell] = n
        found += [rows_at(cells, np.array(sorted(kept.values()), np.int64))] if kept else []
    return found


def _later_cells(parts: Sequence[RunPart], paths: Paths, rows: np.ndarray) -> set[tuple[int, str]]:
    """Row and key of the cells that stand where these rows are closed."""
    found: set[tuple[int, str]] = set()
    to_read: list[RunPart] = []
    closing: list[np.ndarray] = []
    for part in parts if len(rows) else ():
        ends = set(rows[np.isin(rows, part.marks().row)].tolist()) if part.rows else set()
        head = part.records.head if isinstance(part.records, CountedRecords) else None
        if ends and head is not None and ends == {head.row}:
            found |= {(head.row, key) for key in head.keys}
        elif ends:
            to_read.append(part)
            closing.append(np.array(sorted(ends), np.int64))
    if to_read:
        points = read_points(
            to_read,
            paths,
            kind=HISTORY,
            columns='"row", key',
            where='list_contains($rows, "row")',
            params={"rows": np.unique(np.concatenate(closing)).tolist()},
        )
        part_of, row, keys = points["part"].to_numpy(), points["row"].to_numpy(), points["key"].to_pylist()
        for n, ends_here in enumerate(closing):
            at = np.flatnonzero((part_of == n) & np.isin(row, ends_here))
            found |= {(int(row[place]), keys[place]) for place in at.tolist()}
    return found


def run_series(run: RunFiles, paths: Paths) -> list[SeriesPoints]:
    """What the fold wants of a run's points."""
    series = []
    for writer_id, parts in groupby(run.parts, key=lambda part: part.writer_id):
        held = list(parts)
        for table in writer_figures(held, paths):
            for row in table.to_pylist():
                key, hlc = row["key"], row["hlc"]
                one = [part for part in held if part.first <= row["seq"] <= part.last]
                read = partial(_read_since, held, one, paths, key, (row["first_seq"], row["seq"], row["row"]))
                series.append(
                    SeriesPoints(
                        writer_id=writer_id,
                        key=key,
                        first=(row["first_hlc"], row["first_seq"]),
                        last=(hlc, row["seq"]),
                        figures=_figures(row),
                        since=read,
                    )
                )
    return series


def figures_since(parts: Sequence[RunPart], paths: Paths, key: str, hlc_us: int, seq: int) -> Figures:
    """Of all points of `key` by one writer, whose parts these are, with greater (hlc, seq) and a closed row.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    return _read_since(parts, [part for part in parts if key in part.keys], paths, key, None, hlc_us, seq)


def _read_since(
    writer_parts: Sequence[RunPart],
    parts: Sequence[RunPart],
    paths: Paths,
    key: str,
    stretch: tuple[int, int, int | None] | None,
    hlc_us: int,
    seq: int,
) -> Figures:
    """`stretch`: first and last frame, and the row where it is one row's."""
    if not parts:
        return NO_FIGURES
    points = read_points(
        parts, paths, kind=HISTORY, columns='"row", seq, hlc, t, v', where="key = $key", params={"key": key}
    )
    row, seqs, hlc = (points[name].to_numpy() for name in ("row", "seq", "hlc"))
    kept = (hlc > hlc_us) | ((hlc == hlc_us) & (seqs > seq))
    if stretch is not None and stretch[2] is not None:
        kept &= row == stretch[2]
    elif stretch is not None:
        closed_here = np.concatenate([part.marks().row for part in parts if part.rows] or [np.empty(0, np.int64)])
        kept &= np.isin(row, closed_here)
    kept &= np.isin(row, _closed_rows(writer_parts))
    at = np.flatnonzero(kept)
    at = np.delete(at, replaced_cells(seqs[at], row[at]))
    return figures_of_points(points["t"].to_numpy()[at], points["v"].fill_null(np.nan).to_numpy()[at])


def figures_of_points(t: np.ndarray, v: np.ndarray) -> Figures:
    """Of points with these types and numbers (NaN where there is none)."""
    is_number = t <= Type.BOOL
    real = v[is_number & ~np.isnan(v)]
    nan_count = int(np.count_nonzero(is_number)) - len(real)
    whole = not bool((t == Type.FLOAT).any())
    if not len(real):
        return Figures(nan_count=nan_count, whole=whole)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(real.mean())
        mean = mean if np.isfinite(mean) else float((real / len(real)).sum())
    return Figures(len(real), nan_count, float(real.min()), float(real.max()), mean, whole)


def _closed_rows(parts: Collection[RunPart]) -> np.ndarray:
    return np.concatenate([part.marks().row for part in parts if part.rows] or [np.empty(0, np.int64)])


def _figures(row: dict[str, int]) -> Figures:
    if not row["count"]:
        return Figures(nan_count=row["nan_count"], whole=not row["floats"])
    return Figures(row["count"], row["nan_count"], row["min_v"], row["max_v"], row["mean_v"], not row["floats"])
