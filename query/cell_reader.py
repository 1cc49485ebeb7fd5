"""Cells of history keys out of the parts of runs, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.query.cells import ABSENT, Column
from tracker.query.history_plan import Paths
from tracker.query.point_reader import read_points
from tracker.query.run_files import RunPart
from tracker.storage.events import HISTORY, Type

__all__ = ["CellBatch", "read_cells"]

_LISTED_KEYS_MAX: Final = 64  # more keys than this are looked up in a list, which no statistics can prune


@dataclass(frozen=True, slots=True)
class CellBatch:
    """Cells, one an element; those of one writer come in the order of its parts, each in its file's order."""

    file: np.ndarray  # number of the part
    code: np.ndarray  # number of the key
    row: np.ndarray
    seq: np.ndarray
    t: np.ndarray
    v: np.ndarray
    i: pa.ChunkedArray | None
    s: pa.ChunkedArray | None

    def upto(self, limits: Sequence[int | None]) -> CellBatch:
        """Without the cells in frames beyond the limit of their part."""
        limit = np.array([np.iinfo(np.int64).max if one is None else one for one in limits])
        at = np.flatnonzero(self.seq <= limit[self.file])
        index = pa.array(at)
        return CellBatch(
            file=self.file[at],
            code=self.code[at],
            row=self.row[at],
            seq=self.seq[at],
            t=self.t[at],
            v=self.v[at],
            i=None if self.i is None else self.i.take(index),
            s=None if self.s is None else self.s.take(index),
        )

    def column(self, source: np.ndarray) -> Column:
        """One cell per element of `source` (its number here), a hole where that is below 0."""
        holes = source < 0
        v = self.v[source]
        if not holes.any():
            t = self.t[source]
            index = pa.array(source)
        else:
            t = np.where(holes, np.int8(ABSENT), self.t[source])
            v = np.where(holes, np.nan, v)
            index = pa.array(source, mask=holes)
        if self.i is None or self.s is None:
            return Column(t, v)
        return Column(t, v, self.i.take(index).combine_chunks(), self.s.take(index).combine_chunks())


def read_cells(
    parts: Sequence[RunPart], paths: Paths, keys: Sequence[str], *, floats_only: bool, steps: tuple[int, int] | None
) -> CellBatch:
    """All cells of `keys` in the parts, whether their row is closed or not.

    `floats_only`: the parts' statistics say that all of them are plain floats, so only `v` is read.
    `steps`: none outside of these (inclusive) is needed; some may come.

    Raises:
        PartsGone: start over with a fresh listing.
    """
    params: dict[str, object] = {"keys": list(keys)}
    if len(keys) <= _LISTED_KEYS_MAX:
        names = {f"key{n}": key for n, key in enumerate(keys)}
        params |= names
        where = f"key IN ({', '.join(f'${name}' for name in names)})"
    else:
        where = "list_contains($keys, key)"
    if steps is not None:
        where += " AND step BETWEEN $low AND $high"
        params |= {"low": steps[0], "high": steps[1]}
    columns = f"(list_position($keys, key) - 1)::INTEGER AS code, row, seq, {'v' if floats_only else 't, v, i, s'}"
    table = read_points(parts, paths, kind=HISTORY, columns=columns, where=where, params=params)
    count = table.num_rows
    return CellBatch(
        file=table["part"].to_numpy(),
        code=table["code"].to_numpy(),
        row=_ints(table["row"]),
        seq=table["seq"].to_numpy(),
        t=np.full(count, Type.FLOAT, np.int8) if floats_only else table["t"].to_numpy(),
        v=table["v"].to_numpy(),
        i=None if floats_only else table["i"],
        s=None if floats_only else table["s"],
    )


def _ints(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray((column.fill_null(-1) if column.null_count else column).to_numpy())
