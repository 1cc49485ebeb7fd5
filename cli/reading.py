"""From options to an open project: which root, which project, what is asked. Progress and warnings go to stderr."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from tracker.cli.talk import Progress, progress_bar, warn
from tracker.query.filter_tree import Filter
from tracker.query.history import PartsGone
from tracker.query.order import Order, parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.projects import ProjectName, find_projects
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache, default_cache_dir
from tracker.storage.clock import wall_us
from tracker.storage.errors import NotFound, UsageError
from tracker.storage.port import ObjectInfo, Store

__all__ = ["Question", "Reader", "open_reader", "parse_filter_text", "question"]

_LISTED_MAX: Final = 20
_ATTEMPTS_MAX: Final = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """Which runs, in what order; checked before any request is made."""

    where: Filter
    order: Order
    limit: int | None


def question(filter_text: str | None, order: str | None, limit: int | None) -> Question:
    """Raises UsageError for a filter or order without a meaning."""
    return Question(parse_filter(parse_filter_text(filter_text)), parse_order(order), limit)


def parse_filter_text(text: str | None) -> dict[str, Any]:
    """The document that `--filter` holds.

    Raises:
        UsageError: no JSON (with the place), or a name twice in one document, of which JSON would keep only one.
    """
    if text is None or not text.strip():
        return {}
    try:
        document = json.loads(text, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as exc:
        near = text[max(exc.pos - 20, 0) : exc.pos + 20]
        raise UsageError(f"The filter is no JSON: {exc.msg} at character {exc.pos + 1}, near {near!r}. "
                         'Write it as \'{"config.lr": {"$lt": 0.1}}\', names in double quotes.') from None  # fmt: skip
    except RecursionError:
        raise UsageError("The filter is nested too deeply.") from None
    if not isinstance(document, dict):
        raise UsageError(f"A filter is a document {{field: value}}, not {text.strip():.40}.")
    return document


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f'The filter has "{twice}" twice in one document. Join the conditions with "$and": [...].')
    return document


class Reader:
    """One project of one root, opened for reading."""

    def __init__(self, store: Store, name: ProjectName, run_id: str | None) -> None:
        self.store = store
        self.name = name
        self.run_id = run_id

    def read(self, ask: Callable[[Snapshot], T]) -> T:
        """`ask` of the project as the store holds it now; asked again where parts were merged and deleted meanwhile.

        Raises:
            NotFound: no such root, project or run.
            StorageUnavailable, CredentialsMissing, CorruptData, FormatTooNew: as the store and its parts.
        """
        with progress_bar() as progress:
            for _ in range(_ATTEMPTS_MAX - 1):
                with contextlib.suppress(PartsGone):
                    return ask(self._snapshot(progress))
            return ask(self._snapshot(progress))

    def _snapshot(self, progress: Progress) -> Snapshot:
        cache = _WatchedCache(default_cache_dir(), progress)
        entity, project = self.name.entity, self.name.project
        snapshot = open_project(
            self.store, entity, project, cache=cache, now_us=wall_us(), warn=warn, run_id=self.run_id
        )
        if not snapshot.runs:
            raise _nothing(self.store, self.name, self.run_id)
        return snapshot


@contextmanager
def open_reader(
    url: str | None, project: str | None, entity: str | None, *, run_id: str | None = None
) -> Iterator[Reader]:
    """The project that was named, or the only one there is; only run `run_id` where that is given.

    Raises:
        NotFound: nothing to choose from.
        UsageError: several projects, and none named.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    from tracker.base_url import resolve_base_url
    from tracker.storage.stores import open_store

    store = open_store(resolve_base_url(url))
    try:
        yield Reader(store, _choose_project(store, project, entity), run_id)
    finally:
        store.close()


def _choose_project(store: Store, project: str | None, entity: str | None) -> ProjectName:
    """The one that is named by options or environment; else the only one there is."""
    if project is not None and entity is None and "/" in project:
        entity, _, project = project.partition("/")
    entity = entity or _from_environment("ENTITY")
    project = project or _from_environment("PROJECT")
    if project and entity:
        return ProjectName(entity, project)
    found = find_projects(store, entity)
    if project:
        named = [name for name in found if name.project == project]
        if not named:
            raise _nothing(store, ProjectName(entity or "main", project), None, found)
        found = named
    match found:
        case [only]:
            return only
        case []:
            raise NotFound(f"There are no runs in {store.url}. See where data goes with: tracker status")
        case several:
            raise UsageError(f"{store.url} has {len(several)} projects: {_listed(several)}. Choose one with --project.")


def _nothing(
    store: Store, name: ProjectName, run_id: str | None, found: Sequence[ProjectName] | None = None
) -> NotFound:
    if run_id is not None:
        return NotFound(f'There is no run "{run_id}" in {name} of {store.url}. See: tracker runs list')
    others = find_projects(store) if found is None else found
    known = f" There are: {_listed(others)}." if others else " There are no runs in it at all."
    return NotFound(f"There is no project {name} in {store.url}.{known}")


def _listed(names: Sequence[ProjectName]) -> str:
    more = f" and {len(names) - _LISTED_MAX} more" if len(names) > _LISTED_MAX else ""
    return ", ".join(map(str, names[:_LISTED_MAX])) + more


def _from_environment(name: str) -> str | None:
    return os.environ.get(f"TRACKER_{name}") or os.environ.get(f"WANDB_{name}") or None


class _WatchedCache(PartCache):
    """Fetches in slices, so that a bar can move."""

    _SLICE = 256

    def __init__(self, directory: Path, progress: Progress) -> None:
        super().__init__(directory)
        self._progress: Callable[[str, int, int], None] = progress

    def fetch(self, store: Any, objects: Sequence[ObjectInfo]) -> list[Path | None]:
        paths: list[Path | None] = []
        for start in range(0, len(objects), self._SLICE):
            paths += super().fetch(store, objects[start : start + self._SLICE])
            self._progress("files", len(paths), len(objects))
        return paths
