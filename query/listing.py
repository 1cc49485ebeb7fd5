"""What a store lists of a project at one moment: files of runs, files of edits, and the manifest, in this order.

What a manifest covers is deleted only a grace time after it was published; so whoever lists first and reads the
manifest afterwards, all within half of that time, finds every frame in one or the other.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from tracker.query.memory_cache import MemoryCache
from tracker.query.readable_parts import StartOver
from tracker.storage.errors import NotFound, StorageUnavailable
from tracker.storage.manifest import EMPTY, Manifest, decode_manifest
from tracker.storage.names import (
    RunRef,
    edits_prefix,
    manifests_prefix,
    parse_manifest_key,
    run_prefix,
    runs_prefix,
)
from tracker.storage.port import ObjectInfo, Store
from tracker.storage.pump import default_grace_s

__all__ = ["Listing", "list_project"]

_MANIFESTS_KEPT: Final = 64

_manifests: MemoryCache[Manifest] = MemoryCache(_MANIFESTS_KEPT)


@dataclass(frozen=True, slots=True)
class Listing:
    """`prefix` is what was listed of the runs: all of them, or one."""

    prefix: str
    runs: list[ObjectInfo]
    edits: list[ObjectInfo]
    manifest: Manifest

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal where nothing was added or removed."""
        sizes = tuple((info.key, info.size_bytes) for info in (*self.runs, *self.edits))
        return sizes, self.manifest.number, self.manifest.nonce

    @property
    def store_now_us(self) -> int:
        """Time of the newest object, by the store's clock; 0 where the store does not say."""
        return max([self.manifest.modified_us, *(info.modified_us for info in (*self.runs, *self.edits))])


def list_project(store: Store, entity: str, project: str, run_id: str | None = None) -> Listing:
    """Three listings, and the manifest where it is a new one.

    Raises:
        StartOver: the listing took too long to be one picture, or the manifest was replaced meanwhile.
        NotFound: the root itself is missing.
        StorageUnavailable, CredentialsMissing: as the store. CorruptData, FormatTooNew: as the manifest.
    """
    prefix = runs_prefix(entity, project) if run_id is None else run_prefix(RunRef(entity, project, run_id))
    begun = time.monotonic()
    if "://" in store.url:  # a request there takes long, and the two do not depend on each other
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(store.list, edits_prefix(entity, project))
            runs, edits = store.list(prefix), asked.result()
    else:
        runs, edits = store.list(prefix), store.list(edits_prefix(entity, project))
    numbered = {
        number: info
        for info in store.list(manifests_prefix(entity, project))
        if (number := parse_manifest_key(info.key)) is not None
    }
    manifest = _manifest(store, numbered) if numbered else EMPTY
    took_s, most_s = time.monotonic() - begun, default_grace_s(store.url) / 2
    if took_s > most_s:
        raise StartOver(
            StorageUnavailable(
                f"Listing {store.url}/{prefix} took {took_s:.0f} s, more than {most_s:.0f} s, which is too long for "
                "one picture. Try again."
            )
        )
    return Listing(prefix, runs, edits, manifest)


def _manifest(store: Store, numbered: dict[int, ObjectInfo]) -> Manifest:
    number = max(numbered)
    info = numbered[number]
    key = (store.url, info.key, info.size_bytes, info.modified_us)
    found = _manifests.get(key)
    if found is None:
        shown = f"{store.url}/{info.key}"
        try:
            found = decode_manifest(store.get(info.key), number, shown, info.modified_us)
        except NotFound:
            raise StartOver(NotFound(f"{shown} is listed, but is not there. Look for what deletes files.")) from None
        _manifests.put(key, found, 1)
    return found
