"""Objects of a store read once each and looked at in parallel, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from tracker.storage.errors import CorruptData, FormatTooNew, NotFound
from tracker.storage.parquet_check import Source
from tracker.storage.port import Get, LocalPath, ObjectInfo

__all__ = ["Bad", "check_objects"]

_BATCH_BYTES: Final = 64 << 20  # in memory at once while a remote store is read
_BATCH_OBJECTS: Final = 256
_THREADS: Final = min(4, os.cpu_count() or 1)

T = TypeVar("T")

Bad = CorruptData | FormatTooNew | NotFound
Progress = Callable[[str, int, int], None]


class _Readable(Get, LocalPath, Protocol):
    pass


def check_objects(
    store: _Readable,
    infos: Sequence[ObjectInfo],
    check: Callable[[Source, str], T],
    progress: Progress = lambda *_: None,
    what: str = "files",
) -> Iterator[tuple[ObjectInfo, T | Bad]]:
    """Each object with what `check(source, key)` says of it, in order; or with what is wrong with it.

    NotFound: it is gone since it was listed. A local store's files are read where they lie; of a remote one at most
    64 MiB, or one object, are in memory at once.

    Raises:
        StorageUnavailable, CredentialsMissing: as the store.
    """
    done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in _batches(infos):
            paths = [store.local_path(info.key) for info in batch]
            if batch and paths[0] is not None:
                sources: list[Source | None] = list(paths)
            else:
                sources = list(store.get_many([info.key for info in batch]))
            jobs = [pool.submit(_look, source, info, check) for source, info in zip(sources, batch, strict=True)]
            for info, job in zip(batch, jobs, strict=True):
                yield info, job.result()
                done += 1
                progress(what, done, len(infos))


def _look(source: Source | None, info: ObjectInfo, check: Callable[[Source, str], T]) -> T | Bad:
    if source is None:
        return NotFound(f"{info.key} is gone.")
    size = len(source) if isinstance(source, bytes) else _size_of(source)
    if size is None:
        return NotFound(f"{info.key} is gone.")
    if size != info.size_bytes:
        return CorruptData(f"{info.key} has {size:,} bytes, {info.size_bytes:,} were listed.")
    try:
        return check(source, info.key)
    except FileNotFoundError:
        return NotFound(f"{info.key} is gone.")
    except (CorruptData, FormatTooNew) as bad:
        return bad


def _size_of(path: os.PathLike[str]) -> int | None:
    try:
        return os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _batches(infos: Sequence[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    batch: list[ObjectInfo] = []
    size = 0
    for info in infos:
        if batch and (size + info.size_bytes > _BATCH_BYTES or len(batch) == _BATCH_OBJECTS):
            yield batch
            batch, size = [], 0
        batch.append(info)
        size += info.size_bytes
    if batch:
        yield batch
