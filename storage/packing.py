"""Keeps a project small, by anyone: packs writers that ended, merges packs, deletes what packs cover.

Nobody waits for anybody: a packer reads, puts new objects, and publishes the next manifest by put-if-absent. Who
loses that race starts again from the winner's manifest, or drops what it made. Loose files go only when a manifest that
covers them is older than the grace time by the store's clock, and after the pack was read back whole. A packer that
dies anywhere leaves objects that no manifest names; a later manifest says so, and then they go.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tracker.storage.checkpoint_renew import renew_checkpoints
from tracker.storage.errors import NotFound
from tracker.storage.format_file import PACKS, check_format, ensure_format, requires_feature
from tracker.storage.names import (
    PartName,
    RunRef,
    packs_prefix,
    parse_event_key,
    parse_part_key,
    run_prefix,
    runs_prefix,
    things_prefix,
)
from tracker.storage.pack_delete import (
    delete_covered,
    delete_old_manifests,
    delete_purged,
    delete_replaced,
    find_deleted,
    find_orphans,
)
from tracker.storage.pack_job import CompactReport, CountedStore, PackJob
from tracker.storage.pack_loose import build_from_loose
from tracker.storage.pack_merge import build_from_packs
from tracker.storage.pack_plan import PackRules, group_writers, plan_pack_merge, plan_writers
from tracker.storage.pack_publish import publish_pack
from tracker.storage.pack_state import PackState, load_state, store_clock_us
from tracker.storage.pack_tidy import merge_silent_writers
from tracker.storage.port import ObjectInfo, Store
from tracker.storage.pump import default_grace_s
from tracker.storage.purge import drop_purged

__all__ = ["CompactReport", "compact_project"]

QUIET_S: Final = 24 * 3600.0
_ORPHAN_US: Final = 24 * 3600 * 1_000_000
_MERGES_MAX: Final = 64  # in one call


def compact_project(
    store: Store,
    entity: str,
    project: str,
    *,
    now_us: int,
    memory_bytes: int = 256 << 20,
    pack_bytes_max: int = 256 << 20,
    dry_run: bool = False,
    quiet_s: float = QUIET_S,
    finished_quiet_s: float | None = None,
    grace_s: float | None = None,
    writers_min: int = 1,
    notify: Callable[[str, str], None] = lambda *_: None,
    run_id: str | None = None,
    breathe: Callable[[], None] = lambda: None,
) -> CompactReport:
    """Pack what may be packed of a project (or of one run), merge small packs and files, delete what is superfluous.

    A writer is packed once it ended and was silent for `finished_quiet_s` (None: the grace time), or was silent for
    `quiet_s` in any case; with fewer than `writers_min` of them nothing is packed this time. `grace_s`: how long
    readers may still need what is covered (None: by the kind of store). `now_us` names new objects and decides
    nothing: ages are by the store's clock. `notify` gets (level, text).

    Calling it again, or from many processes at once, is safe at any time. On a root whose readers need not know
    packs, or a store without put-if-absent, nothing is packed; the report says why.

    Raises:
        FormatTooNew: a newer tracker made this root. CorruptData: its manifest or a cover cannot be read.
        StorageUnavailable, CredentialsMissing: as the store. Calling again later is safe.
    """
    report = CompactReport(dry_run=dry_run)
    counted = CountedStore(store, report)
    grace_us = int((default_grace_s(store.url) if grace_s is None else grace_s) * 1e6)
    rules = PackRules(
        quiet_us=int(quiet_s * 1e6),
        ended_quiet_us=grace_us if finished_quiet_s is None else int(finished_quiet_s * 1e6),
        pack_bytes_max=pack_bytes_max,
    )
    if not check_format(counted) and not dry_run:
        ensure_format(counted)
    prefix = runs_prefix(entity, project) if run_id is None else run_prefix(RunRef(entity, project, run_id))
    store_now_us = now_us if dry_run else store_clock_us(counted)
    objects = {name: info for info in counted.list(prefix) if (name := parse_part_key(info.key)) is not None}
    report.loose_objects = len(objects)
    report.loose_bytes = sum(info.size_bytes for info in objects.values())
    with tempfile.TemporaryDirectory(prefix="tracker-compact-") as directory:
        job = PackJob(
            store=counted,
            entity=entity,
            project=project,
            wall_us=now_us,
            now_us=store_now_us,
            grace_us=grace_us,
            memory_bytes=memory_bytes,
            pack_bytes_max=pack_bytes_max,
            directory=Path(directory),
            report=report,
            notify=notify,
            breathe=breathe,
        )
        report.packs_allowed = _may_pack(job)
        if report.packs_allowed:
            _compact_packed(job, rules, objects, writers_min)
        else:
            merge_silent_writers(job, objects, {}, quiet_us=rules.ended_quiet_us)
            delete_covered(job, PackState(), objects, quiet_us=rules.quiet_us)
        if run_id is None:
            _compact_changes(job, rules)
    return report


def _compact_changes(job: PackJob, rules: PackRules) -> None:
    """One file for each process that edited runs or changed a thing, and is silent; what it covers goes after the
    grace time.
    """
    listed = job.store.list(things_prefix(job.entity, job.project))
    changes = {name: info for info in listed if (name := parse_event_key(info.key)) is not None}
    merge_silent_writers(job, changes, {}, quiet_us=rules.ended_quiet_us)
    delete_covered(job, PackState(), changes, quiet_us=rules.ended_quiet_us)


def _may_pack(job: PackJob) -> bool:
    if not requires_feature(job.store, PACKS):
        if job.report.dry_run and not check_format(job.store):
            return True
        job.note(
            "info",
            f"{job.store.url} was made by a version that does not know packs, so its runs are not packed. "
            "To have them packed, copy it to a new root: tracker sync OLD --to NEW",
        )
        return False
    if not job.store.enforces_put_if_absent():
        job.note("info", f"{job.store.url} does not refuse a second put under one name, so its runs are not packed.")
        return False
    return True


def _compact_packed(job: PackJob, rules: PackRules, objects: dict[PartName, ObjectInfo], writers_min: int) -> None:
    report = job.report
    listed = job.store.list(packs_prefix(job.entity, job.project))
    before = state = load_state(job.store, job.entity, job.project)
    job.orphans = find_orphans(state, listed, job.now_us, _ORPHAN_US)
    job.deleted = find_deleted(job, state, listed)
    plans = plan_writers(objects, state.coverage.frames(), state.hides, job.now_us, rules)
    if report.dry_run:
        report.packed_writers = len(plans) if len(plans) >= writers_min else 0
        report.packs_written = len(group_writers(plans, job.pack_bytes_max)) if report.packed_writers else 0
    elif len(plans) >= writers_min:
        for group in group_writers(plans, job.pack_bytes_max):
            with _directory(job) as directory:
                built = build_from_loose(job, group, objects, directory)
                if built is None:
                    continue
                state, done = publish_pack(job, state, built)
            if done:
                report.packs_written += 1
                report.packed_writers += built.pack.writers
                report.packed_events += built.pack.events
    if not report.dry_run:
        state, _ = drop_purged(job, state)
        state, _ = renew_checkpoints(job, state, _broken(job, state, listed))
        state = _merge_packs(job, state)
        large = rules.writer_bytes_max + 1
        merge_silent_writers(job, objects, state.coverage.frames(), quiet_us=rules.ended_quiet_us, bytes_min=large)
        if not job.orphans <= state.manifest.gc.keys():
            state, _ = publish_pack(job, state, None)
    gone = delete_purged(job, before, objects)
    rest = {name: info for name, info in objects.items() if name not in gone}
    delete_covered(job, before, rest, quiet_us=rules.quiet_us)
    delete_replaced(job, before, listed)
    delete_old_manifests(job, before)
    report.manifest = state.manifest.number


def _broken(job: PackJob, state: PackState, listed: Iterable[ObjectInfo]) -> set[str]:
    """Ids of checkpoints whose file is not there, or is not as long as the manifest says."""
    sizes = {info.key: info.size_bytes for info in listed}
    wanted = {one.id: one.size_bytes for one in state.manifest.checkpoints}
    if all(sizes.get(job.key(one, "k")) == size for one, size in wanted.items()):
        return set()
    sizes = {info.key: info.size_bytes for info in job.store.list(packs_prefix(job.entity, job.project))}  # newer ones
    return {one for one, size in wanted.items() if sizes.get(job.key(one, "k")) != size}


def _merge_packs(job: PackJob, state: PackState) -> PackState:
    """Small packs become larger ones, until none are due or another process is at it."""
    for _ in range(_MERGES_MAX):
        chosen = plan_pack_merge(state.manifest.packs, state.coverage, job.pack_bytes_max)
        if not chosen:
            break
        with _directory(job) as directory:
            try:
                built = build_from_packs(job, chosen, directory)
            except NotFound:  # merged by another process
                break
            if built is None:
                break
            state, done = publish_pack(job, state, built, replaced=[pack.id for pack in chosen])
        if not done:
            break
        job.report.packs_written += 1
        job.report.packs_merged += len(chosen)
    return state


@contextmanager
def _directory(job: PackJob) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=job.directory) as directory:
        yield Path(directory)
