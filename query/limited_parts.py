"""The beginning of a part: its rows up to a step and a frame, which is what a branch shows of another life.

What is known of the whole part is not true of its beginning. Of a small part all is counted again; of a large one what
is asked for, key by key, and no more of the file is read than lies below the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.history_plan import Paths, open_series
from tracker.query.memory_cache import MemoryCache
from tracker.query.part_digest import CELLS, EventsToDigest, PartDigest, digest_events
from tracker.query.part_marks import NO_MARKS
from tracker.query.plain_parts import is_plain
from tracker.query.point_reader import read_points
from tracker.query.run_files import KeyStats, Mark, Marks, PartRecords, RunPart, Series
from tracker.storage.arrow_arrays import numbers, rows_at, same_text, texts
from tracker.storage.events import HISTORY, ROW, SYSTEM, Type
from tracker.storage.schema import SCHEMA, PartFooter

__all__ = ["exact_stats", "limited_part", "stream_part"]

_DIGESTED_EVENTS: Final = 100_000  # parts with more are counted key by key
_KEPT_BYTES: Final = 128 << 20
_STATS_BYTES: Final = 256  # of one key
_MARK_COLUMNS: Final = "seq, row, step, hlc, ts, v"
_CELL_COLUMNS: Final = "seq, row, step, hlc, key, t, v, i, s"
_NO_CELLS: Final = pa.Table.from_batches([], CELLS)  # `empty_table` would import pandas

_NEVER: Final = -(2**63)  # before every step: where nobody knows at which step a key was logged first

_digests: MemoryCache[PartDigest] = MemoryCache(_KEPT_BYTES)
_heads: MemoryCache[_Head] = MemoryCache(_KEPT_BYTES)
_stats: MemoryCache[KeyStats] = MemoryCache(_KEPT_BYTES)
_marks: MemoryCache[Marks] = MemoryCache(_KEPT_BYTES)
_firsts: MemoryCache[int] = MemoryCache(_KEPT_BYTES)


def limited_part(part: RunPart, paths: Paths, root: str, upto_step: int, upto_seq: int) -> RunPart | None:
    """`part` without rows above `upto_step` and frames above `upto_seq`; None where nothing is left.

    `root`: of the store that `paths` reads from. System metrics and console lines are left out: they are not rows.

    Raises:
        PartsGone: start over with a fresh listing.
    """
    if part.first > upto_seq:
        return None
    bare = replace(part, system_info=None, console_info=None)
    if part.last <= upto_seq and (part.step_last is None or part.step_last <= upto_step):
        return bare
    if is_plain(part) and (part.step_first is None or part.step_first > upto_step):
        return None
    cut = replace(
        bare, last=min(part.last, upto_seq), upto_step=upto_step, upto_seq=upto_seq, whole=part, rollup=part.rollup
    )
    identity = (
        *(root, part.info.key, part.info.size_bytes, part.run_id, part.writer_id, part.first, part.upto_hlc_us),
        *(upto_step, upto_seq),
    )
    head = _heads.get(identity)
    if head is None:
        head = _head(cut, paths, identity)
        _heads.put(identity, head, 256)
    if is_plain(part):
        if not head.rows:
            return None
        # rows of a plain part rise with its frames, and nobody writes into a row that is closed: one limit does
        cut = replace(cut, upto_step=head.step_last, upto_seq=None)
    return replace(
        cut,
        rows=head.rows,
        step_first=head.step_first,
        step_last=head.step_last,
        records=_LimitedRecords(part=cut, head=head, paths=paths, identity=identity),
    )


def exact_stats(part: RunPart, key: str) -> KeyStats:
    """What the part's cells of a key that it has are like. `part.keys` says of the beginning of a large part how many
    there are and of which types, and not always their order.
    """
    records = part.records
    return records.stats(key) if isinstance(records, _LimitedRecords) and not records.is_small else part.keys[key]


def stream_part(part: RunPart, paths: Paths, upto_seq: int) -> RunPart | None:
    """`part` without frames above `upto_seq`, for what is not in rows: system metrics, console lines."""
    if part.first > upto_seq:
        return None
    if part.last <= upto_seq:
        return part
    cut = replace(part, last=upto_seq, upto_seq=upto_seq, whole=part, rows=0, step_first=None, step_last=None)
    return replace(cut, records=_StreamRecords(cut, paths))


@dataclass(frozen=True, slots=True)
class _StreamRecords:
    """PartRecords of the first frames of a part, of which nobody asks for rows: there is no word of these."""

    part: RunPart
    paths: Paths

    @property
    def _whole(self) -> PartRecords:
        assert self.part.whole is not None
        return self.part.whole.records

    @property
    def facts(self) -> pa.Table:
        return _first_frames(self._whole.facts, self.part.last)

    @property
    def open(self) -> pa.Table:
        return _NO_CELLS

    @property
    def first_hlc_us(self) -> int | None:
        return self._whole.first_hlc_us

    @property
    def wall_max_us(self) -> int:
        """That of the whole part: the writer was alive then."""
        return self._whole.wall_max_us

    @property
    def keys(self) -> Mapping[str, KeyStats]:
        return {}

    @property
    def last(self) -> pa.Table:
        return _NO_CELLS

    @property
    def system(self) -> pa.Table:
        source = self.part.of_system()
        if source is None:
            return _NO_CELLS
        columns = "row, seq, hlc, key, t, v, i, s"
        points = read_points([source], self.paths, kind=SYSTEM, columns=columns).select(CELLS.names).cast(CELLS)
        points = points.sort_by("seq")
        last = {key: n for n, key in enumerate(points["key"].to_pylist())}
        return rows_at(points, np.array(list(last.values()), np.int64))

    def series(self, _key: str, /) -> Series | None:
        return None

    def last_mark(self) -> Mark | None:
        return None

    def marks(self) -> Marks:
        return NO_MARKS


@dataclass(frozen=True, slots=True)
class _Head:
    """Rows that count."""

    rows: int
    step_first: int | None
    step_last: int | None


def _head(part: RunPart, paths: Paths, identity: tuple[object, ...]) -> _Head:
    if part.events <= _DIGESTED_EVENTS:
        digest = _digest(part, paths, identity)
        return _Head(digest.rows, digest.step_first, digest.step_last)
    if is_plain(part):
        return _plain_head(part, paths)
    marks = _read_marks(part, paths, identity)
    if not len(marks):
        return _Head(0, None, None)
    return _Head(len(marks), int(marks.step.min()), int(marks.step.max()))


def _plain_head(part: RunPart, paths: Paths) -> _Head:
    """Backwards from the step: where the frames end is looked for, and before that statistics count the rows."""
    assert part.upto_step is not None
    assert part.upto_seq is not None
    columns = ("step", "seq", *(("run", "writer") if part.packed else ()))
    rows = 0
    last: int | None = None
    with open_series(paths, part) as file:
        steps = (None, part.upto_step)
        for group in reversed(file.groups(ROW, None, runs=[part.run_id] if part.packed else None, steps=steps)):
            counted = file.rows_of(group, ROW, part.upto_step) if last is not None and not part.packed else None
            if counted is not None:
                rows += counted
                continue
            found = file.read(group, ROW, None, columns)
            mask = (found.ints("step") <= part.upto_step) & (found.ints("seq") <= part.upto_seq)
            if part.packed:
                owners, owner = found.owners() if len(found) else ([], np.empty(0, np.int64))
                mask &= np.array([one == (part.run_id, part.writer_id) for one in owners], bool)[owner]
            count = int(np.count_nonzero(mask))
            if count and last is None:
                last = int(found.ints("step")[mask].max())
            rows += count
    return _Head(rows, part.step_first if rows else None, last)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LimitedRecords:
    """PartRecords of the beginning of a part."""

    part: RunPart
    head: _Head
    paths: Paths
    identity: tuple[object, ...]

    @property
    def whole(self) -> RunPart:
        """What this is the beginning of."""
        assert self.part.whole is not None
        return self.part.whole

    @property
    def facts(self) -> pa.Table:
        return _first_frames(self.whole.records.facts, self.part.last)

    @property
    def first_hlc_us(self) -> int | None:
        return self.whole.records.first_hlc_us

    @property
    def wall_max_us(self) -> int:
        """That of the whole part: the writer was alive then."""
        return self.whole.records.wall_max_us

    @property
    def keys(self) -> Mapping[str, KeyStats]:
        return self._digest().keys if self.is_small else _LimitedKeys(self)

    @property
    def last(self) -> pa.Table:
        if self.is_small:
            return self._digest().last
        closed = self.marks().row
        cells = (self._cells(key) for key in self.keys)
        found = [_last_cell(table, np.isin(_ints(table, "row"), closed)) for table in cells]
        return pa.concat_tables([_NO_CELLS, *found]).combine_chunks()

    @property
    def open(self) -> pa.Table:
        """None of a plain part; of others those that wait for a later part of the same writer."""
        if self.is_small:
            return self._digest().open
        if is_plain(self.whole):
            return _NO_CELLS
        return _first_frames(self.whole.records.open, self.part.last)

    @property
    def system(self) -> pa.Table:
        """None: system metrics are not rows."""
        return _NO_CELLS

    def series(self, _key: str, /) -> Series | None:
        """None: records are of the whole part."""
        return None

    def last_mark(self) -> Mark | None:
        marks = self.marks()
        if not len(marks):
            return None
        at = int(np.argmax(marks.hlc))
        hlc = int(marks.hlc[at])
        ts = int(marks.wall_us[at]) - hlc
        return Mark(int(marks.row[at]), int(marks.step[at]), hlc, ts, float(marks.runtime_s[at]))

    def marks(self) -> Marks:
        return _read_marks(self.part, self.paths, self.identity) if self.head.rows else NO_MARKS

    @property
    def is_small(self) -> bool:
        """Whether all of it is counted at once."""
        return self.part.events <= _DIGESTED_EVENTS

    def _digest(self) -> PartDigest:
        return _digest(self.part, self.paths, self.identity)

    def _cells(self, key: str) -> pa.Table:
        """Cells of the key that count, by (step, seq)."""
        found = read_points(
            [self.part], self.paths, kind=HISTORY, columns=_CELL_COLUMNS, where="key = $key", params={"key": key}
        )
        order = np.lexsort((_ints(found, "seq"), _ints(found, "step")))
        return rows_at(found, order)

    def stats(self, key: str) -> KeyStats:
        """What the key's cells are like, by reading them."""
        held = _stats.get((*self.identity, key))
        if held is None:
            cells = self._cells(key)
            v = cells["v"].to_numpy()
            counts = np.bincount(_ints(cells, "t"), minlength=len(Type)).tolist()
            ends = (float(v[0]), float(v[-1])) if len(v) else (np.nan, np.nan)
            held = KeyStats(tuple(counts), not bool((v[1:] < v[:-1]).any()), *ends)
            _stats.put((*self.identity, key), held, _STATS_BYTES)
        return held


