"""History: points of some runs as rows, with the keys, the sample and the steps that were asked for.

Of the files only the cells that the answer needs are read. Rows come run after run, in the order of the runs, each
run by (step, hlc, writer, row). Where parts are plain (`plain_parts`) series are taken as they lie in the files;
else rows are found by their markers (`sorted_rows`). Either way long runs are read in windows, so that memory is
bounded whatever their length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from tracker.query.cells import Rows
from tracker.query.history_plan import STEP, PartsGone, Paths, Plan, make_plan, stored_keys
from tracker.query.plain_parts import dense_rows, plain_batch, plain_parts, plain_windows
from tracker.query.run_files import RunFiles, RunPart
from tracker.query.sampling import sample_rows
from tracker.query.sorted_rows import sorted_batch, sorted_between, sorted_windows

__all__ = ["PartsGone", "Paths", "history_batches", "scan_batches", "stored_keys"]

_BATCH_CELLS: Final = 4_000_000  # of one answer in memory as arrays at once
_PLAIN_SHARE: Final = 3  # times as many where nothing has to be sorted: fewer reads of each pack
_SCAN_ROWS: Final = 64 * 1024
_SMALL_EVENTS: Final = 32_000  # parts below it are read many at a time, and their cells kept in memory
_ATTEMPTS_MAX: Final = 5


def history_batches(
    runs: Sequence[RunFiles],
    paths: Paths,
    *,
    keys: Sequence[str] | None,
    x_axis: str | None = STEP,
    samples: int | None = 500,
    extra: Sequence[str] = (),
) -> Iterator[Rows]:
    """Batches of rows of `runs`; `Rows.run` counts in `runs`.

    With keys: rows in which `x_axis` and every key are present, and these columns only, x_axis first. Without:
    every row and every key, `_step` first, then keys as first logged, `_runtime` and `_timestamp`, and `extra` columns
    (of `tracker.query.writer_columns`, which are as good as keys) last.
    At most `samples` rows of each run, None for all.

    Raises:
        PartsGone: start over with a fresh listing.
    """
    shown = None if not keys else list(dict.fromkeys([*([x_axis] if x_axis else []), *keys]))
    if samples == 0:
        return
    for batch in _batches(runs, shown, samples):
        plan = make_plan(batch.runs, shown, extra)
        if batch.is_long:
            found = _long_run(batch, paths, plan, samples)
        elif batch.plain is not None:
            found = iter([plain_batch(batch.plain, paths, plan, samples)])
        else:
            found = iter([sorted_batch(batch.runs, paths, plan, samples)])
        for rows in found:
            if len(rows):
                yield Rows(rows.run + batch.start, rows.columns)


def scan_batches(
    reopen: Callable[[], tuple[RunFiles, Paths]],
    *,
    keys: Sequence[str] | None,
    min_step: int | None = None,
    max_step: int | None = None,
    every_row: bool = False,
) -> Iterator[Rows]:
    """Every row of one run with min_step <= _step < max_step, in batches of bounded size.

    `reopen` gives the run's files as they are now; it is asked again when some were merged and deleted meanwhile,
    and then no row comes twice. With keys: rows in which every key is present, and these columns only; with
    `every_row` rows that lack some of them come too.

    Raises:
        PartsGone: files keep vanishing.
    """
    shown = None if not keys else list(dict.fromkeys(keys))
    attempts = 0
    while True:
        run, paths = reopen()
        try:
            plan = make_plan([run], shown)
            plan = replace(plan, whole=True) if every_row else plan
            for upto, rows in _windows(run, paths, plan, min_step, max_step):
                yield rows
                min_step = upto + 1
        except PartsGone:
            attempts += 1
            if attempts == _ATTEMPTS_MAX:
                raise
            continue
        return


@dataclass(slots=True)
class _Batch:
    """Neighbouring runs that are answered together."""

    start: int  # number of the first
    is_plain: bool
    names: list[str]
    is_long: bool = False  # one run, too long to be held at once
    runs: list[RunFiles] = field(default_factory=list)
    plain: list[list[RunPart]] | None = None  # their parts as `plain_parts` gives them
    cells: int = 0


def _batches(runs: Sequence[RunFiles], shown: list[str] | None, samples: int | None) -> Iterator[_Batch]:
    """Neighbours that one read answers, bounded by the cells that are held at once."""
    batch: _Batch | None = None
    for n, run in enumerate(runs):
        names = shown if shown is not None else run.history_keys()
        parts = _worth_it(run)
        rows = sum(part.rows for part in run.parts)
        is_long = rows * (len(names) + 1) > _BATCH_CELLS
        held = rows if samples is None or parts is None else min(rows, samples)
        cells = held * (len(names) + 1) + rows // 8
        fits = (
            batch is not None
            and not is_long
            and not batch.is_long
            and batch.is_plain == (parts is not None)
            and batch.names == names
            and batch.cells + cells <= (_BATCH_CELLS if parts is None else _PLAIN_SHARE * _BATCH_CELLS)
        )
        if batch is None or not fits:
            if batch is not None:
                yield batch
            batch = _Batch(n, parts is not None, names, is_long, plain=None if parts is None else [])
        batch.runs.append(run)
        batch.cells += cells
        if batch.plain is not None and parts is not None:
            batch.plain.append(parts)
    if batch is not None:
        yield batch


def _worth_it(run: RunFiles) -> list[RunPart] | None:
    """The run's parts in order where they are plain, and large or packed; small files are better read together."""
    if all(part.events < _SMALL_EVENTS and not part.packed for part in run.parts):
        return None
    return plain_parts(run)


def _windows(
    run: RunFiles, paths: Paths, plan: Plan, min_step: int | None, max_step: int | None
) -> Iterator[tuple[int, Rows]]:
    """All rows, and with each batch the last step that it answers for."""
    rows_max = max(min(_SCAN_ROWS, _BATCH_CELLS // max(len(plan.names), 1)), 1)
    parts = _worth_it(run)
    if parts is not None:
        return plain_windows(parts, paths, plan, rows_max=rows_max, min_step=min_step, max_step=max_step)
    if sum(part.rows for part in run.parts) <= rows_max:
        return sorted_between(run, paths, plan, min_step=min_step, max_step=max_step)
    return sorted_windows(run, paths, plan, rows_max=rows_max, min_step=min_step, max_step=max_step)


def _long_run(batch: _Batch, paths: Paths, plan: Plan, samples: int | None) -> Iterator[Rows]:
    """A run in windows. A sample of rows whose number is not known is taken in a second pass."""
    (run,) = batch.runs

    def windows() -> Iterator[Rows]:
        return (rows for _, rows in _windows(run, paths, plan, None, None))

    if samples is None:
        yield from windows()
        return
    count = None if batch.plain is None else dense_rows(batch.plain[0], plan)
    if count is None:
        count = sum(len(rows) for rows in windows())
    chosen, start = sample_rows(count, samples), 0
    for rows in windows():
        low, high = np.searchsorted(chosen, [start, start + len(rows)])
        at = chosen[low:high] - start
        start += len(rows)
        if len(at):
            yield Rows(rows.run[at], {name: column.take(at) for name, column in rows.columns.items()})
