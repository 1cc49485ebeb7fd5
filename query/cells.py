"""Columns of an answer: typed cells with holes, as numpy and Arrow arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.events import Type, decode_cell

__all__ = ["ABSENT", "MISSING", "Column", "Missing", "Rows", "concat_rows"]

ABSENT: Final = -1  # in Column.t: the row has no such key


class Missing:
    """Stands for a value that is not there, in lists of Python values."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Column:
    """One cell a row. `v`, `i`, `s` are the value columns of an event; i and s are None where all cells are floats."""

    t: np.ndarray
    v: np.ndarray
    i: pa.Array | None = None
    s: pa.Array | None = None

    @classmethod
    def empty(cls, count: int) -> Column:
        return cls(np.full(count, ABSENT, np.int8), np.full(count, np.nan))

    @classmethod
    def of_floats(cls, values: np.ndarray) -> Column:
        return cls(np.full(len(values), Type.FLOAT, np.int8), values)

    @classmethod
    def of_ints(cls, values: np.ndarray) -> Column:
        return cls(
            np.full(len(values), Type.INT, np.int8),
            values.astype(np.float64),
            pa.array(values, pa.int64()),
            pa.nulls(len(values), pa.string()),
        )

    def __len__(self) -> int:
        return len(self.t)

    @property
    def present(self) -> np.ndarray:
        return np.asarray(self.t != ABSENT)

    def types(self) -> frozenset[int]:
        """The types that occur, ABSENT among them where a row has no cell."""
        return frozenset((np.flatnonzero(np.bincount(self.t.astype(np.int64) - ABSENT)) + ABSENT).tolist())

    def take(self, at: np.ndarray) -> Column:
        index = None if self.i is None and self.s is None else pa.array(at)
        return Column(
            self.t[at],
            self.v[at],
            None if self.i is None else self.i.take(index),
            None if self.s is None else self.s.take(index),
        )

    def or_else(self, other: Column) -> Column:
        """Where this one has no cell, the other's."""
        gap = ~self.present
        if not gap.any():
            return self
        keep = pa.array(~gap)
        nothing = pa.nulls(len(self.t))
        i = [column.i if column.i is not None else nothing.cast(pa.int64()) for column in (self, other)]
        s = [column.s if column.s is not None else nothing.cast(pa.string()) for column in (self, other)]
        plain = self.i is None and other.i is None
        return Column(
            np.where(gap, other.t, self.t),
            np.where(gap, other.v, self.v),
            None if plain else pc.if_else(keep, *i),
            None if plain else pc.if_else(keep, *s),
        )

    def to_list(self) -> list[Any]:
        """Python values as they were logged, MISSING where there is none."""
        types = self.types()
        plain: list[Any] | None = None
        if types <= {Type.FLOAT}:
            plain = self.v.tolist()
        elif types <= {Type.INT} and self.i is not None and not self.i.null_count:
            plain = self.i.to_pylist()
        elif types <= {Type.STRING} and self.s is not None:
            plain = self.s.to_pylist()
        if plain is not None:
            return plain
        empty = [None] * len(self.t)
        i = empty if self.i is None else self.i.to_pylist()
        s = empty if self.s is None else self.s.to_pylist()
        return [
            MISSING if t == ABSENT else bool(cell[0]) if t == Type.BOOL else decode_cell(t, *cell)
            for t, *cell in zip(self.t.tolist(), self.v.tolist(), i, s, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Rows:
    """An answer: `run` is the number of the run a row belongs to, ascending; columns in the order they are shown."""

    run: np.ndarray
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(self.run)

    def from_row(self, first: int) -> Rows:
        """The rows without those before `first`."""
        if not first:
            return self
        at = np.arange(first, len(self))
        return Rows(self.run[first:], {name: column.take(at) for name, column in self.columns.items()})


def concat_rows(batches: list[Rows]) -> Rows:
    """All batches as one answer; columns in order of first appearance, holes where a batch has none.

    A column in which no row has a cell is left out.
    """
    names = dict.fromkeys(name for rows in batches for name in rows.columns)
    filled = {name for rows in batches for name, column in rows.columns.items() if column.present.any()}
    names = {name: None for name in names if name in filled}
    if len(batches) == 1:
        return Rows(batches[0].run, {name: batches[0].columns[name] for name in names})
    run = np.concatenate([rows.run for rows in batches]) if batches else np.empty(0, np.int64)
    columns = {name: _concat([rows.columns.get(name) or Column.empty(len(rows)) for rows in batches]) for name in names}
    return Rows(run, columns)


def _concat(columns: list[Column]) -> Column:
    t = np.concatenate([column.t for column in columns])
    v = np.concatenate([column.v for column in columns])
    if all(column.i is None for column in columns):
        return Column(t, v)
    i = [pa.nulls(len(column), pa.int64()) if column.i is None else column.i for column in columns]
    s = [pa.nulls(len(column), pa.string()) if column.s is None else column.s for column in columns]
    return Column(t, v, pa.concat_arrays(i), pa.concat_arrays(s))
