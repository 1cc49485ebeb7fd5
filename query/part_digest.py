"""What a reader keeps of a part: its facts, which rows it closes, and the last value of every key.

Made once per part and frame cut, since parts never change; many at once, because most parts are small. From the
digests of a run's parts follow its state, its automatic summary and the plan of every history query; only the
points themselves are read again.
"""

from __future__ import annotations

import itertools
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

from tracker.query.event_columns import floats, ints, words_and_codes
from tracker.query.part_marks import NO_MARKS, keep_marks, load_marks
from tracker.query.run_files import Head, KeyStats, Mark, Marks, Series
from tracker.storage.arrow_arrays import numbers, rows_at
from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.events import HISTORY, POINT_KINDS, ROW, SYSTEM, Type
from tracker.storage.last_in_row import replaced_cells
from tracker.storage.point_stats import means
from tracker.storage.schema import SCHEMA, PartFooter, parse_footer

__all__ = [
    "CELLS",
    "FACTS",
    "FIGURES",
    "EventsToDigest",
    "PartDigest",
    "PartToRead",
    "digest_events",
    "digest_parts",
    "join_digests",
]

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

FIGURES: Final = pa.schema(  # of the points of a key: `tracker.storage.metric_rules.Figures`
    [
        pa.field("row", pa.int64()),  # of points in a row that is not closed; else null
        pa.field("key", pa.string()),
        *_STAMP,  # of the last point
        pa.field("first_seq", pa.int64()),
        pa.field("first_hlc", pa.int64()),  # null where nobody knows it
        pa.field("count", pa.int64()),  # numbers without NaN
        pa.field("nan_count", pa.int64()),
        pa.field("floats", pa.int64()),  # points that are neither whole numbers nor no numbers
        pa.field("min_v", pa.float64()),  # null where there is no number
        pa.field("max_v", pa.float64()),
        pa.field("mean_v", pa.float64()),
    ]
)

