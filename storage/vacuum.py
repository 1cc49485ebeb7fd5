"""By hand: everything superfluous of a project goes, once nobody can need it any more."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tracker.storage.keys import TEMPORARY
from tracker.storage.names import packs_prefix, parse_part_key, project_prefix, runs_prefix
from tracker.storage.pack_delete import (
    delete_covered,
    delete_old_manifests,
    delete_purged,
    delete_replaced,
    find_deleted,
    find_orphans,
)
from tracker.storage.pack_job import CompactReport, CountedStore, PackJob
from tracker.storage.pack_publish import publish_pack
from tracker.storage.pack_state import load_state, store_clock_us
from tracker.storage.port import Store
from tracker.storage.pump import default_grace_s

__all__ = ["VacuumReport", "vacuum_project"]

_MARKERS: Final = "vacuum/"
_TEMPORARY_AGE_S: Final = 24 * 3600.0
_SILENT_US: Final = 24 * 3600 * 1_000_000  # a writer that put nothing for so long needs none of its covered files


@dataclass(slots=True)
class VacuumReport:
    """What went, or with `dry_run` would go."""

    dry_run: bool = False
    loose_objects: int = 0  # covered by a pack or a merged set, or purged
    pack_objects: int = 0  # of packs and checkpoints that were replaced
    orphan_packs: int = 0  # that no manifest names: announced now, deleted by a vacuum after the grace time
    manifests: int = 0
    markers: int = 0  # that told the store's clock
    temporary_files: int = 0  # half-written files of processes that died (local roots)
    blobs: int = 0  # contents that nothing names any more (only where asked for)
    deleted_bytes: int = 0
    requests: int = 0
    notes: list[str] = field(default_factory=list)


def vacuum_project(
    store: Store,
    entity: str,
    project: str,
    *,
    now_us: int,
    grace_s: float | None = None,
    dry_run: bool = False,
    memory_bytes: int = 256 << 20,
    notify: Callable[[str, str], None] = lambda *_: None,
) -> VacuumReport:
    """Delete what a verified pack or merged set covers, replaced packs, old manifests, left-over markers.

    Nothing that is younger than `grace_s` by the store's clock (None: by the kind of store) decides or goes. Packs
    that no manifest names may belong to a packer that stalled: a manifest says first that nobody may publish them, and
    a vacuum after the grace time deletes them. Safe at any time, from many processes at once.

    Raises:
        FormatTooNew, CorruptData: a manifest or cover cannot be read. StorageUnavailable, CredentialsMissing.
    """
    inner = CompactReport(dry_run=dry_run)
    report = VacuumReport(dry_run=dry_run, notes=inner.notes)
    counted = CountedStore(store, inner)
    grace_us = int((default_grace_s(store.url) if grace_s is None else grace_s) * 1e6)
    store_now_us = now_us if dry_run else store_clock_us(counted)
    listed = counted.list(runs_prefix(entity, project))
    objects = {name: info for info in listed if (name := parse_part_key(info.key)) is not None}
    packs = counted.list(packs_prefix(entity, project))
    state = load_state(counted, entity, project)
    with tempfile.TemporaryDirectory(prefix="tracker-vacuum-") as directory:
        job = PackJob(
            store=counted,
            entity=entity,
            project=project,
            wall_us=now_us,
            now_us=store_now_us,
            grace_us=grace_us,
            memory_bytes=memory_bytes,
            pack_bytes_max=0,
            directory=Path(directory),
            report=inner,
            notify=notify,
        )
        purged = delete_purged(job, state, objects)
        rest = {name: info for name, info in objects.items() if name not in purged}
        report.loose_objects = len(purged) + len(delete_covered(job, state, rest, quiet_us=max(grace_us, _SILENT_US)))
        report.pack_objects = delete_replaced(job, state, packs)
        report.manifests = delete_old_manifests(job, state)
        job.orphans = find_orphans(state, packs, store_now_us, grace_us)
        job.deleted = find_deleted(job, state, packs)
        report.orphan_packs = len(job.orphans)
        if job.orphans and not dry_run and counted.enforces_put_if_absent():
            publish_pack(job, state, None)
        report.markers = _delete_markers(job)
    report.temporary_files = _delete_temporary(counted, entity, project, dry_run)
    report.deleted_bytes, report.requests = inner.deleted_bytes, inner.requests
    return report


def _delete_markers(job: PackJob) -> int:
    old = [
        info.key
        for info in job.store.list(_MARKERS)
        if info.modified_us and job.now_us - info.modified_us >= job.grace_us
    ]
    if old and not job.report.dry_run:
        job.store.delete(old)
    return len(old)


def _delete_temporary(store: CountedStore, entity: str, project: str, dry_run: bool) -> int:
    """Half-written files of a local root that nobody touched for a day."""
    root = store.local_path(project_prefix(entity, project).rstrip("/"))
    if root is None:
        return 0
    found = 0
    for folder, _, names in os.walk(root):
        for name in names:
            if not name.startswith(TEMPORARY):
                continue
            path = Path(folder, name)
            try:
                if time.time() - path.stat().st_mtime < _TEMPORARY_AGE_S:
                    continue
                found += 1
                if not dry_run:
                    path.unlink()
            except FileNotFoundError:
                continue
    return found
