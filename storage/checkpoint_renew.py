"""Puts good checkpoints in the place of damaged ones: made again from their packs, and named by the next manifest."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tracker.storage.checkpoint_rebuild import rebuild_checkpoint
from tracker.storage.errors import CorruptData, NotFound, StorageUnavailable
from tracker.storage.fsck_report import FsckReport
from tracker.storage.manifest import Manifest, Pack
from tracker.storage.names import new_ulid, parse_pack_key
from tracker.storage.pack_fetch import fetch_large
from tracker.storage.pack_job import CompactReport, CountedStore, PackJob
from tracker.storage.pack_state import PackState, load_state, publish
from tracker.storage.port import Store

__all__ = ["rebuilt", "renew_checkpoints", "repair_checkpoints"]


def renew_checkpoints(job: PackJob, state: PackState, broken: Collection[str]) -> tuple[PackState, bool]:
    """(State afterwards, whether something changed): checkpoints with these ids gave way to good ones.

    Raises:
        StorageUnavailable: nobody knows whether it counts.
        CorruptData, FormatTooNew: a pack cannot be read.
    """

    def change(now: PackState) -> tuple[Manifest, Mapping[str, bytes]] | None:
        old = now.manifest
        renewed, objects = {}, {}
        for one in old.checkpoints:
            if one.id in broken:
                made = new_ulid(job.wall_us)
                data = rebuilt(job, made, [pack for pack in old.packs if pack.id in one.packs])
                renewed[one.id] = replace(one, id=made, size_bytes=len(data))
                objects[job.key(made, "k")] = data
        if not renewed:
            return None
        checkpoints = tuple(renewed.get(one.id, one) for one in old.checkpoints)
        gc = {**old.gc, **dict.fromkeys(renewed, old.number + 1)}
        return replace(old, checkpoints=checkpoints, gc=gc), objects

    after, done = publish(job.store, job.entity, job.project, state, change, {}) if broken else (state, False)
    for one in sorted(broken) if done else ():
        job.note("info", f"{job.store.url}/{job.key(one, 'k')} was damaged or gone; a new one stands in its place.")
    return after, done


def repair_checkpoints(store: Store, report: FsckReport, *, now_us: int, dry_run: bool) -> None:
    """Renew the checkpoints that a check found to be damaged, missing or wrong; fills `report.renewed` and `kept`.

    Raises:
        StorageUnavailable, CredentialsMissing: as the store.
    """
    broken: dict[str, str] = {}
    for finding in report.findings:
        name = parse_pack_key(finding.key)
        if finding.code == "derived" and name is not None and name[1] == "k":
            broken[name[0]] = finding.key
    if not broken:
        return
    with tempfile.TemporaryDirectory(prefix="tracker-fsck-") as directory:
        work = CompactReport()
        job = PackJob(
            store=CountedStore(store, work),
            entity=report.entity,
            project=report.project,
            wall_us=now_us,
            now_us=now_us,
            grace_us=0,
            memory_bytes=256 << 20,
            pack_bytes_max=256 << 20,
            directory=Path(directory),
            report=work,
            notify=lambda *_: None,
        )
        try:
            state = load_state(job.store, report.entity, report.project)
            listed = {one.id for one in state.manifest.checkpoints}
            done = dry_run or renew_checkpoints(job, state, broken.keys() & listed)[1]
        except (CorruptData, NotFound) as exc:
            report.kept += [(key, f"it cannot be made again: {exc}") for key in broken.values()]
            return
    report.renewed += [key for one, key in sorted(broken.items()) if done and one in listed]


def rebuilt(job: PackJob, checkpoint_id: str, packs: Sequence[Pack]) -> bytes:
    """The checkpoint of these packs of the store, as `rebuild_checkpoint`."""

    def open_pack(pack: Pack, family: str) -> Path:
        key = job.key(pack.id, family)
        try:
            return fetch_large(job.store, key, pack.families[family], job.directory)
        except StorageUnavailable:
            held = [info.size_bytes for info in job.store.list(key[: key.rindex("/") + 1]) if info.key == key]
            if not held:
                raise NotFound(f"There is no {job.store.url}/{key}.") from None
            if held == [pack.families[family]]:
                raise
            raise CorruptData(f"{job.store.url}/{key} has not the size that its manifest says.") from None

    return rebuild_checkpoint(
        checkpoint_id, job.entity, job.project, packs, open_pack, memory_bytes=job.memory_bytes // 4
    )
