"""Runs that began inside the history of others, read as one history: of any depth, and no row is copied.

A branch pins rows: those of some writers up to a frame of each, and up to a step. They are parts of the other run's
files, cut there; so whatever reads parts reads a branch, and what the other run logs afterwards changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.connection import connection
from tracker.query.limited_parts import limited_part, stream_part
from tracker.query.memory_cache import MemoryCache
from tracker.query.packed import Packed
from tracker.query.relatives import branches_of
from tracker.query.run_files import RunFiles, RunPart
from tracker.query.snapshot import Snapshot
from tracker.storage.branches import Branch
from tracker.storage.derived import Record
from tracker.storage.events import KIND_BRANCH

__all__ = ["begun_in", "branches_of", "heirs_of", "with_inherited", "with_rewound"]

_BRANCHED_MAX: Final = 1_000_000  # runs in packs that are remembered, over all projects
_SAID_MAX: Final = 10_000

_branched: MemoryCache[frozenset[str]] = MemoryCache(_BRANCHED_MAX)
_said: MemoryCache[bool] = MemoryCache(_SAID_MAX)

_Cut = Callable[[RunPart, Branch], RunPart | None]


def begun_in(snapshot: Snapshot, run_ids: Iterable[str]) -> list[str]:
    """Other runs of the project that began in one of these, or in a run that did, sorted: they show rows of these.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    gone = set(run_ids)
    return sorted(_descendants(_parents(snapshot), gone) - gone)


