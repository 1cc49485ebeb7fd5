"""Deletes what is superfluous: loose files that packs cover, packs and checkpoints that were replaced, old manifests.

Every deletion follows from a manifest that is older than the grace time by the store's clock (see `settled_number`),
and loose files go only after the pack that holds them was read back whole.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from tracker.storage.errors import CorruptData, FormatTooNew, NotFound
from tracker.storage.manifest import Pack
from tracker.storage.merge import verify_covering
from tracker.storage.names import PartName, encode_name, parse_pack_key
from tracker.storage.pack_fetch import fetch_large
from tracker.storage.pack_job import PackJob
from tracker.storage.pack_plan import Held, covered_by_packs, covered_by_sets, settled_number
from tracker.storage.pack_state import PackState
from tracker.storage.packs import COVER, DERIVED_FAMILIES, check_pack_file
from tracker.storage.port import ObjectInfo

__all__ = ["delete_covered", "delete_old_manifests", "delete_purged", "delete_replaced", "find_deleted", "find_orphans"]

Objects = Mapping[PartName, ObjectInfo]


def delete_covered(job: PackJob, state: PackState, objects: Objects, *, quiet_us: int) -> set[PartName]:
    """Loose files that a settled, verified pack covers, and those of silent writers that a larger verified set
    covers, are deleted; returns which (with `dry_run`: which would be). Commit files go first.
    """
    settled = settled_number(state.manifests, job.now_us, job.grace_us)
    covered, diverging = covered_by_packs(objects, state.coverage, state.manifest, settled)
    for name in diverging:
        job.note(
            "warn",
            f"{job.store.url}/{objects[name].key} tells another history of its writer than the pack that holds "
            "these frames (a copied machine?). It stays; its frames do not count.",
        )
    packs = {pack.id: pack for pack in state.manifest.packs}
    going: set[PartName] = set()
    by_pack: defaultdict[str, list[PartName]] = defaultdict(list)
    for name, pack in covered.items():
        by_pack[pack].append(name)
    sound: dict[str, bool] = {}
    for _, names in sorted(by_pack.items()):
        needed = {held.pack for name in names for held in _extents(state, name)}
        for one in sorted(needed - sound.keys()):
            sound[one] = job.report.dry_run or _is_whole(job, packs[one])
        if all(sound[one] for one in needed):
            going.update(names)
    rest = {name: info for name, info in objects.items() if name not in going}
    by_set: defaultdict[tuple[PartName, ...], list[PartName]] = defaultdict(list)
    frames = state.coverage.frames()
    for name, pick in covered_by_sets(rest, frames, job.now_us, job.grace_us, quiet_us).items():
        by_set[pick.parts].append(name)
    for parts, names in by_set.items():
        prefix = objects[parts[0]].key.removesuffix(parts[0].file_name)
        whole = job.report.dry_run or verify_covering(
            job.store, prefix, [part.file_name for part in parts], job.breathe
        )
        if whole:
            going.update(names)
    _delete(job, [objects[name] for name in sorted(going, key=_deletion_order)])
    return going


def delete_purged(job: PackJob, state: PackState, objects: Objects) -> set[PartName]:
    """Loose files of runs whose purge is settled are deleted; returns which."""
    settled = settled_number(state.manifests, job.now_us, job.grace_us)
    purged = {encode_name(one.run_id): one for one in state.manifest.purged if one.since <= settled}
    going = {
        name
        for name in objects
        if (one := purged.get(name.run_segment)) is not None and one.may_delete(name.writer_id)
    }
    _delete(job, [objects[name] for name in sorted(going, key=_deletion_order)])
    return going


def delete_replaced(job: PackJob, state: PackState, listed: Iterable[ObjectInfo]) -> int:
    """Files of packs and checkpoints that a settled manifest gave up are deleted. `listed`: below `packs/`."""
    settled = settled_number(state.manifests, job.now_us, job.grace_us)
    live = _live(state)
    doomed = {one for one, since in state.manifest.gc.items() if since <= settled and one not in live}
    found = [info for info in listed if (name := parse_pack_key(info.key)) is not None and name[0] in doomed]
    _delete(job, found)
    return len(found)


def delete_old_manifests(job: PackJob, state: PackState) -> int:
    """Manifests below the newest settled one are deleted: nobody reads them any more."""
    settled = settled_number(state.manifests, job.now_us, job.grace_us)
    old = [info for number, info in sorted(state.manifests.items()) if number < settled]
    _delete(job, old)
    return len(old)


def find_deleted(job: PackJob, state: PackState, listed: Iterable[ObjectInfo]) -> frozenset[str]:
    """Ids that a settled manifest gave up and that have no file any more: no manifest need mention them again."""
    settled = settled_number(state.manifests, job.now_us, job.grace_us)
    held = {name[0] for info in listed if (name := parse_pack_key(info.key)) is not None}
    return frozenset(one for one, since in state.manifest.gc.items() if since <= settled and one not in held)


def find_orphans(state: PackState, listed: Iterable[ObjectInfo], now_us: int, age_us: int) -> frozenset[str]:
    """Ids of objects below `packs/` that no manifest names and that are older than `age_us`. The next manifest must
    say so (`gc`) before they may be deleted: their packer may only have stalled.
    """
    known = _live(state) | state.manifest.gc.keys()
    newest: dict[str, int] = {}
    for info in listed:
        name = parse_pack_key(info.key)
        if name is not None and name[0] not in known:
            newest[name[0]] = max(newest.get(name[0], 0), info.modified_us or now_us)
    return frozenset(one for one, modified_us in newest.items() if now_us - modified_us >= age_us)


def _live(state: PackState) -> Collection[str]:
    return {pack.id for pack in state.manifest.packs} | {one.id for one in state.manifest.checkpoints}


def _extents(state: PackState, name: PartName) -> list[Held]:
    found = state.coverage.extents[name.run_segment, name.writer_id]
    return [held for held in found if held.first <= name.last and held.last >= name.first]


def _is_whole(job: PackJob, pack: Pack) -> bool:
    """Whether every file of the pack that an answer needs is there, undamaged, with all its events."""
    try:
        with tempfile.TemporaryDirectory(dir=job.directory) as directory:
            events = 0
            for family, size_bytes in pack.families.items():
                if family in DERIVED_FAMILIES and family != COVER:
                    continue
                key = job.key(pack.id, family)
                path = fetch_large(job.store, key, size_bytes, Path(directory))
                if path.stat().st_size != size_bytes:
                    raise CorruptData(f"{key} has {path.stat().st_size} bytes, its manifest says {size_bytes}.")
                rows = check_pack_file(path, f"{job.store.url}/{key}", pack, family)
                events += 0 if family == COVER else rows
                job.breathe()
            if events != pack.events:
                raise CorruptData(f"Pack {pack.id} has {events} events, its manifest says {pack.events}.")
    except (CorruptData, FormatTooNew, NotFound, FileNotFoundError) as exc:
        job.note("error", f"{exc} Nothing that the pack covers is deleted. Run: tracker fsck")
        return False
    return True


def _deletion_order(name: PartName) -> tuple[bool, str, str, int, str]:
    """Commit files first, so that a set that is deleted by half counts no more."""
    return name.family != "f", name.run_segment, name.writer_id, name.first, name.family


def _delete(job: PackJob, found: list[ObjectInfo]) -> None:
    job.report.deleted_objects += len(found)
    job.report.deleted_bytes += sum(info.size_bytes for info in found)
    if found and not job.report.dry_run:
        job.store.delete([info.key for info in found])
