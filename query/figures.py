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
from tracker.query.run_files import RunFiles, RunPart
from tracker.storage.arrow_arrays import rows_at
from tracker.storage.events import HISTORY, KIND_METRIC, Type
from tracker.storage.metric_rules import NO_FIGURES, Figures
from tracker.storage.summary_fold import SeriesPoints

__all__ = ["defines", "figures_of_points", "figures_since", "run_series", "writer_figures"]


def defines(facts: pa.Table) -> bool:
    """Whether a metric is defined among these facts (column `kind`)."""
    return KIND_METRIC in facts["kind"].unique().to_pylist() if facts.num_rows else False


def writer_figures(parts: Sequence[RunPart]) -> list[pa.Table]:
    """FIGURES of one writer's points whose row is closed, in whichever part."""
    both = [part_figures(part) for part in parts]
    found = [closed for closed, _ in both if closed.num_rows]
    opened = [table for _, table in both if table.num_rows]
    if opened:
        rows = _closed_rows(parts)
        for table in opened:
            late = rows_at(table, np.flatnonzero(np.isin(table["row"].to_numpy(), rows)))
            found += [late] if late.num_rows else []
    return found


def run_series(run: RunFiles, paths: Paths) -> list[SeriesPoints]:
    """What the fold wants of a run's points."""
    series = []
    for writer_id, parts in groupby(run.parts, key=lambda part: part.writer_id):
        held = list(parts)
        for table in writer_figures(held):
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
    return figures_of_points(points["t"].to_numpy()[kept], points["v"].fill_null(np.nan).to_numpy()[kept])


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
