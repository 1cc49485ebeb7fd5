"""What a project (or one run of it) holds at one moment: listed, chosen, fetched, digested.

Here alone the reading side talks to the store. Everything else works on the `Snapshot`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.edits import EDITS, read_edits
from tracker.query.history import PartsGone
from tracker.query.memory_cache import MemoryCache
from tracker.query.readable_parts import Bad, Objects, StartOver, read_parts
from tracker.query.run_files import RunFiles, RunPart
from tracker.storage.cache import PartCache
from tracker.storage.choose import Divergence
from tracker.storage.errors import StorageUnavailable
from tracker.storage.format_file import check_format
from tracker.storage.names import RunRef, edits_prefix, parse_edit_key, parse_part_key, run_prefix, runs_prefix
from tracker.storage.port import ObjectInfo, Store

__all__ = ["Snapshot", "open_project"]

Warn = Callable[[str], None]

_PAUSES_S: Final = (0.0, 0.05, 0.2, 0.5, 1.0)  # before each attempt; a merge puts and deletes within these
_LISTING_S_MAX: Final = 300.0  # a listing that took longer may mix what the writers' grace time keeps apart

_UNCHANGED_OBJECTS_MAX: Final = 100_000

_formats_seen: set[str] = set()


@dataclass(frozen=True, slots=True)
class _Held:
    """What was read when the listing had these sizes."""

    sizes: tuple[tuple[str, int], ...]
    runs: Mapping[str, RunFiles]
    edits: pa.Table
    hlc_max_us: int


_unchanged: MemoryCache[_Held] = MemoryCache(_UNCHANGED_OBJECTS_MAX)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Runs by id, with their chosen parts. Snapshots with equal `identity` hold the same."""

    store: Store
    cache: PartCache
    entity: str
    project: str
    runs: Mapping[str, RunFiles]
    identity: tuple[object, ...]
    now_us: int
    edits: pa.Table = field(default_factory=EDITS.empty_table)  # what others wrote about these runs (EDITS)
    hlc_max_us: int = 0  # greatest stamp of all that was read
    store_now_us: int = 0  # time of the newest object, by the store's clock; 0 where the store does not say

    def paths(self, parts: Sequence[RunPart]) -> list[Path]:
        """Local files of `parts`, fetched again where the cache gave them up.

        Raises:
            PartsGone: a part is no more in the store. Open a new snapshot.
        """
        found = self.cache.fetch(self.store, [part.info for part in parts])
        paths = [path for path in found if path is not None]
        if len(paths) < len(found):
            gone = next(part.info.key for part, path in zip(parts, found, strict=True) if path is None)
            raise PartsGone(f"{gone} is no more in {self.store.url}: it was merged or deleted meanwhile. Try again.")
        return paths


def open_project(
    store: Store,
    entity: str,
    project: str,
    *,
    cache: PartCache,
    now_us: int,
    warn: Warn,
    run_id: str | None = None,
) -> Snapshot:
    """All runs of a project, or only `run_id` (none where there is none), as the store holds them now.

    A damaged part among good ones, one of a newer format, or what a writer with two histories wrote is left out, and
    `warn` is told its name and why.

    Raises:
        CorruptData, FormatTooNew: nothing is readable, or frames are missing and stay missing.
        NotFound: the root itself is missing.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    if store.url not in _formats_seen and check_format(store):
        _formats_seen.add(store.url)
    prefix = runs_prefix(entity, project) if run_id is None else run_prefix(RunRef(entity, project, run_id))
    for last, pause_s in enumerate(_PAUSES_S, start=1 - len(_PAUSES_S)):
        if pause_s:
            time.sleep(pause_s)
        try:
            listed = _list(store, prefix)
            listed_edits = _list(store, edits_prefix(entity, project)) if listed else []
            sizes = tuple((info.key, info.size_bytes) for info in (*listed, *listed_edits))
            store_now_us = max((info.modified_us for info in (*listed, *listed_edits)), default=0)
            held = _unchanged.get((store.url, prefix))
            if held is not None and held.sizes == sizes:
                identity: tuple[object, ...] = (store.url, prefix, sizes, ())
                return Snapshot(
                    store,
                    cache,
                    entity,
                    project,
                    held.runs,
                    identity,
                    now_us,
                    held.edits,
                    held.hlc_max_us,
                    store_now_us,
                )
            objects = {name: info for info in listed if (name := parse_part_key(info.key)) is not None}
            read = read_parts(store, cache, objects)
            edits = read_edits(store, cache, listed_edits)
        except StartOver as again:
            if last == 0:
                raise again.error from again
            continue
        if read.bad and not read.parts:
            raise next(iter(read.bad.values()))
        objects |= {name: info for info in listed_edits if (name := parse_edit_key(info.key)) is not None}
        bad, divergences = {**read.bad, **edits.bad}, (*read.divergences, *edits.divergences)
        warnings = _warnings(store, objects, bad, divergences)
        for text in warnings:
            warn(text)
        parts: defaultdict[str, list[RunPart]] = defaultdict(list)
        for part in read.parts:
            parts[part.run_id].append(part)
        runs = {run_id: RunFiles(entity, project, run_id, tuple(found)) for run_id, found in sorted(parts.items())}
        stamps = [part.hlc_max_us for part in read.parts]
        hlc_max_us = max([*stamps, pc.max(edits.table["hlc"]).as_py() or 0])
        if not warnings:
            _unchanged.put((store.url, prefix), _Held(sizes, runs, edits.table, hlc_max_us), len(sizes))
        identity = (store.url, prefix, sizes, warnings)
        return Snapshot(store, cache, entity, project, runs, identity, now_us, edits.table, hlc_max_us, store_now_us)
    raise AssertionError("the last attempt returns or raises")


def _list(store: Store, prefix: str) -> list[ObjectInfo]:
    begun = time.monotonic()
    listed = store.list(prefix)
    took_s = time.monotonic() - begun
    if took_s > _LISTING_S_MAX:
        raise StartOver(
            StorageUnavailable(
                f"Listing {store.url}/{prefix} took {took_s:.0f} s, too long for one picture. Try again."
            )
        )
    return listed


def _warnings(store: Store, objects: Objects, bad: Bad, divergences: Sequence[Divergence]) -> tuple[str, ...]:
    texts = [f"{error} It is left out of the answer." for error in bad.values()]
    for divergence in divergences:
        keys = " and ".join(objects[part].key for part in divergence.parts)
        texts.append(
            f"{keys} in {store.url} tell two histories of one writer (a copied machine?). Its frames from "
            f"{divergence.frame} on are left out of the answer. Keep the right files, move the others out of the store."
        )
    return tuple(texts)
