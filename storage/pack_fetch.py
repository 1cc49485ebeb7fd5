"""Objects of the store as local files for as long as they are worked on. A local store gives its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tracker.storage.errors import NotFound, StorageUnavailable
from tracker.storage.port import ObjectInfo, Store

__all__ = ["fetch_large", "fetch_many"]

_BATCH_BYTES: Final = 32 << 20  # in memory at once
_BATCH_OBJECTS: Final = 512
_RANGE_BYTES: Final = 16 << 20


def fetch_many(store: Store, objects: Sequence[ObjectInfo], directory: Path) -> list[Path | None]:
    """A local file of each object, in order; None where the store has it no more. Copies lie in `directory`.

    Raises:
        StorageUnavailable, CredentialsMissing: as the store; StorageUnavailable also for a reply that was cut short.
    """
    found: list[Path | None] = [store.local_path(info.key) for info in objects]
    if not objects or found[0] is not None:
        return [path if path is not None and path.exists() else None for path in found]
    begin = sum(1 for _ in directory.iterdir())
    for batch in _batches(objects):
        keys = [objects[n].key for n in batch]
        for n, data in zip(batch, store.get_many(keys), strict=True):
            if data is None:
                continue
            if len(data) != objects[n].size_bytes:
                raise StorageUnavailable(
                    f"{store.url}/{objects[n].key} came with {len(data)} bytes, listed were {objects[n].size_bytes}. "
                    "Try again."
                )
            found[n] = path = directory / f"part-{begin + n}"
            path.write_bytes(data)
    return found


def fetch_large(store: Store, key: str, size_bytes: int, directory: Path) -> Path:
    """A local file of one object of any size, fetched in ranges.

    Raises:
        NotFound: it is gone. StorageUnavailable, CredentialsMissing: as the store.
    """
    own = store.local_path(key)
    if own is not None:
        if not own.exists():
            raise NotFound(f"There is no {store.url}/{key}.")
        return own
    path = directory / key.rsplit("/", 1)[-1]
    with open(path, "wb") as file:
        for start in range(0, size_bytes, _RANGE_BYTES):
            end = min(start + _RANGE_BYTES, size_bytes)
            data = store.get(key) if (start, end) == (0, size_bytes) else store.get_range(key, start, end)
            if len(data) != end - start:
                raise StorageUnavailable(f"{store.url}/{key} has not the {size_bytes} bytes it should have.")
            file.write(data)
    return path


def _batches(objects: Sequence[ObjectInfo]) -> Iterator[list[int]]:
    batch: list[int] = []
    size = 0
    for n, info in enumerate(objects):
        if batch and (len(batch) == _BATCH_OBJECTS or size + info.size_bytes > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(n)
        size += info.size_bytes
    if batch:
        yield batch
