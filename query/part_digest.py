"""What a reader keeps of a part: its facts, which rows it closes, and the last value of every key.

Made once per part and frame cut, since parts never change; many at once, because most parts are small. From the
digests of a run's parts follow its state, its automatic summary and the plan of every history query; only the
points themselves are read again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.query.run_files import KeyStats, Mark, Marks, Series
from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.events import HISTORY, POINT_KINDS, ROW, SYSTEM, Type
from tracker.storage.schema import SCHEMA, PartFooter, parse_footer

__all__ = ["CELLS", "FACTS", "PartDigest", "PartToRead", "digest_parts", "join_digests"]

_VALUES: Final = [
    pa.field("key", pa.string()),
    pa.field("t", pa.int8()),
    pa.field("v", pa.float64()),
    pa.field("i", pa.int64()),
    pa.field("s", pa.string()),
]
_STAMP: Final = [pa.field("seq", pa.int64()), pa.field("hlc", pa.int64())]
FACTS: Final = pa.schema([*_STAMP, pa.field("kind", pa.string()), pa.field("subject", pa.string()), *_VALUES])
CELLS: Final = pa.schema([pa.field("row", pa.int64()), *_STAMP, *_VALUES])

_BATCH_PARTS: Final = 256
_BATCH_BYTES: Final = 4 << 20  # compressed; in memory about twenty times as much
_THREADS: Final = min(4, os.cpu_count() or 1)
_OVERHEAD_BYTES: Final = 4096
_DICTIONARIES: Final = ["kind", "subject", "key"]


@dataclass(frozen=True, slots=True)
class PartDigest:
    """Everything that a part holds from its cut on, points reduced."""

    footer: PartFooter
    first_hlc_us: int | None  # of its first event; None where it has none
    facts: pa.Table  # FACTS
    markers: Marks
    keys: dict[str, KeyStats]  # history keys (stored form), in the order in which they were first logged
    last: pa.Table  # CELLS: the last committed cell of every history key
    open: pa.Table  # CELLS: last cell of every key in rows that are not closed in this part
    system: pa.Table  # CELLS, row null: the last point of every system key

    def marks(self) -> Marks:
        return self.markers

    def last_mark(self) -> Mark | None:
        """The marker that was written last; None without rows."""
        if not len(self.markers):
            return None
        marks, at = self.markers, int(np.argmax(self.markers.hlc))
        hlc = int(marks.hlc[at])
        return Mark(
            int(marks.row[at]), int(marks.step[at]), hlc, int(marks.wall_us[at]) - hlc, float(marks.runtime_s[at])
        )

    def series(self, _key: str, /) -> Series | None:
        """None: an `e` file has no such records."""
        return None

    @property
    def wall_max_us(self) -> int:
        return self.footer.ts_max_us

    @property
    def size_bytes(self) -> int:
        tables = sum(table.nbytes for table in (self.facts, self.last, self.open, self.system))
        return int(tables) + 40 * len(self.markers) + 400 * len(self.keys) + _OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class PartToRead:
    path: Path
    name: str  # what messages call it
    first: int  # frames below do not count


def digest_parts(parts: Sequence[PartToRead]) -> list[PartDigest | CorruptData | FormatTooNew | FileNotFoundError]:
    """The digest of each part, or what is wrong with it, in order. Checksums are verified."""
    found: list[PartDigest | CorruptData | FormatTooNew | FileNotFoundError] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in _batches(parts):
            read = list(pool.map(_read, batch)) if len(batch) > 1 else [_read(batch[0])]
            good = [one for one in read if isinstance(one, tuple)]
            digests = iter(_digest_all(good))
            found += [next(digests) if isinstance(one, tuple) else one for one in read]
    return found


def _batches(parts: Sequence[PartToRead]) -> Iterator[list[PartToRead]]:
    batch: list[PartToRead] = []
    size = 0
    for part in parts:
        batch.append(part)
        size += os.path.getsize(part.path) if os.path.exists(part.path) else 0
        if len(batch) == _BATCH_PARTS or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


_Read = tuple[PartFooter, pa.Table]


def _read(part: PartToRead) -> _Read | CorruptData | FormatTooNew | FileNotFoundError:
    name = part.name
    try:
        with pq.ParquetFile(part.path, page_checksum_verification=True, read_dictionary=_DICTIONARIES) as file:
            footer = parse_footer(file.metadata, name)
            events = file.read(use_threads=False).select(SCHEMA.names)
    except (CorruptData, FormatTooNew, FileNotFoundError) as exc:
        return exc
    except (pa.ArrowException, OSError, EOFError) as exc:
        why = " ".join(str(exc).split())
        return CorruptData(f"{name} is damaged or not a whole Parquet file ({why}). Keep the file and report it.")
    if footer.rows != events.num_rows:
        return CorruptData(
            f"{name} says that it has {footer.rows} events, but holds {events.num_rows}. Keep the file and report it."
        )
    if part.first > footer.first:
        events = events.filter(pc.greater_equal(events["seq"], part.first))
    return footer, events.cast(SCHEMA)


def _digest_all(read: Sequence[_Read]) -> list[PartDigest]:
    """Digests of parts whose events are in memory: numbers over all of them at once, then cut per part."""
    if not read:
        return []
    met = [_words_in_order(events) for _, events in read]
    events = pa.concat_tables([events for _, events in read]).unify_dictionaries().combine_chunks()
    part = np.repeat(np.arange(len(read)), [events.num_rows for _, events in read])
    kinds = _Kinds(events)
    facts = _Cut(events, kinds.facts(), part, len(read), FACTS)
    marks, mark_ends, closed = _marks(events, kinds.rows(ROW), part, len(read))
    cells = kinds.rows(HISTORY)
    committed = np.isin(_place(part[cells], _ints(events, "row")[cells]), closed)
    words, codes = _dictionary(events, "key")
    seq, row = _ints(events, "seq"), _ints(events, "row")
    last = _last_of_groups(cells[committed], (part, codes), seq)
    still_open = _last_of_groups(cells[~committed], (part, row, codes), seq)
    system_rows = kinds.rows(SYSTEM)
    system = _last_of_groups(system_rows, (part, codes), seq)
    tables = [_Cut(events, at, part, len(read), CELLS) for at in (last, still_open, system)]
    keys = _key_stats(events, cells, part, words, codes, met)
    first_hlc = _first_of_each(_ints(events, "hlc"), part, len(read))
    return [
        PartDigest(
            footer=footer,
            first_hlc_us=first_hlc[n],
            facts=facts.of(n),
            markers=_slice_marks(marks, mark_ends, n),
            keys=keys[n],
            last=tables[0].of(n),
            open=tables[1].of(n),
            system=tables[2].of(n),
        )
        for n, (footer, _) in enumerate(read)
    ]


def join_digests(digests: Sequence[PartDigest]) -> PartDigest:
    """The digest of a merged set: facts of its first file, history and system metrics from whichever file has them."""
    if len(digests) == 1:
        return digests[0]
    begun = [digest.first_hlc_us for digest in digests if digest.first_hlc_us is not None]
    history = next((digest for digest in digests if digest.footer.family == "h"), digests[0])
    system = next((digest for digest in digests if digest.footer.family == "s"), digests[0])
    ts_max_us = max(digest.footer.ts_max_us for digest in digests)
    return replace(
        history,
        footer=replace(digests[0].footer, ts_max_us=ts_max_us),
        first_hlc_us=min(begun, default=None),
        facts=digests[0].facts,
        system=system.system,
    )


class _Kinds:
    def __init__(self, events: pa.Table) -> None:
        self._words, self._codes = _dictionary(events, "kind")

    def rows(self, kind: str) -> np.ndarray:
        if kind not in self._words:
            return np.empty(0, np.int64)
        return np.flatnonzero(self._codes == self._words.index(kind))

    def facts(self) -> np.ndarray:
        wanted = np.array([word not in POINT_KINDS for word in self._words], bool)
        return np.flatnonzero(wanted[self._codes]) if len(self._codes) else np.empty(0, np.int64)


class _Cut:
    """Some rows of all parts as one table with `schema`, given out part by part. `at` goes part by part."""

    def __init__(self, events: pa.Table, at: np.ndarray, part: np.ndarray, parts: int, schema: pa.Schema) -> None:
        picked = events.select(schema.names).take(pa.array(at))
        self._table = picked.cast(pa.schema([field.with_nullable(True) for field in schema])).combine_chunks()
        self._ends = np.concatenate(([0], np.cumsum(np.bincount(part[at], minlength=parts)))).tolist()

    def of(self, n: int) -> pa.Table:
        return self._table.slice(self._ends[n], self._ends[n + 1] - self._ends[n])


def _words_in_order(events: pa.Table) -> dict[str, int]:
    """Keys to the order in which the writer met them: a part's dictionary keeps it, whatever its rows are sorted by."""
    found: dict[str, int] = {}
    for chunk in events["key"].chunks:
        for word in chunk.dictionary.to_pylist():
            found.setdefault(word, len(found))
    return found


