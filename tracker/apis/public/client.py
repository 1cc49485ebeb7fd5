"""What the public classes share: the store, the local cache, and the way to a fresh snapshot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from tracker.apis.public.failures import NoSuchProject
from tracker.apis.public.run_edits import observe
from tracker.errors import NotFound, UsageError
from tracker.query.history import PartsGone
from tracker.query.projects import KIND_PROJECT
from tracker.query.snapshot import Snapshot, open_project
from tracker.query.things import Things, read_things
from tracker.sdk import term
from tracker.storage.cache import PartCache, default_cache_dir
from tracker.storage.clock import wall_us
from tracker.storage.names import thing_prefix
from tracker.storage.port import Store
from tracker.storage.stores import open_roots
from tracker.storage.things import Change, thing_writer
from tracker.storage.union_store import UnionStore
from tracker.storage.writer import CLOCK

__all__ = ["RetryingClient"]

_ATTEMPTS_MAX: Final = 4

T = TypeVar("T")


class RetryingClient:
    """One root, opened, or several that answer as one. Listings are always asked fresh; parts come from the cache.

    `base_url`: the root that new things go to. `roots`: all that are read, where there are several; the first one is
    preferred where they have the same.
    `as_of_us`: everything is shown as it was at that time (microseconds since the epoch); None: as it is now.
    `patience_s`: for how long a store that does not answer is asked again to take an edit.
    """

    def __init__(
        self, base_url: str, *, as_of_us: int | None = None, patience_s: float = 19, roots: Sequence[str] = ()
    ) -> None:
        self.base_url = base_url
        self.roots = tuple(roots) or (base_url,)
        self.as_of_us = as_of_us
        self.patience_s = patience_s
        self.api_key: str | None = None  # says who asks; no store needs it
        self.deletions = 0  # runs deleted and restored through this client: what was looked up before is stale
        self.store = open_roots(self.roots)
        self.cache = PartCache(default_cache_dir())

    def __getstate__(self) -> dict[str, Any]:
        """What goes into another process: where to look, not the connections."""
        return {name: value for name, value in vars(self).items() if name not in ("store", "cache")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.store = open_roots(self.roots)
        self.cache = PartCache(default_cache_dir())

    def snapshot(self, entity: str, project: str, run_id: str | None = None) -> Snapshot:
        """The project, or one run of it, as it is now (or was at `as_of_us`). It may be empty.

        What this process writes afterwards is later than all that was read.

        Raises:
            NoSuchProject: the root itself is missing.
        """
        now_us = wall_us()
        try:
            snapshot = open_project(
                self.store,
                entity,
                project,
                cache=self.cache,
                now_us=now_us,
                warn=term.warn,
                run_id=run_id,
                as_of_us=self.as_of_us if self.as_of_us is not None and self.as_of_us < now_us else None,
            )
        except NotFound as exc:
            raise NoSuchProject(f"could not find project {entity}/{project}: {exc}") from exc
        observe(snapshot)
        return snapshot

    def homes_of(self, entity: str, project: str, run_id: str) -> list[Store]:
        """The stores that contents of this run go to: of several roots those that have it. Raises as `snapshot`."""
        if not isinstance(self.store, UnionStore):
            return [self.store]
        return self.snapshot(entity, project, run_id).homes.of(run_id)

    def things(self, entity: str, project: str, kind: str, ids: Collection[str] | None = None) -> Things:
        """Things of a kind (or those among `ids`), as they are now or were at `as_of_us`; none where there is no root.

        What this process writes afterwards is later than all that was read. Raises as `read_things`.
        """
        try:
            found = read_things(
                self.store, self.cache, entity, project, kind, ids, warn=term.warn, as_of_us=self.as_of_us
            )
        except NotFound:
            return Things()
        CLOCK.observe(found.hlc_max_us, found.store_now_us)
        return found

    def has_project(self, entity: str, project: str) -> bool:
        """Whether the project was made, though it may have no runs. Raises as `read_things`."""
        return bool(self.things(entity, project, KIND_PROJECT, [project]))

    def change_thing(self, entity: str, project: str, kind: str, thing_id: str, changes: Sequence[Change]) -> None:
        """Store changes of a thing, which has been read before, or make it. Of several roots in the one that has it.

        Raises:
            UsageError: this client shows a time gone by.
            StorageUnavailable, CredentialsMissing: as `ThingWriter.write`.
        """
        self.refuse_the_past()
        union = self.store if isinstance(self.store, UnionStore) else None
        root = self.store if union is None else union.home_of(thing_prefix(entity, project, kind, thing_id))
        thing_writer(root, entity, project, kind, thing_id).write(changes, patience_s=self.patience_s)

    def refuse_the_past(self) -> None:
        """Raises UsageError where this client shows a time gone by: that cannot be changed."""
        if self.as_of_us is not None:
            raise UsageError("This Api shows the past, which cannot be changed. Make one without as_of.")

    def url_of(self, prefix: str) -> str:
        """The address of what lies below `prefix`; of several roots, in the first that has anything there."""
        root = self.store.home_of(prefix).url if isinstance(self.store, UnionStore) else self.base_url
        base = root if "://" in root else Path(root).as_uri()
        return f"{base}/{prefix.rstrip('/')}".rstrip("/")

    def read(self, read: Callable[[Snapshot], T], snapshot: Snapshot, again: Callable[[], Snapshot]) -> T:
        """`read(snapshot)`; from a fresh one of `again` when parts were merged and deleted meanwhile."""
        for _ in range(_ATTEMPTS_MAX - 1):
            try:
                return read(snapshot)
            except PartsGone:
                snapshot = again()
        return read(snapshot)
