"""One part or pack, open for reading series: its row groups pruned by their statistics, decoded one at a time.

A series is what one kind and key has in the file. Files are sorted by (kind, key, [run,] step, seq), so a series is a
few row groups, and it lies in order in them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tracker.query.memory_cache import MemoryCache
from tracker.storage.errors import CorruptData

__all__ = ["VALUES", "SeriesFile", "SeriesSlice"]

VALUES: Final = ("t", "v", "i", "s")

_NAMES: Final = ("kind", "key")
_OWNERS: Final = ("run", "writer")  # in packs
_INDEX_BYTES: Final = 64 << 20
_GROUP_BYTES: Final = 600  # of its statistics, as Python objects
_DECODED: Final = 4  # row groups that stay decoded: neighbouring keys may share one

Range = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class _Group:
    """Statistics of one row group: least and greatest value, None where they are not known."""

    rows: int
    kinds: Range | None
    keys: Range | None
    keyless: bool  # it may have events without a key
    runs: Range | None
    steps: Range | None

    def may_hold(self, kind: str, key: str | None) -> bool:
        if self.kinds is not None and not self.kinds[0] <= kind <= self.kinds[1]:
            return False
        if key is None:
            return self.keyless
        return self.keys is None or bool(self.keys[0] <= key <= self.keys[1])

    def holds_only(self, kind: str, key: str | None) -> bool:
        if self.kinds != (kind, kind):
            return False
        return key is None or (self.keys == (key, key) and not self.keyless)


@dataclass(frozen=True, slots=True)
class _Index:
    metadata: pq.FileMetaData
    groups: tuple[_Group, ...]


@dataclass(frozen=True, slots=True)
class SeriesSlice:
    """Events of one series in one row group, in the file's order. Columns as they were asked for."""

    columns: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def ints(self, name: str) -> np.ndarray:
        """An integer column, -1 where it is null."""
        column = self.columns[name]
        return np.asarray((column.fill_null(-1) if column.null_count else column).to_numpy(zero_copy_only=False))

    def floats(self, name: str) -> np.ndarray:
        """A float column, NaN where it is null."""
        return np.asarray(self.columns[name].to_numpy(zero_copy_only=False))

    def owners(self) -> tuple[list[tuple[str, str]], np.ndarray]:
        """(run, writer) that occur in a pack, and each event's number among them."""
        run, writer = self.columns["run"], self.columns["writer"]
        codes = [np.asarray(column.indices.to_numpy(zero_copy_only=False)) for column in (run, writer)]
        starts = np.flatnonzero((np.diff(codes[0]) != 0) | (np.diff(codes[1]) != 0)) + 1
        starts = np.concatenate(([0], starts))  # of stretches of one owner: a thousandth of all events, mostly
        width = len(writer.dictionary)
        pairs, which = np.unique(codes[0][starts].astype(np.int64) * width + codes[1][starts], return_inverse=True)
        runs = run.dictionary.take(pa.array(pairs // width)).to_pylist()
        writers = writer.dictionary.take(pa.array(pairs % width)).to_pylist()
        counts = np.diff(np.concatenate((starts, [len(self)])))
        return list(zip(runs, writers, strict=True)), np.repeat(which, counts)


_indices: MemoryCache[_Index] = MemoryCache(_INDEX_BYTES)


class SeriesFile:
    """A local Parquet file of ours, which never changes under its name. Use it in one thread and close it."""

    def __init__(self, path: Path, *, packed: bool = False) -> None:
        """Raises FileNotFoundError; CorruptData where it is no whole Parquet file."""
        self._name = str(path)
        try:
            held = _indices.get(self._name)
            self._file = pq.ParquetFile(
                path,
                metadata=None if held is None else held.metadata,
                page_checksum_verification=True,
                read_dictionary=[*_NAMES, *(_OWNERS if packed else ())],
            )
        except (pa.ArrowException, OSError) as exc:
            raise self._translated(exc) from exc
        self._index = held or _index_of(self._file.metadata)
        if held is None:
            _indices.put(self._name, self._index, len(self._index.groups) * _GROUP_BYTES)
        self._decoded: OrderedDict[tuple[int, tuple[str, ...]], pa.Table] = OrderedDict()

    def groups(
        self,
        kind: str,
        key: str | None,
        *,
        runs: Sequence[str] | None = None,
        steps: tuple[int | None, int | None] = (None, None),
    ) -> list[int]:
        """Row groups that may hold the series, in order. `runs` (sorted): of these runs only.

        `steps`: only where some step lies within (inclusive; None: no limit).
        """
        low, high = steps
        return [
            n
            for n, group in enumerate(self._index.groups)
            if group.may_hold(kind, key)
            and (runs is None or group.runs is None or _any_within(runs, group.runs))
            and (group.steps is None or low is None or group.steps[1] >= low)
            and (group.steps is None or high is None or group.steps[0] <= high)
        ]

    def read(self, group: int, kind: str, key: str | None, columns: Sequence[str]) -> SeriesSlice:
        """What the row group holds of the series (key None: all of the kind). Reads these columns only, where it can.

        Raises CorruptData.
        """
        if self._index.groups[group].holds_only(kind, key):
            table = self._decode(group, tuple(columns))
            return SeriesSlice({name: table[name].chunk(0) for name in columns})
        # several series share this one: whoever wants the next of them finds it decoded
        shared = tuple(dict.fromkeys(["kind", "key", *columns, *(VALUES if "v" in columns else ())]))
        table = self._decode(group, shared)
        start, end, at = _within(table, kind, key)
        found = {name: table[name].chunk(0) for name in columns}
        if at is not None:
            return SeriesSlice({name: column.take(pa.array(at)) for name, column in found.items()})
        return SeriesSlice({name: column.slice(start, end - start) for name, column in found.items()})

    def rows_of(self, group: int, kind: str, upto_step: int) -> int | None:
        """Events of the row group where statistics say that all are of this kind and none is above the step."""
        found = self._index.groups[group]
        known = found.holds_only(kind, None) and found.steps is not None and found.steps[1] <= upto_step
        return found.rows if known else None

    def stretches(self, kind: str, *, run: str | None = None) -> list[tuple[int, int, int]]:
        """(first step, last step, events) of the row groups that hold events of this kind (and run) only."""
        return [
            (*group.steps, group.rows)
            for group in self._index.groups
            if group.holds_only(kind, None) and group.steps is not None and (run is None or group.runs == (run, run))
        ]

    def close(self) -> None:
        self._decoded.clear()
        self._file.close()

    def __enter__(self) -> SeriesFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _decode(self, group: int, columns: tuple[str, ...]) -> pa.Table:
        held = self._decoded.get((group, columns))
        if held is not None:
            self._decoded.move_to_end((group, columns))
            return held
        try:
            table = self._file.read_row_group(group, columns=list(columns))
        except (pa.ArrowException, OSError) as exc:
            raise self._translated(exc) from exc
        if any(column.num_chunks != 1 for column in table.columns):
            table = table.unify_dictionaries().combine_chunks()
        self._decoded[group, columns] = table
        while len(self._decoded) > _DECODED:
            self._decoded.popitem(last=False)
        return table

    def _translated(self, exc: Exception) -> Exception:
        if isinstance(exc, FileNotFoundError):
            return exc
        why = " ".join(str(exc).split())
        return CorruptData(f"{self._name} is damaged or not a whole Parquet file ({why}). Keep the file and report it.")


def _any_within(runs: Sequence[str], bounds: Range) -> bool:
    at = bisect_left(runs, bounds[0])
    return at < len(runs) and bool(runs[at] <= bounds[1])


def _within(table: pa.Table, kind: str, key: str | None) -> tuple[int, int, np.ndarray | None]:
    """Where the series stands: from start to end, or at these positions where others stand between."""
    mask = _equals(table["kind"].chunk(0), kind)
    if key is not None:
        mask &= _equals(table["key"].chunk(0), key)
    at = np.flatnonzero(mask)
    if not len(at):
        return 0, 0, None
    start, end = int(at[0]), int(at[-1]) + 1
    return start, end, None if end - start == len(at) else at


def _equals(column: pa.DictionaryArray, word: str) -> np.ndarray:
    words = column.dictionary.to_pylist()
    if word not in words:
        return np.zeros(len(column), bool)
    indices = column.indices
    codes = (indices.fill_null(-1) if indices.null_count else indices).to_numpy(zero_copy_only=False)
    return np.asarray(codes == words.index(word))


def _index_of(metadata: pq.FileMetaData) -> _Index:
    names = {metadata.schema.column(n).name: n for n in range(metadata.num_columns)}
    groups = []
    for n in range(metadata.num_row_groups):
        group = metadata.row_group(n)
        key = group.column(names["key"]).statistics
        groups.append(
            _Group(
                rows=group.num_rows,
                kinds=_range(group.column(names["kind"]).statistics),
                keys=_range(key),
                keyless=key is None or not key.has_null_count or key.null_count > 0,
                runs=_range(group.column(names["run"]).statistics) if "run" in names else None,
                steps=_range(group.column(names["step"]).statistics),
            )
        )
    return _Index(metadata, tuple(groups))


def _range(statistics: Any) -> Range | None:
    if statistics is None or not statistics.has_min_max:
        return None
    return statistics.min, statistics.max