class _LimitedKeys(Mapping[str, KeyStats]):
    """The keys of a large part that its beginning has. Those of a plain part are counted only where it has to be."""

    def __init__(self, records: _LimitedRecords) -> None:
        self._records = records
        self._whole = records.whole

    def _has(self, key: str) -> bool:
        last = self._records.part.upto_step
        if last is None:
            return True
        identity = (*self._records.identity[:-2], key)  # of the whole part: all that begin in it share what is found
        first = _firsts.get(identity)
        if first is None:
            series = self._whole.series(key)
            first = _NEVER if series is None else series.first_step
            _firsts.put(identity, first, _STATS_BYTES)
        return first <= last

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._whole.keys and self._has(key)

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._whole.keys if self._has(key))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, key: str) -> KeyStats:
        stats = self._whole.keys[key]
        if not self._has(key):
            raise KeyError(key)
        if is_plain(self._whole) and sum(stats.counts) == self._whole.rows and sum(map(bool, stats.counts)) == 1:
            rows = self._records.head.rows  # every row has it, and it is always of one type
            return KeyStats(tuple(rows if count else 0 for count in stats.counts), False, np.nan, np.nan)
        return self._records.stats(key)


def _digest(part: RunPart, paths: Paths, identity: tuple[object, ...]) -> PartDigest:
    """All that is known of a small one."""
    found = _digests.get(identity)
    if found is None:
        words = list((part.whole or part).keys)  # in order: those of one frame keep it
        cells = _events(read_points([part], paths, kind=HISTORY, columns=_CELL_COLUMNS), HISTORY, words)
        marks = _events(read_points([part], paths, kind=ROW, columns=_MARK_COLUMNS), ROW, words)
        events = pa.concat_tables([cells, marks]).unify_dictionaries().combine_chunks()
        footer = PartFooter(
            entity="",
            project="",
            run_id=part.run_id,
            writer_id=part.writer_id,
            family="e",
            first=part.first,
            last=part.last,
            mark="",
        )
        place = Path(*(str(word) for word in identity))  # names the markers in memory
        (found,) = digest_events([EventsToDigest(place, footer, events, part.first, part.upto_hlc_us)])
        _digests.put(identity, found, found.size_bytes)
    return found


