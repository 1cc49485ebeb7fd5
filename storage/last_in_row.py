"""Which history cells count: of several of one key in one row the one that was written last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import codes_of, rows_at, values_of

__all__ = ["Cells", "LastInRow", "replaced_cells"]

_HELD_MAX: Final = 64 * 1024  # cells of one key and step that wait for later ones
_HELD_THEN: Final = 1024  # the last so many of them go on waiting

Cells = tuple[pa.Table, np.ndarray]  # one chunk a column (key, seq, row, step and more), and the owner of each


def replaced_cells(seq: np.ndarray, row: np.ndarray, *by: np.ndarray) -> np.ndarray:
    """The places of cells behind which there is one with a greater seq and the same row and `by`."""
    order = np.lexsort((seq, row, *by))
    same = row[order][1:] == row[order][:-1]
    for column in by:
        same &= column[order][1:] == column[order][:-1]
    return np.asarray(order[:-1][same])


class LastInRow:
    """Cells come in blocks, sorted by (key, owner, step, seq); those that none replaces pass, in the same order.

    The cells of a row stand at one step, so only the last step of a block has to wait for the next block.
    """

    def __init__(self, plain: np.ndarray) -> None:
        """`plain`: per owner, turns False where a cell was replaced."""
        self._plain = plain
        self._held: Cells | None = None

    def add(self, cells: pa.Table, owner: np.ndarray) -> Iterator[Cells]:
        """What passes now; at least one cell is added."""
        held = self._held
        if held is not None:
            if _place(held, -1) == _place((cells, owner), 0):
                cells = pa.concat_tables([held[0], cells]).unify_dictionaries().combine_chunks()
                owner = np.concatenate([held[1], owner])
            else:
                yield held
        cells, owner, start = self._reduced(cells, owner)
        if len(owner) - start > _HELD_MAX:
            start = len(owner) - _HELD_THEN
        if start:
            yield cells.slice(0, start), owner[:start]
        self._held = cells.slice(start), owner[start:]

    def rest(self) -> Iterator[Cells]:
        """What still waits."""
        if self._held is not None:
            yield self._held
        self._held = None

    def _reduced(self, cells: pa.Table, owner: np.ndarray) -> tuple[pa.Table, np.ndarray, int]:
        """Without replaced cells, and where the last step of the last series begins."""
        codes, step = codes_of(cells["key"].chunk(0)), values_of(cells["step"].chunk(0))
        begins = np.ones(len(owner), bool)
        begins[1:] = (codes[1:] != codes[:-1]) | (owner[1:] != owner[:-1]) | (step[1:] != step[:-1])
        if not begins.all():
            seq, row = (values_of(cells[name].chunk(0)) for name in ("seq", "row"))
            replaced = replaced_cells(seq, row, np.cumsum(begins))
            if len(replaced):
                self._plain[np.unique(owner[replaced])] = False
                kept = np.ones(len(owner), bool)
                kept[replaced] = False
                at = np.flatnonzero(kept)
                last = int(np.count_nonzero(kept[: np.flatnonzero(begins)[-1]]))
                return rows_at(cells, at), owner[at], last
        return cells, owner, int(np.flatnonzero(begins)[-1])


def _place(cells: Cells, at: int) -> tuple[object, ...]:
    table, owner = cells
    place = at % table.num_rows
    return table["key"][place].as_py(), int(owner[place]), table["step"][place].as_py()
