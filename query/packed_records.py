"""Parts of packed runs: what checkpoints say of them, read for many runs at once and only when it is asked for."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.connection import connection
from tracker.query.history import PartsGone
from tracker.query.memory_cache import MemoryCache
from tracker.query.packed import Extent, Packed, sql_text
from tracker.query.part_digest import CELLS, FACTS
from tracker.query.part_figures import RECORD_FIGURES, cell_figures, record_figures
from tracker.query.part_marks import NO_MARKS
from tracker.query.run_files import KeyStats, Mark, Marks, RunPart, Series
from tracker.storage.derived import Record
from tracker.storage.events import HISTORY, ROW, SYSTEM, Type

__all__ = ["PACKED_CELLS", "PackedBatch", "PackedRecords", "is_packed", "packed_cells", "packed_parts", "written_facts"]

_MARKS_BYTES: Final = 256 << 20
_MARKS_ROWS: Final = 500_000  # rows whose markers one read brings
_SERIES_ROWS: Final = 300_000  # series that one read brings, about
_CELLS_RUNS: Final = 200  # runs whose facts and last points one read brings
_NO_NUMBER: Final = math.nan

PACKED_CELLS: Final = (
    *("what", "run", "writer", "pack", "kind", "subject", "key", "place"),
    *("seq", "row", "hlc", "ts", "step", "t", "v", "i", "s"),
)

_marks: MemoryCache[Marks] = MemoryCache(_MARKS_BYTES)

_Owner = tuple[str, str, str]  # run, writer, pack


def packed_parts(packed: Packed, run_ids: Sequence[str]) -> dict[str, list[RunPart]]:
    """Per run the parts that packs hold of it, by writer and frame. Two reads of the checkpoints for all of them.

    Raises:
        PartsGone: a checkpoint is no more in the store. Open a new snapshot.
    """
    extents = packed.extents(run_ids)
    batch = PackedBatch(packed, [extent for found in extents.values() for extent in found])
    heads = batch.heads(list(extents))
    parts: dict[str, list[RunPart]] = {}
    for run_id, found in extents.items():
        parts[run_id] = [
            _part(packed, batch, extent, heads.get((run_id, extent.writer, extent.pack), (None, None, False)))
            for extent in found
        ]
    return parts


def _part(packed: Packed, batch: PackedBatch, extent: Extent, head: tuple[Any, ...]) -> RunPart:
    step_first, step_last, has_system = head
    info = next(filter(None, (packed.pack_file(extent.pack, family) for family in "hfsck")), None)
    if info is None:
        raise PartsGone(f"Pack {extent.pack} stands in a checkpoint, but not in the manifest. Try again.")
    return RunPart(
        info=info,
        run_id=extent.run,
        writer_id=extent.writer,
        first=extent.first_frame,
        last=extent.last_frame,
        is_cut=False,
        packed=True,
        events=extent.events,
        rows=extent.rows,
        step_first=step_first,
        step_last=step_last,
        plain=extent.plain,
        hlc_max_us=extent.last_hlc,
        upto_hlc_us=None,
        rollup=packed.pack_file(extent.pack, "r"),
        system_info=packed.pack_file(extent.pack, "s") if has_system else None,
        console_info=packed.pack_file(extent.pack, "c"),
        records=PackedRecords(batch, extent),
    )


@dataclass(frozen=True, slots=True)
class PackedRecords:
    """PartRecords of one extent."""

    batch: PackedBatch
    extent: Extent

    @property
    def keys(self) -> Mapping[str, KeyStats]:
        return self.batch.keys(self.extent)

    @property
    def first_hlc_us(self) -> int | None:
        return self.extent.first_hlc

    @property
    def wall_max_us(self) -> int:
        return self.extent.last_wall_us

    @property
    def facts(self) -> pa.Table:
        """The last fact of each path (FACTS); what it replaced stands in the pack only."""
        return self._cells(Record.FACT, None).select(FACTS.names).cast(FACTS)

    @property
    def last(self) -> pa.Table:
        return self._cells(Record.SERIES, HISTORY).select(CELLS.names).cast(CELLS)

    @property
    def open(self) -> pa.Table:
        return self._cells(Record.OPEN, HISTORY).select(CELLS.names).cast(CELLS)

    @property
    def system(self) -> pa.Table:
        return self._cells(Record.SERIES, SYSTEM).select(CELLS.names).cast(CELLS)

    @property
    def figures(self) -> pa.Table:
        return record_figures(self.batch.figures(self.extent))

    @property
    def open_figures(self) -> pa.Table:
        return cell_figures(self._cells(Record.OPEN, HISTORY))

    @property
    def head(self) -> None:
        """It has to be read."""

    def last_mark(self) -> Mark | None:
        found = self._cells(Record.SERIES, ROW).to_pylist()
        return Mark(*(found[0][name] for name in ("row", "step", "hlc", "ts", "v"))) if found else None

    def series(self, key: str, /) -> Series | None:
        return self.batch.series(self.extent, key)

    def marks(self) -> Marks:
        return self.batch.marks(self.extent)

    def _cells(self, what: str, kind: str | None) -> pa.Table:
        cells = self.batch.cells(self.extent)
        mask = pc.equal(cells["what"], what)
        return cells.filter(mask if kind is None else pc.and_(mask, pc.equal(cells["kind"], kind))).combine_chunks()


def packed_cells(packed: Packed, run_ids: Sequence[str]) -> pa.Table:
    """Facts, last points, markers and open cells of these runs (columns PACKED_CELLS), by run, writer and pack.

    Raises:
        PartsGone: a checkpoint is no more in the store. Open a new snapshot.
    """
    whats = ", ".join(f"'{what}'" for what in (Record.FACT, Record.OPEN, Record.SERIES))
    statement = f"""SELECT {", ".join(PACKED_CELLS)} FROM {packed.scan()}
        WHERE what IN ({whats}) AND list_contains(?::VARCHAR[], run)"""
    with packed.reading():
        table = connection().sql(statement, params=[list(run_ids)]).to_arrow_table().combine_chunks()
    order = [(name, "ascending") for name in ("run", "writer", "pack", "what", "kind", "place", "key")]
    return table.take(pc.sort_indices(table, sort_keys=order)).combine_chunks()


def is_packed(part: RunPart) -> bool:
    """Whether the part is known from a checkpoint."""
    return isinstance(part.records, PackedRecords)


def written_facts(packed: Packed, parts: Sequence[RunPart]) -> pa.Table:
    """Every fact that packs hold of these parts, superseded ones too: run, writer, then FACTS.

    Raises:
        PartsGone: a pack is no more in the store. Open a new snapshot.
    """
    schema = pa.schema([pa.field("run", pa.string()), pa.field("writer", pa.string()), *FACTS])
    owners: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for part in parts:
        if isinstance(part.records, PackedRecords):  # `is_packed`, which type checkers do not see through
            owners[part.records.extent.pack].append((part.run_id, part.writer_id))
    tables = [pa.Table.from_batches([], schema)]
    for pack, chosen in owners.items():
        info = packed.pack_file(pack, "f")
        if info is None:
            continue
        (path,) = packed.local([info])
        found = connection().sql(
            f"""SELECT {", ".join(schema.names)} FROM read_parquet({sql_text(path)})
            SEMI JOIN (SELECT unnest($runs::VARCHAR[]) AS run, unnest($writers::VARCHAR[]) AS writer)
            USING (run, writer)""",
            params={"runs": [run for run, _ in chosen], "writers": [writer for _, writer in chosen]},
        )
        tables.append(found.to_arrow_table().cast(schema))
    return pa.concat_tables(tables)


@dataclass(slots=True)
class PackedBatch:
    """Extents that were asked for together: what is read for one of them is read for its neighbours too."""

    packed: Packed
    extents: list[Extent]
    _places: dict[_Owner, int] = field(init=False)
    _tables: dict[_Owner, _Keys] = field(default_factory=dict)
    _cells: dict[_Owner, pa.Table] = field(default_factory=dict)
    _figures: dict[_Owner, pa.Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._places = {_owner(extent): n for n, extent in enumerate(self.extents)}

    def heads(self, run_ids: list[str]) -> dict[_Owner, tuple[Any, ...]]:
        """First and last step of closed rows, and whether there are system metrics."""
        statement = f"""SELECT run, writer, pack, min(first_step) FILTER (kind = '{ROW}'),
                max(last_step) FILTER (kind = '{ROW}'), bool_or(kind = '{SYSTEM}')
            FROM {self.packed.scan()}
            WHERE what = '{Record.SERIES}' AND kind IN ('{ROW}', '{SYSTEM}') AND list_contains(?::VARCHAR[], run)
            GROUP BY run, writer, pack"""
        with self.packed.reading():
            rows = connection().execute(statement, [run_ids]).fetchall()
        return {(run, writer, pack): tuple(rest) for run, writer, pack, *rest in rows}

    def keys(self, extent: Extent) -> _Keys:
        owner = _owner(extent)
        if owner not in self._tables:
            self._load_series(self._places[owner])
        return self._tables[owner]

    def cells(self, extent: Extent) -> pa.Table:
        """Of PACKED_CELLS what is the extent's."""
        owner = _owner(extent)
        if owner not in self._cells:
            place = self._places[owner]
            chosen = self.extents[place : place + _CELLS_RUNS]
            table = packed_cells(self.packed, list(dict.fromkeys(one.run for one in chosen)))
            self._cells = {_owner(one): table.slice(0, 0) for one in chosen} | dict(_slices(table))
        return self._cells[owner]

    def figures(self, extent: Extent) -> pa.Table:
        """The records of the extent's history keys, with the columns that `record_figures` wants."""
        owner = _owner(extent)
        if owner not in self._figures:
            place = self._places[owner]
            chosen = self.extents[place : place + _CELLS_RUNS]
            statement = f"""SELECT run, writer, pack, {", ".join(RECORD_FIGURES)} FROM {self.packed.scan()}
                WHERE what = '{Record.SERIES}' AND kind = '{HISTORY}' AND list_contains(?::VARCHAR[], run)
                ORDER BY run, writer, pack, key"""
            with self.packed.reading():
                found = connection().sql(statement, params=[list(dict.fromkeys(one.run for one in chosen))])
                table = found.to_arrow_table().combine_chunks()
            self._figures = {_owner(one): table.slice(0, 0) for one in chosen} | dict(_slices(table))
        return self._figures[owner]

    def series(self, extent: Extent, key: str) -> Series | None:
        return self.keys(extent).series(key)

    def _load_series(self, place: int) -> None:
        """Of the extent at `place` and so many behind it that the read is worth its while."""
        with self.packed.reading():
            self._load_series_at(place)

    def _load_series_at(self, place: int) -> None:
        per_run = connection().execute(
            f"SELECT (count(*) / greatest(count(DISTINCT run), 1))::BIGINT FROM (SELECT run FROM {self.packed.scan()} "
            f"WHERE what = '{Record.SERIES}' AND kind = '{HISTORY}' LIMIT 100000)"
        )
        ((average,),) = per_run.fetchall()
        chosen = self.extents[place : place + max(_SERIES_ROWS // max(average, 1), 1)]
        runs = list(dict.fromkeys(extent.run for extent in chosen))
        names = ("run", "writer", "pack", "key", "place", *_STATS)
        found = connection().sql(
            f"""SELECT {", ".join(names)} FROM {self.packed.scan()}
            WHERE what = '{Record.SERIES}' AND kind = '{HISTORY}' AND list_contains(?::VARCHAR[], run)""",
            params=[runs],
        )
        table = found.to_arrow_table().combine_chunks()
        order = [(name, "ascending") for name in ("run", "writer", "pack", "place", "key")]
        table = table.take(pc.sort_indices(table, sort_keys=order)).combine_chunks()
        opened = self._open_types(runs)
        for owner, records in _slices(table):
            self._tables[owner] = _Keys(records, opened.get(owner, {}))
        for extent in chosen:
            self._tables.setdefault(_owner(extent), _Keys(table.slice(0, 0), opened.get(_owner(extent), {})))

    def _open_types(self, runs: list[str]) -> dict[_Owner, dict[str, list[int]]]:
        """Types of cells whose row is not closed yet: a later file may close it."""
        found: defaultdict[_Owner, dict[str, list[int]]] = defaultdict(dict)
        rows = connection().execute(
            f"""SELECT run, writer, pack, key, t, count(*) FROM {self.packed.scan()}
            WHERE what = '{Record.OPEN}' AND list_contains(?::VARCHAR[], run) GROUP BY ALL ORDER BY min(seq), key""",
            [runs],
        )
        for run, writer, pack, key, t, count in rows.fetchall():
            found[run, writer, pack].setdefault(key, [0] * len(Type))[t] += count
        return found

    def marks(self, extent: Extent) -> Marks:
        found = _marks.get(self._marks_key(extent))
        if found is None:
            self._load_marks(extent)
            found = _marks.get(self._marks_key(extent))
        return NO_MARKS if found is None else found

    def _marks_key(self, extent: Extent) -> tuple[object, ...]:
        return self.packed.store.url, self.packed.entity, self.packed.project, *_owner(extent), extent.last_frame

    def _load_marks(self, extent: Extent) -> None:
        """Of `extent` and those behind it in the same pack, up to a bound."""
        chosen, rows = [extent], extent.rows
        for other in self.extents[self._places[_owner(extent)] + 1 :]:
            if other.pack != extent.pack or rows + other.rows > _MARKS_ROWS:
                break
            if _marks.get(self._marks_key(other)) is None:
                chosen.append(other)
                rows += other.rows
        info = self.packed.pack_file(extent.pack, "h")
        wanted = {_owner(one): one for one in chosen}
        if info is None:  # nobody in this pack has history
            for one in chosen:
                _marks.put(self._marks_key(one), NO_MARKS, 64)
            return
        (path,) = self.packed.local([info])
        runs = sorted({one.run for one in chosen})
        try:
            found = connection().sql(
                f"""SELECT run, writer, row, step, hlc, hlc + ts AS wall, v FROM read_parquet({sql_text(path)})
                WHERE kind = '{ROW}' AND run BETWEEN ? AND ? AND list_contains(?::VARCHAR[], run)""",
                params=[runs[0], runs[-1], runs],
            )
            table = found.to_arrow_table().combine_chunks()
        except duckdb.IOException as exc:
            raise PartsGone(f"{info.key} was deleted while it was read. Try again.") from exc
        columns = {name: table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in table.column_names[2:]}
        codes = [table[name].combine_chunks().dictionary_encode() for name in ("run", "writer")]
        numbers = [column.indices.to_numpy(zero_copy_only=False) for column in codes]
        order = np.lexsort((columns["row"], columns["hlc"], columns["step"], numbers[1], numbers[0]))
        sorted_numbers = [column[order] for column in numbers]
        changes = np.flatnonzero((np.diff(sorted_numbers[0]) != 0) | (np.diff(sorted_numbers[1]) != 0)) + 1
        for at in np.split(order, changes):
            if not len(at):
                continue
            run, writer = (codes[n].dictionary[int(numbers[n][at[0]])].as_py() for n in (0, 1))
            owner = (str(run), str(writer), extent.pack)
            if owner in wanted:
                one = wanted.pop(owner)
                row, step, hlc, wall_us, runtime_s = (columns[name][at] for name in ("row", "step", "hlc", "wall", "v"))
                marks = Marks(row, step, hlc, wall_us, runtime_s)
                _marks.put(self._marks_key(one), marks, 40 * len(at) + 512)
        for one in wanted.values():
            _marks.put(self._marks_key(one), NO_MARKS, 64)


_STATS: Final = (
    *("count", "nan_count", "first_step", "last_step", "first_v", "last_v", "min_v", "max_v", "mean_v"),
    *("min_step", "max_step", "counts", "rising"),
)


_KEY_STATS: Final = ("counts", "rising", "first_v", "last_v")
_FEW_KEYS: Final = 3


class _Keys(Mapping[str, KeyStats]):
    """The keys of one extent, in order; a key's numbers are made into objects when it is asked for."""

    def __init__(self, records: pa.Table, opened: dict[str, list[int]]) -> None:
        self._records = records
        self._opened = opened
        self._rows: dict[str, int] | None = None
        self._asked = 0
        self._columns: list[list[Any]] = []  # of _KEY_STATS, as Python values, once several keys were asked for

    def _row_of(self) -> dict[str, int]:
        if self._rows is None:
            rows = {key: n for n, key in enumerate(self._records["key"].to_pylist())}
            for key in self._opened:
                rows.setdefault(key, -1)
            self._rows = rows
        return self._rows

    def __getitem__(self, key: str) -> KeyStats:
        row = self._row_of()[key]
        more = self._opened.get(key, [0] * len(Type))
        if row < 0:
            return KeyStats(tuple(more), False, _NO_NUMBER, _NO_NUMBER)
        counts, rising, first_v, last_v = self._numbers(row)
        return KeyStats(
            tuple(a + b for a, b in zip(counts, more, strict=True)) if self._opened else tuple(counts),
            bool(rising),
            _NO_NUMBER if first_v is None else first_v,
            _NO_NUMBER if last_v is None else last_v,
        )

    def _numbers(self, row: int) -> tuple[Any, ...]:
        """Of _KEY_STATS: single values cost much more each than a whole column does."""
        self._asked += 1
        if not self._columns and self._asked > _FEW_KEYS:
            self._columns = [self._records[name].to_pylist() for name in _KEY_STATS]
        if self._columns:
            return tuple(column[row] for column in self._columns)
        return tuple(self._records[name][row].as_py() for name in _KEY_STATS)

    def __iter__(self) -> Iterator[str]:
        return iter(self._row_of())

    def __len__(self) -> int:
        return len(self._row_of())

    def series(self, key: str) -> Series | None:
        row = self._row_of().get(key, -1)
        if row < 0:
            return None
        fields: dict[str, Any] = {name: self._records[name][row].as_py() for name in Series.__dataclass_fields__}
        return Series(**fields)


def _slices(table: pa.Table) -> Iterator[tuple[_Owner, pa.Table]]:
    """(run, writer, pack), its rows: of a table sorted by these."""
    if not table.num_rows:
        return
    changes = np.zeros(table.num_rows - 1, bool)
    columns = [table[name].combine_chunks().dictionary_encode() for name in ("run", "writer", "pack")]
    for column in columns:
        codes = column.indices.to_numpy(zero_copy_only=False)
        changes |= codes[1:] != codes[:-1]
    starts = [0, *(np.flatnonzero(changes) + 1).tolist()]
    for start, end in zip(starts, [*starts[1:], table.num_rows], strict=True):
        run, writer, pack = (column[start].as_py() for column in columns)
        yield (run, writer, pack), table.slice(start, end - start)


def _owner(extent: Extent) -> _Owner:
    return extent.run, extent.writer, extent.pack
