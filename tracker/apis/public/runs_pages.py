"""The public `Runs` as a lazy sequence: found at the first use, loaded page by page, and kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import NoSuchProject
from tracker.apis.public.guard import Guard
from tracker.apis.public.run import Run
from tracker.query.runs import RunRecord, find_runs, load_runs
from tracker.query.snapshot import Snapshot

if TYPE_CHECKING:
    from tracker.query.filter_tree import Filter
    from tracker.query.order import Order

__all__ = ["RunPages"]


class RunPages:
    """Part of `Runs`, which knows filter and order. Threads may share it: each run is loaded once."""

    client: RetryingClient
    entity: str
    project: str
    per_page: int
    objects: list[Run]  # loaded so far
    variables: dict[str, Any]
    _include_sweeps: bool
    _where: Filter
    _by: Order

    def begin_pages(self) -> None:
        """Nothing is found yet. Not for users."""
        self._guard = Guard()
        self._snapshot: Snapshot | None = None
        self._ids: list[str] | None = None
        self._last_page: list[Run] = []
        self._at = 0  # of `next`
        self.objects = []

    def __getstate__(self) -> dict[str, Any]:
        """What goes into another process: what was found and loaded; files are looked for there."""
        with self._guard:
            kept = {"_snapshot": None, "objects": list(self.objects), "variables": dict(self.variables)}
            return vars(self) | kept

    @property
    def length(self) -> int | None:
        """How many runs match; None before the first one was asked for."""
        ids = self._ids
        return None if ids is None else len(ids)

    @property
    def more(self) -> bool:
        """Whether further pages exist."""
        ids = self._ids
        return ids is None or len(self.objects) < len(ids)

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
            if len(wanted):
                self._load(max(wanted[0], wanted[-1]) + 1)
            return [self.objects[n] for n in wanted if n < len(self.objects)]
        position = range(count)[index]
        self._load(position + 1)
        return self.objects[position]

    def __iter__(self) -> Iterator[Run]:
        """From the first run, each time; `next` goes on behind the last one that was given out."""
        self._at = 0
        return self._each()

    def _each(self) -> Iterator[Run]:
        n = 0
        while n < len(self):
            self._load(n + 1)
            if n >= len(self.objects):  # some were deleted meanwhile
                return
            self._at = n + 1
            yield self.objects[n]
            n += 1

    def __next__(self) -> Run:
        with self._guard:
            position = self._at
            self._load(position + 1)
            if position >= len(self.objects):
                raise StopIteration
            self._at = position + 1
            return self.objects[position]

    next = __next__

    def _found(self) -> list[str]:
        """Ids of all matches, in order. Raises NoSuchProject."""
        with self._guard:
            if self._ids is None:
                found: list[str] = []

                def find(snapshot: Snapshot) -> Snapshot:
                    found[:] = find_runs(snapshot, self._where, self._by)[0]
                    return snapshot

                self._snapshot = self.client.read(find, self._open(), self._open)
                self._ids = found
            return self._ids

    def _load(self, count: int) -> None:
        """The first `count` runs are loaded, or all where there are not so many."""
        with self._guard:
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

    def _records(self, run_ids: list[str]) -> list[RunRecord]:
        """What was found; as it is now where the files that said so were replaced meanwhile."""

        def again() -> Snapshot:
            self._snapshot = self._open()
            return self._snapshot

        snapshot = self._snapshot
        return self.client.read(lambda now: load_runs(now, run_ids), snapshot or again(), again)

    def _open(self) -> Snapshot:
        snapshot = self.client.snapshot(self.entity, self.project)
        if not snapshot.runs and not self.client.has_project(self.entity, self.project):
            raise NoSuchProject(f"could not find project {self.entity}/{self.project} in {self.client.store.url}")
        return snapshot

    def _fresh(self) -> tuple[list[str], Snapshot]:
        """Ids of all matches, and the project as it is now."""
        known = self._ids is not None
        ids, snapshot = self._found(), self._snapshot
        return ids, self._open() if known or snapshot is None else snapshot
