"""The runs of a project that match a filter, in order: a lazy sequence."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Final, Literal

from tracker.apis.public.attrs import Attrs
from tracker.apis.public.chosen_rows import check_chosen
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import CommValueError, comm_errors
from tracker.apis.public.histories import FRAMES, check_frame, check_keys, frame_of, no_rows, read_rows, stream_rows
from tracker.apis.public.questions import RUNS
from tracker.apis.public.runs_pages import RunPages
from tracker.apis.public.runs_tables import RunTables
from tracker.apis.public.runs_view import runs_page
from tracker.errors import Error
from tracker.query.buckets import check_buckets, read_buckets
from tracker.query.cells import Rows, concat_rows
from tracker.query.frames import to_arrow, to_dicts, to_pandas, to_polars
from tracker.query.order import DEFAULT_ORDER, parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.sampling import check_samples
from tracker.query.snapshot import Snapshot
from tracker.storage.names import project_prefix

__all__ = ["Runs"]

_READER: Final = "arrow_reader"


class Runs(RunPages, RunTables, Attrs):
    """Runs are found at the first `len`, index or iteration, and loaded `per_page` at a time; loaded ones are kept."""

    QUERY: ClassVar[str] = RUNS

    def __init__(
        self,
        client: RetryingClient,
        entity: str,
        project: str,
        filters: dict[str, Any] | None = None,
        order: str | None = DEFAULT_ORDER,
        per_page: int | None = 50,
        include_sweeps: bool = True,
    ) -> None:
        """Nothing is fetched yet, but filter and order are checked.

        Raises:
            ValueError: an unknown operator or field, a wrong operand.
            TypeError: a value without a JSON form.
        """
        self.client = client
        self.entity = entity
        self.project = project
        self.filters = filters or {}
        self.order = order
        self.per_page = 50 if per_page is None else max(int(per_page), 1)
        self._include_sweeps = include_sweeps
        self._where = parse_filter(filters)
        self._by = parse_order(order)
        self.begin_pages()
        self.variables: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "order": order,
            "filters": json.dumps(self.filters, default=str),
        }
        self.update_variables()

    def with_client(self, client: RetryingClient) -> Runs:
        """The same question, asked of another store."""
        return Runs(client, self.entity, self.project, self.filters, self.order, self.per_page, self._include_sweeps)

    @comm_errors
    def histories(
        self,
        samples: int | None = 500,
        keys: list[str] | None = None,
        x_axis: str = "_step",
        format: Literal["default", "pandas", "polars", "arrow", "arrow_reader"] = "default",
        stream: Literal["default", "system"] = "default",
        *,
        rank: Any = None,
        host: Any = None,
    ) -> Any:
        """History rows of every matching run, in the collection's order, at most `samples` of each (None: every row).

        format: `default`, a list of dicts with `run_id`; `pandas` or `polars`, one frame; `arrow`, one table. Frames
        have their columns sorted, `run_id` among them, holes where a run has no such key, and no columns without rows.
        `arrow_reader`, a pyarrow.RecordBatchReader: rows are read as they are consumed, in bounded memory. Its columns
        are those of all keys, typed by all that was logged; lists, dicts and what mixes with text are JSON text.

        `rank`, `host`: only what processes of this rank (or host; or of several) logged. `_rank`, `_host` and `_writer`
        among the keys say who logged a row.

        Raises:
            CommError: an unknown format; `.exc` is a ValueError.
            Error: pandas or polars is not installed.
        """
        check_frame(format, (*FRAMES, _READER))
        if format == _READER and stream != "default":
            text = f'format="{_READER}" is for the default stream; ask for format="arrow"'
            raise CommValueError(text, ValueError(text))
        wanted, chosen = check_samples(samples), check_chosen(rank, host)
        batches, ids = list[Rows](), list[str]()
        if check_keys(keys, stream):
            ids, snapshot = self._fresh()
            if format == _READER:
                return stream_rows(
                    snapshot, self._open, ids, keys=keys, x_axis=x_axis, samples=wanted, chosen=chosen
                )
            batches = self.client.read(
                lambda snapshot: read_rows(
                    snapshot, ids, keys=keys, x_axis=x_axis, samples=wanted, stream=stream, chosen=chosen
                ),
                snapshot,
                self._open,
            )
        if format == _READER:
            return no_rows()
        if format == "default":
            return [row for rows in batches for row in to_dicts(rows, ids)]
        rows = concat_rows(batches)
        try:
            return {"pandas": to_pandas, "polars": to_polars, "arrow": to_arrow}[format](rows, ids)
        except ImportError as exc:
            raise Error(f'histories(format="{format}") needs the package {format}. Run: pip install {format}') from exc

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
    ) -> Any:
        """As `Run.buckets`, of every matching run in the collection's order, with `run_id` first. Widths agree."""
        check_frame(format, FRAMES)
        count, chosen = check_buckets(buckets), check_chosen(rank, host)
        ids, snapshot = self._fresh()

        def read(snapshot: Snapshot) -> Any:
            return read_buckets(
                chosen.history(snapshot, [run_id for run_id in ids if run_id in snapshot.runs]),
                snapshot.paths,
                keys=keys if check_keys(keys) else [],
                buckets=count,
                min_step=min_step,
                max_step=max_step,
            )

        return frame_of(self.client.read(read, snapshot, self._open), format)

    @property
    def url(self) -> str:
        """Where the project's data lies."""
        return self.client.url_of(project_prefix(self.entity, self.project))

    def _page(self) -> str:
        return runs_page(self)

    def __repr__(self) -> str:
        return f"<Runs {self.entity}/{self.project}>"