_BATCH_PARTS: Final = 256
_BATCH_BYTES: Final = 4 << 20  # compressed; in memory about twenty times as much
_THREADS: Final = min(4, os.cpu_count() or 1)
_OVERHEAD_BYTES: Final = 4096
_DICTIONARIES: Final = ["kind", "subject", "key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDigest:
    """Everything that a part holds from its cut on, points reduced."""

    path: Path  # of the file that was read; of a set its first one
    footer: PartFooter
    first: int  # frames below do not count
    upto_hlc_us: int | None  # the file has later events, which are left out
    first_hlc_us: int | None  # of its first event; None where it has none
    hlc_max_us: int  # of its last event
    wall_max_us: int  # greatest wall time of an event
    events: int
    facts: pa.Table  # FACTS
    keys: dict[str, KeyStats]  # history keys (stored form), in the order in which they were first logged
    last: pa.Table  # CELLS: the last committed cell of every history key
    open: pa.Table  # CELLS: last cell of every key in rows that are not closed in this part
    system: pa.Table  # CELLS, row null: the last point of every system key
    figures: pa.Table  # FIGURES: of the committed points of every history key, as their rows end
    open_figures: pa.Table  # FIGURES: of the points in rows that are not closed in this part, per key and row
    head: Head | None  # None: it has to be read
    rows: int  # markers
    step_first: int | None
    step_last: int | None
    mark: Mark | None  # the last one
    plain: bool  # as `tracker.storage.derived` says
    records: pa.Table | None = None  # DERIVED_SCHEMA: the record of each history key, where there are any

    def marks(self) -> Marks:
        """Raises FileNotFoundError where they were forgotten and the file is gone."""
        return load_marks(self.path, self.first, self.upto_hlc_us) if self.rows else NO_MARKS

    def last_mark(self) -> Mark | None:
        """The marker that was written last; None without rows."""
        return self.mark

    def series(self, key: str, /) -> Series | None:
        """None: there are no such records, as for `e` files."""
        if self.records is None or key not in self.keys:
            return None
        found = self.records.filter(pc.equal(self.records["key"], key)).select(list(Series.__dataclass_fields__))
        return Series(**found.to_pylist()[0]) if found.num_rows else None

    @property
    def size_bytes(self) -> int:
        tables = [self.facts, self.last, self.open, self.system, self.figures, self.open_figures]
        tables += [] if self.records is None else [self.records]
        return int(sum(table.nbytes for table in tables)) + 400 * len(self.keys) + _OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class PartToRead:
    path: Path
    name: str  # what messages call it
    first: int  # frames below do not count
    upto_hlc_us: int | None = None  # nor do later events


def digest_parts(parts: Sequence[PartToRead]) -> list[PartDigest | CorruptData | FormatTooNew | FileNotFoundError]:
    """The digest of each part, or what is wrong with it, in order. Checksums are verified."""
    found: list[PartDigest | CorruptData | FormatTooNew | FileNotFoundError] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in _batches(parts):
            read = list(pool.map(_read, batch)) if len(batch) > 1 else [_read(batch[0])]
            good = [one for one in read if isinstance(one, EventsToDigest)]
            digests = iter(digest_events(good))
            found += [next(digests) if isinstance(one, EventsToDigest) else one for one in read]
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


@dataclass(frozen=True, slots=True)
class EventsToDigest:
    """Events (SCHEMA) of a part from its cut on."""

    path: Path
    footer: PartFooter
    events: pa.Table
    first: int
    upto_hlc_us: int | None = None  # where there are later ones


def _read(part: PartToRead) -> EventsToDigest | CorruptData | FormatTooNew | FileNotFoundError:
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
    upto_hlc_us = part.upto_hlc_us
    if upto_hlc_us is not None:
        kept = events.filter(pc.less_equal(events["hlc"], upto_hlc_us))
        upto_hlc_us = None if kept.num_rows == events.num_rows else upto_hlc_us
        events = kept
    return EventsToDigest(part.path, footer, events.cast(SCHEMA), part.first, upto_hlc_us)


def digest_events(read: Sequence[EventsToDigest]) -> list[PartDigest]:
    """Digests of parts whose events are in memory: numbers over all of them at once, then cut per part."""
    if not read:
        return []
    count = len(read)
    met = [_words_in_order(one.events) for one in read]
    events = pa.concat_tables([one.events for one in read]).unify_dictionaries().combine_chunks()
    part = np.repeat(np.arange(count), [one.events.num_rows for one in read])
    kinds = _Kinds(events)
    facts = _Cut(events, kinds.facts(), part, count, FACTS)
    marks, mark_ends, closed = _marks(events, kinds.rows(ROW), part, count)
    cells = kinds.rows(HISTORY)
    row, step, seq, hlc = (ints(events, name) for name in ("row", "step", "seq", "hlc"))
    place = _place(part[cells], row[cells])
    committed = np.isin(place, closed)
    words, codes = words_and_codes(events, "key")
    replaced = replaced_cells(seq[cells], place, codes[cells])
    counts = np.ones(len(cells), bool)
    counts[replaced] = False
    groups = _groups(cells[committed & counts], (part, codes), seq)
    open_groups = _groups(cells[~committed & counts], (part, row, codes), seq)
    last, still_open = (_ends(*one) for one in (groups, open_groups))
    system = _ends(*_groups(kinds.rows(SYSTEM), (part, codes), seq))
    figures = [
        _Slices(_figures(events, *one, in_rows=one is open_groups), part[_ends(*one)], count)
        for one in (groups, open_groups)
    ]
    tables = [_Cut(events, at, part, count, CELLS) for at in (last, still_open, system)]
    keys = _key_stats(events, cells, part, words, codes, met)
    plain = _plain(marks, mark_ends, part[cells], place, step[cells], committed, replaced)
    heads = _heads(marks, mark_ends, place, codes[cells], words)
    first_hlc = _first_of_each(hlc, part, count)
    last_hlc = _first_of_each(-hlc, part, count)
    last_wall = _first_of_each(-hlc - ints(events, "ts"), part, count)
    found = []
    for n, one in enumerate(read):
        mine = _slice_marks(marks, mark_ends, n)
        keep_marks(one.path, one.first, one.upto_hlc_us, mine)
        wall = last_wall[n]
        unseen_us = one.footer.ts_max_us if one.upto_hlc_us is None else 0  # of a file whose events are all too late
        found.append(
            PartDigest(
                path=one.path,
                footer=one.footer,
                first=one.first,
                upto_hlc_us=one.upto_hlc_us,
                first_hlc_us=first_hlc[n],
                hlc_max_us=-(last_hlc[n] or 0),
                wall_max_us=unseen_us if wall is None else -wall,
                events=one.events.num_rows,
                facts=facts.of(n),
                keys=keys[n],
                last=tables[0].of(n),
                open=tables[1].of(n),
                system=tables[2].of(n),
                figures=figures[0].of(n),
                open_figures=figures[1].of(n),
                head=heads[n],
                rows=len(mine),
                step_first=int(mine.step[0]) if len(mine) else None,
                step_last=int(mine.step[-1]) if len(mine) else None,
                mark=_last_mark(mine),
                plain=plain[n],
            )
        )
    return found


def _last_mark(marks: Marks) -> Mark | None:
    if not len(marks):
        return None
    at = int(np.argmax(marks.hlc))
    hlc = int(marks.hlc[at])
    return Mark(int(marks.row[at]), int(marks.step[at]), hlc, int(marks.wall_us[at]) - hlc, float(marks.runtime_s[at]))


def _plain(
    marks: Marks,
    ends: list[int],
    owner: np.ndarray,
    place: np.ndarray,
    step: np.ndarray,
    committed: np.ndarray,
    replaced: np.ndarray,
) -> list[bool]:
    """Of each part whether its rows are simple (`tracker.storage.derived`, plain). The arrays are of history cells."""
    parts = len(ends) - 1
    odd = np.zeros(parts, bool)
    odd[owner[~committed]] = True
    owners = np.repeat(np.arange(parts), np.diff(ends))
    places = _place(owners, marks.row)
    order = np.argsort(places, kind="stable")
    near = owners[order][1:] == owners[order][:-1]
    falls = near & (marks.step[order][1:] <= marks.step[order][:-1])  # a row that is closed twice falls too
    odd[owners[order][1:][falls]] = True
    odd[owners[order][1:][places[order][1:] == places[order][:-1]]] = True
    if len(places) and len(place):
        at = np.minimum(np.searchsorted(places[order], place), len(places) - 1)
        odd[owner[marks.step[order][at] != step]] = True
    odd[owner[replaced]] = True
    return (~odd).tolist()


def _heads(marks: Marks, ends: list[int], place: np.ndarray, code: np.ndarray, words: list[Any]) -> list[Head]:
    """Of each part its first row. `place`, `code`: of history cells."""
    rows = [int(marks.row[start:end].min()) if end > start else -1 for start, end in itertools.pairwise(ends)]
    first = np.arange(len(rows), dtype=np.int64) << 48 | np.maximum(rows, 0)
    at = np.flatnonzero(place == first[place >> 48])
    keys: list[set[str]] = [set() for _ in rows]
    for n, key in zip((place[at] >> 48).tolist(), code[at].tolist(), strict=True):
        keys[n].add(words[key])
    return [Head(row, frozenset(names) if row >= 0 else frozenset()) for row, names in zip(rows, keys, strict=True)]


def join_digests(digests: Sequence[PartDigest]) -> PartDigest:
    """The digest of a merged set: facts of its first file, history and system metrics from whichever file has them."""
    if len(digests) == 1:
        return digests[0]
    begun = [digest.first_hlc_us for digest in digests if digest.first_hlc_us is not None]
    history = next((digest for digest in digests if digest.footer.family == "h"), digests[0])
    system = next((digest for digest in digests if digest.footer.family == "s"), digests[0])
    return replace(
        history,
        footer=digests[0].footer,
        first_hlc_us=min(begun, default=None),
        hlc_max_us=max(digest.hlc_max_us for digest in digests),
        wall_max_us=max(digest.wall_max_us for digest in digests),
        upto_hlc_us=next((digest.upto_hlc_us for digest in digests if digest.upto_hlc_us is not None), None),
        facts=digests[0].facts,
        system=system.system,
    )


class _Kinds:
    def __init__(self, events: pa.Table) -> None:
        self._words, self._codes = words_and_codes(events, "kind")

    def rows(self, kind: str) -> np.ndarray:
        if kind not in self._words:
            return np.empty(0, np.int64)
        return np.flatnonzero(self._codes == self._words.index(kind))

    def facts(self) -> np.ndarray:
        wanted = np.array([word not in POINT_KINDS for word in self._words], bool)
        return np.flatnonzero(wanted[self._codes]) if len(self._codes) else np.empty(0, np.int64)


class _Slices:
    """A table with rows of all parts, given out part by part. `part`: of each row, rising."""

    def __init__(self, table: pa.Table, part: np.ndarray, parts: int) -> None:
        self._table = table
        self._ends = np.concatenate(([0], np.cumsum(np.bincount(part, minlength=parts)))).tolist()

    def of(self, n: int) -> pa.Table:
        return self._table.slice(self._ends[n], self._ends[n + 1] - self._ends[n])


class _Cut(_Slices):
    """Some rows of all parts as one table with `schema`, given out part by part. `at` goes part by part."""

    def __init__(self, events: pa.Table, at: np.ndarray, part: np.ndarray, parts: int, schema: pa.Schema) -> None:
        picked = rows_at(events.select(schema.names), at)
        table = picked.cast(pa.schema([field.with_nullable(True) for field in schema])).combine_chunks()
        super().__init__(table, part[at], parts)


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
    row, step, hlc = (ints(events, name)[at] for name in ("row", "step", "hlc"))
    wall_us, runtime_s = hlc + ints(events, "ts")[at], floats(events, "v")[at]
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
            np.lexsort((ints(events, "seq")[cells], ints(events, "step")[cells], codes[cells], part[cells]))
        ]
        code, owner = codes[order], part[order]
        t, v, seq = ints(events, "t")[order], floats(events, "v")[order], ints(events, "seq")[order]
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


