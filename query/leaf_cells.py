"""Live leaves of many runs as columns, without an object for each run: a cell is a number of a run and four values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.cells import ABSENT, Column
from tracker.storage.arrow_arrays import numbers, texts, valid_of, values_of
from tracker.storage.events import Type

__all__ = ["Leaf", "LeafTypes", "among_leaves", "chosen_runs", "leaf_columns", "leaf_types"]

Leaf = tuple[str, str]  # kind and stored path

_BATCH_ROWS: Final = 500_000
_TEXT_BYTES_MAX: Final = 1 << 30
_LISTED_MAX: Final = 200  # runs that DuckDB looks for by reading; more of them are joined
_TEXTUAL: Final = (Type.STRING, Type.JSON)


@dataclass(frozen=True, slots=True)
class LeafTypes:
    """What the cells of a column are."""

    types: frozenset[int]  # of Type
    digits: bool  # integers of more than 64 bits occur
    beyond: bool  # integers occur that no double comes near


def chosen_runs(run_ids: Sequence[str], held: int, *, exactly: bool = False) -> tuple[str, list[Any]]:
    """SQL that is true for rows of these runs, and its parameters; `held`: how many runs there are.

    Unless `exactly`, it is true for all where most are asked for: to leave out the others afterwards is faster. `live`
    may hold leaves of runs that do not show (any more), so that even all runs are not all leaves.
    """
    if not exactly and len(run_ids) * 2 > held:
        return "TRUE", []
    listed = len(run_ids) <= _LISTED_MAX
    return "list_contains(?::VARCHAR[], run)" if listed else "run IN (SELECT unnest(?::VARCHAR[]))", [list(run_ids)]


def leaf_types(con: duckdb.DuckDBPyConnection, among: str, params: Sequence[Any]) -> dict[Leaf, LeafTypes]:
    """Of all leaves in `live` for which the SQL `among` is true: what their cells are. `among` may name `run`."""
    found: dict[Leaf, LeafTypes] = {}
    whole = f"t = {Type.INT:d} AND i IS NULL"
    rows = con.execute(
        f"""SELECT kind, key, list(DISTINCT t), bool_or({whole}), bool_or({whole} AND isinf(v))
        FROM live WHERE {among} GROUP BY kind, key""",
        list(params),
    ).fetchall()
    for kind, key, types, digits, beyond in rows:
        found[kind, key] = LeafTypes(frozenset(types), bool(digits), bool(beyond))
    return found


def leaf_columns(
    con: duckdb.DuckDBPyConnection, run_ids: Sequence[str], among: str, params: Sequence[Any]
) -> dict[Leaf, Column]:
    """A column of cells a leaf, one cell a run of `run_ids`, ABSENT where a run has no such leaf.

    `among`: SQL that is true for the leaves to be read; cells of other runs do not matter. The time and memory are
    those of the cells: strings of runs and paths are given up batch by batch.
    """
    cells = _Cells(texts(run_ids))
    reader = con.sql(f"SELECT run, kind, key, t, v, i, s FROM live WHERE {among}", params=list(params))
    for batch in reader.to_arrow_reader(_BATCH_ROWS):
        cells.add(batch)
    return dict(cells.columns())


class _Cells:
    """Batches of cells, reduced to numbers and, where there are any, texts."""

    def __init__(self, run_ids: pa.Array) -> None:
        self._run_ids = run_ids
        self._leaves: dict[Leaf, int] = {}
        self._parts: list[tuple[np.ndarray, ...]] = []  # leaf, run, t, v, i, whether i is there
        self._texts: list[pa.Array] = []

    def add(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        run = pc.index_in(batch.column("run"), value_set=self._run_ids)
        if run.null_count:
            batch, run = batch.filter(run.is_valid()), run.drop_null()
        leaf = self._leaf_numbers(batch.column("kind"), batch.column("key"))
        i = batch.column("i")
        known = valid_of(i)
        self._parts.append(
            (
                leaf,
                values_of(run).astype(np.int32),
                values_of(batch.column("t")),
                np.where(_valid(batch.column("v")), values_of(batch.column("v")), np.nan),
                values_of(i) if known is None else np.where(known, values_of(i), 0),
                np.ones(len(i), bool) if known is None else known,
            )
        )
        self._texts.append(batch.column("s"))

    def _leaf_numbers(self, kinds: pa.Array, keys: pa.Array) -> np.ndarray:
        """One number a cell, the same for equal kind and path, over all batches."""
        kind, key = kinds.dictionary_encode(), keys.dictionary_encode()
        width = len(key.dictionary)
        pair = values_of(kind.indices).astype(np.int64) * width + values_of(key.indices)
        occurs = np.flatnonzero(np.bincount(pair, minlength=len(kind.dictionary) * width))
        kind_words, key_words = kind.dictionary.to_pylist(), key.dictionary.to_pylist()
        place = np.zeros(len(kind_words) * width, np.int32)
        for n in occurs.tolist():
            leaf = kind_words[n // width], key_words[n % width]
            place[n] = self._leaves.setdefault(leaf, len(self._leaves))
        return np.asarray(place[pair])

    def columns(self) -> Iterator[tuple[Leaf, Column]]:
        if not self._parts:
            return
        leaf, run, t, v, i, known = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        self._parts.clear()
        words = _joined(self._texts)
        narrow = leaf.astype(np.uint16) if len(self._leaves) < 1 << 16 else leaf
        order = np.argsort(narrow, kind="stable")
        ends = np.cumsum(np.bincount(leaf, minlength=len(self._leaves)))
        begin = 0
        for name, end in zip(self._leaves, ends.tolist(), strict=True):
            at, begin = order[begin:end], end
            yield name, _scattered(len(self._run_ids), run[at], t[at], v[at], i[at], known[at], words, at)


def _scattered(
    count: int,
    run: np.ndarray,
    t: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    known: np.ndarray,
    words: pa.Array,
    at: np.ndarray,
) -> Column:
    all_t, all_v = np.full(count, ABSENT, np.int8), np.full(count, np.nan)
    all_t[run], all_v[run] = t, v
    has_text = np.isin(t, _TEXTUAL) | ((t == Type.INT) & ~known)  # with the digits of large integers
    is_whole = (t == Type.INT) & known
    if not (has_text.any() or is_whole.any()):
        return Column(all_t, all_v)
    all_i, has_i = np.zeros(count, np.int64), np.zeros(count, bool)
    all_i[run], has_i[run] = i, is_whole
    said = pa.nulls(count, pa.string())
    if has_text.any():
        place = np.full(count, -1, np.int64)
        place[run] = at
        said = words.take(numbers(np.maximum(place, 0), pa.int64(), place >= 0)).cast(pa.string())
    return Column(all_t, all_v, numbers(all_i, pa.int64(), has_i), said)


def _joined(parts: list[pa.Array]) -> pa.Array:
    """One array; with wide offsets where the texts together need them."""
    if sum(part.nbytes for part in parts) > _TEXT_BYTES_MAX:
        parts = [part.cast(pa.large_string()) for part in parts]
    return pa.concat_arrays(parts)


def _valid(array: pa.Array) -> np.ndarray | bool:
    valid = valid_of(array)
    return True if valid is None else valid


def among_leaves(leaves: Mapping[str, Collection[str] | None]) -> tuple[str, list[Any]]:
    """SQL that is true for these paths of each kind (None: all of them), and its parameters."""
    parts, params = [], list[Any]()
    for kind, keys in leaves.items():
        parts.append("kind = ?" if keys is None else "kind = ? AND list_contains(?::VARCHAR[], key)")
        params += [kind] if keys is None else [kind, list(keys)]
    return f"({' OR '.join(f'({part})' for part in parts)})" if parts else "FALSE", params
