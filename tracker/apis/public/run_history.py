"""The history of one run, as the public Run gives it: rows, charts, and what it printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tracker.apis.public.chosen_rows import check_chosen
from tracker.apis.public.failures import comm_errors
from tracker.apis.public.histories import (
    FRAMES,
    HistoryScan,
    check_frame,
    check_keys,
    check_steps,
    frame_of,
    read_rows,
)
from tracker.query.buckets import check_buckets, read_buckets
from tracker.query.cells import concat_rows
from tracker.query.console_rows import check_console, console_lines
from tracker.query.frames import to_dicts, to_pandas
from tracker.query.history import Paths
from tracker.query.run_files import RunFiles
from tracker.query.runs import stream_files
from tracker.query.sampling import check_samples
from tracker.query.snapshot import Snapshot
from tracker.sdk import term

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient

__all__ = ["HistoryCalls"]


class HistoryCalls:
    """What a Run reads of its history, fresh at each call."""

    id: str
    client: RetryingClient

    if TYPE_CHECKING:

        def _open(self) -> Snapshot: ...

    @comm_errors
    def history(
        self,
        samples: int | None = 500,
        keys: list[str] | None = None,
        x_axis: str = "_step",
        pandas: bool = True,
        stream: str = "default",
        *,
        rank: Any = None,
        host: Any = None,
        life: str | None = None,
    ) -> Any:
        """At most `samples` rows, evenly spread, first and last among them (None: every row), in order of steps.

        A pandas frame, or a list of dicts with `pandas=False` (or where pandas is not installed). With `keys`
        only rows that have `x_axis` and every key, and only these columns. `_rank`, `_host` and `_writer` among the
        keys say who logged a row.

        `rank`, `host`: only what processes of this rank (or host; or of several) logged. `life`: the rows of one of
        `lives()`, shown or not.
        """
        if not check_keys(keys, stream):
            return []
        wanted, chosen = check_samples(samples), check_chosen(rank, host, life)

        def read(snapshot: Snapshot) -> Any:
            found = read_rows(
                snapshot, [self.id], keys=keys, x_axis=x_axis, samples=wanted, stream=stream, chosen=chosen
            )
            return concat_rows(found)

        rows = self.client.read(read, self._open(), self._open)
        if pandas:
            try:
                return to_pandas(rows)
            except ImportError:
                term.warn("pandas is not installed; history() returns a list of dicts")
        return to_dicts(rows)

    @comm_errors
    def scan_history(
        self,
        keys: list[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        rank: Any = None,
        host: Any = None,
        life: str | None = None,
    ) -> Any:
        """Every row with min_step <= _step < max_step as dicts, read as they are iterated.

        With `keys` only rows that have all of them, and nothing else. `page_size` changes nothing. `arrow_reader()`
        of what comes back gives the rows as Arrow record batches instead, which is several times as fast. `rank`,
        `host`, `life` and the keys `_rank`, `_host`, `_writer`: as for `history`.
        """
        _ = page_size
        check_steps(min_step=min_step, max_step=max_step)
        chosen = check_chosen(rank, host, life)

        def reopen() -> tuple[RunFiles, Paths]:
            snapshot = self._open()
            return chosen.history(snapshot, [self.id])[0], snapshot.paths

        return HistoryScan(reopen, keys, min_step, max_step) if check_keys(keys) else []

    @comm_errors
    def buckets(
        self,
        keys: list[str],
        buckets: int = 500,
        min_step: int | None = None,
        max_step: int | None = None,
        format: Literal["default", "pandas", "polars", "arrow"] = "default",
        *,
        rank: Any = None,
        host: Any = None,
        life: str | None = None,
    ) -> Any:
        """A chart of each key over min_step <= _step < max_step in at most `buckets` stretches of equal width.

        One row a key and bucket that has points, by these: `key, step` (where the bucket begins), `width` (a power of
        two), `count, nan_count, first_step, last_step, first, last, min, max, mean, min_step, max_step`. No spike is
        missed, however long the series: of merged files only some kilobytes are read. Where points are too many to
        make buckets finer than the stored ones, those come. `rank`, `host`, `life`: as for `history`.
        """
        check_frame(format, FRAMES)
        check_steps(min_step=min_step, max_step=max_step)
        count, chosen = check_buckets(buckets), check_chosen(rank, host, life)

        def read(snapshot: Snapshot) -> Any:
            return read_buckets(
                chosen.history(snapshot, [self.id]),
                snapshot.paths,
                keys=keys if check_keys(keys) else [],
                buckets=count,
                min_step=min_step,
                max_step=max_step,
            )

        return frame_of(self.client.read(read, self._open(), self._open).drop_columns(["run_id"]), format)

    @comm_errors
    def console(
        self,
        contains: str | None = None,
        stream: Literal["stdout", "stderr"] | None = None,
        last: int | None = None,
        format: Literal["default", "pandas", "polars", "arrow"] = "default",
    ) -> Any:
        """What the run printed, one row a line: `writer, time, stream, label, text`, by time (UTC).

        `contains`: only lines with this text in them. `stream`: only one of the two. `last`: at most so many lines,
        from the end. A progress bar is one line, with its last content. Lines are dicts, unless `format` says else.
        """
        check_frame(format, FRAMES)
        check_console(contains, stream, last)

        def read(snapshot: Snapshot) -> Any:
            files = stream_files(snapshot, [self.id])
            found = console_lines(files, snapshot.paths, contains=contains, stream=stream)
            return found if last is None else found.slice(max(found.num_rows - last, 0))

        return frame_of(self.client.read(read, self._open(), self._open).drop_columns(["run_id"]), format)
