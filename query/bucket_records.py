"""Buckets of long series as merging left them beside a file: the records `bucket` of an `r` file."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.query.history_plan import PartsGone
from tracker.storage.arrow_arrays import one_chunk
from tracker.storage.derived import Record
from tracker.storage.errors import CorruptData
from tracker.storage.events import HISTORY
from tracker.storage.point_stats import Stats

__all__ = ["Records", "read_records"]

_NAMES: Final = ["what", "run", "writer", "kind", "key"]
_INTS: Final = ("count", "nan_count", "other_count", "first_step", "last_step")
_FLOATS: Final = ("first_v", "last_v", "min_v", "max_v", "mean_v")
_WHERE: Final = ("min_step", "max_step")


@dataclass(frozen=True, slots=True)
class Records:
    """Buckets of one series, in order; `shift`: each is of 2**shift steps and begins at a multiple of that."""

    shift: int
    stats: Stats

    def within(self, low: int, high: int) -> Records:
        """Those that reach into low..high."""
        bucket = self.stats.first_step >> self.shift
        return self._cut((bucket >= low >> self.shift) & (bucket <= high >> self.shift))

    def whole_within(self, low: int, high: int) -> Records:
        """Those whose points all lie in low..high."""
        return self._cut((self.stats.first_step >= low) & (self.stats.last_step <= high))

    def edges(self, low: int, high: int) -> list[tuple[int, int]]:
        """Ranges of steps in low..high whose points are in buckets that are not whole within: two at most."""
        cut = self._cut(
            ((self.stats.first_step < low) & (self.stats.last_step >= low))
            | ((self.stats.last_step > high) & (self.stats.first_step <= high))
        )
        return [
            (max(first, low), min(last, high))
            for first, last in zip(cut.stats.first_step.tolist(), cut.stats.last_step.tolist(), strict=True)
        ]

    def _cut(self, mask: np.ndarray) -> Records:
        return Records(self.shift, self.stats.take(np.flatnonzero(mask)))


def read_records(path: Path, key: str, owners: Set[tuple[str, str]]) -> dict[tuple[str, str], Records]:
    """Buckets of the history series `key` of each of these (run, writer) that has any. Reads their row groups only.

    Raises:
        PartsGone: the file is no more.
        CorruptData: it is damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=_NAMES) as file:
            groups = [n for n in range(file.num_row_groups) if _may_hold(file.metadata.row_group(n), key)]
            if not groups:
                return {}
            table = one_chunk(
                file.read_row_groups(groups, columns=[*_NAMES, "width", *_INTS, *_FLOATS, *_WHERE], use_threads=False)
            )
    except FileNotFoundError as exc:
        raise PartsGone(f"{path} was deleted while it was read. Try again.") from exc
    except (pa.ArrowException, OSError) as exc:
        why = " ".join(str(exc).split())
        raise CorruptData(f"{path} is damaged or not a whole Parquet file ({why}). Keep the file.") from exc
    mask = pc.and_(
        pc.and_(pc.equal(table["what"], Record.BUCKET), pc.equal(table["kind"], HISTORY)), pc.equal(table["key"], key)
    )
    table = table.filter(mask).combine_chunks()
    if not len(table):
        return {}
    runs, writers = (table[name].cast(pa.string()).to_pylist() for name in ("run", "writer"))
    pairs = list(zip(runs, writers, strict=True))
    starts = [0, *(n for n in range(1, len(pairs)) if pairs[n] != pairs[n - 1]), len(pairs)]
    return {
        pairs[start]: _records(table.slice(start, end - start))
        for start, end in pairwise(starts)
        if pairs[start] in owners
    }


def _records(table: pa.Table) -> Records:
    columns: dict[str, Any] = {name: _filled(table[name], 0) for name in (*_INTS, *_WHERE)}
    columns |= {name: _filled(table[name], float("nan")) for name in _FLOATS}
    valid = {f"{end}_is_number": table[f"{end}_v"].is_valid().to_numpy() for end in ("first", "last")}
    width = table["width"][0].as_py()
    return Records(int(width).bit_length() - 1, Stats(**columns, **valid))


def _filled(column: pa.ChunkedArray, value: float) -> np.ndarray:
    return np.asarray((column.fill_null(value) if column.null_count else column).to_numpy())


def _may_hold(group: Any, key: str) -> bool:
    columns = {group.column(n).path_in_schema: n for n in range(group.num_columns)}
    for name, word in (("what", Record.BUCKET), ("kind", HISTORY), ("key", key)):
        stats = group.column(columns[name]).statistics
        if stats is not None and stats.has_min_max and not stats.min <= word <= stats.max:
            return False
    return True
