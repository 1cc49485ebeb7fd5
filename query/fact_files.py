"""Files of facts that belong to no run's log (edits, things): chosen, fetched, read, each frame once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from tracker.storage.names import PartName
from tracker.storage.port import ObjectInfo, Store
from tracker.storage.schema import read_events

__all__ = ["FACTS", "FactFiles", "read_fact_files"]

FACTS: Final = pa.schema(
    [
        pa.field("subject", pa.string()),  # what the fact is about
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
_KEPT_BYTES: Final = 64 << 20
_OVERHEAD_BYTES: Final = 1024
_PARALLEL_MIN: Final = 32  # files; for fewer of them threads do not pay
_THREADS: Final = min(4, os.cpu_count() or 1)

_tables: MemoryCache[pa.Table] = MemoryCache(_KEPT_BYTES)

Objects = Mapping[PartName, ObjectInfo]


@dataclass(frozen=True, slots=True)
class FactFiles:
    """Facts (FACTS) of each file that was chosen, and what had to be left out."""

    pieces: tuple[tuple[PartName, pa.Table], ...]
    bad: Mapping[PartName, Exception]
    divergences: tuple[Divergence, ...]


def read_fact_files(
    store: Store,
    cache: PartCache,
    objects: Objects,
    packed: Mapping[tuple[str, str], int] | None = None,
    *,
    what: str,
) -> FactFiles:
    """What the files say, apart from the frames that packs hold (`packed`: see `choose_files`). `what`: for messages.

    A file that cannot be read is left out and stands in `bad`; where smaller files hold its frames they are taken.

    Raises:
        StartOver: frames are missing below an existing file, or a listed file is gone.
    """
    bad: dict[PartName, Exception] = {}
    while True:
        choice = _choose(objects, packed or {}, bad)
        if choice.holes:
            (hole, *_) = choice.holes
            where = objects[hole.beyond].shown_in(store.url)
            raise StartOver(
                CorruptData(f"Frame {hole.frame} of the {what} before {where} is in no file. Restore what was deleted.")
            )
        pieces, failed = _load(store, cache, objects, choice, bad)
        bad |= failed
        if not failed:
            return FactFiles(tuple(pieces), bad, choice.divergences)


def _choose(names: Iterable[PartName], packed: Mapping[tuple[str, str], int], bad: Collection[PartName]) -> Choice:
    """Without the bad files for each writer that loses nothing by it; with them for the others."""
    names = list(names)
    choice = choose_files(names, packed)
    if not bad:
        return choice
    without = choose_files((name for name in names if name not in bad), packed)
    lasts, fewer = ({_writer(pick.parts[0]): pick.last for pick in found.picks} for found in (choice, without))
    whole = {writer for writer, last in lasts.items() if fewer.get(writer) == last}
    picks = [pick for pick in without.picks if _writer(pick.parts[0]) in whole]
    picks += [pick for pick in choice.picks if _writer(pick.parts[0]) not in whole]
    return Choice(tuple(picks), choice.holes, choice.divergences)


def _writer(name: PartName) -> tuple[str, str]:
    return name.run_segment, name.writer_id


def _load(
    store: Store, cache: PartCache, objects: Objects, choice: Choice, bad: Collection[PartName]
) -> tuple[list[tuple[PartName, pa.Table]], dict[PartName, Exception]]:
    picks = [(part, pick.first) for pick in choice.picks for part in pick.families("f") if part not in bad]
    held = {part: _tables.get(_identity(store, objects[part])) for part, _ in picks}
    missing = [part for part, table in held.items() if table is None]
    paths = cache.fetch(store, [objects[part] for part in missing]) if missing else []
    failed: dict[PartName, Exception] = {}
    for part, table in zip(missing, _read_all(store, objects, missing, paths), strict=True):
        if not isinstance(table, pa.Table):
            failed[part] = table
            continue
        _tables.put(_identity(store, objects[part]), table, int(table.nbytes) + _OVERHEAD_BYTES)
        held[part] = table
    pieces: list[tuple[PartName, pa.Table]] = []
    for part, first in picks:
        found = held[part]
        if found is not None:
            cut = first > part.first
            pieces.append((part, found.filter(pc.greater_equal(found["seq"], first)) if cut else found))
    return pieces, failed


def _identity(store: Store, info: ObjectInfo) -> tuple[str, str, int]:
    return info.root or store.url, info.key, info.size_bytes


def _read_all(
    store: Store, objects: Objects, parts: Sequence[PartName], paths: Sequence[Path | None]
) -> list[pa.Table | CorruptData | FormatTooNew]:
    """The facts of each file, or what is wrong with it, in order. Raises StartOver where one is gone."""

    def read(part: PartName, path: Path | None) -> pa.Table | CorruptData | FormatTooNew:
        try:
            return _read(path, part, objects[part].shown_in(store.url))
        except (CorruptData, FormatTooNew) as exc:
            return exc

    if len(parts) < _PARALLEL_MIN:
        return list(map(read, parts, paths))
    with ThreadPoolExecutor(_THREADS) as pool:  # decoding needs no interpreter
        return list(pool.map(read, parts, paths))


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
    return facts.select(FACTS.names).cast(FACTS)
