"""From a question about history to rows in the form that was asked for: shared by Run and Runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tracker.query.cells import Rows
from tracker.query.frames import to_dicts
from tracker.query.history import Paths, history_batches, scan_batches
from tracker.query.run_files import RunFiles
from tracker.query.runs import load_runs, visible_files
from tracker.query.snapshot import Snapshot
from tracker.query.system_rows import system_batches
from tracker.sdk import term

__all__ = ["HistoryScan", "check_keys", "read_rows"]


def check_keys(keys: Any, stream: str = "default") -> bool:
    """Whether `keys` can be answered; if not, one error line says why (HQ-1), and the caller answers with nothing."""
    if keys is None:
        return True
    if not isinstance(keys, list):
        term.error(f"keys must be a list of names, not {keys!r:.80}")
        return False
    if keys and not isinstance(keys[0], str):
        term.error(f"keys must be names, not {keys[0]!r:.80}")
        return False
    if keys and stream != "default":
        term.error("keys can only be asked for in the default stream")
        return False
    return True


def read_rows(
    snapshot: Snapshot, run_ids: Sequence[str], *, keys: list[str] | None, x_axis: str, samples: int | None, stream: str
) -> list[Rows]:
    """Batches of rows of these runs, those that the snapshot holds. `Rows.run` counts in `run_ids`.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    held = [(n, run_id) for n, run_id in enumerate(run_ids) if run_id in snapshot.runs]
    files = visible_files(snapshot, [run_id for _, run_id in held])
    if stream == "default":
        found = list(history_batches(files, snapshot.paths, keys=keys, x_axis=x_axis, samples=samples))
    else:
        started = {record.run_id: record.created_at_us for record in load_runs(snapshot, run_ids)}
        found = list(system_batches(files, snapshot.paths, started, samples=samples))
    if len(held) == len(run_ids):
        return found
    numbers = [n for n, _ in held]
    return [Rows(_renumbered(rows, numbers), rows.columns) for rows in found]


def _renumbered(rows: Rows, numbers: list[int]) -> Any:
    import numpy as np

    return np.array(numbers)[rows.run]


class HistoryScan:
    """Every row of a run, read as it is iterated; iterating again starts anew, and `next` goes on (SCAN-1)."""

    def __init__(
        self,
        reopen: Callable[[], tuple[RunFiles, Paths]],
        keys: list[str] | None,
        min_step: int | None,
        max_step: int | None,
    ) -> None:
        self._reopen = reopen
        self._keys, self._min_step, self._max_step = keys, min_step, max_step
        self._going: Iterator[dict[str, Any]] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._going = self._rows()
        return self._going

    def __next__(self) -> dict[str, Any]:
        if self._going is None:
            self._going = self._rows()
        return next(self._going)

    next = __next__

    def _rows(self) -> Iterator[dict[str, Any]]:
        for rows in scan_batches(self._reopen, keys=self._keys, min_step=self._min_step, max_step=self._max_step):
            yield from to_dicts(rows)
