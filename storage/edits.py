"""Facts about runs that this process does not write: one small file for each call, in the store when it returns.

Everybody's own sequence under `things/edits/<writer>/`; each fact names its run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from tracker.storage.authors import author_facts
from tracker.storage.clock import HybridClock, wall_us
from tracker.storage.errors import UsageError
from tracker.storage.events import DELETED, KIND_TOMBSTONE, TOMBSTONE_PATH, Value, join_path
from tracker.storage.fact_writer import PATIENCE_S, FactStore, FactWriter, SubjectFact
from tracker.storage.names import edits_prefix
from tracker.storage.writer import CLOCK

__all__ = ["Edit", "EditWriter", "delete_edit", "edit_writer", "restore_edit"]

Edit = SubjectFact  # kind, id of the run, path, value (DELETED takes the path back)

_WRITERS_MAX: Final = 1_000


class EditWriter(FactWriter):
    """Writes edits to the runs of one project. Thread-safe; a forked child goes on under an identity of its own."""

    def __init__(
        self,
        store: FactStore,
        entity: str,
        project: str,
        *,
        clock: HybridClock = CLOCK,
        wall: Callable[[], int] = wall_us,
        sleep: Callable[[float], None] = time.sleep,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        prefix = edits_prefix(entity, project)
        super().__init__(store, entity, project, prefix, clock=clock, wall=wall, sleep=sleep, monotonic_s=monotonic_s)

    def write(self, edits: Sequence[Edit], *, patience_s: float = PATIENCE_S) -> int:
        """Put `edits` as one frame: they hold together, from the returned stamp (us) on. Without any, nothing is put.

        Raises:
            UsageError: no run is named. Nothing was put.
            StorageUnavailable, CredentialsMissing, KeyTaken, TypeError: as `put_facts`.
        """
        if not all(run_id for _, run_id, _, _ in edits):
            raise UsageError("An edit needs the id of a run.")
        return self.put_facts(edits, patience_s)

    def first_facts(self) -> Sequence[tuple[str, None, str, Value]]:
        """Who edits."""
        return author_facts(self.writer_id)


_writers: dict[tuple[str, str, str], EditWriter] = {}


def edit_writer(store: FactStore, entity: str, project: str) -> EditWriter:
    """This process's writer of edits in that project."""
    key = (store.url, entity, project)
    found = _writers.get(key)
    if found is None:
        if len(_writers) >= _WRITERS_MAX:
            _writers.clear()
        found = _writers.setdefault(key, EditWriter(store, entity, project))  # no lock, which a fork could keep
    return found


def delete_edit(run_id: str, ahead: Sequence[str] = ()) -> list[Edit]:
    """Edits that hide everything of the run that has begun. `ahead`: its writers whose clocks run ahead of this one."""
    paths = [(TOMBSTONE_PATH,), *((TOMBSTONE_PATH, writer_id) for writer_id in ahead)]
    return [(KIND_TOMBSTONE, run_id, join_path(path), True) for path in paths]


def restore_edit(run_id: str) -> list[Edit]:
    """Edits that show the run again, as if it had never been deleted."""
    return [(KIND_TOMBSTONE, run_id, TOMBSTONE_PATH, DELETED)]
