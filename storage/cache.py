"""A bounded local copy of immutable remote objects. It never goes stale, because an object never changes."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from tracker.storage.cache_space import CacheSpace, cache_limit_bytes, write_whole
from tracker.storage.errors import CredentialsMissing, StorageUnavailable, TrackerError
from tracker.storage.keys import check_key
from tracker.storage.port import Get, LocalPath, ObjectInfo
from tracker.storage.union_store import UnionStore

__all__ = ["PartCache", "default_cache_dir"]

_TOUCH_AFTER_S: Final = 30.0  # a hit marks the file as used, at most this often
_BATCH_BYTES: Final = 64 << 20  # in memory at once while downloading
_BATCH_OBJECTS: Final = 512


class _Readable(Get, LocalPath, Protocol):
    """What the cache needs of a store."""

    url: str


def default_cache_dir() -> Path:
    """TRACKER_CACHE_DIR, else WANDB_CACHE_DIR/tracker, else the platform's cache directory for tracker."""
    if own := os.environ.get("TRACKER_CACHE_DIR"):
        return Path(own).expanduser()
    if theirs := os.environ.get("WANDB_CACHE_DIR"):
        return Path(theirs).expanduser() / "tracker"
    import platformdirs

    return Path(platformdirs.user_cache_dir("tracker", appauthor=False))


class PartCache:
    """Whole objects under `directory`, one folder a root; at most about `size_bytes_max`, least recently used go first.

    Processes may share it, and anybody may delete from it at any time: a file that is opened later than `fetch`
    returned it can be gone, and is fetched again. The bound is exceeded while one call needs more than it allows.
    """

    def __init__(self, directory: Path, size_bytes_max: int | None = None) -> None:
        """Without `size_bytes_max` the bound is `cache_limit_bytes(directory)`.

        Raises:
            UsageError: TRACKER_CACHE_LIMIT is no size.
        """
        self.directory = directory
        self.size_bytes_max = cache_limit_bytes(directory) if size_bytes_max is None else size_bytes_max
        self._space = CacheSpace(directory)

    def fetch(self, store: _Readable, objects: Sequence[ObjectInfo]) -> list[Path | None]:
        """A local file for each object, in order; None where the store has it no more. Missing ones come in parallel.

        A local store answers with its own files and copies nothing.

        Raises:
            StorageUnavailable: the store does not answer, or the cache directory takes no files.
            CredentialsMissing: the store refused us, or the cache directory is not ours.
        """
        if isinstance(store, UnionStore):  # copies of a root's objects are kept as that root's
            return store.from_roots(objects, lambda root, mine: PartCache.fetch(self, root, mine))
        paths = [store.local_path(info.key) for info in objects]
        if objects and paths[0] is not None:
            return [path if path is not None and path.exists() else None for path in paths]
        folder = self._folder(store)
        wanted = [folder / check_key(info.key) for info in objects]
        now_s = time.time()
        missing = [n for n, (path, info) in enumerate(zip(wanted, objects, strict=True)) if not _hit(path, info, now_s)]
        gone: set[int] = set()
        if missing:
            self._space.name_root(folder, store.url)
        for batch in _batches(missing, objects):
            gone |= self._download(store, batch, objects, wanted)
        return [None if n in gone else path for n, path in enumerate(wanted)]

    def made(self, store: _Readable, key: str) -> Path | None:
        """What `keep_made` kept under this name, if it is still there."""
        path = self._folder(store) / check_key(key)
        return path if path.exists() else None

    def keep_made(self, store: _Readable, key: str, data: bytes) -> Path:
        """A file of `data`, which was made here from objects of the store, beside their copies.

        `key`: a name that no object of the store has. Raises as `fetch`.
        """
        folder = self._folder(store)
        self._space.name_root(folder, store.url)
        path = folder / check_key(key)
        self._keep(path, data)
        self._space.added(len(data), self.size_bytes_max)
        return path

    def _folder(self, store: _Readable) -> Path:
        return self.directory / hashlib.sha256(store.url.encode()).hexdigest()[:16]

    def _download(
        self, store: _Readable, batch: Sequence[int], objects: Sequence[ObjectInfo], wanted: Sequence[Path]
    ) -> set[int]:
        """Positions of `batch` that the store has no more; all others are in the cache afterwards."""
        contents = store.get_many([objects[n].key for n in batch])
        gone = set()
        for n, data in zip(batch, contents, strict=True):
            if data is None:
                gone.add(n)
                continue
            if len(data) != objects[n].size_bytes:
                raise StorageUnavailable(
                    f"{store.url}/{objects[n].key} came with {len(data)} bytes, listed were {objects[n].size_bytes}. "
                    "A reply was cut short, or somebody replaced the object. Try again."
                )
            self._keep(wanted[n], data)
        self._space.added(sum(objects[n].size_bytes for n in batch if n not in gone), self.size_bytes_max)
        return gone

    def _keep(self, path: Path, data: bytes) -> None:
        try:
            try:
                write_whole(path, data)
            except OSError as exc:
                if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
                    raise
                self._space.evict(0)  # the disk is smaller than the bound: give up all we may
                write_whole(path, data)
        except OSError as exc:
            raise _translate(exc, path, self.directory) from exc


def _hit(path: Path, info: ObjectInfo, now_s: float) -> bool:
    """Whether the file is there, whole; marks it as used."""
    try:
        stat = os.stat(path)
        if stat.st_size != info.size_bytes:  # written in part, then a power cut
            return False
        if now_s - stat.st_atime > _TOUCH_AFTER_S:
            os.utime(path, (now_s, stat.st_mtime))
    except FileNotFoundError:
        return False
    except OSError:  # not ours to touch, or not readable: reading it will tell
        return os.path.exists(path)
    return True


def _batches(missing: Sequence[int], objects: Sequence[ObjectInfo]) -> Iterator[list[int]]:
    """Positions in groups of at most _BATCH_OBJECTS and about _BATCH_BYTES."""
    rest = iter(missing)
    while batch := list(islice(rest, 1)):
        size = objects[batch[0]].size_bytes
        while size < _BATCH_BYTES and len(batch) < _BATCH_OBJECTS and (more := list(islice(rest, 1))):
            batch += more
            size += objects[more[0]].size_bytes
        yield batch


def _translate(exc: OSError, path: Path, directory: Path) -> TrackerError:
    why = os.strerror(exc.errno) if exc.errno else str(exc)
    if exc.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        remedy = f"Make {directory} writable, or set TRACKER_CACHE_DIR to another directory."
        return CredentialsMissing(f"Cannot write the cache file {path}: {why}. {remedy}")
    remedy = "Free space there, or set TRACKER_CACHE_DIR to another directory."
    return StorageUnavailable(f"Cannot write the cache file {path}: {why}. {remedy}")
