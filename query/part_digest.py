"""What a reader keeps of one part: its facts, which rows it closes, and the last value of every key.

Made once per part and frame cut, since parts never change. From the digests of a run's parts follow its
state, its automatic summary and the plan of every history query; only the points themselves are read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.storage.errors import CorruptData
from tracker.storage.events import HISTORY, POINT_KINDS, ROW, SYSTEM, Type
from tracker.storage.schema import SCHEMA, PartFooter, parse_footer

__all__ = ["CELLS", "FACTS", "KeyStats", "Marks", "PartDigest", "digest_part"]

FACTS: Final = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("hlc", pa.int64()),
        pa.field("kind", pa.string()),
        pa.field("subject", pa.string()),
        pa.field("key", pa.string()),
        pa.field("t", pa.int8()),
        pa.field("v", pa.float64()),
        pa.field("i", pa.int64()),
        pa.field("s", pa.string()),
    ]
)
CELLS: Final = pa.schema(
    [pa.field("row", pa.int64()), *(field for field in FACTS if field.name not in ("kind", "subject"))]
)

_ALL_AT_ONCE_ROWS: Final = 1 << 20  # a larger part is read row group by row group
_OVERHEAD_BYTES: Final = 4096
_READ: Final = ["kind", "subject", "key"]


@dataclass(frozen=True, slots=True)
class Marks:
    """Row markers by (step, hlc, row): which rows are closed, where they stand, and when they were closed."""

    row: np.ndarray
    step: np.ndarray
    hlc: np.ndarray
    wall_us: np.ndarray
    runtime_s: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True)
class KeyStats:
    """One key of a part's history: what its cells are like, committed or not."""

    counts: tuple[int, ...]  # cells per type, indexed by Type
    rising: bool  # numbers never fall from one step to the next
    first_v: float
    last_v: float

    @property
    def types(self) -> int:
        """Bit n is set where a cell has type n."""
        return sum(1 << n for n, count in enumerate(self.counts) if count)


@dataclass(frozen=True, slots=True)
class PartDigest:
    """Everything that a part holds from its cut on, points reduced."""

    footer: PartFooter
    first_hlc_us: int | None  # of its first event; None where it has none
    facts: pa.Table  # FACTS
    marks: Marks
    keys: dict[str, KeyStats]  # history keys (stored form), in the order in which they were first logged
    last: pa.Table  # CELLS: the last committed cell of every history key
    open: pa.Table  # CELLS: last cell of every key in rows that are not closed in this part
    system: pa.Table  # CELLS, row null: the last point of every system key

    @property
    def size_bytes(self) -> int:
        tables = sum(table.nbytes for table in (self.facts, self.last, self.open, self.system))
        return int(tables) + 40 * len(self.marks) + 400 * len(self.keys) + _OVERHEAD_BYTES


def digest_part(path: Path, name: str, first: int) -> PartDigest:
    """The digest of the part at `path` from frame `first` on; `name` is what messages call it. Checksums are verified.

    Raises:
        CorruptData, FormatTooNew: as `tracker.storage.schema.parse_footer`, and for bytes that are no whole file.
        FileNotFoundError: there is no such file.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=_READ) as file:
            footer = parse_footer(file.metadata, name)
            if footer.rows != file.metadata.num_rows:
                raise CorruptData(
                    f"{name} says that it has {footer.rows} events, but holds {file.metadata.num_rows}. "
                    "Keep the file and report it."
                )
            return _digest(footer, _Source(file, first))
    except (pa.ArrowException, OSError, EOFError) as exc:
        if isinstance(exc, FileNotFoundError):
            raise
        why = " ".join(str(exc).split())
        raise CorruptData(
            f"{name} is damaged or not a whole Parquet file ({why}). Keep the file and report it."
        ) from exc


class _Source:
    """Events of a part in pieces that fit into memory, as often as asked for."""

    def __init__(self, file: pq.ParquetFile, first: int) -> None:
        self._file, self._first = file, first
        self._whole = _tidy(file.read(), first) if file.metadata.num_rows <= _ALL_AT_ONCE_ROWS else None

    def pieces(self) -> Iterator[pa.Table]:
        if self._whole is not None:
            yield self._whole
            return
        for group in range(self._file.num_row_groups):
            yield _tidy(self._file.read_row_group(group), self._first)


def _tidy(events: pa.Table, first: int) -> pa.Table:
    events = events.select(SCHEMA.names).cast(SCHEMA)
    if first and events.num_rows and pc.min(events["seq"]).as_py() < first:
        events = events.filter(pc.greater_equal(events["seq"], first))
    return events.unify_dictionaries().combine_chunks()


def _digest(footer: PartFooter, source: _Source) -> PartDigest:
    facts, mark_pieces, first_hlcs = [], [], []
    for events in source.pieces():
        kinds = _Kinds(events)
        first_hlcs += [int(_ints(events, "hlc").min())] if events.num_rows else []
        facts.append(_columns(events, kinds.others(), FACTS))
        mark_pieces.append(_columns(events, kinds.rows(ROW), SCHEMA))
    marks = _marks(pa.concat_tables(mark_pieces))
    closed = np.sort(marks.row)
    keys, last, still_open, system = _KeyTable(), _Lasts(), _Lasts(), _Lasts()
    for events in source.pieces():
        kinds = _Kinds(events)
        cells = kinds.rows(HISTORY)
        if len(cells):
            rows = _ints(events, "row")[cells]
            committed = _member(rows, closed)
            keys.add(events, cells)
            last.add(events, cells[committed], by_row=False)
            still_open.add(events, cells[~committed], by_row=True)
        system.add(events, kinds.rows(SYSTEM), by_row=False)
    return PartDigest(
        footer=footer,
        first_hlc_us=min(first_hlcs, default=None),
        facts=pa.concat_tables(facts).combine_chunks(),
        marks=marks,
        keys=keys.stats(),
        last=last.table(by_row=False),
        open=still_open.table(by_row=True),
        system=system.table(by_row=False),
    )


class _Kinds:
    def __init__(self, events: pa.Table) -> None:
        self._words, self._codes = _dictionary(events, "kind")

    def rows(self, kind: str) -> np.ndarray:
        if kind not in self._words:
            return np.empty(0, np.int64)
        return np.flatnonzero(self._codes == self._words.index(kind))

    def others(self) -> np.ndarray:
        """Rows that are facts."""
        wanted = np.array([word not in POINT_KINDS for word in self._words], bool)
        return np.flatnonzero(wanted[self._codes]) if len(self._codes) else np.empty(0, np.int64)


class _KeyTable:
    """Statistics of history keys, over pieces in any order of steps per key."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[tuple[int, int, int], KeyStats]] = {}
        self._pieces = 0

    def add(self, events: pa.Table, cells: np.ndarray) -> None:
        words, codes = _dictionary(events, "key")
        codes = codes[cells]
        seq, t = _ints(events, "seq")[cells], _ints(events, "t")[cells]
        v = _floats(events, "v")[cells]
        order = np.lexsort((seq, _ints(events, "step")[cells], codes))
        codes, t, v, seq = codes[order], t[order], v[order], seq[order]
        starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
        ends = np.concatenate((starts[1:], [len(codes)]))
        counts = np.stack([np.add.reduceat((t == kind).astype(np.int64), starts) for kind in Type], axis=1)
        falls = np.concatenate(([False], (v[1:] < v[:-1]) & (codes[1:] == codes[:-1])))
        fallen = np.add.reduceat(falls.astype(np.int64), starts)
        first_seq = np.minimum.reduceat(seq, starts)
        for n, (start, end) in enumerate(zip(starts, ends, strict=True)):
            code = int(codes[start])
            stats = KeyStats(tuple(counts[n].tolist()), not fallen[n], float(v[start]), float(v[end - 1]))
            place = (int(first_seq[n]), self._pieces, code)  # a dictionary keeps the order in which keys were met
            before = self._found.get(words[code])
            if before is not None:
                place, stats = min(place, before[0]), _plus(before[1], stats)
            self._found[words[code]] = place, stats
        self._pieces += 1

    def stats(self) -> dict[str, KeyStats]:
        return {key: stats for key, (_, stats) in sorted(self._found.items(), key=lambda item: item[1][0])}


