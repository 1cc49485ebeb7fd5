"""A bounded in-memory cache for what is derived from immutable objects. It never goes stale."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["MemoryCache"]

V = TypeVar("V")


class MemoryCache(Generic[V]):
    """Least recently used values go first, so that at most about `size_bytes_max` are held. Threads may share it."""

    def __init__(self, size_bytes_max: int) -> None:
        self.size_bytes_max = size_bytes_max
        self.size_bytes = 0
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        os.register_at_fork(after_in_child=self._after_fork)

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            found = self._held.get(key)
            if found is None:
                return None
            self._held.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: V, size_bytes: int) -> None:
        with self._lock:
            before = self._held.pop(key, None)
            if before is not None:
                self.size_bytes -= before[1]
            self._held[key] = (value, size_bytes)
            self.size_bytes += size_bytes
            while self.size_bytes > self.size_bytes_max and len(self._held) > 1:
                _, (_, freed) = self._held.popitem(last=False)
                self.size_bytes -= freed

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
            self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()  # another thread of the parent may have held it
