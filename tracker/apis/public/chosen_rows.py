"""Whose rows of a run an answer is made of: of which rank, on which host, in which of the run's lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracker.query.lives import life_files, lives_of
from tracker.query.run_files import RunFiles
from tracker.query.runs import stream_files, visible_files
from tracker.query.snapshot import Snapshot
from tracker.query.writer_columns import check_wanted, of_writers_like
from tracker.storage.errors import UsageError

__all__ = ["ChosenRows", "check_chosen"]


@dataclass(frozen=True, slots=True)
class ChosenRows:
    """None: all of them; of lives, those that are shown."""

    ranks: frozenset[str] | None = None
    hosts: frozenset[str] | None = None
    life: str | None = None

    def history(self, snapshot: Snapshot, run_ids: Sequence[str]) -> list[RunFiles]:
        """What the histories consist of. Raises PartsGone; UsageError where a run has no such life."""
        if self.life is None:
            found = visible_files(snapshot, run_ids)
        else:
            found = [self._life(snapshot, run_id) for run_id in run_ids]
        return [of_writers_like(run, self.ranks, self.hosts) for run in found]

    def streams(self, snapshot: Snapshot, run_ids: Sequence[str]) -> list[RunFiles]:
        """What the system metrics stand in. Raises as `history`."""
        if self.life is not None:
            return self.history(snapshot, run_ids)
        return [of_writers_like(run, self.ranks, self.hosts) for run in stream_files(snapshot, run_ids)]

    def _life(self, snapshot: Snapshot, run_id: str) -> RunFiles:
        lives = lives_of(snapshot, run_id)
        for life in lives:
            if life.id == self.life:
                return life_files(snapshot, run_id, life)
        known = ", ".join(repr(life.id) for life in lives)
        raise UsageError(f"Run {run_id!r} has no life {self.life!r}. It has: {known}. See Run.lives().")


def check_chosen(rank: Any = None, host: Any = None, life: Any = None) -> ChosenRows:
    """What a caller asked for.

    Raises:
        UsageError: a rank or host that is neither a number, a name, nor a list of these; a life that is no id.
    """
    if life is not None and not isinstance(life, str):
        raise UsageError(f"life must be the id of one of Run.lives(), not {life!r:.80}.")
    return ChosenRows(check_wanted("rank", rank), check_wanted("host", host), life)
