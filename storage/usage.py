"""How much a root holds: objects and bytes by project, area, family and run. From one listing; no part is opened.

What a run has in a pack is told by the pack's cover: its share of the pack's events, so of its bytes about as much.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from tracker.storage.errors import TrackerError
from tracker.storage.manifest import decode_manifest
from tracker.storage.names import (
    decode_name,
    parse_edit_key,
    parse_manifest_key,
    parse_pack_key,
    parse_part_key,
)
from tracker.storage.pack_writers import pack_writers
from tracker.storage.port import Get, ListKeys, ObjectInfo

__all__ = ["AREAS", "Amount", "ProjectUsage", "RootUsage", "RunUsage", "measure_usage"]

AREAS: Final = ("loose", "packs", "edits", "things", "manifests", "claims", "blobs", "other")
_FOLDERS: Final = {"manifests": "manifests", "claims": "claims", "blobs": "blobs", "things": "things"}


@dataclass(slots=True)
class Amount:
    """So many objects, and their bytes together."""

    objects: int = 0
    size_bytes: int = 0

    def add(self, objects: int, size_bytes: int) -> None:
        self.objects += objects
        self.size_bytes += size_bytes


@dataclass(slots=True)
class RunUsage:
    """One run: its own files, and its share of packs (bytes by events, rounded down)."""

    loose: Amount = field(default_factory=Amount)
    packed_bytes: int = 0
    writers: int = 0

    @property
    def size_bytes(self) -> int:
        return self.loose.size_bytes + self.packed_bytes


@dataclass(slots=True)
class ProjectUsage:
    """One project. Names as the user wrote them; the path's segment where a name was too long for its path."""

    entity: str
    project: str
    total: Amount = field(default_factory=Amount)
    areas: dict[str, Amount] = field(default_factory=lambda: {area: Amount() for area in AREAS})
    families: dict[tuple[str, str], Amount] = field(default_factory=dict)  # (loose or packs, letter or "cover")
    runs: dict[str, RunUsage] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)  # why the share of runs in packs is not known


@dataclass(slots=True)
class RootUsage:
    """Everything below a root. `elsewhere`: what belongs to no project (the format file, quarantine, markers)."""

    total: Amount = field(default_factory=Amount)
    projects: list[ProjectUsage] = field(default_factory=list)
    elsewhere: Amount = field(default_factory=Amount)


class _Readable(Get, ListKeys, Protocol):
    url: str


def measure_usage(store: _Readable, prefix: str = "", *, runs: bool = False) -> RootUsage:
    """What lies below `prefix` (a project's, or the whole root). One listing.

    `runs`: also how much of the packs belongs to each run, which reads the newest manifest and the covers of its packs.

    Raises:
        NotFound: the root is not there.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    usage = RootUsage()
    projects: dict[tuple[str, str], ProjectUsage] = {}
    objects: defaultdict[tuple[str, str], list[ObjectInfo]] = defaultdict(list)
    for info in store.list(prefix):
        usage.total.add(1, info.size_bytes)
        match info.key.split("/", 2):
            case [entity, project, _] if _is_project(entity):
                objects[entity, project].append(info)
            case _:
                usage.elsewhere.add(1, info.size_bytes)
    for (entity, project), infos in sorted(objects.items()):
        found = ProjectUsage(decode_name(entity) or entity, decode_name(project) or project)
        projects[entity, project] = found
        _add_all(found, infos)
        if runs:
            _add_shares(store, found, infos)
    usage.projects = list(projects.values())
    return usage


def _is_project(segment: str) -> bool:
    """No name begins with an underscore once it is encoded: such folders are the root's own (`_quarantine`)."""
    return not segment.startswith("_")


def _add_all(usage: ProjectUsage, infos: Iterable[ObjectInfo]) -> None:
    writers: defaultdict[str, set[str]] = defaultdict(set)
    for info in infos:
        size = info.size_bytes
        usage.total.add(1, size)
        part = parse_part_key(info.key)
        pack = None if part else parse_pack_key(info.key)
        if part is not None:
            run = decode_name(part.run_segment) or part.run_segment
            usage.runs.setdefault(run, RunUsage()).loose.add(1, size)
            writers[run].add(part.writer_id)
            usage.families.setdefault(("loose", part.family), Amount()).add(1, size)
            area = "loose"
        elif pack is not None:
            usage.families.setdefault(("packs", pack[1]), Amount()).add(1, size)
            area = "packs"
        elif parse_edit_key(info.key) is not None:
            area = "edits"
        else:
            area = _FOLDERS.get(info.key.split("/")[2], "other")
        usage.areas[area].add(1, size)
    for run, ids in writers.items():
        usage.runs[run].writers = len(ids)


def _add_shares(store: _Readable, usage: ProjectUsage, infos: Sequence[ObjectInfo]) -> None:
    """Each run's part of the packs that count. What cannot be read is noted; the sums above do not need it."""
    numbered = [(number, info) for info in infos if (number := parse_manifest_key(info.key)) is not None]
    if not numbered:
        return
    number, newest = max(numbered, key=lambda one: one[0])
    try:
        manifest = decode_manifest(store.get(newest.key), number, newest.key)
    except TrackerError as exc:
        usage.unread.append(str(exc))
        return
    prefix = newest.key.rsplit("manifests/", 1)[0]
    for pack in manifest.packs:
        try:
            held = pack_writers(store, f"{prefix}packs/{pack.id}.cover.parquet")
        except TrackerError as exc:
            usage.unread.append(str(exc))
            continue
        size = sum(pack.families.values())
        events = sum(one.events or 0 for one in held) or 1
        for one in held:
            run = usage.runs.setdefault(one.run_id, RunUsage())
            run.packed_bytes += size * (one.events or 0) // events
            run.writers += 1
