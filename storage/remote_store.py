"""The store on a remote place: what `remote` tries once becomes the port's promises.

Replies get lost, and both the clients and the servers in between repeat requests; so a conditional put that finds
something compares bytes before it calls that a conflict.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from tracker.storage.clock import wall_us
from tracker.storage.errors import KeyTaken, StorageUnavailable, TrackerError
from tracker.storage.io_loop import drop, hold, io_loop, running_io_loop
from tracker.storage.keys import check_data, check_file, check_key, check_prefix, check_range
from tracker.storage.port import FRESH_US, ObjectInfo
from tracker.storage.remote import CONNECT_S, SILENCE_S, RemoteFiles, open_files
from tracker.storage.remote_errors import Failure, Meaning, read_failure, translate
from tracker.storage.remote_pieces import PIECE_BYTES, all_of

__all__ = ["RemoteStore"]

T = TypeVar("T")
_Blobs = list[bytes | None]  # inside the class, `list` is the method
_Listing = list[ObjectInfo]

_TRIES: Final = 4
_BACKOFF_S = 0.2  # before the second attempt; doubled each time, less a random half
_RETRY_WITHIN_S: Final = 8.0  # no new attempt later than this: a silent server costs one SILENCE_S, not four
_SLOWEST_BYTES_PER_S: Final = 64 * 1024  # an upload slower than this counts as no answer
_ASK_FIRST_BYTES: Final = 64 * 1024  # from here on asking costs less than sending what is there already
_MISSING: Final = {Meaning.MISSING}


class RemoteStore:
    """A root on S3, GCS or any fsspec filesystem. Opening makes no request; every call may block for network time.

    Any thread may call, from atexit handlers too. A forked child opens connections of its own.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, shown_as: str | None = None) -> None:
        self.url = shown_as or url
        self._open_url = url
        self._options = dict(options or {})
        self._lock = threading.Lock()
        self._files: RemoteFiles | None = None
        self._pid = os.getpid()
        self._closed = False
        self._conditional = True  # until the server says that it knows no conditional puts
        self._finalizer: weakref.finalize[..., Any] | None = None
        _stores.add(self)

    def put_if_absent(self, key: str, data: bytes) -> None:
        check_data(key, data)
        check_key(key)
        self._call(f"writing {key}", lambda files: self._put(files, key, data))

    def put_file_if_absent(self, key: str, path: Path) -> None:
        """The file is read into memory for the request: one conditional PUT is what every server enforces."""
        check_file(key, path)
        self.put_if_absent(key, path.read_bytes())

    def put_contents(self, contents: Sequence[tuple[str, Path]]) -> None:
        for key, path in contents:
            check_file(key, path)
            check_key(key)
        if contents:
            self._call(
                f"writing {contents[0][0] if len(contents) == 1 else f'{len(contents)} objects'}",
                lambda files: _in_parallel(
                    [lambda one=one: _put_content(files, *one) for one in contents],  # type: ignore[misc]
                    files.parallel,
                ),
            )

    def get(self, key: str) -> bytes:
        check_key(key)
        return self._call(f"reading {key}", lambda files: _tried(lambda: files.read(key, None, None)))

    def get_many(self, keys: Sequence[str]) -> _Blobs:
        for key in keys:
            check_key(key)
        if not keys:
            return []
        return self._call(
            f"reading {len(keys)} objects",
            lambda files: _in_parallel([lambda key=key: _read_or_none(files, key) for key in keys], files.parallel),  # type: ignore[misc]
        )

    def get_range(self, key: str, start: int, end: int) -> bytes:
        check_key(key)
        check_range(key, start, end)
        if start == end:
            return b""
        return self._call(f"reading {key}", lambda files: _read_range(files, key, start, end))

    def list(self, prefix: str) -> _Listing:
        check_prefix(prefix)
        found = self._call(f"listing {prefix or '/'}", lambda files: _tried(lambda: files.find(prefix)))
        found.sort(key=lambda info: info.key)
        return found

    def list_dirs(self, prefix: str) -> Sequence[str]:
        check_prefix(prefix)
        return sorted(self._call(f"listing {prefix or '/'}", lambda files: _tried(lambda: files.dirs(prefix))))

    def delete(self, keys: Iterable[str]) -> None:
        gone = [check_key(key) for key in keys]
        if gone:
            self._call(
                f"deleting {gone[0] if len(gone) == 1 else f'{len(gone)} objects'}",
                lambda files: _in_parallel([lambda key=key: _remove(files, key) for key in gone], files.parallel),  # type: ignore[misc]
            )

    def local_path(self, key: str) -> Path | None:
        check_key(key)
        return None

    def signed_url(self, key: str, valid_s: int) -> str | None:
        """As `port.SignUrl`."""
        check_key(key)
        return self._call(f"signing an address for {key}", lambda files: files.signed_url(key, valid_s))

    def enforces_put_if_absent(self) -> bool:
        """Asked of S3 and GCS by trying; other filesystems look first and then write, so two at once both win."""
        from tracker.storage.probe import probe_once

        return self._open_url.startswith(("s3://", "gs://")) and probe_once(self) and self._conditional

    def warm_up(self) -> None:
        """Load the libraries and start the I/O thread, so that a first use while Python exits still works."""
        io_loop()
        self._connect("connecting")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._files = None
            finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None:
            finalizer()

    async def _put(self, files: RemoteFiles, key: str, data: bytes) -> None:
        patience_s = CONNECT_S + SILENCE_S + len(data) / _SLOWEST_BYTES_PER_S
        for _ in range(_TRIES):
            exclusive = self._conditional
            try:
                await _tried(lambda exclusive=exclusive: files.create(key, data, exclusive=exclusive), patience_s)  # type: ignore[misc]
                return
            except Exception as exc:
                meaning = read_failure(exc).meaning
                if meaning is Meaning.NO_CONDITION and exclusive:
                    self._conditional = False
                    continue
                if meaning is not Meaning.EXISTS:
                    raise
                held = await _read_or_none(files, key)
                if held == data:  # our own, by an attempt whose reply was lost; or another's equal bytes
                    return
                if held is not None:
                    raise KeyTaken(f"{self.url}/{key} already holds other bytes.") from exc
        raise StorageUnavailable(f"{self.url}/{key} comes and goes: others write and delete it. Retrying is safe.")

    def _call(self, doing: str, work: Callable[[RemoteFiles], Coroutine[Any, Any, T]]) -> T:
        files = self._connect(doing)
        try:
            return io_loop().run(lambda: work(files))
        except TrackerError:
            raise
        except Exception as exc:
            raise self._translated(read_failure(exc), doing, files.endpoint) from exc

    def _connect(self, doing: str) -> RemoteFiles:
        with self._lock:
            if self._closed:
                raise StorageUnavailable(f"The store {self.url} was closed. Open it again.")
            if self._files is None:
                try:
                    files = open_files(self._open_url, self._options)
                except TrackerError:
                    raise
                except Exception as exc:
                    raise self._translated(read_failure(exc), doing, "") from exc
                hold(files)
                self._finalizer = weakref.finalize(self, _release, files, os.getpid())
                self._finalizer.atexit = False
                self._files = files
            return self._files

    def _translated(self, failure: Failure, doing: str, endpoint: str) -> TrackerError:
        return translate(failure, url=self.url, endpoint=endpoint, doing=doing)

    def _forget_in_child(self) -> None:
        self._lock = threading.Lock()
        self._files = None
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None


