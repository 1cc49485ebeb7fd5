"""What a store lists of a project at one moment: files of runs, files of edits, and the manifest, in this order.

What a manifest covers is deleted only a grace time after it was published; so whoever lists first and reads the
manifest afterwards, all within half of that time, finds every frame in one or the other.

Of several roots each is listed in this order, with its own manifest. Their files are then one listing, in which each
name stands once; what their packs hold is joined by `tracker.query.packed_roots`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from tracker.query.memory_cache import MemoryCache
from tracker.query.readable_parts import StartOver
from tracker.storage.errors import NotFound, StorageUnavailable
from tracker.storage.manifest import EMPTY, Manifest, PurgedRun, decode_manifest
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
from tracker.storage.union_store import UnionStore

__all__ = ["Listing", "list_project"]

_MANIFESTS_KEPT: Final = 64

_manifests: MemoryCache[Manifest] = MemoryCache(_MANIFESTS_KEPT)


@dataclass(frozen=True, slots=True)
class Listing:
    """`prefix` is what was listed of the runs: all of them, or one."""

    prefix: str
    runs: list[ObjectInfo]
    edits: list[ObjectInfo]
    manifest: Manifest  # of several roots: what all of theirs say
    roots: tuple[tuple[Store, Listing], ...] = ()  # of several: what each of them lists
    spare: Mapping[str, tuple[ObjectInfo, ...]] = field(default_factory=dict)  # the same objects in further roots

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
        UsageError: one of several roots is missing.
    """
    if isinstance(store, UnionStore):
        return _joined(store, store.each(lambda root: list_project(root, entity, project, run_id)))
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


def _joined(store: UnionStore, listings: Sequence[Listing]) -> Listing:
    runs = store.join_listings([one.runs for one in listings])
    edits = store.join_listings([one.edits for one in listings])
    return Listing(
        listings[0].prefix,
        runs,
        edits,
        _joined_manifests([one.manifest for one in listings]),
        tuple(zip(store.roots, listings, strict=True)),
        _spare(store, listings, {info.key: info.root for info in (*runs, *edits)}),
    )


def _spare(
    store: UnionStore, listings: Sequence[Listing], chosen: Mapping[str, str]
) -> dict[str, tuple[ObjectInfo, ...]]:
    found: dict[str, tuple[ObjectInfo, ...]] = {}
    for root, listing in zip(store.roots, listings, strict=True):
        for info in (*listing.runs, *listing.edits):
            if chosen[info.key] != root.url:
                found[info.key] = (*found.get(info.key, ()), replace(info, root=root.url))
    return found


def _joined_manifests(manifests: Sequence[Manifest]) -> Manifest:
    """What all of them list, each pack and checkpoint once. Its nonce is another one whenever one of theirs is."""
    if all(one is EMPTY for one in manifests):
        return EMPTY
    told = repr([(one.number, one.nonce) for one in manifests]).encode()
    return Manifest(
        number=max(one.number for one in manifests),
        nonce=hashlib.sha256(told).hexdigest()[:32],
        packs=tuple({pack.id: pack for one in reversed(manifests) for pack in one.packs}.values()),
        checkpoints=tuple({kept.id: kept for one in reversed(manifests) for kept in one.checkpoints}.values()),
        purged=_joined_purges([run for one in manifests for run in one.purged]),
        modified_us=max(one.modified_us for one in manifests),
    )


def _joined_purges(purged: Sequence[PurgedRun]) -> tuple[PurgedRun, ...]:
    """What was purged in one root does not show from another: a run is purged up to the latest time of all."""
    found: dict[str, PurgedRun] = {}
    for run in purged:
        before = found.get(run.run_id, run)
        writers = tuple(sorted({*before.writers, *run.writers}))
        found[run.run_id] = replace(run, hlc_us=max(before.hlc_us, run.hlc_us), writers=writers)
    return tuple(found.values())
