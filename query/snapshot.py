"""What a project (or one run of it) holds at one moment: listed, chosen, fetched, digested.

Here alone the reading side talks to the store. Everything else works on the `Snapshot`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.edits import Edits, purge_edits, read_edits
from tracker.query.history import PartsGone
from tracker.query.homes import Homes
from tracker.query.listing import Listing, list_project
from tracker.query.memory_cache import MemoryCache
from tracker.query.packed import no_packs, open_packed
from tracker.query.packed_as_of import parts_as_of
from tracker.query.project_runs import ProjectRuns
from tracker.query.readable_parts import Bad, Objects, ReadableParts, StartOver, distrusted_count, read_parts
from tracker.query.relatives import Relatives
from tracker.query.run_files import RunPart
from tracker.storage.arrow_arrays import values_of
from tracker.storage.cache import PartCache
from tracker.storage.choose import Divergence
from tracker.storage.clock import MAX_AHEAD_US
from tracker.storage.events import INT64_MAX
from tracker.storage.format_file import check_format_once
from tracker.storage.manifest import Manifest
from tracker.storage.names import PartName, encode_name, parse_edit_key, parse_part_key
from tracker.storage.port import ObjectInfo, Store

__all__ = ["Snapshot", "open_project"]

Warn = Callable[[str], None]

_PAUSES_S: Final = (0.0, 0.05, 0.2, 0.5, 1.0)  # before each attempt; a merge puts and deletes within these

_UNCHANGED_OBJECTS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class _Held:
    """What was read when the listing was this one."""

    identity: tuple[object, ...]
    runs: ProjectRuns
    edits: pa.Table
    hlc_max_us: int
    homes: Homes


_unchanged: MemoryCache[_Held] = MemoryCache(_UNCHANGED_OBJECTS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Runs by id, with their chosen parts. Snapshots with equal `identity` hold the same."""

    store: Store
    cache: PartCache
    entity: str
    project: str
    runs: ProjectRuns
    identity: tuple[object, ...]
    now_us: int  # the moment at which states are judged
    edits: pa.Table  # what others wrote about these runs (`tracker.query.edits.EDITS`)
    hlc_max_us: int  # greatest stamp of all that was read, but for those a day and more ahead of the store's clock
    store_now_us: int  # time of the newest object, by the store's clock; 0 where the store does not say
    warn: Warn
    relatives: Relatives  # runs that these began in, looked up when they are needed
    homes: Homes  # which roots have a run

    def paths(self, parts: Sequence[RunPart]) -> list[Path]:
        """Local files of `parts`, fetched again where the cache gave them up. Parts of one pack have one file.

        Raises:
            PartsGone: a part is no more in the store. Open a new snapshot.
        """
        infos = {part.info.key: part.info for part in parts}
        found = dict(zip(infos, self.cache.fetch(self.store, list(infos.values())), strict=True))
        paths = [path for part in parts if (path := found[part.info.key]) is not None]
        if len(paths) < len(parts):
            gone = next(infos[key].shown_in(self.store.url) for key, path in found.items() if path is None)
            raise PartsGone(f"{gone} is no more there: it was merged or deleted meanwhile. Try again.")
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
    as_of_us: int | None = None,
) -> Snapshot:
    """All runs of a project, or only `run_id` (none where there is none), as the store holds them now.

    With `as_of_us` only events count whose stamp is not later, and states are judged at that time.

    A damaged part among good ones, one of a newer format, or what a writer with two histories wrote is left out, and
    `warn` is told its name and why. A damaged checkpoint costs nothing but the time to make it again.

    Raises:
        CorruptData, FormatTooNew: nothing is readable, or frames are missing and stay missing.
        NotFound: the root itself is missing.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    check_format_once(store)
    judged_us = now_us if as_of_us is None else as_of_us
    for last, pause_s in enumerate(_PAUSES_S, start=1 - len(_PAUSES_S)):
        if pause_s:
            time.sleep(pause_s)
        try:
            listing = list_project(store, entity, project, run_id)
            key = (store.url, listing.prefix, as_of_us, distrusted_count())
            held, warnings = _unchanged.get(key), tuple[str, ...]()
            if held is None or held.identity != listing.identity:
                held, warnings = _read(store, cache, entity, project, listing, run_id, as_of_us, warn)
        except StartOver as again:
            if last == 0:
                raise again.error from again
            continue
        for text in warnings:
            warn(text)
        if not warnings:
            _unchanged.put(key, held, len(listing.runs) + len(listing.edits) + 1)

        def open_run(other: str) -> ProjectRuns:
            found = open_project(
                store, entity, project, cache=cache, now_us=now_us, warn=warn, run_id=other, as_of_us=as_of_us
            )
            return found.runs

        return Snapshot(
            store=store,
            cache=cache,
            entity=entity,
            project=project,
            runs=held.runs,
            identity=(*key, listing.identity, warnings),
            now_us=judged_us,
            edits=held.edits,
            hlc_max_us=held.hlc_max_us,
            store_now_us=listing.store_now_us,
            warn=warn,
            relatives=Relatives(held.runs, held.edits, open_run),
            homes=held.homes.at(store),
        )
    raise AssertionError("the last attempt returns or raises")


def _read(
    store: Store,
    cache: PartCache,
    entity: str,
    project: str,
    listing: Listing,
    run_id: str | None,
    as_of_us: int | None,
    warn: Warn,
) -> tuple[_Held, tuple[str, ...]]:
    """What is listed, and what had to be left out of it. Raises StartOver, CorruptData, FormatTooNew."""
    manifest = listing.manifest
    packed = no_packs(store, cache, entity, project)
    if manifest.checkpoints:
        roots = [(root, found.manifest) for root, found in listing.roots]
        packed = open_packed(store, cache, entity, project, manifest, as_of_us, roots=roots, warn=warn)
    objects = _without_purged({name: info for info in listing.runs if (name := parse_part_key(info.key))}, manifest)
    frames = packed.frames((name.run_segment, name.writer_id) for name in objects)
    read = read_parts(store, cache, objects, frames, as_of_us)
    while more := _instead(listing, {name: objects[name] for name in read.bad}):
        objects |= more
        read = read_parts(store, cache, objects, frames, as_of_us)
    edits = _read_edits(store, cache, listing)
    if read.bad and not read.parts and not packed:
        raise next(iter(read.bad.values()))
    table = _edits_that_count(edits.table, manifest, as_of_us)
    cut = parts_as_of(packed, as_of_us) if as_of_us is not None and packed.cut else []
    runs = ProjectRuns(packed, [*read.parts, *cut], run_id)
    columns = table["hlc"].chunks, packed.writers["last_hlc"].chunks
    stamps = [(part.hlc_max_us for part in read.parts), *(values_of(chunk) for chunks in columns for chunk in chunks)]
    sane_us = listing.store_now_us + MAX_AHEAD_US if listing.store_now_us else INT64_MAX
    hlc_max_us = max((_greatest(column, sane_us) for column in stamps), default=0)
    homes = Homes(store, [(root, found.runs) for root, found in listing.roots], packed)
    return _Held(listing.identity, runs, table, hlc_max_us, homes), _warnings(store, objects, listing, read, edits)


def _instead(listing: Listing, bad: Objects) -> dict[PartName, ObjectInfo]:
    """Of objects that cannot be read the ones of the same names in the next root that has them."""
    found = {}
    for name, info in bad.items():
        others = [info, *listing.spare.get(info.key, ())]
        at = max(n for n, one in enumerate(others) if one.root == info.root)
        if info.root and (rest := others[at + 1 :]):
            found[name] = rest[0]
    return found


def _read_edits(store: Store, cache: PartCache, listing: Listing) -> Edits:
    edits = read_edits(store, cache, listing.edits)
    listed = {info.key: info for info in listing.edits}
    parsed = ((parse_edit_key(info.key), info) for info in listing.edits) if edits.bad else ()
    names = {name: info for name, info in parsed if name is not None and name in edits.bad}
    while names and (more := _instead(listing, names)):
        listed |= {info.key: info for info in more.values()}
        edits = read_edits(store, cache, list(listed.values()))
        names = {name: more[name] for name in more if name in edits.bad}
    return edits


def _greatest(stamps: Iterable[int], limit_us: int) -> int:
    """The greatest that is not beyond the limit, 0 where there is none."""
    found = np.fromiter(stamps, np.int64)
    return int(found[found <= limit_us].max(initial=0))


def _without_purged(objects: Objects, manifest: Manifest) -> dict[PartName, ObjectInfo]:
    purged = {encode_name(run.run_id): run for run in manifest.purged}
    return {
        name: info
        for name, info in objects.items()
        if name.run_segment not in purged or not purged[name.run_segment].hides(name.writer_id)
    }


def _edits_that_count(edits: pa.Table, manifest: Manifest, as_of_us: int | None) -> pa.Table:
    """Without those about what was purged, and without later ones; and the tombstones that purged runs leave."""
    if as_of_us is not None and edits.num_rows:
        edits = edits.filter(pc.less_equal(edits["hlc"], as_of_us))
    for run in manifest.purged:
        mine = pc.and_(pc.equal(edits["run"], run.run_id), pc.less_equal(edits["hlc"], run.hlc_us))
        edits = edits.filter(pc.invert(mine))
    return pa.concat_tables([edits, purge_edits(manifest.purged)]) if manifest.purged else edits


def _warnings(store: Store, objects: Objects, listing: Listing, read: ReadableParts, edits: Edits) -> tuple[str, ...]:
    known = {**objects, **{name: info for info in listing.edits if (name := parse_edit_key(info.key)) is not None}}
    bad: Bad = {**read.bad, **edits.bad}
    divergences: tuple[Divergence, ...] = (*read.divergences, *edits.divergences)
    texts = [f"{error} It is left out of the answer." for error in bad.values()]
    for divergence in divergences:
        keys = " and ".join(known[part].shown_in(store.url) for part in divergence.parts)
        texts.append(
            f"{keys} tell two histories of one writer (a copied machine?). Its frames from "
            f"{divergence.frame} on are left out of the answer. Keep the right files, move the others out of the store."
        )
    return tuple(texts)
