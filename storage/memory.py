"""Stores in this process's memory, named and shared: for tests, and for `memory://` roots in notebooks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tracker.storage.clock import wall_us
from tracker.storage.errors import KeyTaken, NotFound, StorageUnavailable
from tracker.storage.keys import check_data, check_file, check_key, check_prefix, check_range
from tracker.storage.port import ObjectInfo

__all__ = ["MemoryStore", "forget_memory"]

_Blobs = list[bytes | None]  # inside the class, `list` is the method
_Listing = list[ObjectInfo]
_Snapshot = list[tuple[str, tuple[bytes, int]]]


@dataclass(slots=True)
class _Root:
    """All objects of one name: key to (bytes, time of writing)."""

    objects: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_roots: dict[str, _Root] = {}
_roots_lock = threading.Lock()


class MemoryStore:
    """Everything under `memory://<name>[/<prefix>]`. Two stores of one name see the same objects.

    A forked child gets a copy: what it writes is its own.
    """

    def __init__(self, name: str, prefix: str = "") -> None:
        self.url = f"memory://{name}/{prefix}".rstrip("/")
        self._base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        with _roots_lock:
            self._root = _roots.setdefault(name, _Root())
        self._closed = False

    def put_if_absent(self, key: str, data: bytes) -> None:
        check_data(key, data)
        path = self._path(key)
        with self._root.lock:
            held = self._root.objects.setdefault(path, (bytes(data), wall_us()))
        if held[0] != data:
            raise KeyTaken(f"{self.url}/{key} already holds other bytes.")

    def put_file_if_absent(self, key: str, path: Path) -> None:
        self.put_if_absent(key, path.read_bytes())

    def put_contents(self, contents: Sequence[tuple[str, Path]]) -> None:
        for key, path in contents:
            check_file(key, path)
            data, name = path.read_bytes(), self._path(key)
            with self._root.lock:
                self._root.objects[name] = (data, wall_us())

    def get(self, key: str) -> bytes:
        try:
            return self._root.objects[self._path(key)][0]
        except KeyError:
            raise NotFound(f"{self.url} has no object {key}.") from None

    def get_many(self, keys: Sequence[str]) -> _Blobs:
        held = [self._root.objects.get(self._path(key)) for key in keys]
        return [None if found is None else found[0] for found in held]

    def get_range(self, key: str, start: int, end: int) -> bytes:
        check_range(key, start, end)
        return self.get(key)[start:end]

    def list(self, prefix: str) -> _Listing:
        under = self._base + check_prefix(prefix)
        cut = len(self._base)
        snapshot = self._snapshot()
        return [ObjectInfo(path[cut:], len(data), at) for path, (data, at) in snapshot if path.startswith(under)]

    def list_dirs(self, prefix: str) -> Sequence[str]:
        under = self._base + check_prefix(prefix)
        rests = (path[len(under) :] for path, _ in self._snapshot() if path.startswith(under))
        return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})

    def delete(self, keys: Iterable[str]) -> None:
        paths = [self._path(key) for key in keys]
        with self._root.lock:
            for path in paths:
                self._root.objects.pop(path, None)

    def local_path(self, key: str) -> Path | None:
        check_key(key)
        return None

    def enforces_put_if_absent(self) -> bool:
        return True

    def close(self) -> None:
        self._closed = True

    def _path(self, key: str) -> str:
        if self._closed:
            raise StorageUnavailable(f"The store {self.url} was closed. Open it again.")
        return self._base + check_key(key)

    def _snapshot(self) -> _Snapshot:
        if self._closed:
            raise StorageUnavailable(f"The store {self.url} was closed. Open it again.")
        with self._root.lock:
            return sorted(self._root.objects.items())


def forget_memory(name: str) -> None:
    """The root `memory://<name>` is empty again for stores opened from now on."""
    with _roots_lock:
        _roots.pop(name, None)


def _fresh_locks() -> None:
    """After fork: another thread of the parent may have held a lock that nobody here will release."""
    global _roots_lock
    _roots_lock = threading.Lock()
    for root in _roots.values():
        root.lock = threading.Lock()


os.register_at_fork(after_in_child=_fresh_locks)
