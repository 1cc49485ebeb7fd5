"""What every step of packing works with: the store, counted; whose time it is; bounds; the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from tracker.storage.names import pack_key
from tracker.storage.port import ObjectInfo, Store

__all__ = ["CompactReport", "CountedStore", "PackJob", "created_by"]

_Listing = list[ObjectInfo]  # inside the class, `list` is the method
_Contents = list[bytes | None]


@dataclass(slots=True)
class CompactReport:
    """What compaction did, or with `dry_run` would do. Bytes are of objects in the store."""

    dry_run: bool = False
    packs_allowed: bool = True  # False: this root or store is not packed; `notes` say why
    loose_objects: int = 0  # before
    loose_bytes: int = 0
    merged_writers: int = 0  # whose own files were merged
    merged_objects: int = 0  # how many files those were
    packed_writers: int = 0
    packed_events: int = 0
    packs_written: int = 0  # merged ones among them
    packs_merged: int = 0  # how many went into those
    packs_dropped: int = 0  # another process was faster
    waiting_writers: int = 0  # not packed: they did not end and wrote lately, or are large
    broken_writers: int = 0  # not packed: a file is damaged, missing or tells two histories; `notes` say which
    deleted_objects: int = 0
    deleted_bytes: int = 0
    put_objects: int = 0
    put_bytes: int = 0
    read_bytes: int = 0
    requests: int = 0
    manifest: int = -1  # number of the newest one
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class PackJob:
    """One compaction, vacuum or purge of a project."""

    store: CountedStore
    entity: str
    project: str
    wall_us: int  # for names only
    now_us: int  # the store's clock
    grace_us: int
    memory_bytes: int
    pack_bytes_max: int
    directory: Path  # for temporary files, removed at the end
    report: CompactReport
    notify: Callable[[str, str], None]
    breathe: Callable[[], None] = lambda: None
    orphans: frozenset[str] = frozenset()  # objects that no manifest names: the next one says that nobody may any more
    deleted: frozenset[str] = frozenset()  # of those that a manifest said so of: whose files are gone

    def key(self, pack: str, family: str) -> str:
        return pack_key(self.entity, self.project, pack, family)

    def note(self, level: str, text: str) -> None:
        """Said once, and kept in the report."""
        if text not in self.report.notes:
            self.report.notes.append(text)
            self.notify(level, text)


def created_by() -> str:
    try:
        return f"tracker {metadata.version('tracker')}"
    except metadata.PackageNotFoundError:
        return "tracker"


class CountedStore:
    """A store that adds up requests (as this side makes them) and bytes in `report`."""

    def __init__(self, store: Store, report: CompactReport) -> None:
        self._store, self._report = store, report
        self.url = store.url

    def put_if_absent(self, key: str, data: bytes) -> None:
        self._report.requests += 1
        self._store.put_if_absent(key, data)
        self._report.put_objects += 1
        self._report.put_bytes += len(data)

    def put_file_if_absent(self, key: str, path: Path) -> None:
        size_bytes = path.stat().st_size
        self._report.requests += 1
        self._store.put_file_if_absent(key, path)
        self._report.put_objects += 1
        self._report.put_bytes += size_bytes

    def put_contents(self, contents: Sequence[tuple[str, Path]]) -> None:
        self._report.requests += len(contents)
        self._store.put_contents(contents)
        self._report.put_objects += len(contents)
        self._report.put_bytes += sum(path.stat().st_size for _, path in contents)

    def get(self, key: str) -> bytes:
        self._report.requests += 1
        data = self._store.get(key)
        self._report.read_bytes += len(data)
        return data

    def get_many(self, keys: Sequence[str]) -> _Contents:
        self._report.requests += len(keys)
        found = self._store.get_many(keys)
        self._report.read_bytes += sum(len(data) for data in found if data is not None)
        return found

    def get_range(self, key: str, start: int, end: int) -> bytes:
        self._report.requests += 1
        data = self._store.get_range(key, start, end)
        self._report.read_bytes += len(data)
        return data

    def list(self, prefix: str) -> _Listing:
        found = self._store.list(prefix)
        self._report.requests += max(1, -(-len(found) // 1000))
        return found

    def list_dirs(self, prefix: str) -> Sequence[str]:
        self._report.requests += 1
        return self._store.list_dirs(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        gone = [*keys]
        self._report.requests += len(gone)
        self._store.delete(gone)

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    def enforces_put_if_absent(self) -> bool:
        return self._store.enforces_put_if_absent()

    def close(self) -> None:
        self._store.close()