def _groups(at: np.ndarray, by: tuple[np.ndarray, ...], seq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows `at` sorted by `by` and seq, and where the groups of equals of `by` end."""
    if not len(at):
        return at, np.empty(0, np.int64)
    order = at[np.lexsort((seq[at], *(column[at] for column in reversed(by))))]
    ends = np.zeros(len(order), bool)
    ends[-1] = True
    for column in by:
        ends[:-1] |= column[order][1:] != column[order][:-1]
    return order, np.flatnonzero(ends)


def _ends(order: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Of each group the row with the greatest seq."""
    return np.asarray(order[ends])


def _figures(events: pa.Table, order: np.ndarray, ends: np.ndarray, *, in_rows: bool) -> pa.Table:
    """FIGURES of each group. `in_rows`: a group is of one row."""
    if not len(order):
        return pa.Table.from_batches([], FIGURES)
    starts = np.concatenate(([0], ends[:-1] + 1))
    v, t = floats(events, "v")[order], ints(events, "t")[order]
    is_number = t <= Type.BOOL
    real = is_number & ~np.isnan(v)
    count, nan_count, fractions = (
        np.add.reduceat(mask.astype(np.int64), starts) for mask in (real, is_number & ~real, t == Type.FLOAT)
    )
    low = np.minimum.reduceat(np.where(real, v, np.inf), starts)
    high = np.maximum.reduceat(np.where(real, v, -np.inf), starts)
    mean = means(np.where(real, v, 0.0), starts, ends - starts + 1, count)
    some = count > 0
    first, last = order[starts], order[ends]
    stamps = {name: ints(events, name) for name in ("row", "seq", "hlc")}
    columns = [
        numbers(stamps["row"][last], pa.int64(), np.full(len(last), in_rows)),
        rows_at(events.select(["key"]), last)["key"].cast(pa.string()).combine_chunks(),
        numbers(stamps["seq"][last], pa.int64()),
        numbers(stamps["hlc"][last], pa.int64()),
        numbers(stamps["seq"][first], pa.int64()),
        numbers(stamps["hlc"][first], pa.int64()),
        *(numbers(column, pa.int64()) for column in (count, nan_count, fractions)),
        *(numbers(column, pa.float64(), some) for column in (low, high, mean)),
    ]
    return pa.Table.from_arrays(columns, schema=FIGURES)


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
