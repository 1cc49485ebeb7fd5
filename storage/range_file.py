"""A remote object as a file that can be read here and there, for readers that want only its footer."""

from __future__ import annotations

import io

from tracker.storage.port import Get

__all__ = ["RangeFile"]


class RangeFile(io.RawIOBase):
    """Reads ranges of the object `key`, which has `size_bytes`; each read is a request."""

    def __init__(self, store: Get, key: str, size_bytes: int) -> None:
        super().__init__()
        self._store, self._key, self._size = store, key, size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b""
        data = self._store.get_range(self._key, self._at, end)
        self._at += len(data)
        return data