def _marks(events: pa.Table, at: np.ndarray, part: np.ndarray, parts: int) -> tuple[Marks, list[int], np.ndarray]:
    """Markers of all parts, where each part's end, and the places of the rows that they close."""
    part = part[at]
    row, step, hlc = (_ints(events, name)[at] for name in ("row", "step", "hlc"))
    wall_us, runtime_s = hlc + _ints(events, "ts")[at], _floats(events, "v")[at]
    order = np.lexsort((row, hlc, step, part))
    marks = Marks(row[order], step[order], hlc[order], wall_us[order], runtime_s[order])
    ends = np.concatenate(([0], np.cumsum(np.bincount(part, minlength=parts)))).tolist()
    return marks, ends, _place(part, row)


def _slice_marks(marks: Marks, ends: list[int], n: int) -> Marks:
    cut = slice(ends[n], ends[n + 1])
    return Marks(marks.row[cut], marks.step[cut], marks.hlc[cut], marks.wall_us[cut], marks.runtime_s[cut])


def _place(part: np.ndarray, row: np.ndarray) -> np.ndarray:
    """One number for (part, row). Row numbers stay below 2**48: there are not more frames."""
    return np.asarray((part.astype(np.int64) << 48) + row)


def _key_stats(
    events: pa.Table,
    cells: np.ndarray,
    part: np.ndarray,
    words: list[Any],
    codes: np.ndarray,
    met: list[dict[str, int]],
) -> list[dict[str, KeyStats]]:
    found: list[list[tuple[tuple[int, int], str, KeyStats]]] = [[] for _ in met]
    if len(cells):
        order = cells[
            np.lexsort((_ints(events, "seq")[cells], _ints(events, "step")[cells], codes[cells], part[cells]))
        ]
        code, owner = codes[order], part[order]
        t, v, seq = _ints(events, "t")[order], _floats(events, "v")[order], _ints(events, "seq")[order]
        same = (code[1:] == code[:-1]) & (owner[1:] == owner[:-1])
        starts = np.flatnonzero(np.concatenate(([True], ~same)))
        ends = np.concatenate((starts[1:], [len(order)]))
        counts = np.stack([np.add.reduceat((t == kind).astype(np.int64), starts) for kind in Type], axis=1).tolist()
        falls = np.concatenate(([False], (v[1:] < v[:-1]) & same))
        fallen = np.add.reduceat(falls.astype(np.int64), starts).tolist()
        first_seq = np.minimum.reduceat(seq, starts).tolist()
        heads = zip(
            owner[starts].tolist(), code[starts].tolist(), v[starts].tolist(), v[ends - 1].tolist(), strict=True
        )
        for group, (n, key_code, first_v, last_v) in enumerate(heads):
            word = words[key_code]
            stats = KeyStats(tuple(counts[group]), not fallen[group], first_v, last_v)
            found[n].append(((first_seq[group], met[n][word]), word, stats))
    return [{word: stats for _, word, stats in sorted(keys, key=lambda key: key[0])} for keys in found]


