"""The newest of what a run has said so far: where somebody begins who follows it while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from tracker.query.cells import Rows, concat_rows
from tracker.query.history import scan_batches
from tracker.query.history_plan import Paths
from tracker.query.run_files import RunFiles

__all__ = ["last_rows"]

_MORE: Final = 16  # times as many rows are looked at, where too few have the keys


def last_rows(run: RunFiles, paths: Paths, count: int | None, *, keys: Sequence[str] | None = None) -> Rows:
    """The last `count` rows of the history, in order of steps (None: all). With `keys` only rows that have all of them,
    and these columns. Of a long run only the files are read in which such rows can stand.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    if count == 0:
        return Rows(np.empty(0, np.int64), {})
    wanted = count
    while True:
        first_step = None if wanted is None else _step_of_last(run, wanted)
        near = run if first_step is None else _reaching(run, first_step)
        scanned = scan_batches(lambda near=near: (near, paths), keys=keys, min_step=first_step)  # type: ignore[misc]
        found = concat_rows(list(scanned))
        if count is None or wanted is None:
            return found
        if len(found) >= count or first_step is None:
            return found.from_row(max(len(found) - count, 0))
        wanted *= _MORE


def _step_of_last(run: RunFiles, count: int) -> int | None:
    """A step from which on there are `count` rows at least; None where the run has no more than these."""
    held = sorted((part for part in run.parts if part.step_last is not None), key=lambda part: -(part.step_last or 0))
    steps = np.empty(0, np.int64)
    for n, part in enumerate(held):
        steps = np.sort(np.concatenate([steps, part.marks().step]))[-count:]
        rest = held[n + 1].step_last if n + 1 < len(held) else None
        if len(steps) >= count and rest is not None and rest < steps[0]:
            return int(steps[0])
    return int(steps[0]) if len(steps) >= count else None


def _reaching(run: RunFiles, first_step: int) -> RunFiles:
    """Without the parts that have nothing of rows from `first_step` on."""
    kept = tuple(
        part
        for part in run.parts
        if (part.step_last is not None and part.step_last >= first_step) or part.records.open.num_rows
    )
    return RunFiles(run.entity, run.project, run.run_id, kept)
