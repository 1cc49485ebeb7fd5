"""The lives of one run: started anew, forked or rewound, every one stays readable, also those that nobody shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tracker.query.branches import branches_of, with_inherited
from tracker.query.run_files import RunFiles
from tracker.query.run_writers import edit_facts, own_facts, writer_states
from tracker.query.snapshot import Snapshot
from tracker.storage.branches import Branch, rewinds_of
from tracker.storage.events import KIND_BRANCH, KIND_TOMBSTONE
from tracker.storage.fold import assign_generations, deleted_writers, fold_tombstone, visible_writers

__all__ = ["Life", "life_files", "lives_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One life of a run. Times are microseconds since the epoch UTC."""

    id: str  # "" where nobody opened one: the run was begun by who would have gone on with it
    begun_us: int
    last_us: int  # of its last sign of life
    shown: bool  # the run's state and history are those of this life (where several overlap: of all of these)
    branch: Branch | None  # where it began, if not anew
    writers: frozenset[str]


def lives_of(snapshot: Snapshot, run_id: str) -> list[Life]:
    """The run's lives, oldest first, without what is deleted.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    run = snapshot.runs[run_id]
    states = writer_states(run)
    rewinds = rewinds_of(own_facts(run, KIND_BRANCH))
    edits = edit_facts(run, snapshot.edits, KIND_TOMBSTONE)
    deleted = deleted_writers(states.values(), fold_tombstone((*own_facts(run, KIND_TOMBSTONE), *edits)))
    alive = [state for state in states.values() if state.writer_id not in deleted]
    if not alive:
        return []
    generations = assign_generations(states.values(), rewinds)
    visible = visible_writers(alive, generations, rewinds)
    branches = branches_of(run.parts)
    lives = []
    for generation in sorted({generations[state.writer_id] for state in alive}):
        mine = [state for state in alive if generations[state.writer_id] == generation]
        writers = frozenset(state.writer_id for state in mine)
        lives.append(
            Life(
                id=generation.id,
                begun_us=min(state.first_us for state in mine),
                last_us=max(state.wall_us for state in mine),
                shown=not writers.isdisjoint(visible),
                branch=branches.get(generation.id),
                writers=writers,
            )
        )
    return lives


def life_files(snapshot: Snapshot, run_id: str, life: Life) -> RunFiles:
    """What the history of this life consists of, with what it inherits. Raises PartsGone."""
    run = snapshot.runs[run_id].of_writers(life.writers)
    if life.branch is None:
        return run
    (found,) = with_inherited(snapshot, [replace(run)])
    return found
