"""From options to an open project: which root, which project, what is asked. Progress and warnings go to stderr."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from tracker.cli.choose_project import choose_project, from_environment, nothing_there, opened_store
from tracker.cli.talk import Progress, progress_bar, warn
from tracker.query.filter_tree import Filter
from tracker.query.history import PartsGone
from tracker.query.order import Order, parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.project_patterns import ANY, projects_like
from tracker.query.projects import KIND_PROJECT, ProjectName
from tracker.query.snapshot import Snapshot, open_project
from tracker.query.things import read_things
from tracker.storage.cache import PartCache, default_cache_dir
from tracker.storage.clock import wall_us
from tracker.storage.errors import NotFound, UsageError
from tracker.storage.port import ObjectInfo, Store

__all__ = ["Question", "Reader", "open_reader", "open_readers", "parse_filter_text", "question", "read_projects"]

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
        return read_projects([self], lambda snapshots: ask(snapshots[0]))

    def open(self, progress: Progress) -> Snapshot:
        """The project as the store holds it now. Raises as `read`."""
        cache = _WatchedCache(default_cache_dir(), progress)
        entity, project = self.name.entity, self.name.project
        snapshot = open_project(
            self.store, entity, project, cache=cache, now_us=wall_us(), warn=warn, run_id=self.run_id
        )
        if not snapshot.runs and not self._was_made(cache):
            raise nothing_there(self.store, self.name, self.run_id)
        return snapshot

    def _was_made(self, cache: PartCache) -> bool:
        """Whether the project was made before it had runs: then none of them is an answer, unless one was named."""
        entity, project = self.name.entity, self.name.project
        return self.run_id is None and bool(
            read_things(self.store, cache, entity, project, KIND_PROJECT, [project], warn=warn)
        )


def read_projects(readers: Sequence[Reader], ask: Callable[[list[Snapshot]], T]) -> T:
    """`ask` of these projects together, as `Reader.read` does of one. Raises as `Reader.read`."""
    with progress_bar() as progress:
        for _ in range(_ATTEMPTS_MAX - 1):
            with contextlib.suppress(PartsGone):
                return ask([reader.open(progress) for reader in readers])
        return ask([reader.open(progress) for reader in readers])


@contextmanager
def open_readers(url: str | Sequence[str] | None, project: str | None, entity: str | None) -> Iterator[list[Reader]]:
    """As `open_reader`, but `project` may name several: by comma, and with `*` in it those that are like it.

    Raises:
        NotFound: no project is like it. UsageError, StorageUnavailable, CredentialsMissing: as `open_reader`.
    """
    if project is None or not {",", ANY} & set(project):
        with open_reader(url, project, entity) as reader:
            yield [reader]
        return
    with opened_store(url) as store:
        names: dict[ProjectName, None] = {}
        for one in filter(None, map(str.strip, project.split(","))):
            head, slash, tail = one.partition("/")
            owner, name = (head, tail) if slash and entity is None else (entity or from_environment("ENTITY"), one)
            like = projects_like(store, owner or (ANY if ANY in name else "main"), name)
            if not like:
                raise NotFound(f"No project of {store.url} is like {one}. See: tracker projects")
            names |= dict.fromkeys(like)
        yield [Reader(store, name, None) for name in names]


@contextmanager
def open_reader(
    url: str | Sequence[str] | None, project: str | None, entity: str | None, *, run_id: str | None = None
) -> Iterator[Reader]:
    """The project that was named, or the only one there is; only run `run_id` where that is given. Several roots
    answer as one.

    Raises:
        NotFound: nothing to choose from.
        UsageError: several projects, and none named.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    with opened_store(url) as store:
        yield Reader(store, choose_project(store, project, entity), run_id)


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
