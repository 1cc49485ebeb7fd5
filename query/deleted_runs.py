"""Which runs of a project are deleted, and since when: nobody sees them any more, and their data is still there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow.compute as pc

from tracker.query.branches import heirs_of
from tracker.query.run_writers import edit_facts, own_facts
from tracker.query.runs import load_runs
from tracker.query.snapshot import Snapshot
from tracker.storage.events import KIND_TOMBSTONE, TOMBSTONE_PATH, Fact
from tracker.storage.fold import fold_tombstone
from tracker.storage.names import edits_prefix, parse_edit_key
from tracker.storage.port import ObjectInfo

__all__ = ["DeletedRun", "deleted_runs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedRun:
    """A run without anything that shows."""

    run_id: str
    deleted_us: int  # when, by whose clock says later: of who deleted it, or the store's; microseconds since the epoch
    heirs: tuple[str, ...]  # runs, deleted ones too, that began in it by a fork: they show rows of it


def deleted_runs(snapshot: Snapshot) -> list[DeletedRun]:
    """Those that somebody deleted and nobody restored or began anew, the one that was deleted first at the front.

    Raises:
        PartsGone: start over with a fresh snapshot.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    edits = snapshot.edits
    told = edits.filter(pc.equal(edits["kind"], KIND_TOMBSTONE))["run"].to_pylist() if edits.num_rows else []
    named = [run_id for run_id in dict.fromkeys(told) if run_id in snapshot.runs]
    shown = {record.run_id for record in load_runs(snapshot, named)}
    hidden = [run_id for run_id in named if run_id not in shown]
    if not hidden:
        return []
    listed = snapshot.store.list(edits_prefix(snapshot.entity, snapshot.project))
    heirs = heirs_of(snapshot, hidden)
    found = []
    for run_id, run in snapshot.runs.load(hidden).items():
        facts = (*own_facts(run, KIND_TOMBSTONE), *edit_facts(run, edits, KIND_TOMBSTONE))
        if fold_tombstone(facts) is None:
            continue
        last = max((fact for fact in facts if fact.path == TOMBSTONE_PATH), key=_stamp)
        found.append(
            DeletedRun(
                run_id=run_id,
                deleted_us=max(last.hlc_us, _stored_us(last, listed)),
                heirs=heirs[run_id],
            )
        )
    return sorted(found, key=lambda run: (run.deleted_us, run.run_id))


def _stamp(fact: Fact) -> tuple[int, str, int]:
    return fact.hlc_us, fact.writer_id, fact.seq


def _stored_us(fact: Fact, listed: Iterable[ObjectInfo]) -> int:
    """When the store got the file with this fact; 0 where it does not say."""
    times = [
        info.modified_us
        for info in listed
        if (name := parse_edit_key(info.key)) is not None
        and name.writer_id == fact.writer_id
        and name.first <= fact.seq <= name.last
    ]
    return min(times, default=0)
