"""Row markers of parts, kept in bounded memory: listing runs needs none, and few questions about history do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.query.memory_cache import MemoryCache
from tracker.query.run_files import Marks
from tracker.storage.errors import CorruptData
from tracker.storage.events import ROW

__all__ = ["NO_MARKS", "keep_marks", "load_marks"]

_KEPT_BYTES: Final = 256 << 20
_COLUMNS: Final = ["kind", "seq", "row", "hlc", "ts", "step", "v"]

_marks: MemoryCache[Marks] = MemoryCache(_KEPT_BYTES)

NO_MARKS: Final = Marks(
    row=np.empty(0, np.int64),
    step=np.empty(0, np.int64),
    hlc=np.empty(0, np.int64),
    wall_us=np.empty(0, np.int64),
    runtime_s=np.empty(0),
)


def keep_marks(path: Path, first: int, upto_hlc_us: int | None, marks: Marks) -> None:
    """Remember the markers of frames from `first` on, no later than `upto_hlc_us`."""
    _marks.put((str(path), first, upto_hlc_us), marks, 40 * len(marks) + 512)


def load_marks(path: Path, first: int, upto_hlc_us: int | None) -> Marks:
    """The same, read again from the file where they were forgotten.

    Raises:
        FileNotFoundError: the file is gone. CorruptData: it is damaged.
    """
    found = _marks.get((str(path), first, upto_hlc_us))
    if found is None:
        found = _read(path, first, upto_hlc_us)
        keep_marks(path, first, upto_hlc_us, found)
    return found


def _read(path: Path, first: int, upto_hlc_us: int | None) -> Marks:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=["kind"]) as file:
            groups = [n for n in range(file.num_row_groups) if _may_hold(file.metadata.row_group(n))]
            table = file.read_row_groups(groups, columns=_COLUMNS) if groups else None
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError) as exc:
        raise CorruptData(f"{path} is damaged ({exc}). Keep the file and report it.") from exc
    if table is None:
        return NO_MARKS
    wanted = pc.and_(pc.equal(table["kind"], ROW), pc.greater_equal(table["seq"], first))
    if upto_hlc_us is not None:
        wanted = pc.and_(wanted, pc.less_equal(table["hlc"], upto_hlc_us))
    table = table.filter(wanted)
    row, step, hlc, ts, runtime_s = (table[name].to_numpy() for name in ("row", "step", "hlc", "ts", "v"))
    order = np.lexsort((row, hlc, step))
    return Marks(row[order], step[order], hlc[order], (hlc + ts)[order], runtime_s[order])


def _may_hold(group: pq.RowGroupMetaData) -> bool:
    for n in range(group.num_columns):
        if group.column(n).path_in_schema == "kind":
            stats = group.column(n).statistics
            return stats is None or not stats.has_min_max or stats.min <= ROW <= stats.max
    return True