async def _tried(attempt: Callable[[], Awaitable[T]], patience_s: float | None = None) -> T:
    """The result of the first attempt that does not fail for a passing reason; `patience_s` bounds each of them."""
    started = time.monotonic()
    number = 1
    while True:
        try:
            async with asyncio.timeout(patience_s) as limit:
                return await attempt()
        except Exception as exc:
            if limit.expired():
                raise TimeoutError(f"no answer within {patience_s:.0f} s") from exc
            late = time.monotonic() - started > _RETRY_WITHIN_S
            if late or number == _TRIES or read_failure(exc).meaning is not Meaning.TRANSIENT:
                raise
        await asyncio.sleep(random.uniform(0.5, 1.0) * _BACKOFF_S * 2 ** (number - 1))
        number += 1


async def _put_content(files: RemoteFiles, key: str, path: Path) -> None:
    size = path.stat().st_size
    if size >= _ASK_FIRST_BYTES:
        held = await _info_or_none(files, key)
        if held is not None and held.size_bytes == size and abs(wall_us() - held.modified_us) < FRESH_US:
            return
    if size > PIECE_BYTES:
        try:
            await files.create_from(key, path, _tried)
        except Exception:  # the reply to the last request may be lost: then the object is there
            held = await _info_or_none(files, key)
            if held is None or held.size_bytes != size:
                raise
        return
    data = path.read_bytes()  # not in a thread: while Python exits there are no new ones
    patience_s = CONNECT_S + SILENCE_S + len(data) / _SLOWEST_BYTES_PER_S
    await _tried(lambda: files.create(key, data, exclusive=False), patience_s)


async def _info_or_none(files: RemoteFiles, key: str) -> ObjectInfo | None:
    try:
        return await _tried(lambda: files.info(key))
    except Exception as exc:
        if read_failure(exc).meaning in _MISSING:
            return None
        raise


async def _read_or_none(files: RemoteFiles, key: str) -> bytes | None:
    try:
        return await _tried(lambda: files.read(key, None, None))
    except Exception as exc:
        if read_failure(exc).meaning in _MISSING:
            return None
        raise


async def _read_range(files: RemoteFiles, key: str, start: int, end: int) -> bytes:
    try:
        return await _tried(lambda: files.read(key, start, end))
    except Exception as exc:
        if read_failure(exc).meaning is Meaning.PAST_END:
            return b""
        raise


async def _remove(files: RemoteFiles, key: str) -> None:
    try:
        await _tried(lambda: files.remove(key))
    except Exception as exc:
        if read_failure(exc).meaning not in _MISSING:
            raise


async def _in_parallel(calls: Sequence[Callable[[], Coroutine[Any, Any, T]]], at_a_time: int) -> list[T]:
    """All results in order, `at_a_time` under way; the first error stops the rest."""
    gate = asyncio.Semaphore(at_a_time)

    async def one(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with gate:
            return await call()

    return await all_of([one(call) for call in calls])


def _release(files: RemoteFiles, pid: int) -> None:
    """Close the connections in the background, unless they are the parent's or everything ends anyway."""
    loop = running_io_loop()
    if pid != os.getpid() or sys.is_finalizing() or loop is None:
        return

    async def close() -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await files.close()
        finally:
            drop(files)

    loop.start(close)


_stores: weakref.WeakSet[RemoteStore] = weakref.WeakSet()


def _forget_in_child() -> None:
    for store in list(_stores):
        store._forget_in_child()


os.register_at_fork(after_in_child=_forget_in_child)
