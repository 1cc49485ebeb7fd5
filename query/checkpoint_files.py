"""Local files of a manifest's checkpoints, looked at once a process; what is damaged or gone is made again.

A checkpoint follows from its packs, so nothing is lost with it (docs/adr/006). What was made again lies in the local
cache, where the next process finds it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from tracker.query.history import PartsGone
from tracker.query.memory_cache import MemoryCache
from tracker.query.readable_parts import distrust
from tracker.storage.cache import PartCache
from tracker.storage.checkpoint_check import check_checkpoint, check_whole_checkpoint
from tracker.storage.checkpoint_rebuild import rebuild_checkpoint
from tracker.storage.errors import CorruptData, CredentialsMissing, NotFound, StorageUnavailable
from tracker.storage.manifest import Checkpoint, Manifest, Pack
from tracker.storage.names import manifests_prefix, pack_key, parse_manifest_key
from tracker.storage.port import ObjectInfo, Store

__all__ = ["damaged_checkpoints", "local_checkpoints", "suspect_checkpoints"]

_KNOWN_MAX: Final = 10_000

_sound: MemoryCache[bool] = MemoryCache(_KNOWN_MAX)  # (root, id) of what was looked at
_damaged: MemoryCache[str] = MemoryCache(_KNOWN_MAX)  # (root, id) to what is wrong
_warned: MemoryCache[bool] = MemoryCache(_KNOWN_MAX)
_temporary: MemoryCache[Path] = MemoryCache(_KNOWN_MAX)  # where the cache directory takes no files
_lock = threading.Lock()

Warn = Callable[[str], None]


def local_checkpoints(
    store: Store, cache: PartCache, entity: str, project: str, manifest: Manifest, warn: Warn | None = None
) -> list[Path]:
    """A sound local file of each checkpoint, in order. One request each that the cache lacks.

    Raises:
        PartsGone: one is gone, because a newer manifest has another.
        CorruptData, FormatTooNew: one cannot be read, nor made again from its packs.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    return _Files(store, cache, entity, project, manifest, warn).paths()


def damaged_checkpoints(store: Store, manifest: Manifest) -> frozenset[str]:
    """Ids of those that were found to be damaged or gone since this process began."""
    return frozenset(one.id for one in manifest.checkpoints if _damaged.get((store.url, one.id)) is not None)


def suspect_checkpoints(
    store: Store, cache: PartCache, entity: str, project: str, manifest: Manifest, known: Collection[str]
) -> None:
    """Look at every byte of the checkpoints, but of those in `known`, because reading them failed.

    Raises:
        PartsGone: one is damaged or gone; who opens the project again reads one that was made again.
    """
    files = _Files(store, cache, entity, project, manifest, None)
    for one in manifest.checkpoints:
        if one.id not in known:
            files.suspect(one)


