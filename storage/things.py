"""Facts about all that is no run: projects, users, teams, reports, ... One small file for each call, in the store
when it returns.

A *thing* has a kind and an id, and is a tree of values like a run's config. Everybody who changes it has a sequence of
its own under `things/<kind>/<id>/<writer>/`; each fact has the thing's kind and names its id. What belongs to an
entity rather than to a project lies in the reserved project `_entity` (`ENTITY_PROJECT`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from tracker.storage.clock import HybridClock, wall_us
from tracker.storage.errors import UsageError
from tracker.storage.events import (
    DELETED,
    KIND_LOST,
    KIND_TOMBSTONE,
    POINT_KINDS,
    TOMBSTONE_PATH,
    Value,
    flatten,
    join_path,
    split_path,
)
from tracker.storage.fact_writer import PATIENCE_S, FactStore, FactWriter
from tracker.storage.format_file import ensure_format
from tracker.storage.names import thing_prefix
from tracker.storage.port import Get
from tracker.storage.writer import CLOCK

__all__ = ["Change", "ThingStore", "ThingWriter", "set_changes", "thing_writer"]

Change = tuple[str, Value]  # path, value (DELETED takes the path back)

_RESERVED: Final = frozenset({*POINT_KINDS, KIND_TOMBSTONE, KIND_LOST})
_WRITERS_MAX: Final = 1_000


class ThingStore(FactStore, Get, Protocol):
    """What a writer of things needs of a store."""


class ThingWriter(FactWriter):
    """Writes facts about one thing. Thread-safe; a forked child goes on under an identity of its own."""

    def __init__(
        self,
        store: ThingStore,
        entity: str,
        project: str,
        kind: str,
        thing_id: str,
        *,
        clock: HybridClock = CLOCK,
        wall: Callable[[], int] = wall_us,
        sleep: Callable[[float], None] = time.sleep,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises UsageError for a kind that is no kind of a thing, and for an empty id."""
        if kind in _RESERVED:
            raise UsageError(f"{kind!r} is the kind of other events, not of a thing.")
        prefix = thing_prefix(entity, project, kind, thing_id)
        super().__init__(store, entity, project, prefix, clock=clock, wall=wall, sleep=sleep, monotonic_s=monotonic_s)
        self._things, self._kind, self._id = store, kind, thing_id
        self._is_formatted = False

    def write(self, changes: Sequence[Change], *, patience_s: float = PATIENCE_S) -> int:
        """Put `changes` as one frame: they hold together, from the returned stamp (us) on. Without any, nothing is put.

        The first change of a thing makes it. See `set_changes` for whole trees.

        Raises:
            UsageError: a path is empty. Nothing was put.
            FormatTooNew: a newer tracker made this root.
            StorageUnavailable, CredentialsMissing, KeyTaken, TypeError: as `put_facts`.
        """
        if not all(path for path, _ in changes):
            raise UsageError(f"A change of {self._kind} {self._id!r} needs a path.")
        return self._change(changes, self._kind, patience_s)

    def delete(self, *, patience_s: float = PATIENCE_S) -> int:
        """Hide the thing from every answer, with all that was written about it so far. Raises as `write`.

        What is written later shows: who makes a thing of the same id writes all that it needs.
        """
        return self._change([(TOMBSTONE_PATH, True)], KIND_TOMBSTONE, patience_s)

    def restore(self, *, patience_s: float = PATIENCE_S) -> int:
        """Show the thing again, as if it had never been deleted. Raises as `write`."""
        return self._change([(TOMBSTONE_PATH, DELETED)], KIND_TOMBSTONE, patience_s)

    def _change(self, changes: Sequence[Change], kind: str, patience_s: float) -> int:
        if changes and not self._is_formatted:
            ensure_format(self._things)
            self._is_formatted = True
        return self.put_facts([(kind, self._id, path, value) for path, value in changes], patience_s)


def set_changes(tree: Mapping[str, Any], prefix: Sequence[str] = ()) -> list[Change]:
    """Changes after which each key of `tree` has this value below `prefix` (segments) and nothing else.

    Dicts become leaves, which others can change one by one; lists, `{}` and dicts with `_type` stay whole. Keys of
    `tree` that are not named keep their value.

    Raises:
        UsageError: a key is empty.
    """
    changes: list[Change] = []
    for key, value in tree.items():
        path = join_path((*prefix, key))
        leaves = flatten({key: value}, tuple(prefix))
        if not all(all(split_path(below)) for below, _ in leaves):
            raise UsageError(f"A key must not be empty, as one at {path!r} is. Give it a name.")
        if [below for below, _ in leaves] != [path]:
            changes.append((path, DELETED))
        changes += leaves
    return changes


_writers: dict[tuple[str, str, str, str, str], ThingWriter] = {}


def thing_writer(store: ThingStore, entity: str, project: str, kind: str, thing_id: str) -> ThingWriter:
    """This process's writer of that thing."""
    key = (store.url, entity, project, kind, thing_id)
    found = _writers.get(key)
    if found is None:
        if len(_writers) >= _WRITERS_MAX:
            _writers.clear()
        writer = ThingWriter(store, entity, project, kind, thing_id)
        found = _writers.setdefault(key, writer)  # no lock, which a fork could keep
    return found