def _events(points: pa.Table, kind: str, words: list[str]) -> pa.Table:
    """As written (SCHEMA), columns that nobody asked for null or zero. `words`: the keys that occur, in order."""
    count = points.num_rows
    columns = []
    for field in SCHEMA:
        if field.name == "kind":
            columns.append(same_text(kind, count))
        elif field.name == "key":
            keys = points[field.name].combine_chunks() if field.name in points.column_names else None
            codes = pa.nulls(count, pa.int32()) if keys is None else pc.index_in(keys, value_set=texts(words))
            columns.append(pa.DictionaryArray.from_arrays(codes, texts(words)))
        elif field.name in points.column_names:
            columns.append(points[field.name].combine_chunks().cast(field.type))
        elif field.name in ("ts", "t"):
            columns.append(numbers(np.zeros(count), field.type))
        else:
            columns.append(pa.nulls(count, field.type))
    return pa.table(columns, schema=SCHEMA)


def _read_marks(part: RunPart, paths: Paths, identity: tuple[object, ...]) -> Marks:
    found = _marks.get(identity)
    if found is None:
        table = read_points([part], paths, kind=ROW, columns=_MARK_COLUMNS)
        row, step, hlc, ts, v = (table[name].to_numpy() for name in ("row", "step", "hlc", "ts", "v"))
        order = np.lexsort((row, hlc, step))
        found = Marks(row[order], step[order], hlc[order], (hlc + ts)[order], v[order])
        _marks.put(identity, found, 40 * len(found) + 512)
    return found


def _last_cell(cells: pa.Table, closed: np.ndarray) -> pa.Table:
    """CELLS of the one that was written last into a closed row; none where there is none."""
    at = np.flatnonzero(closed)
    if len(at):
        at = at[[int(np.argmax(_ints(cells, "seq")[at]))]]
    return rows_at(cells, at).select(CELLS.names).cast(CELLS)


def _first_frames(table: pa.Table, last: int) -> pa.Table:
    return rows_at(table, np.flatnonzero(_ints(table, "seq") <= last))


def _ints(table: pa.Table, name: str) -> np.ndarray:
    column = table[name]
    return np.asarray((column.fill_null(-1) if column.null_count else column).to_numpy())
