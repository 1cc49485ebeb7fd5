"""Derived records of a merge, computed while its events pass by: series, buckets, open cells, writers.

Feed every row group of every family (`Rollup.add`), then take `records` and write them with `write_derived`.
Memory: one entry a series and row group, at most 1024 buckets of a long series, and the cells of rows that are not
closed. Whatever the row groups, the records are the same but for the last digits of means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.arrow_arrays import booleans, codes_of, numbers, one_chunk, rows_at, texts, values_of
from tracker.storage.closed_rows import ClosedRows, collect_closed_rows
from tracker.storage.derived import Record, read_derived, write_derived
from tracker.storage.events import DELETED, KIND_WRITER, decode_cell
from tracker.storage.key_places import KeyPlaces
from tracker.storage.owners import Owners
from tracker.storage.rollup_series import BUCKETED_POINTS, ROLLED_KINDS, Found, SeriesRollup

__all__ = [
    "BUCKETED_POINTS",
    "Frames",
    "KeyPlaces",
    "Owners",
    "Rollup",
    "collect_closed_rows",
    "read_derived",
    "write_derived",
]

_TEXT_FIELDS: Final = ("generation", "job", "rank", "state")
_TIME_FIELDS: Final = ("started_at", "ended_at")
_NONE: Final = np.iinfo(np.int64)
_ROWS_AT_ONCE: Final = 16 * 1024  # what is computed of them takes less memory than a row group


@dataclass(frozen=True, slots=True)
class Frames:
    """Which frames of an owner the merge holds; the writer record says so."""

    first: int
    last: int
    mark: str
    pack: str | None = None


class Rollup:
    """What the events added so far come to."""

    def __init__(self, owners: Owners, closed: ClosedRows, places: KeyPlaces | None = None) -> None:
        """`closed`: of all events to come, by `collect_closed_rows`. `places`: the order of each owner's keys."""
        self._owners, self._closed = owners, closed
        self._series = SeriesRollup(closed, places or KeyPlaces())
        count = len(owners)
        self._events = np.zeros(count, np.int64)
        self._first_hlc = np.full(count, _NONE.max)
        self._last_hlc = np.full(count, _NONE.min)
        self._last_wall = np.full(count, _NONE.min)
        self._said: list[dict[str, tuple[tuple[int, int], Any]]] = [{} for _ in range(count)]

    def add(self, events: pa.Table) -> None:
        """One block of one family (SCHEMA or PACK_SCHEMA), behind the family's blocks that were added before."""
        table = one_chunk(events)
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            self._add(table.slice(start, _ROWS_AT_ONCE))

    def _add(self, table: pa.Table) -> None:
        owner = self._owners.of(table)
        self._add_extents(table, owner)
        kinds = table["kind"].chunk(0)
        words, codes = kinds.dictionary.to_pylist(), codes_of(kinds)
        for code, word in enumerate(words):
            if word != KIND_WRITER and word not in ROLLED_KINDS:
                continue
            at = np.flatnonzero(codes == code)
            if not len(at):
                continue
            if word == KIND_WRITER:
                self._add_sessions(rows_at(table.select(["key", "hlc", "seq", "t", "v", "i", "s"]), at), owner[at])
            else:
                start, end = int(at[0]), int(at[-1]) + 1
                self._series.add(ROLLED_KINDS.index(word), table.slice(start, end - start), owner[start:end])

    def records(self, frames: Mapping[tuple[str, str], Frames]) -> Iterator[pa.Table]:
        """Tables for `write_derived`, in its order. `frames`: of every owner (run, writer)."""
        open_cells, series = self._series.open_and_series()
        for what, found in (
            (Record.BUCKET, self._series.buckets()),
            (Record.OPEN, open_cells),
            (Record.SERIES, series),
        ):
            for some in found:
                yield self._table(what, some)
        yield self._writers(frames)

    def _add_extents(self, table: pa.Table, owner: np.ndarray) -> None:
        hlc, ts = values_of(table["hlc"].chunk(0)), values_of(table["ts"].chunk(0))
        starts = np.concatenate(([0], np.flatnonzero(owner[1:] != owner[:-1]) + 1))
        of = owner[starts]
        np.add.at(self._events, of, np.diff(np.append(starts, len(owner))))
        np.minimum.at(self._first_hlc, of, np.minimum.reduceat(hlc, starts))
        np.maximum.at(self._last_hlc, of, np.maximum.reduceat(hlc, starts))
        np.maximum.at(self._last_wall, of, np.maximum.reduceat(hlc + ts, starts))

    def _add_sessions(self, facts: pa.Table, owner: np.ndarray) -> None:
        """What writers say of themselves, read as `tracker.storage.fold.fold_writers` does."""
        for fact, number in zip(facts.to_pylist(), owner.tolist(), strict=True):
            prefix = f"{self._owners.pairs[number][1]}."
            if not (fact["key"] or "").startswith(prefix):
                continue
            said, name = self._said[number], fact["key"][len(prefix) :]
            stamp = fact["hlc"], fact["seq"]
            if name in said and said[name][0] >= stamp:
                continue
            value = decode_cell(fact["t"], fact["v"], fact["i"], fact["s"])
            said[name] = (stamp, None if value is DELETED else value)

    def _table(self, what: str, found: Found) -> pa.Table:
        columns = self._names(what, found.owner)
        kinds = numbers(found.kind, pa.int32())
        columns["kind"] = pa.DictionaryArray.from_arrays(kinds, texts(ROLLED_KINDS))
        columns["key"] = pc.dictionary_encode(found.key)
        return _as_table(columns | found.columns)

    def _names(self, what: str, owner: np.ndarray) -> dict[str, Any]:
        """Columns what, run and writer."""
        runs = list(dict.fromkeys(run for run, _ in self._owners.pairs))
        place = {run: n for n, run in enumerate(runs)}
        run_of = np.array([place[run] for run, _ in self._owners.pairs], np.int32)
        writers = list(dict.fromkeys(writer for _, writer in self._owners.pairs))
        place = {writer: n for n, writer in enumerate(writers)}
        writer_of = np.array([place[writer] for _, writer in self._owners.pairs], np.int32)
        return {
            "what": pa.DictionaryArray.from_arrays(numbers(np.zeros(len(owner)), pa.int32()), texts([what])),
            "run": pa.DictionaryArray.from_arrays(numbers(run_of[owner], pa.int32()), texts(runs)),
            "writer": pa.DictionaryArray.from_arrays(numbers(writer_of[owner], pa.int32()), texts(writers)),
        }

    def _writers(self, frames: Mapping[tuple[str, str], Frames]) -> pa.Table:
        count = len(self._owners)
        held = [frames[pair] for pair in self._owners.pairs]
        some = self._events > 0
        columns = self._names(Record.WRITER, np.arange(count)) | {
            "pack": pc.dictionary_encode(_texts([one.pack for one in held])),
            "first_frame": numbers(np.array([one.first for one in held], np.int64), pa.int64()),
            "last_frame": numbers(np.array([one.last for one in held], np.int64), pa.int64()),
            "mark": texts([one.mark for one in held]),
            "events": numbers(self._events, pa.int64()),
            "rows": numbers(self._closed.counts, pa.int64()),
            "first_hlc": numbers(self._first_hlc, pa.int64(), some),
            "last_hlc": numbers(self._last_hlc, pa.int64(), some),
            "last_wall_us": numbers(self._last_wall, pa.int64(), some),
            "plain": booleans(self._series.plain),
            "is_session": booleans(np.array([bool(said) for said in self._said], bool)),
        }
        for name in _TEXT_FIELDS:
            columns[name] = _texts([self._field(n, name, str) for n in range(count)])
        for name in _TIME_FIELDS:
            values = [self._field(n, name, int) for n in range(count)]
            known = np.array([value is not None for value in values], bool)
            columns[name] = numbers(np.array([value or 0 for value in values], np.int64), pa.int64(), known)
        return _as_table(columns)

    def _field(self, owner: int, name: str, kind: type[Any]) -> Any:
        value = self._said[owner].get(name, (None, None))[1]
        return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _texts(values: list[str | None]) -> pa.Array:
    at = np.array([n if value is not None else -1 for n, value in enumerate(values)], np.int64)
    return texts([value or "" for value in values], at)


def _as_table(columns: dict[str, Any]) -> pa.Table:
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))
