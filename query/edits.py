"""Edits of a project as one table: what processes wrote about runs that they did not write themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.memory_cache import MemoryCache
from tracker.query.readable_parts import StartOver
from tracker.storage.cache import PartCache
from tracker.storage.choose import Choice, Divergence, choose_files
from tracker.storage.errors import CorruptData, FormatTooNew, NotFound
from tracker.storage.events import KIND_TOMBSTONE, TOMBSTONE_PATH, Type, join_path
from tracker.storage.manifest import PurgedRun
from tracker.storage.names import PartName, parse_edit_key
from tracker.storage.port import ObjectInfo, Store
from tracker.storage.schema import read_events

__all__ = ["EDITS", "Edits", "edits_table", "purge_edits", "read_edits"]

EDITS: Final = pa.schema(
    [
        pa.field("run", pa.string()),  # id of the run that the edit is about
        pa.field("writer", pa.string()),
        pa.field("seq", pa.int64()),
        pa.field("hlc", pa.int64()),
        pa.field("kind", pa.string()),
        pa.field("key", pa.string()),
        pa.field("t", pa.int8()),
        pa.field("v", pa.float64()),
        pa.field("i", pa.int64()),
        pa.field("s", pa.string()),
    ]
)
_FACTS: Final = pa.schema([pa.field("subject", pa.string()), *(field for field in list(EDITS)[2:])])
_KEPT_BYTES: Final = 64 << 20
_OVERHEAD_BYTES: Final = 1024

_tables: MemoryCache[pa.Table] = MemoryCache(_KEPT_BYTES)


@dataclass(frozen=True, slots=True)
class Edits:
    """Edits of all listed files, each frame once (EDITS), and what had to be left out."""

    table: pa.Table
    bad: Mapping[PartName, Exception]
    divergences: tuple[Divergence, ...]


def read_edits(
    store: Store,
    cache: PartCache,
    listed: Sequence[ObjectInfo],
    packed: Mapping[tuple[str, str], int] | None = None,
) -> Edits:
    """What the files below `things/edits/` say, apart from the frames that packs hold (`packed`: see `choose_files`).

    A file that cannot be read is left out and stands in `bad`; where smaller files hold its frames they are taken.

    Raises:
        StartOver: frames are missing below an existing file, or a listed file is gone.
    """
    objects = {name: info for info in listed if (name := parse_edit_key(info.key)) is not None}
    bad: dict[PartName, Exception] = {}
    while True:
        choice = _choose(objects, packed or {}, bad)
        if choice.holes:
            (hole, *_) = choice.holes
            where = f"{store.url}/{objects[hole.beyond].key}"
            raise StartOver(
                CorruptData(f"Frame {hole.frame} of the edits before {where} is in no file. Restore what was deleted.")
            )
        pieces, failed = _load(store, cache, objects, choice, bad)
        bad |= failed
        if not failed:
            return Edits(edits_table(pieces), bad, choice.divergences)


def _choose(names: Iterable[PartName], packed: Mapping[tuple[str, str], int], bad: Collection[PartName]) -> Choice:
    """Without the bad files for each writer that loses nothing by it; with them for the others."""
    names = list(names)
    choice = choose_files(names, packed)
    if not bad:
        return choice
    without = choose_files((name for name in names if name not in bad), packed)
    lasts, fewer = ({pick.parts[0].writer_id: pick.last for pick in found.picks} for found in (choice, without))
    whole = {writer_id for writer_id, last in lasts.items() if fewer.get(writer_id) == last}
    picks = [pick for pick in without.picks if pick.parts[0].writer_id in whole]
    picks += [pick for pick in choice.picks if pick.parts[0].writer_id not in whole]
    return Choice(tuple(picks), choice.holes, choice.divergences)


def edits_table(pieces: Iterable[tuple[str, pa.Table]]) -> pa.Table:
    """(writer, its facts) as one table (EDITS). Facts need the columns `subject`, seq, hlc, kind, key, t, v, i, s."""
    tables = []
    for writer_id, facts in pieces:
        about = facts.filter(pc.is_valid(facts["subject"]))
        columns = {name: about[name] for name in EDITS.names[2:]}
        owners = {"run": about["subject"], "writer": pa.repeat(writer_id, about.num_rows)}
        tables.append(pa.table(owners | columns).cast(EDITS))
    return pa.concat_tables(tables).combine_chunks() if tables else pa.Table.from_batches([], EDITS)


def purge_edits(purged: Iterable[PurgedRun]) -> pa.Table:
    """Each purged run as the tombstone that it leaves (EDITS): it names the writers whose files nobody reads, so that
    what a process writes that one of them spawned does not bring back half of the run.
    """
    rows = [
        {"run": one.run_id, "writer": "", "seq": 0, "hlc": one.hlc_us, "kind": KIND_TOMBSTONE, "key": join_path(path)}
        | {"t": int(Type.BOOL), "v": 1.0, "i": 1, "s": None}
        for one in purged
        for path in ((TOMBSTONE_PATH,), *((TOMBSTONE_PATH, writer_id) for writer_id in one.writers))
    ]
    return pa.Table.from_pylist(rows, EDITS)


def _load(
    store: Store, cache: PartCache, objects: Mapping[PartName, ObjectInfo], choice: Choice, bad: Collection[PartName]
) -> tuple[list[tuple[str, pa.Table]], dict[PartName, Exception]]:
    picks = [(part, pick.first) for pick in choice.picks for part in pick.families("f") if part not in bad]
    held = {part: _tables.get(_identity(store, objects[part])) for part, _ in picks}
    missing = [part for part, table in held.items() if table is None]
    paths = cache.fetch(store, [objects[part] for part in missing]) if missing else []
    failed: dict[PartName, Exception] = {}
    for part, path in zip(missing, paths, strict=True):
        try:
            table = _read(path, part, f"{store.url}/{objects[part].key}")
        except (CorruptData, FormatTooNew) as exc:
            failed[part] = exc
            continue
        _tables.put(_identity(store, objects[part]), table, int(table.nbytes) + _OVERHEAD_BYTES)
        held[part] = table
    pieces: list[tuple[str, pa.Table]] = []
    for part, first in picks:
        found = held[part]
        if found is not None:
            cut = first > part.first
            pieces.append((part.writer_id, found.filter(pc.greater_equal(found["seq"], first)) if cut else found))
    return pieces, failed


def _identity(store: Store, info: ObjectInfo) -> tuple[str, str, int]:
    return store.url, info.key, info.size_bytes


def _read(path: Path | None, part: PartName, shown: str) -> pa.Table:
    gone = StartOver(NotFound(f"{shown} is listed, but is not there. Look for what deletes files."))
    if path is None:
        raise gone
    try:
        footer, facts = read_events(path, shown, facts_only=True)
    except FileNotFoundError:
        raise gone from None
    said = (footer.writer_id, footer.family, footer.first, footer.last, footer.mark)
    if said != (part.writer_id, part.family, part.first, part.last, part.mark):
        raise CorruptData(f"{shown} says of itself that it is another file. Move it back.")
    return facts.select(_FACTS.names).cast(_FACTS)
