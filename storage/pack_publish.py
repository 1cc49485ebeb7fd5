"""Puts a built pack into the store and lets it count: files, checkpoint, then the next manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from tracker.storage.checkpoint import merge_checkpoints
from tracker.storage.checkpoint_check import check_checkpoint
from tracker.storage.checkpoint_rebuild import encode_records
from tracker.storage.checkpoint_renew import rebuilt
from tracker.storage.errors import CorruptData, NotFound, TrackerError
from tracker.storage.manifest import Checkpoint, Manifest, Pack
from tracker.storage.names import new_ulid
from tracker.storage.pack_build import BuiltPack
from tracker.storage.pack_job import PackJob
from tracker.storage.pack_plan import plan_checkpoint
from tracker.storage.pack_state import PackState, is_superseded, publish

__all__ = ["publish_pack"]


def publish_pack(
    job: PackJob,
    state: PackState,
    built: BuiltPack | None,
    replaced: Collection[str] = (),
) -> tuple[PackState, bool]:
    """(State afterwards, whether the pack counts). `replaced`: packs whose events it holds; they count no more.

    Without `built` the replaced packs are just dropped. A pack that lost to another process is deleted again.

    Raises:
        StorageUnavailable: nobody knows whether it counts.
        CorruptData, FormatTooNew: a checkpoint that must be rewritten cannot be read, nor made again from its packs.
    """
    files: Mapping[str, Path | bytes] = {} if built is None else built.files
    keys = {job.key(built.pack.id, family): file for family, file in files.items()} if built is not None else {}
    for key, file in keys.items():
        if isinstance(file, Path):
            job.store.put_file_if_absent(key, file)
        else:
            job.store.put_if_absent(key, file)
        job.breathe()

    def change(now: PackState) -> tuple[Manifest, Mapping[str, bytes]] | None:
        if not _applies(now, built, replaced):
            return None
        return _next(job, now, built, frozenset(replaced))

    covers = {} if built is None else {built.pack.id: built.cover}
    state, done = publish(job.store, job.entity, job.project, state, change, covers, frozenset(keys))
    if not done:
        job.report.packs_dropped += bool(keys)
        with contextlib.suppress(TrackerError):  # no manifest names it, and none ever will: what stays is an orphan
            job.store.delete(list(keys))
    return state, done


def _applies(state: PackState, built: BuiltPack | None, replaced: Collection[str]) -> bool:
    """Whether the pack still follows on what packs hold, as it did when it was planned."""
    listed = {pack.id for pack in state.manifest.packs}
    if not listed.issuperset(replaced):
        return False
    if built is None:
        return True
    if built.pack.id in state.manifest.gc:
        return False
    if replaced:
        return True
    frames = state.coverage.frames()
    return all(frames.get(writer, -1) + 1 == held.first and not state.hides(*writer) for writer, held in built.cover)


def _next(
    job: PackJob, state: PackState, built: BuiltPack | None, replaced: frozenset[str]
) -> tuple[Manifest, Mapping[str, bytes]]:
    number = state.manifest.number + 1
    old = state.manifest
    packs = [pack for pack in old.packs if pack.id not in replaced]
    if built is not None:
        since = max((pack.since for pack in old.packs if pack.id in replaced), default=number)
        packs.append(replace(built.pack, since=since))
    checkpoints, gone, objects = _checkpoints(job, old, built, replaced)
    live = {pack.id for pack in packs} | {checkpoint.id for checkpoint in checkpoints}
    doomed = [*sorted(replaced), *gone, *sorted(job.orphans - live)]
    gc = {**dict.fromkeys(doomed, number), **{one: at for one, at in old.gc.items() if one not in job.deleted}}
    return replace(old, packs=tuple(packs), checkpoints=checkpoints, gc=gc), objects


def _checkpoints(
    job: PackJob, old: Manifest, built: BuiltPack | None, replaced: frozenset[str]
) -> tuple[tuple[Checkpoint, ...], list[str], dict[str, bytes]]:
    """(Checkpoints of the next manifest, ids of those that it replaces, objects to put before it)."""
    kept = [one for one in old.checkpoints if not replaced.intersection(one.packs)]
    rewritten = [one for one in old.checkpoints if replaced.intersection(one.packs)]
    checkpoint_id = new_ulid(job.wall_us)
    data = b"" if built is None else _encode(job, checkpoint_id, _streams(built.records), [built.pack])
    size = len(data) + sum(one.size_bytes for one in rewritten)
    count = plan_checkpoint([*(one.size_bytes for one in kept), size]) - 1 if size else 0
    if count:
        rewritten += kept[-count:]
        kept = kept[:-count]
    gone = [one.id for one in rewritten]
    packs = [pack for one in rewritten for pack in one.packs if pack not in replaced]
    packs += [] if built is None else [built.pack.id]
    if not packs:
        return tuple(kept), gone, {}
    if rewritten:
        names = [job.key(one, "k") for one in gone]
        sources = [_read(job, one, old) for one in rewritten]
        more = [] if built is None else [built.records]
        merged = merge_checkpoints(sources, replaced, more, names, memory_bytes=job.memory_bytes // 4)
        inside = [pack for pack in old.packs if pack.id in packs]
        data = _encode(job, checkpoint_id, merged, inside if built is None else [*inside, built.pack])
    known = {pack.id: pack.hlc_max_us for pack in (*old.packs, *([] if built is None else [built.pack]))}
    hlc_max_us = max(known[pack] for pack in packs)
    found = Checkpoint(id=checkpoint_id, size_bytes=len(data), packs=tuple(packs), hlc_max_us=hlc_max_us)
    return (*kept, found), gone, {job.key(checkpoint_id, "k"): data}


def _read(job: PackJob, checkpoint: Checkpoint, manifest: Manifest) -> Path | pa.Buffer:
    """The checkpoint as it is stored, or as it follows from its packs where that is damaged or gone.

    Raises:
        NotFound: it is gone because there is a newer manifest, or a pack is.
    """
    name = job.key(checkpoint.id, "k")
    try:
        own = job.store.local_path(name)
        source = own if own is not None else job.store.get(name)
        check_checkpoint(source, name, checkpoint.id, checkpoint.size_bytes)
    except (CorruptData, NotFound, FileNotFoundError) as exc:
        if not isinstance(exc, CorruptData) and is_superseded(job.store, job.entity, job.project, manifest.number):
            raise NotFound(f"There is no {job.store.url}/{name}.") from exc
        source = rebuilt(job, checkpoint.id, [pack for pack in manifest.packs if pack.id in checkpoint.packs])
        job.note("info", f"{job.store.url}/{name} is damaged or gone; it was made again from its packs.")
    return pa.py_buffer(source) if isinstance(source, bytes) else source


def _streams(records: Mapping[str, pa.Table]) -> dict[str, list[pa.Table]]:
    return {what: [table] for what, table in records.items()}


def _encode(
    job: PackJob, checkpoint_id: str, records: Mapping[str, Iterable[pa.Table]], packs: Collection[Pack]
) -> bytes:
    return encode_records(checkpoint_id, job.entity, job.project, records, packs)
