"""From a question about history to rows, record batches or buckets: shared by Run and Runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Final

from tracker.apis.public.chosen_rows import ChosenRows
from tracker.apis.public.failures import CommValueError
from tracker.errors import Error
from tracker.query.cells import Rows
from tracker.query.frames import to_dicts
from tracker.query.history import PartsGone, Paths, history_batches, scan_batches
from tracker.query.run_files import RunFiles
from tracker.query.runs import load_runs
from tracker.query.snapshot import Snapshot
from tracker.query.system_rows import system_batches
from tracker.sdk import term

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "FRAMES",
    "HistoryScan",
    "check_frame",
    "check_keys",
    "check_steps",
    "frame_of",
    "going_rows",
    "no_rows",
    "read_rows",
    "stream_rows",
]

FRAMES: Final = ("default", "pandas", "polars", "arrow")

_ATTEMPTS_MAX: Final = 4
_ALL_ROWS: Final = ChosenRows()


def check_keys(keys: Any, stream: str = "default") -> bool:
    """Whether `keys` can be answered; if not, one error line says why (HQ-1), and the caller answers with nothing."""
    if keys is None:
        return True
    if not isinstance(keys, list):
        term.error(f"keys must be a list of names, not {keys!r:.80}")
        return False
    strange = [key for key in keys if not isinstance(key, str)]
    if strange:
        term.error(f"keys must be names, not {strange[0]!r:.80}")
        return False
    if keys and stream != "default":
        term.error("keys can only be asked for in the default stream")
        return False
    return True


def check_steps(**steps: Any) -> None:
    """Raises TypeError where one of these is neither None nor a number."""
    for name, step in steps.items():
        if step is not None and (isinstance(step, bool) or not isinstance(step, Real)):
            raise TypeError(f"{name} must be a step, not {step!r:.80}")


def read_rows(
    snapshot: Snapshot,
    run_ids: Sequence[str],
    *,
    keys: list[str] | None,
    x_axis: str,
    samples: int | None,
    stream: str,
    chosen: ChosenRows = _ALL_ROWS,
) -> list[Rows]:
    """Batches of rows of these runs, those that the snapshot holds. `Rows.run` counts in `run_ids`.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    held = [(n, run_id) for n, run_id in enumerate(run_ids) if run_id in snapshot.runs]
    ids = [run_id for _, run_id in held]
    if stream == "default":
        files = chosen.history(snapshot, ids)
        found = list(history_batches(files, snapshot.paths, keys=keys, x_axis=x_axis, samples=samples))
    else:
        started = {record.run_id: record.created_at_us for record in load_runs(snapshot, run_ids)}
        found = list(system_batches(chosen.streams(snapshot, ids), snapshot.paths, started, samples=samples))
    if len(held) == len(run_ids):
        return found
    numbers = [n for n, _ in held]
    return [Rows(_renumbered(rows, numbers), rows.columns) for rows in found]


def stream_rows(
    snapshot: Snapshot,
    again: Callable[[], Snapshot],
    run_ids: Sequence[str],
    *,
    keys: list[str] | None,
    x_axis: str,
    samples: int | None,
    chosen: ChosenRows = _ALL_ROWS,
) -> pyarrow.RecordBatchReader:
    """Rows in record batches that are read as they are consumed, run after run: the rows of `going_rows`."""
    import pyarrow

    from tracker.query.record_batches import history_schema, record_batches

    held = [run_id for run_id in run_ids if run_id in snapshot.runs]
    shown = list(dict.fromkeys([x_axis, *keys])) if keys else None
    schema = history_schema(chosen.history(snapshot, held), shown, with_run_id=True)
    rows = going_rows(snapshot, again, held, keys=keys, x_axis=x_axis, samples=samples, chosen=chosen)
    return pyarrow.RecordBatchReader.from_batches(schema, record_batches(rows, schema, held))


def going_rows(
    snapshot: Snapshot,
    again: Callable[[], Snapshot],
    run_ids: Sequence[str],
    *,
    keys: list[str] | None,
    x_axis: str,
    samples: int | None,
    chosen: ChosenRows = _ALL_ROWS,
) -> Iterator[Rows]:
    """Batches of rows, read as they are consumed, run after run. `Rows.run` counts in `run_ids`.

    Where parts are merged and deleted meanwhile it goes on with a snapshot of `again`; no row comes twice.
    """
    at, given, attempts = 0, 0, 0  # the last run that was read, and how many of its rows were given out
    while True:
        left = [n for n, run_id in enumerate(run_ids) if n >= at and run_id in snapshot.runs]
        files = chosen.history(snapshot, [run_ids[n] for n in left])
        again_at, to_skip = at, given
        try:
            for rows in history_batches(files, snapshot.paths, keys=keys, x_axis=x_axis, samples=samples):
                run = _renumbered(rows, left)
                known = min(to_skip, int((run == again_at).sum()))  # they come first
                to_skip -= known
                last = int(run[-1])
                given = int((run[known:] == last).sum()) + (given if last == at else 0)
                at = last
                fresh = Rows(run, rows.columns).from_row(known)
                if len(fresh):
                    yield fresh
        except PartsGone:
            attempts += 1
            if attempts == _ATTEMPTS_MAX:
                raise
            snapshot = again()
            continue
        return


def no_rows() -> pyarrow.RecordBatchReader:
    """The answer to a question that cannot be answered."""
    import pyarrow

    return pyarrow.RecordBatchReader.from_batches(pyarrow.schema([]), iter(()))


def check_frame(format: Any, known: Sequence[str]) -> None:
    """Raises CommError for an unknown format; `.exc` is a ValueError."""
    if format not in known:
        text = f"format must be one of {', '.join(map(repr, known))}, not {format!r}"
        raise CommValueError(text, ValueError(text))


def frame_of(table: pyarrow.Table, format: str) -> Any:
    """The table as rows in dicts (`default`), or as a pandas or polars frame, or as it is (`arrow`).

    Raises:
        Error: pandas or polars is not installed.
    """
    if format == "arrow":
        return table
    if format == "default":
        return table.to_pylist()
    try:
        if format == "polars":
            import polars

            return polars.from_arrow(table)
        return table.to_pandas()
    except ImportError as exc:
        raise Error(f'format="{format}" needs the package {format}. Run: pip install {format}') from exc


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

    def arrow_reader(self) -> pyarrow.RecordBatchReader:
        """The same rows as Arrow record batches, read as they are consumed: one column a key, null for none.

        Lists, dicts and what mixes text with other things are JSON text. Numbers that mix are floats.
        """
        import pyarrow

        from tracker.query.record_batches import history_schema, record_batches

        first = [self._reopen()]  # what the schema follows from is read first
        schema = history_schema([first[0][0]], self._keys or None, with_run_id=False)
        batches = scan_batches(
            lambda: first.pop() if first else self._reopen(),
            keys=self._keys,
            min_step=self._min_step,
            max_step=self._max_step,
        )
        return pyarrow.RecordBatchReader.from_batches(schema, record_batches(batches, schema))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for rows in scan_batches(self._reopen, keys=self._keys, min_step=self._min_step, max_step=self._max_step):
            yield from to_dicts(rows)