def _last_of_groups(at: np.ndarray, by: tuple[np.ndarray, ...], seq: np.ndarray) -> np.ndarray:
    """Of the rows `at`, those with the greatest seq among equals of `by`, sorted by it."""
    if not len(at):
        return at
    order = at[np.lexsort((seq[at], *(column[at] for column in reversed(by))))]
    ends = np.zeros(len(order), bool)
    ends[-1] = True
    for column in by:
        ends[:-1] |= column[order][1:] != column[order][:-1]
    return order[ends]


def _first_of_each(values: np.ndarray, part: np.ndarray, parts: int) -> list[int | None]:
    """The least value of each part, None for one without events. Values go part by part."""
    counts = np.bincount(part, minlength=parts)
    filled = np.flatnonzero(counts)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    least: list[int | None] = [None] * parts
    if len(filled):
        for n, value in zip(filled.tolist(), np.minimum.reduceat(values, starts[filled]).tolist(), strict=True):
            least[n] = value
    return least


def _dictionary(events: pa.Table, name: str) -> tuple[list[Any], np.ndarray]:
    """Words, and each row's number in them, -1 for null."""
    column = events[name]
    if not column.num_chunks:
        return [], np.empty(0, np.int32)
    chunk = column.chunk(0)
    codes = chunk.indices.fill_null(-1) if chunk.null_count else chunk.indices
    return chunk.dictionary.to_pylist(), codes.to_numpy(zero_copy_only=False)


def _ints(events: pa.Table, name: str) -> np.ndarray:
    column = events[name]
    return np.asarray((column.fill_null(0) if column.null_count else column).to_numpy())


def _floats(events: pa.Table, name: str) -> np.ndarray:
    return np.asarray(events[name].to_numpy())
