"""The runs of a project that match a filter, in order: a lazy sequence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, Final, Literal, overload

from tracker.apis.public.attrs import Attrs
from tracker.apis.public.chosen_rows import check_chosen
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import CommValueError, NoSuchProject, comm_errors
from tracker.apis.public.histories import FRAMES, check_frame, check_keys, frame_of, no_rows, read_rows, stream_rows
from tracker.apis.public.questions import RUNS
from tracker.apis.public.run import Run
from tracker.apis.public.runs_view import RunsView
from tracker.errors import Error
from tracker.query.buckets import check_buckets, read_buckets
from tracker.query.cells import Rows, concat_rows
from tracker.query.frames import to_arrow, to_dicts, to_pandas, to_polars
from tracker.query.order import DEFAULT_ORDER, parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.runs import RunRecord, find_runs, load_runs
from tracker.query.sampling import check_samples
from tracker.query.snapshot import Snapshot
from tracker.storage.names import project_prefix

__all__ = ["Runs"]

_READER: Final = "arrow_reader"


class Runs(RunsView, Attrs):
    """Runs are found at the first `len`, index or iteration, and loaded `per_page` at a time; loaded ones are kept."""

    QUERY: ClassVar[str] = RUNS

    def __init__(
        self,
        client: RetryingClient,
        entity: str,
        project: str,
        filters: dict[str, Any] | None = None,
        order: str | None = DEFAULT_ORDER,
        per_page: int = 50,
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
        self.per_page = max(int(per_page), 1)
        self._include_sweeps = include_sweeps
        self._where = parse_filter(filters)
        self._by = parse_order(order)
        self._snapshot: Snapshot | None = None
        self._ids: list[str] | None = None
        self._last_page: list[Run] = []
        self._at = 0  # of `next`
        self.objects: list[Run] = []  # loaded so far
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

    # the sequence

    @property
    def length(self) -> int | None:
        """How many runs match; None before the first one was asked for."""
        return None if self._ids is None else len(self._ids)

    @property
    def more(self) -> bool:
        """Whether further pages exist."""
        return self._ids is None or len(self.objects) < len(self._ids)

    @property
    def cursor(self) -> str | None:
        """The id of the last loaded run."""
        return self.objects[-1].id if self.objects else None

    def update_variables(self) -> None:
        """Prepare the request for the following page."""
        self.variables.update({"perPage": self.per_page, "cursor": self.cursor})

    def convert_objects(self) -> list[Run]:
        """The runs of the last loaded page."""
        return list(self._last_page)

    def __len__(self) -> int:
        return len(self._found())

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...
    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        """By position, from the end too; a slice gives a list. Loads as far as needed.

        Raises:
            IndexError: beyond the end.
        """
        count = len(self)
        if isinstance(index, slice):
            wanted = range(count)[index]
            self._load(max(wanted, default=-1) + 1)
            return [self.objects[n] for n in wanted if n < len(self.objects)]
        position = range(count)[index]
        self._load(position + 1)
        return self.objects[position]

    def __iter__(self) -> Iterator[Run]:
        """From the first run, each time; `next` goes on behind the last one that was given out."""
        self._at = 0
        for n in range(len(self)):
            self._load(n + 1)
            if n >= len(self.objects):  # some were deleted meanwhile
                return
            self._at = n + 1
            yield self.objects[n]

    def __next__(self) -> Run:
        if self._at >= len(self):
            raise StopIteration
        self._at += 1
        return self[self._at - 1]

    next = __next__

    def _found(self) -> list[str]:
        """Ids of all matches, in order. Raises NoSuchProject."""
        if self._ids is None:
            snapshot = self._open()
            self._ids, _ = find_runs(snapshot, self._where, self._by)
            self._snapshot = snapshot
        return self._ids

    def _load(self, count: int) -> None:
        """The first `count` runs are loaded."""
        ids = self._found()
        while len(self.objects) < min(count, len(ids)):
            page = ids[len(self.objects) : len(self.objects) + self.per_page]
            records = self._records(page)
            if len(records) < len(page):  # deleted since they were found
                there = {record.run_id for record in records}
                self._ids = ids = [run_id for run_id in ids if run_id in there or run_id not in page]
            self._last_page = [
                Run(
                    self.client,
                    self.entity,
                    self.project,
                    record.run_id,
                    {"record": record, "snapshot": self._snapshot},
                    self._include_sweeps,
                )
                for record in records
            ]
            self.objects += self._last_page
            self.update_variables()

    def _first(self, count: int) -> list[Run]:
        """The first runs, at most so many."""
        self._load(count)
        return self.objects[:count]

    def _records(self, run_ids: list[str]) -> list[RunRecord]:
        """What was found; as it is now where the files that said so were replaced meanwhile."""

        def again() -> Snapshot:
            self._snapshot = self._open()
            return self._snapshot

        assert self._snapshot is not None
        return self.client.read(lambda snapshot: load_runs(snapshot, run_ids), self._snapshot, again)

    def _open(self) -> Snapshot:
        snapshot = self.client.snapshot(self.entity, self.project)
        if not snapshot.runs:
            raise NoSuchProject(f"could not find project {self.entity}/{self.project} in {self.client.base_url}")
        return snapshot

    # history

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

    def _fresh(self) -> tuple[list[str], Snapshot]:
        """Ids of all matches, and the project as it is now."""
        fresh = self._snapshot is not None
        ids = self._found()
        assert self._snapshot is not None
        return ids, self._open() if fresh else self._snapshot

    @property
    def url(self) -> str:
        """Where the project's data lies."""
        return self.client.url_of(project_prefix(self.entity, self.project))

    def __repr__(self) -> str:
        return f"<Runs {self.entity}/{self.project}>"
