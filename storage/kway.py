"""Sorted streams of any size become one sorted stream, in memory that a setting bounds.

Nothing is compared row by row. Each round takes the least of the streams' last rows in memory as a bound, cuts all
streams there by binary search, and puts the pieces in order at once: as they lie where they do not overlap, else by
a stable sort of their series and, only where steps of one series interleave, by a sort of everything.

A set is in the order kind (facts before points), key, step, seq, row; a pack in the order kind, key, run, writer,
step, seq, row. So every series of a writer is one contiguous, ascending slice. Nulls are last.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import codes_of, one_chunk, rows_at, valid_of, values_of
from tracker.storage.events import POINT_KINDS
from tracker.storage.word_ranks import WordRanks

__all__ = ["PACK_ORDER", "SET_ORDER", "Source", "merge_streams", "rows_a_block"]

SET_ORDER: Final = ("kind", "key", "step", "seq", "row")
PACK_ORDER: Final = ("kind", "key", "run", "writer", "step", "seq", "row")

_TEXTS: Final = frozenset({"kind", "key", "run", "writer"})
_ROW_BYTES: Final = 160  # of one event while it is merged: its columns, their copies and what they are compared by
_BLOCK_ROWS_MIN: Final = 1024
_BLOCK_ROWS_MAX: Final = 16 * 1024  # of a stream: larger blocks cost more memory and save no time
_WHOLE_ROWS: Final = 64 * 1024  # of small files that are all read at once
_WHOLE_ROW_BYTES: Final = 400  # of an event where all of them are put in order at once
_FAN_IN_MAX: Final = 256
_LAST: Final = np.int64(2**63 - 1)  # stands for null in columns of numbers
_NO_WORD: Final = (1 << 31) - 1  # for null in columns of words

Blocks = Iterator[pa.Table]


@dataclass(frozen=True, slots=True)
class Source:
    """A sorted stream. `open(rows)` yields its tables in order, of about that many rows each (never many more)."""

    open: Callable[[int], Blocks]
    rows: int  # about how many rows it has in all


def rows_a_block(sources: int, memory_bytes: int, row_bytes: int = _ROW_BYTES) -> int:
    """How many rows of each of so many streams fit into memory at a time."""
    rows = memory_bytes // (max(sources, 1) * row_bytes)
    return max(_BLOCK_ROWS_MIN, min(_BLOCK_ROWS_MAX, rows))


def merge_streams(
    sources: Sequence[Source],
    order: tuple[str, ...] = SET_ORDER,
    *,
    memory_bytes: int,
    spill: Path | None = None,
    breathe: Callable[[], None] = lambda: None,
) -> Blocks:
    """All rows of all sources in `order`, as tables of one chunk a column. The same call gives the same tables.

    More sources than fit into memory at once are merged in groups first, through temporary files in `spill`
    (None: where temporary files go), which are gone when the stream ends or is closed.
    """
    group = max(2, min(_FAN_IN_MAX, memory_bytes // (_ROW_BYTES * _BLOCK_ROWS_MIN)))
    if len(sources) <= group or _fit(sources, memory_bytes):
        yield from _merge(_open(sources, memory_bytes), order, breathe)
        return
    with tempfile.TemporaryDirectory(prefix="tracker-merge-", dir=spill) as directory:
        waiting = list(sources)
        files = 0
        while len(waiting) > group:
            shorter = []
            for some in _groups(waiting, group, memory_bytes // _WHOLE_ROW_BYTES):
                if len(some) == 1:
                    shorter += some
                    continue
                path = Path(directory) / f"{files}.arrow"
                files += 1
                rows = _spill(_merge(_open(some, memory_bytes), order, breathe), path, group, memory_bytes)
                if rows:
                    shorter.append(_Spilled(path, rows).source())
            waiting = shorter
        yield from _merge(_open(waiting, memory_bytes), order, breathe)


def _open(sources: Sequence[Source], memory_bytes: int) -> list[Blocks]:
    rows = _WHOLE_ROWS if _fit(sources, memory_bytes) else rows_a_block(len(sources), memory_bytes)
    return [source.open(rows) for source in sources]


def _fit(sources: Sequence[Source], memory_bytes: int) -> bool:
    return sum(source.rows for source in sources) * _WHOLE_ROW_BYTES <= memory_bytes


def _groups(sources: list[Source], most: int, rows: int) -> list[list[Source]]:
    """Neighbours that are merged at once: as many as fit whole into memory, at least `most`."""
    groups: list[list[Source]] = [[]]
    total = 0
    for source in sources:
        if len(groups[-1]) >= most and total + source.rows > rows:
            groups.append([])
            total = 0
        groups[-1].append(source)
        total += source.rows
    return groups


@dataclass(frozen=True, slots=True)
class _Spilled:
    path: Path
    rows: int

    def source(self) -> Source:
        return Source(self._blocks, self.rows)

    def _blocks(self, rows: int) -> Blocks:
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                table = pa.Table.from_batches([batch])
                for start in range(0, table.num_rows, rows):
                    yield table.slice(start, rows)


def _spill(blocks: Blocks, path: Path, streams: int, memory_bytes: int) -> int:
    """Write the blocks to `path`, and return how many rows they have. Without any, `path` is no stream."""
    block_rows, rows = rows_a_block(streams, memory_bytes), 0
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    writer = None
    with pa.OSFile(str(path), "wb") as file:
        for block in blocks:
            if writer is None:
                writer = pa.ipc.new_stream(file, block.schema, options=options)
            for batch in block.to_batches(max_chunksize=block_rows):
                writer.write_batch(batch)
            rows += block.num_rows
        if writer is not None:
            writer.close()
    return rows


def _merge(blocks: list[Blocks], order: tuple[str, ...], breathe: Callable[[], None]) -> Blocks:
    words = {name: WordRanks(_is_fact if name == "kind" else None) for name in order if name in _TEXTS}
    heads = []
    for stream in blocks:
        head = _Head(stream, order, words)
        if head.fill():
            heads.append(head)
        breathe()
    while heads:
        versions = tuple(ranks.version for ranks in words.values())
        for head in heads:
            head.renew(versions)
        breathe()
        bound = min(head.end for head in heads)
        pieces = []
        for head in heads:
            if head.begin <= bound:
                pieces.append(head.cut(bound))
                breathe()
        if len(pieces) == 1:
            yield pieces[0].table
        else:
            yield _joined(pieces, breathe)
        del pieces
        heads = [head for head in heads if head.left or head.fill()]
        breathe()


def _is_fact(kind: str) -> bool:
    return kind not in POINT_KINDS


_Place = tuple[int, ...]  # a row's values in the columns of the order, words as ranks


@dataclass(frozen=True, slots=True)
class _Piece:
    table: pa.Table
    columns: list[np.ndarray]  # in the order's columns, words as ranks
    texts: int  # how many of them, from the first on, are words

    def begin(self) -> _Place:
        return tuple(int(column[0]) for column in self.columns)

    def end(self) -> _Place:
        return tuple(int(column[-1]) for column in self.columns)


class _Head:
    """The block of a stream that is in memory, and how far it is used."""

    def __init__(self, blocks: Blocks, order: tuple[str, ...], words: dict[str, WordRanks]) -> None:
        self._blocks, self._order, self._words = blocks, order, words
        self._known: dict[str, tuple[pa.Array, int, np.ndarray]] = {}  # of a dictionary: itself, version, ranks
        self._versions: tuple[int, ...] = ()
        self._at = 0
        self._columns: list[np.ndarray] = []
        self.left = 0  # rows
        self.begin: _Place = ()  # the first row that is left, and the last
        self.end: _Place = ()

    def fill(self) -> bool:
        """Hold the next block that has rows. False: the stream is at its end. `renew` comes next."""
        for block in self._blocks:
            if block.num_rows:
                self._table = one_chunk(block)
                self._at, self.left, self._versions = 0, block.num_rows, ()
                self._columns = [self._numbers(name) for name in self._order]
                return True
        return False

    def renew(self, versions: tuple[int, ...]) -> None:
        """Ranks as they are now, `begin` and `end` by them."""
        if self._versions == versions:
            return
        for n, name in enumerate(self._words):
            if self._known[name][1] != versions[n]:
                self._columns[n] = self._numbers(name)
        self._versions = versions
        self.begin, self.end = self._place(self._at), self._place(-1)

    def cut(self, bound: _Place) -> _Piece:
        """The rows up to and with `bound`; what is left begins behind them."""
        start = self._at
        self._at = len(self._columns[0]) if self.end <= bound else self._count(bound)
        self.left = len(self._columns[0]) - self._at
        if self.left:
            self.begin = self._place(self._at)
        return _Piece(
            self._table.slice(start, self._at - start),
            [column[start : self._at] for column in self._columns],
            len(self._words),
        )

    def _place(self, at: int) -> _Place:
        return tuple([int(column[at]) for column in self._columns])

    def _count(self, bound: _Place) -> int:
        low, high = self._at, len(self._columns[0])
        for column, value in zip(self._columns, bound, strict=True):
            part = column[low:high]
            low, high = low + int(np.searchsorted(part, value)), low + int(np.searchsorted(part, value, "right"))
            if low == high:
                break
        return high

    def _numbers(self, name: str) -> np.ndarray:
        array = self._table[name].chunk(0)
        if name in self._words:
            return self._ranks(name, array)
        values, valid = values_of(array), valid_of(array)
        return values if valid is None else np.where(valid, values, _LAST)

    def _ranks(self, name: str, array: pa.DictionaryArray) -> np.ndarray:
        codes, ranks = codes_of(array), self._words[name]
        known = self._known.get(name)
        if known is None or known[1] != ranks.version or not known[0].equals(array.dictionary):
            table = np.append(ranks.ranks(array.dictionary), _NO_WORD).astype(np.int32)  # a null's code is -1
            known = self._known[name] = (array.dictionary, ranks.version, table)
        return np.asarray(known[2][codes])


def _joined(pieces: list[_Piece], breathe: Callable[[], None]) -> pa.Table:
    """All rows of the pieces in order, one chunk a column."""
    ends = sorted(((piece.begin(), piece.end(), n) for n, piece in enumerate(pieces)))
    table = one_chunk(pa.concat_tables([pieces[n].table for _, _, n in ends]))
    breathe()
    if all(one[1] <= following[0] for one, following in itertools.pairwise(ends)):
        return table
    columns = [np.concatenate([pieces[n].columns[c] for _, _, n in ends]) for c in range(len(pieces[0].columns))]
    breathe()
    order = _order(columns, pieces[0].texts, breathe)
    return rows_at(table, order)


def _order(columns: list[np.ndarray], texts: int, breathe: Callable[[], None]) -> np.ndarray:
    """Row numbers in the order of `columns`, of which the first `texts` are words."""
    series = _one_number(columns[:texts])
    if series is not None:
        order = np.argsort(series, kind="stable")
        breathe()
        series = series[order]
        falls = np.zeros(len(order) - 1, bool)
        for column in reversed(columns[texts:]):
            values = column[order]
            falls = (values[1:] < values[:-1]) | ((values[1:] == values[:-1]) & falls)
            breathe()
        if not (falls & (series[1:] == series[:-1])).any():
            return order
    return np.lexsort(columns[::-1])


def _one_number(columns: list[np.ndarray]) -> np.ndarray | None:
    """One number for each row that orders as the columns do, or None where 64 bits are too few."""
    total = np.zeros(len(columns[0]), np.int64)
    range_all = 1
    for column in columns:
        known = column[column < _NO_WORD] if column.max() == _NO_WORD else column
        least, most = (int(known.min()), int(known.max())) if len(known) else (0, -1)
        width = most - least + 2
        range_all *= width
        if range_all > 1 << 62:
            return None
        total = total * width + np.minimum(column - np.int64(least), width - 1)
    return total.astype(np.uint16) if range_all <= 1 << 16 else total
