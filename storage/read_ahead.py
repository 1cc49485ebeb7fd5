"""The rest of a large object, in pieces that are asked for before they are needed, within a bound of memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from tracker.storage.errors import StorageUnavailable
from tracker.storage.port import Get

__all__ = ["PIECE_BYTES", "Space", "Stopped", "read_ahead"]

PIECE_BYTES: Final = 16 << 20
_AT_ONCE: Final = 3


class Stopped(StorageUnavailable):
    """Another reader failed, or the user wants no more: this one need not go on."""


class Space:
    """Memory that several readers share. Who holds some takes more only if it is free: so nobody waits for ever."""

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self._free = size_bytes
        self._changed = threading.Condition()
        self._stopped = False

    def stop(self) -> None:
        """Whoever reads a next piece raises Stopped instead."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def go_on(self) -> None:
        """Raises Stopped after `stop`."""
        if self._stopped:
            raise Stopped("This download was stopped. Calling again goes on.")

    def take(self, size_bytes: int) -> int:
        """Waits until there is as much; how much was taken (never more than there is in all).

        Raises:
            Stopped: after `stop`.
        """
        taken = min(size_bytes, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= taken or self._stopped)
            self.go_on()
            self._free -= taken
        return taken

    def take_if_free(self, size_bytes: int) -> bool:
        """Whether it was there, and is taken."""
        with self._changed:
            if self._free < size_bytes:
                return False
            self._free -= size_bytes
            return True

    def give_back(self, size_bytes: int) -> None:
        with self._changed:
            self._free += size_bytes
            self._changed.notify_all()


def read_ahead(store: Get, key: str, start: int, end: int, space: Space) -> Generator[bytes, None, None]:
    """Bytes start..end-1 of the object in order; less where it ends before. Each piece is held until the next.

    Raises:
        NotFound, StorageUnavailable, CredentialsMissing: as the store. Stopped: after `space.stop`.
    """
    if end - start <= PIECE_BYTES:
        taken = space.take(end - start)
        try:
            yield store.get_range(key, start, end)
        finally:
            space.give_back(taken)
        return
    under_way: deque[tuple[Future[bytes], int, int]] = deque()
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="tracker-read")
    held = 0
    try:
        while start < end or under_way:
            space.go_on()
            while start < end and len(under_way) < _AT_ONCE:
                length = min(PIECE_BYTES, end - start)
                if under_way and not space.take_if_free(length):
                    break
                taken = length if under_way else space.take(length)
                under_way.append((pool.submit(store.get_range, key, start, start + length), length, taken))
                held += taken
                start += length
            piece, length, taken = under_way.popleft()
            data = piece.result()
            yield data
            space.give_back(taken)
            held -= taken
            if len(data) < length:
                return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        space.give_back(held)
