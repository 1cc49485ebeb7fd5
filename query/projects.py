"""Which projects a store has, by listing alone."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.storage.derived import DERIVED_SCHEMA
from tracker.storage.names import decode_name, encode_name, parse_pack_key, parse_part_key
from tracker.storage.port import Get, ListKeys
from tracker.storage.schema import SCHEMA, PackFooter, PartFooter, parse_any_footer

__all__ = ["ProjectName", "find_projects"]


_RUNS_LIE_IN = frozenset({"runs", "packs"})  # all runs of a project may be packed


class _Readable(Get, ListKeys, Protocol):
    """What is asked of the store."""


@dataclass(frozen=True, slots=True, order=True)
class ProjectName:
    """The names as the user wrote them."""

    entity: str
    project: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}"


def find_projects(store: _Readable, entity: str | None = None) -> list[ProjectName]:
    """Every project that has runs, of one entity or of all, sorted. Two listings an entity and project; no file is read
    unless a name was too long for its path.

    Raises:
        NotFound: the root itself is missing (no such bucket).
        StorageUnavailable, CredentialsMissing: as the store.
    """
    found = []
    for top in store.list_dirs("") if entity is None else [encode_name(entity)]:
        for middle in store.list_dirs(f"{top}/"):
            if _RUNS_LIE_IN.intersection(store.list_dirs(f"{top}/{middle}/")):
                found.append(_named(store, top, middle))
    return sorted(found)


def _named(store: _Readable, top: str, middle: str) -> ProjectName:
    entity, project = decode_name(top), decode_name(middle)
    if entity is not None and project is not None:
        return ProjectName(entity, project)
    footer = _any_footer(store, f"{top}/{middle}/")
    return ProjectName(entity or (footer.entity if footer else top), project or (footer.project if footer else middle))


def _any_footer(store: _Readable, prefix: str) -> PartFooter | PackFooter | None:
    """The footer of some part below `prefix`, or of a pack's cover: it has the names in full."""
    for info in store.list(f"{prefix}runs/"):
        if parse_part_key(info.key) is not None:
            return _footer(store, info.key, SCHEMA)
    for info in store.list(f"{prefix}packs/"):
        if (pack := parse_pack_key(info.key)) is not None and pack[1] == "cover":
            return _footer(store, info.key, DERIVED_SCHEMA)
    return None


def _footer(store: _Readable, key: str, schema: pa.Schema) -> PartFooter | PackFooter:
    with pq.ParquetFile(io.BytesIO(store.get(key))) as file:
        return parse_any_footer(file.metadata, key, schema)
