"""Removes runs for good: hidden at once, rewritten out of packs, and deleted when no reader can need them any more."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tracker.storage.errors import Conflict, NotFound, UsageError
from tracker.storage.format_file import PACKS, requires_feature
from tracker.storage.manifest import Manifest, PurgedRun
from tracker.storage.names import RunRef, encode_name, parse_part_key, run_prefix
from tracker.storage.pack_delete import delete_purged
from tracker.storage.pack_job import CompactReport, CountedStore, PackJob
from tracker.storage.pack_merge import build_from_packs
from tracker.storage.pack_publish import publish_pack
from tracker.storage.pack_state import PackState, load_state, publish, store_clock_us
from tracker.storage.port import Store
from tracker.storage.pump import default_grace_s

__all__ = ["PurgeReport", "drop_purged", "purge_runs"]


@dataclass(slots=True)
class PurgeReport:
    """What a purge did, or with `dry_run` would do."""

    dry_run: bool = False
    runs: int = 0
    writers: int = 0
    packs_rewritten: int = 0
    deleted_objects: int = 0
    waiting_objects: int = 0  # that go with a compaction or vacuum after the grace time
    waiting_bytes: int = 0
    manifest: int = -1
    requests: int = 0
    notes: list[str] = field(default_factory=list)


def purge_runs(
    store: Store,
    entity: str,
    project: str,
    run_ids: Sequence[str],
    *,
    now_us: int,
    grace_s: float | None = None,
    dry_run: bool = False,
    memory_bytes: int = 256 << 20,
    notify: Callable[[str, str], None] = lambda *_: None,
) -> PurgeReport:
    """The runs show no more, whoever syncs what later, and their bytes are on their way out. It cannot be undone.

    First a manifest hides every writer known now and every one begun before `now_us` (or the store's time, if that is
    earlier); then packs are rewritten without them. Loose files and old packs go with a compaction or vacuum once
    the grace time is over. A run that begins later under the same id is a new one, and shows. Repeating is safe.

    What is synced later and says that it began before is hidden, but only a further purge removes it: the clock of the
    machine that wrote it may be wrong.

    Raises:
        NotFound: the project has no such run (those of the others were not purged either).
        UsageError: this root or store cannot hide runs: its readers need not know manifests.
        Conflict: other processes changed the project all the time; try again.
        FormatTooNew, CorruptData, StorageUnavailable, CredentialsMissing: as the store and its packs.
    """
    inner = CompactReport(dry_run=dry_run)
    report = PurgeReport(dry_run=dry_run, notes=inner.notes)
    counted = CountedStore(store, inner)
    if not requires_feature(counted, PACKS) or not counted.enforces_put_if_absent():
        raise UsageError(
            f"Runs in {store.url} cannot be purged: readers of this root need not know manifests, or its store does "
            "not refuse a second put under one name. Copy what should stay to a new root: tracker sync OLD --to NEW"
        )
    grace_us = int((default_grace_s(store.url) if grace_s is None else grace_s) * 1e6)
    store_now_us = now_us if dry_run else store_clock_us(counted)
    objects = {
        name: info
        for run_id in dict.fromkeys(run_ids)
        for info in counted.list(run_prefix(RunRef(entity, project, run_id)))
        if (name := parse_part_key(info.key)) is not None
    }
    state = load_state(counted, entity, project)
    wanted = _writers(state, run_ids, {(name.run_segment, name.writer_id) for name in objects})
    report.runs, report.writers = len(wanted), sum(len(writers) for writers in wanted.values())
    if dry_run:
        report.waiting_objects, report.waiting_bytes = len(objects), sum(info.size_bytes for info in objects.values())
        return report
    before = state
    hlc_us = min(now_us, store_now_us)
    state, done = publish(
        counted, entity, project, state, lambda now: (_with_purged(now, run_ids, wanted, hlc_us), {}), {}
    )
    if not done:
        raise Conflict(f"The manifests of {entity}/{project} in {store.url} change all the time. Try again.")
    with tempfile.TemporaryDirectory(prefix="tracker-purge-") as directory:
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
        state, report.packs_rewritten = drop_purged(job, state)
        gone = delete_purged(job, before, objects)
    waiting = [info for name, info in objects.items() if name not in gone]
    report.deleted_objects = len(gone)
    report.waiting_objects, report.waiting_bytes = len(waiting), sum(info.size_bytes for info in waiting)
    report.manifest, report.requests = state.manifest.number, inner.requests
    return report


def drop_purged(job: PackJob, state: PackState) -> tuple[PackState, int]:
    """(State afterwards, how many packs were rewritten): no pack holds events of a purged run any more.

    A pack that another process rewrites at the same time is left to it.
    """
    purged = {one.run_id: one for one in state.manifest.purged}

    def goes(run_id: str, writer_id: str) -> bool:
        return run_id in purged and purged[run_id].may_delete(writer_id)

    known = {(encode_name(run_id), writer_id) for run_id, one in purged.items() for writer_id in one.writers}
    rewritten = 0
    for pack in state.manifest.packs:
        if not any(writer in known for writer, _ in state.covers[pack.id]):
            continue
        with tempfile.TemporaryDirectory(dir=job.directory) as directory:
            try:
                built = build_from_packs(job, [pack], Path(directory), goes)
            except NotFound:
                continue
            state, done = publish_pack(job, state, built, replaced=[pack.id])
        rewritten += done
    return state, rewritten


def _writers(
    state: PackState, run_ids: Sequence[str], loose: set[tuple[str, str]]
) -> Mapping[str, tuple[str, ...]]:
    known = _by_run(loose | state.coverage.extents.keys())
    found = {run_id: tuple(sorted(known.get(encode_name(run_id), ()))) for run_id in dict.fromkeys(run_ids)}
    already = {one.run_id for one in state.manifest.purged}
    missing = [run_id for run_id, writers in found.items() if not writers and run_id not in already]
    if missing:
        raise NotFound(f"There is no run {missing[0]!r} to purge. Check its id and the project.")
    return found


def _by_run(known: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Run segment to its writers."""
    found: dict[str, set[str]] = {}
    for segment, writer in known:
        found.setdefault(segment, set()).add(writer)
    return found


def _with_purged(
    state: PackState, run_ids: Sequence[str], writers: Mapping[str, tuple[str, ...]], hlc_us: int
) -> Manifest:
    """The manifest with the runs among those that are purged; writers that were packed meanwhile too."""
    number = state.manifest.number + 1
    known = {one.run_id: one for one in state.manifest.purged}
    packed = _by_run(state.coverage.extents)
    for run_id in dict.fromkeys(run_ids):
        old = known.get(run_id)
        hidden = packed.get(encode_name(run_id), set()).union(writers[run_id], () if old is None else old.writers)
        until_us = hlc_us if old is None else max(hlc_us, old.hlc_us)
        known[run_id] = PurgedRun(run_id=run_id, hlc_us=until_us, writers=tuple(sorted(hidden)), since=number)
    return replace(state.manifest, purged=tuple(known[run_id] for run_id in sorted(known)))
