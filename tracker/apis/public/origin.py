"""What the store has of a run that a session goes on with, or begins inside of: read once, before the session writes.

For the SDK, which asks the store nothing else. Whoever has read writes later stamps than all that was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import NoSuchProject
from tracker.errors import UsageError
from tracker.query.fold_single import fold_single
from tracker.query.history import PartsGone
from tracker.query.inherited import Past, read_past
from tracker.query.key_report import last_step
from tracker.query.run_files import RunFiles
from tracker.query.run_writers import last_frames, writer_states
from tracker.query.runs import visible_files
from tracker.query.snapshot import Snapshot
from tracker.storage.branches import Branch
from tracker.storage.events import KIND_METRIC, Value
from tracker.storage.fold import SILENT_US, RunState, WriterState
from tracker.storage.metric_rules import MetricRules
from tracker.storage.names import RunRef

__all__ = ["Origin", "read_branch_origin", "read_origin"]

_ATTEMPTS_MAX: Final = 5
_POLL_S: Final = (0.2, 0.3, 0.5, 0.8)  # then the last again

T = TypeVar("T")
Wait = Callable[[float], bool]  # waits so many seconds; False: give up


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A run that exists, at its end or at a step of it: what a session begins with that goes on there."""

    run_id: str
    live: Mapping[str, Mapping[str, Value]]  # live facts as of now: kind to stored path to value
    last_step: int  # greatest step of a row, -1 without any
    generation: str  # the newest life of it that is shown
    writers: Mapping[str, int]  # that are shown: id to last frame in the store
    step: int  # where it is gone on with
    past: Past  # what its points, its summary and its files had come to there

    @property
    def runtime_s(self) -> float:
        """Of the row that was closed last, at the step."""
        runtime = self.past.carried.get("_runtime")
        seconds = 0.0 if runtime is None or not isinstance(runtime.last, int | float) else float(runtime.last)
        return seconds if 0 <= seconds < float("inf") else 0.0

    def facts(self, kind: str) -> Mapping[str, Value]:
        """Stored path to value."""
        return self.live.get(kind, {})

    def branch(self, generation: str) -> Branch:
        """What the life `generation` says of where it begins."""
        return Branch(generation, self.run_id, self.generation, self.step, self.writers)


def read_origin(root: str, ref: RunRef, *, job: str | None, rank: str | None) -> Origin | None:
    """The run as it is stored; None where there is none, or a deleted one.

    `job`, `rank`: of the process that asks. What other ranks of its own launch have written meanwhile does not count,
    so that all of them go on at the same step.

    Raises:
        StorageUnavailable, CredentialsMissing: as the store. CorruptData, FormatTooNew: nothing of it can be read.
    """
    client = RetryingClient(root)

    def read() -> Origin | None:
        look = _look(client, ref, job, rank)
        return None if look is None else look.at(look.last_step)

    try:
        return _again(read)
    finally:
        client.store.close()


def read_branch_origin(
    root: str, ref: RunRef, step: int, *, job: str | None, rank: str | None, patience_s: float, wait: Wait
) -> Origin:
    """The run at `step`. Where it is being written and has not come so far in the store, that is waited for.

    `job`, `rank`: as for `read_origin`. `patience_s`: at most so many seconds are waited.

    Raises:
        UsageError: there is no such run, or it has no row at the step or above.
        StorageUnavailable, CredentialsMissing: as the store. CorruptData, FormatTooNew: nothing of it can be read.
    """
    client = RetryingClient(root)
    polls, waited_s = 0, 0.0

    def read() -> Origin | None:
        look = _look(client, ref, job, rank)
        if look is None:
            raise UsageError(f"There is no run {ref.entity}/{ref.project}/{ref.run_id} in {root} to begin inside of.")
        if waited_s < patience_s and look.comes_to(step):
            return None
        if look.last_step < step:
            raise UsageError(
                f"Run {ref.run_id} has no step {step}: its last one in the store is {look.last_step}. "
                f"Name a step that it has logged."
            )
        return look.at(step)

    try:
        while (found := _again(read)) is None:
            pause_s = _POLL_S[min(polls, len(_POLL_S) - 1)]
            polls, waited_s = polls + 1, waited_s + pause_s
            if not wait(pause_s):
                waited_s = patience_s
        return found
    finally:
        client.store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A run in one snapshot, without what other ranks of the asking launch wrote."""

    snapshot: Snapshot
    own: RunFiles  # what its writers wrote, hidden or not
    shown: RunFiles  # what its history consists of: also rows of runs that it branched from
    state: RunState
    writers: Mapping[str, WriterState]

    @property
    def last_step(self) -> int:
        return last_step(self.shown)

    def comes_to(self, step: int) -> bool:
        """Whether rows up to `step` may still come: somebody writes, and has not come so far."""
        reached = {writer_id: -1 for writer_id in self.state.visible}
        for part in self.own.parts:
            if part.writer_id in reached and part.step_last is not None:
                reached[part.writer_id] = max(reached[part.writer_id], part.step_last)
        some = any(last >= step for last in reached.values())
        return any(
            last < step and not (some and last < 0)  # a rank that logs no rows is not waited for
            for writer_id, last in reached.items()
            if self._lives(self.writers[writer_id])
        )

    def at(self, step: int) -> Origin:
        """The run at `step`."""
        kept = self.own.of_writers(self.state.visible)
        frames = last_frames(kept)
        rules = MetricRules.of_facts(self.state.live.get(KIND_METRIC, {}))
        return Origin(
            run_id=self.own.run_id,
            live=self.state.live,
            last_step=self.last_step,
            generation=self.state.generations[-1],
            writers={writer_id: frames[writer_id] for writer_id in sorted(frames)},
            step=step,
            past=read_past(self.snapshot, kept, step, rules),
        )

    def _lives(self, writer: WriterState) -> bool:
        return writer.is_session and not writer.ended and writer.wall_us > self.snapshot.now_us - SILENT_US


def _look(client: RetryingClient, ref: RunRef, job: str | None, rank: str | None) -> _Look | None:
    try:
        snapshot = client.snapshot(ref.entity, ref.project, ref.run_id)
    except NoSuchProject:
        return None
    if ref.run_id not in snapshot.runs:
        return None
    own = snapshot.runs[ref.run_id]
    writers = writer_states(own)
    fellows = _fellows(writers.values(), job, rank)
    others = own.of_writers(frozenset(writers) - fellows)
    state = fold_single(others, snapshot.now_us, snapshot.edits, snapshot.paths) if others.parts else None
    if state is None:
        return None
    (shown,) = visible_files(snapshot, [ref.run_id])
    shown = shown.of_writers(frozenset(part.writer_id for part in shown.parts) - fellows)
    return _Look(snapshot=snapshot, own=others, shown=shown, state=state, writers=writers)


def _fellows(writers: Iterable[WriterState], job: str | None, rank: str | None) -> frozenset[str]:
    """Writers of other ranks in the launch that the asking process belongs to.

    An earlier launch may have had the same name (a job that was queued again): what had begun before this process's
    own rank fell silent is of that one.
    """
    mates = [writer for writer in writers if job is not None and writer.job == job]
    before_us = max((writer.last_us for writer in mates if writer.rank == rank), default=-1)
    return frozenset(writer.writer_id for writer in mates if writer.rank != rank and writer.first_us > before_us)


def _again(read: Callable[[], T]) -> T:
    """`read()`, from a fresh snapshot where files were merged and deleted meanwhile."""
    for _ in range(_ATTEMPTS_MAX - 1):
        try:
            return read()
        except (PartsGone, FileNotFoundError):
            continue
    return read()