class _Files:
    """The checkpoints of one manifest."""

    def __init__(
        self, store: Store, cache: PartCache, entity: str, project: str, manifest: Manifest, warn: Warn | None
    ) -> None:
        self._store, self._cache, self._entity, self._project = store, cache, entity, project
        self._manifest, self._warn = manifest, warn

    def info(self, one: Checkpoint) -> ObjectInfo:
        return ObjectInfo(pack_key(self._entity, self._project, one.id, "k"), one.size_bytes, 0)

    def paths(self) -> list[Path]:
        known = [one for one in self._manifest.checkpoints if not self._why(one)]
        found = dict(zip((one.id for one in known), self._fetched(known), strict=True))
        return [found.get(one.id) or self._rebuilt(one) for one in self._manifest.checkpoints]

    def _why(self, one: Checkpoint) -> str:
        """What is wrong with it, as far as is known."""
        return _damaged.get((self._store.url, one.id)) or ""

    def _fetched(self, wanted: Sequence[Checkpoint]) -> list[Path | None]:
        """None: it is damaged or gone, which is known from now on."""
        infos = [self.info(one) for one in wanted]
        paths: list[Path | CorruptData | None]
        try:
            paths = [*self._cache.fetch(self._store, infos)]
        except CredentialsMissing:
            raise
        except StorageUnavailable:
            paths = [self._fetch_one(info) for info in infos]
        return [self._looked_at(one, path) for one, path in zip(wanted, paths, strict=True)]

    def _fetch_one(self, info: ObjectInfo) -> Path | CorruptData | None:
        """As the cache does; an object that stays shorter or longer than the manifest says is damaged."""
        try:
            return self._cache.fetch(self._store, [info])[0]
        except StorageUnavailable:
            try:
                found = len(self._store.get(info.key))
            except NotFound:
                return None
            if found == info.size_bytes:
                raise
            return CorruptData(f"{info.key} has {found:,} bytes, its manifest says {info.size_bytes:,}.")

    def _looked_at(self, one: Checkpoint, path: Path | CorruptData | None) -> Path | None:
        if isinstance(path, Path):
            try:
                return self._checked(one, path)
            except FileNotFoundError:
                path = None
            except CorruptData as exc:
                path = exc
        self._mark(one, self._is_missing(one) if path is None else path)
        return None

    def suspect(self, one: Checkpoint) -> None:
        """Raises PartsGone where it is damaged or gone, which is known from now on."""
        info = self.info(one)
        if self._why(one):
            raise PartsGone(f"{self._why(one)} Open the project again.")
        try:
            path = self._fetch_one(info)
            if not isinstance(path, Path):
                raise path or self._is_missing(one)
            try:
                check_whole_checkpoint(path, info.key, one.id)
            except CorruptData as exc:
                check_whole_checkpoint(self._fetched_again(info, path, exc), info.key, one.id)
                raise PartsGone(f"The copy of {info.key} on this machine was damaged. Try again.") from None
        except FileNotFoundError:
            raise PartsGone(f"{info.key} went while it was read. Try again.") from None
        except CorruptData as error:
            raise self._mark(one, error) from error

    def _fetched_again(self, info: ObjectInfo, copy: Path, error: CorruptData) -> Path:
        """Another copy in the place of a damaged one. Of a local store there is none: raises `error`."""
        if self._store.local_path(info.key) is not None:
            raise error
        copy.unlink(missing_ok=True)
        (path,) = self._cache.fetch(self._store, [info])
        if path is None:
            raise FileNotFoundError(info.key)
        return path

    def _is_missing(self, one: Checkpoint) -> CorruptData:
        """What is wrong. Raises PartsGone where a newer manifest has another checkpoint."""
        key = self.info(one).key
        if self._is_superseded():
            raise PartsGone(f"{key} is no more in {self._store.url}: it was replaced meanwhile. Try again.")
        return CorruptData(f"{key} is not there.")

    def _mark(self, one: Checkpoint, error: CorruptData) -> PartsGone:
        """Snapshots that are opened from now on read one that was made again. The error for those that are open."""
        _damaged.put((self._store.url, one.id), str(error), 1)
        return distrust(self._store, self.info(one), error)

    def _checked(self, one: Checkpoint, path: Path) -> Path:
        """The path, of a file that is sound. A damaged copy is fetched once more."""
        info, known = self.info(one), (self._store.url, one.id)
        if _sound.get(known) is None:
            try:
                check_checkpoint(path, info.key, one.id, one.size_bytes)
            except CorruptData as exc:
                path = self._fetched_again(info, path, exc)
                check_checkpoint(path, info.key, one.id, one.size_bytes)
            _sound.put(known, True, 1)
        return path

    def _is_superseded(self) -> bool:
        listed = self._store.list(manifests_prefix(self._entity, self._project))
        return max((parse_manifest_key(info.key) or 0 for info in listed), default=0) > self._manifest.number

    # made again

    def _rebuilt(self, one: Checkpoint) -> Path:
        key = f"{self.info(one).key.removesuffix('.parquet')}.rebuilt.parquet"  # no object has this name
        known = (self._store.url, one.id)
        with _lock:
            path = _temporary.get(known) or self._cache.made(self._store, key)
            if path is None or not self._is_whole(one, path):
                path = self._keep(key, known, self._make(one))
        if self._warn is not None and _warned.get(known) is None:
            _warned.put(known, True, 1)
            self._warn(
                f"{self._why(one)} It was made again from its packs, so no answer lacks anything. To put a good one in "
                f"its place in {self._store.url}, run: tracker fsck --repair"
            )
        return path

    def _is_whole(self, one: Checkpoint, path: Path) -> bool:
        known = (self._store.url, one.id, "rebuilt")
        try:
            if _sound.get(known) is None:
                check_checkpoint(path, path.name, one.id)
                _sound.put(known, True, 1)
            return path.exists()
        except (CorruptData, FileNotFoundError):
            return False

    def _make(self, one: Checkpoint) -> bytes:
        packs = [pack for pack in self._manifest.packs if pack.id in one.packs]
        try:
            return rebuild_checkpoint(one.id, self._entity, self._project, packs, self._open_pack)
        except (NotFound, FileNotFoundError) as exc:
            if self._is_superseded():
                raise PartsGone(f"{exc} It was replaced meanwhile. Try again.") from exc
            raise CorruptData(f"{self._why(one)} It cannot be made again: {exc} Run: tracker fsck") from exc

    def _open_pack(self, pack: Pack, family: str) -> Path:
        info = ObjectInfo(pack_key(self._entity, self._project, pack.id, family), pack.families[family], 0)
        path = self._fetch_one(info)
        if isinstance(path, CorruptData):
            raise path
        if path is None:
            raise NotFound(f"There is no {self._store.url}/{info.key}.")
        return path

    def _keep(self, key: str, known: tuple[str, str], data: bytes) -> Path:
        try:
            return self._cache.keep_made(self._store, key, data)
        except StorageUnavailable:  # a full disk, or a cache directory that is not ours
            directory = tempfile.mkdtemp(prefix="tracker-checkpoint-")
            atexit.register(shutil.rmtree, directory, ignore_errors=True)
            path = Path(directory, key.rsplit("/", 1)[-1])
            path.write_bytes(data)
            _temporary.put(known, path, 1)
            return path


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
