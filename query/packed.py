"""What packs hold of a project, as its checkpoints tell: few files, whatever the number of runs.

The checkpoints stay files: DuckDB reads the few row groups that a question needs, from their local copies. In memory
is only one row a writer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.checkpoint_files import damaged_checkpoints, local_checkpoints, suspect_checkpoints
from tracker.query.connection import connection
from tracker.query.history import PartsGone
from tracker.query.memory_cache import MemoryCache
from tracker.query.packed_roots import JoinedPacks, PackSource, distinct_packs, join_writers, scan_sql
from tracker.query.readable_parts import StartOver
from tracker.storage.arrow_arrays import rows_at, texts
from tracker.storage.cache import PartCache
from tracker.storage.derived import DERIVED_SCHEMA, Record, read_derived
from tracker.storage.errors import NotFound
from tracker.storage.manifest import EMPTY, Manifest, Pack
from tracker.storage.names import encode_name, pack_key
from tracker.storage.port import ObjectInfo, Store

__all__ = ["Extent", "Packed", "no_packs", "open_packed", "sql_text"]

_KEPT_BYTES: Final = 256 << 20
_LOOKED_UP_MAX: Final = 2_000  # more runs than this are found by one pass over all

_NUMBERS: Final = ("first_frame", "last_frame", "events", "rows", "first_hlc", "last_hlc", "last_wall_us")
_TIMES: Final = ("started_at", "ended_at")
_COLUMNS: Final = ("run", "writer", "pack", *_NUMBERS, "plain", "is_session", "state", *_TIMES)
WRITERS: Final = pa.schema(
    [
        field.with_type(pa.string()).with_nullable(True) if pa.types.is_dictionary(field.type) else field
        for field in (DERIVED_SCHEMA.field(name) for name in _COLUMNS)
    ]
)

_NO_WRITERS: Final = pa.Table.from_batches([], WRITERS)  # `empty_table` would import pandas

_MARKED: Final = WRITERS.append(pa.field("mark", pa.string()))

_writers: MemoryCache[JoinedPacks] = MemoryCache(_KEPT_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Frames of one writer in one pack, and what the checkpoint says of them (`tracker.storage.derived`, writer)."""

    run: str
    writer: str
    pack: str
    first_frame: int
    last_frame: int
    events: int
    rows: int
    first_hlc: int
    last_hlc: int
    last_wall_us: int
    plain: bool
    is_session: bool
    state: str | None
    started_at: int | None
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class Packed:
    """The packs that one manifest lists, or those of several roots. `writers` (WRITERS, one row an extent, sorted by
    run, writer and frame) leaves out what is purged, what packs of another root hold as well, and with `as_of_us`
    whoever wrote later.
    """

    store: Store
    cache: PartCache
    entity: str
    project: str
    manifest: Manifest  # of several roots: what all of theirs list
    as_of_us: int | None
    writers: pa.Table
    held: pa.Table  # the same with what is left out
    joined: JoinedPacks
    cut: tuple[Extent, ...] = ()  # with `as_of_us`: who wrote before it and after it; not among `writers`
    rebuilt: frozenset[str] = frozenset()  # checkpoints that were made again here, because they are damaged or gone

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for equal content."""
        manifest = self.manifest.number, self.manifest.nonce
        return self.store.url, self.entity, self.project, *manifest, self.as_of_us, self.rebuilt

    def __bool__(self) -> bool:
        return bool(self.writers.num_rows)

    def _checkpoints(self) -> list[tuple[Path, list[str]]]:
        """Local files of the checkpoints, each with the packs in it that do not count. Raises PartsGone."""
        return _checkpoint_files(self.cache, self.entity, self.project, self.joined.sources)

    def local(self, infos: Sequence[ObjectInfo]) -> list[Path]:
        """Local files of these objects. Raises PartsGone."""
        paths = []
        for info, path in zip(infos, self.cache.fetch(self.store, infos), strict=True):
            if path is None:
                raise PartsGone(f"{info.shown_in(self.store.url)} is gone: it was replaced meanwhile. Try again.")
            paths.append(path)
        return paths

    def scan(self) -> str:
        """SQL of all records (DERIVED_SCHEMA), hidden ones too. Raises PartsGone."""
        return scan_sql(self._checkpoints())

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Inside, a checkpoint that vanishes or turns out to be damaged while DuckDB reads it raises PartsGone."""
        try:
            yield
        except (duckdb.InterruptException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error as exc:
            for source in self.joined.sources:
                place = source.store, self.cache, self.entity, self.project
                suspect_checkpoints(*place, source.checkpoints, self.rebuilt)
            if not isinstance(exc, duckdb.IOException):
                raise
            text = f"A checkpoint of {self.entity}/{self.project} was replaced while it was read. Try again."
            raise PartsGone(text) from exc

    def pack_file(self, pack_id: str, family: str) -> ObjectInfo | None:
        """One file of a pack; None where it has none of that family."""
        pack, root = self._packs().get(pack_id, (None, ""))
        if pack is None or family not in pack.families:
            return None
        return ObjectInfo(pack_key(self.entity, self.project, pack_id, family), pack.families[family], 0, root)

    def _packs(self) -> Mapping[str, tuple[Pack, str]]:
        """By id, with the root that it is read from, where there are several."""
        return {
            pack.id: (pack, source.store.url if source.store is not self.store else "")
            for source in reversed(self.joined.sources)
            for pack in source.manifest.packs
        }

    # runs

    def partly_hidden(self) -> frozenset[str]:
        """Runs of which the checkpoints hold more than what counts, but not only that."""
        if self.writers.num_rows == self.held.num_rows:
            return frozenset()
        counts = self.held.group_by("run").aggregate([("writer", "count")])
        mine = self.writers.group_by("run").aggregate([("writer", "count")])
        joined = mine.join(counts, "run", right_suffix="_held")
        fewer = pc.not_equal(joined["writer_count"], joined["writer_count_held"])
        return frozenset(joined.filter(fewer)["run"].to_pylist())

    def with_open_rows(self, run_ids: Sequence[str]) -> frozenset[str]:
        """Of these runs those that wrote cells into a row which was not closed yet. Raises PartsGone."""
        statement = f"SELECT DISTINCT run FROM {self.scan()} WHERE what = '{Record.OPEN}'"
        with self.reading():
            found = connection().execute(statement).fetchall()
        return frozenset(run for (run,) in found) & frozenset(run_ids)

    def run_ids(self) -> list[str]:
        """All runs that have a writer in a pack, sorted."""
        found: list[str] = pc.unique(self.writers["run"]).to_pylist()
        return found

    def __contains__(self, run_id: object) -> bool:
        start, end = self._between(str(run_id))
        return start < end

    def extents(self, run_ids: Sequence[str]) -> dict[str, list[Extent]]:
        """Per run that packs hold anything of, in the order asked for: its extents by writer and frame."""
        if len(run_ids) > _LOOKED_UP_MAX:
            wanted = texts(run_ids)
            rows = self.writers.filter(pc.is_in(self.writers["run"], value_set=wanted))
        else:
            places = [place for run_id in dict.fromkeys(run_ids) for place in range(*self._between(run_id))]
            rows = rows_at(self.writers, np.array(places, np.int64))
        found: defaultdict[str, list[Extent]] = defaultdict(list)
        for row in rows.to_pylist():
            found[row["run"]].append(Extent(**row))
        return {run_id: found[run_id] for run_id in run_ids if run_id in found}

    def frames(self, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Of these (run segment, writer) the last frame up to which packs hold them without a gap from frame 0 on."""
        wanted = set(names)
        counted = self.joined.counted
        if not wanted or not counted.num_rows:
            return {}
        mine = pc.is_in(counted["writer"], value_set=texts(sorted({writer for _, writer in wanted})))
        ends: dict[tuple[str, str], int] = {}
        rows = counted.filter(mine).select(["run", "writer", "first_frame", "last_frame"])
        for row in rows.to_pylist():
            writer = encode_name(row["run"]), row["writer"]
            if writer in wanted and row["first_frame"] == ends.get(writer, -1) + 1:
                ends[writer] = row["last_frame"]
        return ends

    def _between(self, run_id: str) -> tuple[int, int]:
        column = self.writers["run"]
        if not len(column):
            return 0, 0
        chunk = column.chunk(0)

        def run_at(place: int) -> str:
            return str(chunk[place].as_py())

        start = bisect_left(range(len(chunk)), run_id, key=run_at)
        if start == len(chunk) or run_at(start) != run_id:
            return start, start
        end = bisect_right(range(start, min(start + 64, len(chunk))), run_id, key=run_at) + start
        return start, end if end < start + 64 else bisect_right(range(len(chunk)), run_id, key=run_at)

    def __iter__(self) -> Iterator[str]:
        return iter(self.run_ids())


def sql_text(text: object) -> str:
    """A string as SQL has it."""
    return "'" + str(text).replace("'", "''") + "'"


def open_packed(
    store: Store,
    cache: PartCache,
    entity: str,
    project: str,
    manifest: Manifest,
    as_of_us: int | None = None,
    *,
    roots: Sequence[tuple[Store, Manifest]] = (),
    warn: Callable[[str], None] | None = None,
) -> Packed:
    """The packs of `manifest`. One request a checkpoint that the cache lacks.

    `roots`: where `manifest` joins those of several roots, these, in the order in which they are preferred.
    A checkpoint that is damaged or gone is made again from its packs; `warn` is told so once a process.

    Raises:
        StartOver: a checkpoint is gone: the manifest is not the newest any more.
        CorruptData, FormatTooNew: a checkpoint cannot be read, nor made again.
    """
    sources = distinct_packs([PackSource(*root) for root in roots] or [PackSource(store, manifest)])
    try:
        files = [_checkpoint_files(cache, entity, project, [source], warn) for source in sources]
        key = (store.url, entity, project, manifest.number, manifest.nonce)
        joined = _writers.get(key)
        if joined is None:
            joined = _read_writers(sources, files)
            _writers.put(key, joined, int(joined.held.nbytes) + 1024)
    except (PartsGone, FileNotFoundError) as exc:
        text = f"A checkpoint of {entity}/{project} in {store.url} is gone ({exc}). Look for what deletes files."
        raise StartOver(NotFound(text)) from exc
    if warn is not None:
        for text in joined.warnings:
            warn(text)
    shown = _without_purged(joined.counted, manifest)
    cut: tuple[Extent, ...] = ()
    if as_of_us is not None:
        shown = shown.filter(pc.less_equal(shown["first_hlc"], as_of_us))
        ended = pc.less_equal(shown["last_hlc"], as_of_us)
        cut = tuple(Extent(**row) for row in shown.filter(pc.invert(ended)).to_pylist())
        shown = shown.filter(ended).combine_chunks()
    rebuilt = frozenset[str]().union(*(damaged_checkpoints(source.store, source.manifest) for source in sources))
    return Packed(store, cache, entity, project, manifest, as_of_us, shown, joined.held, joined, cut, rebuilt)


def _checkpoint_files(
    cache: PartCache,
    entity: str,
    project: str,
    sources: Sequence[PackSource],
    warn: Callable[[str], None] | None = None,
) -> list[tuple[Path, list[str]]]:
    """Local files, each with the packs in it that do not count. Raises PartsGone."""
    found = []
    for source in sources:
        manifest = source.checkpoints
        paths = local_checkpoints(source.store, cache, entity, project, manifest, warn) if manifest.checkpoints else []
        without = (sorted(source.without.intersection(one.packs)) for one in manifest.checkpoints)
        found += list(zip(paths, without, strict=True))
    return found


def _read_writers(sources: Sequence[PackSource], files: Sequence[Sequence[tuple[Path, list[str]]]]) -> JoinedPacks:
    if len(sources) > 1:
        return join_writers(sources, [_read_extents(mine, _MARKED) for mine in files])
    extents = _read_extents(files[0], WRITERS)
    if len(files[0]) > 1 or not _is_sorted(extents):
        order = pc.sort_indices(extents, sort_keys=[(name, "ascending") for name in ("run", "writer", "first_frame")])
        extents = extents.take(order).combine_chunks()
    return JoinedPacks(tuple(sources), extents, extents, extents, ())


def _read_extents(files: Sequence[tuple[Path, list[str]]], schema: pa.Schema) -> pa.Table:
    """File after file."""
    tables = [pa.Table.from_batches([], schema)]
    for path, without in files:
        found = read_derived(path, path.name, what=[Record.WRITER], columns=schema.names)
        found = found.select(schema.names).cast(schema)
        tables.append(found.filter(pc.invert(pc.is_in(found["pack"], value_set=texts(without)))) if without else found)
    return pa.concat_tables(tables).combine_chunks()


def _is_sorted(writers: pa.Table) -> bool:
    """Whether no writer occurs twice: then the order of the file, by run and writer, is that of this table."""
    if writers.num_rows < 2:
        return True
    runs, ids = (writers[name].chunk(0) for name in ("run", "writer"))
    rises = pc.or_(pc.less(runs[:-1], runs[1:]), pc.and_(pc.equal(runs[:-1], runs[1:]), pc.less(ids[:-1], ids[1:])))
    return bool(pc.all(rises).as_py())


def _without_purged(writers: pa.Table, manifest: Manifest) -> pa.Table:
    if not manifest.purged or not writers.num_rows:
        return writers
    purged = {run.run_id: run for run in manifest.purged}
    suspects = pc.is_in(writers["run"], value_set=pa.array(list(purged), pa.string()))
    if not pc.any(suspects).as_py():
        return writers
    keep: list[Any] = [True] * writers.num_rows
    for place in pc.indices_nonzero(suspects).to_pylist():
        run_id, writer_id = writers["run"][place].as_py(), writers["writer"][place].as_py()
        keep[place] = not purged[run_id].hides(writer_id)
    return writers.filter(pa.array(keep)).combine_chunks()


def no_packs(store: Store, cache: PartCache, entity: str, project: str) -> Packed:
    """A project without a manifest."""
    nothing = JoinedPacks((PackSource(store, EMPTY),), _NO_WRITERS, _NO_WRITERS, _NO_WRITERS, ())
    return Packed(store, cache, entity, project, EMPTY, None, _NO_WRITERS, _NO_WRITERS, nothing)
