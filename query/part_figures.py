"""What the points of a part are like, from its records: the columns `tracker.query.part_digest.FIGURES`."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.part_digest import FIGURES
from tracker.query.run_files import CountedRecords, RunPart
from tracker.storage.arrow_arrays import numbers
from tracker.storage.events import Type

__all__ = ["RECORD_FIGURES", "cell_figures", "part_figures", "record_figures"]

RECORD_FIGURES: Final = (  # of a record of a series (DERIVED_SCHEMA) what is needed
    *("key", "seq", "hlc", "first_seq", "count", "nan_count", "other_count", "counts", "min_v", "max_v", "mean_v"),
)
_REAL: Final = ("min_v", "max_v", "mean_v")


def part_figures(part: RunPart) -> tuple[pa.Table, pa.Table]:
    """Of the committed points of a whole part; and of those in rows that it does not close, per key and row."""
    records = part.records
    assert isinstance(records, CountedRecords), "figures are known of whole parts only"
    return records.figures, records.open_figures


def record_figures(series: pa.Table) -> pa.Table:
    """From records of history series (RECORD_FIGURES and more)."""
    rows = series.num_rows
    if not rows:
        return pa.Table.from_batches([], FIGURES)
    columns = {
        "row": pa.nulls(rows, pa.int64()),
        "key": series["key"].cast(pa.string()),
        "first_hlc": pa.nulls(rows, pa.int64()),
        "count": pc.subtract(pc.subtract(series["count"], series["nan_count"]), series["other_count"]),
        "floats": pc.list_element(series["counts"], int(Type.FLOAT)),
        **{name: series[name] for name in ("seq", "hlc", "first_seq", "nan_count", *_REAL)},
    }
    return pa.table([columns[field.name] for field in FIGURES], schema=FIGURES).combine_chunks()


def cell_figures(cells: pa.Table) -> pa.Table:
    """Each cell (CELLS and more) as a point by itself."""
    rows = cells.num_rows
    if not rows:
        return pa.Table.from_batches([], FIGURES)
    t = cells["t"].to_numpy()
    v = cells["v"].fill_null(np.nan).to_numpy()
    is_number = t <= Type.BOOL
    real = is_number & ~np.isnan(v)
    value = numbers(v, pa.float64(), real)
    columns = {
        "key": cells["key"].cast(pa.string()),
        "first_seq": cells["seq"],
        "first_hlc": cells["hlc"],
        "count": numbers(real.astype(np.int64), pa.int64()),
        "nan_count": numbers((is_number & ~real).astype(np.int64), pa.int64()),
        "floats": numbers((t == Type.FLOAT).astype(np.int64), pa.int64()),
        **{name: cells[name] for name in ("row", "seq", "hlc")},
        **dict.fromkeys(_REAL, value),
    }
    return pa.table([columns[field.name] for field in FIGURES], schema=FIGURES).combine_chunks()