def heirs_of(snapshot: Snapshot, run_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """As `begun_in`, of each of these runs by itself; other ones of them may be among its heirs.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    parents = _parents(snapshot)
    return {run_id: tuple(sorted(_descendants(parents, {run_id}) - {run_id})) for run_id in run_ids}


def _parents(snapshot: Snapshot) -> dict[str, set[str]]:
    """Of each run that began in others: in which."""
    held = snapshot.runs.load(sorted(_branched_runs(snapshot)))
    return {run_id: {one.run_id for one in branches_of(run.parts).values()} for run_id, run in held.items()}


def _descendants(parents: dict[str, set[str]], of: set[str]) -> set[str]:
    found: set[str] = set()
    while more := {run_id for run_id, names in parents.items() if names & (of | found)} - found:
        found |= more
    return found


def with_inherited(snapshot: Snapshot, runs: Sequence[RunFiles]) -> list[RunFiles]:
    """`runs` (of the snapshot, without hidden lives) with the rows that they inherit from where they began.

    Of inherited rows nothing else comes: no system metrics, no console lines. Where what was inherited is not in the
    store any more, the snapshot's `warn` is told once a process.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    branched = _branched_runs(snapshot)
    if branched.isdisjoint(run.run_id for run in runs):
        return list(runs)
    own = {run.run_id: branches_of(run.parts) for run in runs if run.run_id in branched}
    parents = [branch.run_id for found in own.values() for branch in found.values()]
    snapshot.relatives.load(parents)  # all at once
    return [_inherited(snapshot, run, own[run.run_id]) if own.get(run.run_id) else run for run in runs]


def with_rewound(snapshot: Snapshot, runs: Sequence[RunFiles]) -> list[RunFiles]:
    """`runs` (as above) with all that earlier lives wrote before they were rewound, whatever its step.

    For system metrics and console lines, which a rewind leaves as they are; of a run that was forked nothing comes.
    """
    branched = _branched_runs(snapshot)
    return [_rewound(snapshot, run) if run.run_id in branched else run for run in runs]


def _inherited(snapshot: Snapshot, run: RunFiles, own: dict[str, Branch]) -> RunFiles:
    parts = list(run.parts)
    root = snapshot.store.url

    def cut(part: RunPart, branch: Branch) -> RunPart | None:
        return limited_part(part, snapshot.paths, root, branch.step, branch.writers[part.writer_id])

    for branch in reversed(own.values()):  # lives that overlap may inherit the same: of these the newest decides
        known = {part.writer_id for part in parts}
        found = _ancestors(snapshot, run, branch, cut, own_run_only=False)
        parts += [part for part in found if part.writer_id not in known]
    return replace(run, parts=_in_order(parts))


def _rewound(snapshot: Snapshot, run: RunFiles) -> RunFiles:
    def cut(part: RunPart, branch: Branch) -> RunPart | None:
        return stream_part(part, snapshot.paths, branch.writers[part.writer_id])

    parts = list(run.parts)
    for branch in reversed(branches_of(run.parts).values()):
        known = {part.writer_id for part in parts}
        found = _ancestors(snapshot, run, branch, cut, own_run_only=True)
        parts += [part for part in found if part.writer_id not in known]
    return replace(run, parts=_in_order(parts))


def _in_order(parts: list[RunPart]) -> tuple[RunPart, ...]:
    return tuple(sorted(parts, key=lambda part: (part.writer_id, part.first)))


def _ancestors(
    snapshot: Snapshot, run: RunFiles, branch: Branch, cut: _Cut, *, own_run_only: bool
) -> Iterator[RunPart]:
    """What the branch pins, and what that life had itself inherited, from the nearest on; each part as `cut` has it."""
    seen: set[tuple[str, str]] = set()
    step = branch.step
    while (branch.run_id, branch.parent) not in seen and not (own_run_only and branch.run_id != run.run_id):
        seen.add((branch.run_id, branch.parent))
        parent = snapshot.relatives.get(branch.run_id)
        held = () if parent is None else parent.parts
        pinned = [part for part in held if part.writer_id in branch.writers]
        if not own_run_only:
            _tell(snapshot, run, branch, pinned)
        for part in pinned:
            found = cut(part, replace(branch, step=step))
            if found is not None:
                yield found
        earlier = snapshot.relatives.branches(branch.run_id).get(branch.parent) if branch.parent else None
        if earlier is None:
            return
        branch = earlier
        step = min(step, branch.step)


def _tell(snapshot: Snapshot, run: RunFiles, branch: Branch, pinned: Sequence[RunPart]) -> None:
    """Say what is not as it was."""
    last = {part.writer_id: part.last for part in pinned}
    gone = sorted(writer for writer, frame in branch.writers.items() if last.get(writer, -1) < frame)
    if gone:
        purged = any(one.run_id == branch.run_id for one in snapshot.runs.packed.manifest.purged)
        why = "was purged" if purged else f"is not in the store as it was (writers {', '.join(gone)})"
        text = (
            f"Rows of run {run.run_id!r} up to step {branch.step} are missing: it began in run {branch.run_id!r}, "
            f"which {why}."
        )
    elif snapshot.relatives.is_deleted(branch.run_id):
        text = (
            f"Run {run.run_id!r} began in run {branch.run_id!r}, which is deleted: its rows up to step {branch.step} "
            "still show here, until it is purged."
        )
    else:
        return
    key = (snapshot.store.url, snapshot.entity, snapshot.project, text)
    if _said.get(key) is None:
        _said.put(key, True, 1)
        snapshot.warn(text)


def _branched_runs(snapshot: Snapshot) -> frozenset[str]:
    """Runs of which a life begins as a branch. What packs say is asked once a manifest."""
    runs = snapshot.runs
    if runs.branched is None:
        runs.branched = _in_packs(runs.packed) | _loose(runs.loose.values())
    return runs.branched


def _in_packs(packed: Packed) -> frozenset[str]:
    if not packed:
        return frozenset()
    found = _branched.get(packed.identity)
    if found is None:
        statement = f"SELECT DISTINCT run FROM {packed.scan()} WHERE what = ? AND kind = ?"
        with packed.reading():
            rows = connection().execute(statement, [Record.FACT, KIND_BRANCH]).fetchall()
        found = frozenset(run for (run,) in rows)
        _branched.put(packed.identity, found, len(found) + 1)
    return found


def _loose(runs: Iterable[Sequence[RunPart]]) -> frozenset[str]:
    parts = [part for run in runs for part in run]
    columns = [part.records.facts["kind"] for part in parts]
    kinds = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    if pc.index(kinds, KIND_BRANCH).as_py() < 0:
        return frozenset()
    tests = zip(parts, columns, strict=True)
    return frozenset(part.run_id for part, column in tests if pc.index(column, KIND_BRANCH).as_py() >= 0)