def _plus(before: KeyStats, after: KeyStats) -> KeyStats:
    counts = tuple(a + b for a, b in zip(before.counts, after.counts, strict=True))
    rising = before.rising and after.rising and not after.first_v < before.last_v
    return KeyStats(counts, rising, before.first_v, after.last_v)


class _Lasts:
    """The last cell (greatest seq) of every key, or of every key in every row."""

    def __init__(self) -> None:
        self._pieces: list[pa.Table] = []

    def add(self, events: pa.Table, at: np.ndarray, *, by_row: bool) -> None:
        if len(at):
            _, codes = _dictionary(events, "key")
            rows = _ints(events, "row")[at] if by_row else None
            kept = at[_last_of_groups(codes[at], rows, _ints(events, "seq")[at])]
            self._pieces.append(_columns(events, kept, CELLS))

    def table(self, *, by_row: bool) -> pa.Table:
        if not self._pieces:
            return CELLS.empty_table()
        if len(self._pieces) == 1:
            return self._pieces[0]
        cells = pa.concat_tables(self._pieces).combine_chunks()
        codes = cells["key"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        rows = _ints(cells, "row") if by_row else None
        return cells.take(_last_of_groups(codes, rows, _ints(cells, "seq")))


def _last_of_groups(codes: np.ndarray, rows: np.ndarray | None, seq: np.ndarray) -> np.ndarray:
    """Position of the greatest seq of every code (and row)."""
    order = np.lexsort((seq, codes) if rows is None else (seq, rows, codes))
    ends = codes[order][1:] != codes[order][:-1]
    if rows is not None:
        ends |= rows[order][1:] != rows[order][:-1]
    return order[np.concatenate((ends, [True]))]


def _marks(events: pa.Table) -> Marks:
    row, step, hlc = (_ints(events, name) for name in ("row", "step", "hlc"))
    wall_us, runtime_s = hlc + _ints(events, "ts"), _floats(events, "v")
    order = np.lexsort((row, hlc, step))
    return Marks(row[order], step[order], hlc[order], wall_us[order], runtime_s[order])


def _member(values: np.ndarray, sorted_set: np.ndarray) -> np.ndarray:
    if not len(sorted_set):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(sorted_set, values), len(sorted_set) - 1)
    return np.asarray(sorted_set[at] == values)


def _columns(events: pa.Table, at: np.ndarray, schema: pa.Schema) -> pa.Table:
    picked = events.select(schema.names)
    if len(at) < events.num_rows:
        picked = picked.take(pa.array(at))
    return picked.cast(pa.schema([field.with_nullable(True) for field in schema]))


def _dictionary(events: pa.Table, name: str) -> tuple[list[Any], np.ndarray]:
    column = events[name].combine_chunks() if events[name].num_chunks != 1 else events[name].chunk(0)
    codes = column.indices.fill_null(-1) if column.null_count else column.indices
    return column.dictionary.to_pylist(), codes.to_numpy(zero_copy_only=False)


def _ints(events: pa.Table, name: str) -> np.ndarray:
    column = events[name]
    return np.asarray((column.fill_null(0) if column.null_count else column).to_numpy())


def _floats(events: pa.Table, name: str) -> np.ndarray:
    return np.asarray(events[name].to_numpy())
