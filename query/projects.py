"""Which projects a store has, by listing alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.storage.derived import DERIVED_SCHEMA
from tracker.storage.names import (
    ENTITY_PROJECT,
    decode_name,
    encode_name,
    parse_event_key,
    parse_pack_key,
)
from tracker.storage.port import Get, ListKeys
from tracker.storage.schema import SCHEMA, PackFooter, PartFooter, parse_any_footer

__all__ = ["KIND_PROJECT", "ProjectName", "find_projects", "list_segments", "name_projects"]

KIND_PROJECT: Final = "project"  # the thing that stands for a project which was made before it had runs

_RUNS_LIE_IN: Final = frozenset({"runs", "packs"})  # all runs of a project may be packed
_ENTITY_SEGMENT: Final = encode_name(ENTITY_PROJECT)
_ASKED_AT_ONCE: Final = 16

T = TypeVar("T")
R = TypeVar("R")


class _Readable(Get, ListKeys, Protocol):
    """What is asked of the store."""

    url: str


@dataclass(frozen=True, slots=True, order=True)
class ProjectName:
    """The names as the user wrote them."""

    entity: str
    project: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}"


def find_projects(store: _Readable, entity: str | None = None, *, reserved: bool = False) -> list[ProjectName]:
    """Every project that has runs, or was made, of one entity or of all, sorted. One listing for the root, one for each
    entity and one or two for each project, remote ones side by side; no file is read unless a name was too long for
    its path.

    `reserved`: also the project that holds what belongs to an entity, where there is something in it.

    Raises:
        NotFound: the root itself is missing (no such bucket).
        StorageUnavailable, CredentialsMissing: as the store.
    """
    tops = store.list_dirs("") if entity is None else [encode_name(entity)]
    middles = _each(store, lambda top: list_segments(store, top, reserved=reserved), tops)
    places = [(top, middle) for top, found in zip(tops, middles, strict=True) for middle in found]
    return sorted(name_projects(store, places))


def list_segments(store: ListKeys, entity_segment: str, *, reserved: bool = False) -> list[str]:
    """Segments below an entity that may be projects, by the project's name as far as the segment tells it."""
    found = (one for one in store.list_dirs(f"{entity_segment}/") if reserved or one != _ENTITY_SEGMENT)
    return sorted(found, key=lambda one: decode_name(one) or one)


def name_projects(store: _Readable, places: Iterable[tuple[str, str]]) -> list[ProjectName]:
    """Of these (entity segment, project segment) the names of those that are projects, in the same order."""
    found = _each(store, lambda place: _named(store, *place) if _is_project(store, *place) else None, list(places))
    return [name for name in found if name is not None]


def _each(store: _Readable, ask: Callable[[T], R], places: Sequence[T]) -> list[R]:
    if len(places) < 2 or "://" not in store.url:
        return [ask(place) for place in places]
    with ThreadPoolExecutor(min(len(places), _ASKED_AT_ONCE)) as pool:
        return list(pool.map(ask, places))


def _is_project(store: ListKeys, top: str, middle: str) -> bool:
    held = store.list_dirs(f"{top}/{middle}/")
    if _RUNS_LIE_IN.intersection(held):
        return True
    if "things" not in held:
        return False
    return middle == _ENTITY_SEGMENT or KIND_PROJECT in store.list_dirs(f"{top}/{middle}/things/")


def _named(store: _Readable, top: str, middle: str) -> ProjectName:
    entity, project = decode_name(top), decode_name(middle)
    if entity is not None and project is not None:
        return ProjectName(entity, project)
    footer = _any_footer(store, f"{top}/{middle}/")
    return ProjectName(entity or (footer.entity if footer else top), project or (footer.project if footer else middle))


def _any_footer(store: _Readable, prefix: str) -> PartFooter | PackFooter | None:
    """The footer of some part below `prefix`, or of a pack's cover: it has the names in full."""
    for folder in ("runs", "things"):
        for info in store.list(f"{prefix}{folder}/"):
            if parse_event_key(info.key) is not None:
                return _footer(store, info.key, SCHEMA)
    for info in store.list(f"{prefix}packs/"):
        if (pack := parse_pack_key(info.key)) is not None and pack[1] == "cover":
            return _footer(store, info.key, DERIVED_SCHEMA)
    return None


def _footer(store: _Readable, key: str, schema: pa.Schema) -> PartFooter | PackFooter:
    with pq.ParquetFile(io.BytesIO(store.get(key))) as file:
        return parse_any_footer(file.metadata, key, schema)
