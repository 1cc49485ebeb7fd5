"""What a project's packs are at one moment, and how a change is published: by the next manifest, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa

from tracker.storage.clock import wall_us
from tracker.storage.errors import CorruptData, NotFound, TrackerError
from tracker.storage.manifest import EMPTY, Manifest, PurgedRun, decode_manifest, publish_manifest
from tracker.storage.names import (
    encode_name,
    manifests_prefix,
    new_ulid,
    pack_key,
    packs_prefix,
    parse_manifest_key,
)
from tracker.storage.pack_plan import Coverage, Held
from tracker.storage.packs import COVER, read_cover
from tracker.storage.port import ObjectInfo, Store

__all__ = ["PackState", "is_superseded", "load_state", "publish", "store_clock_us"]

WriterKey = tuple[str, str]
_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True)
class PackState:
    """The newest manifest, what its packs cover, and all manifests that were listed."""

    manifest: Manifest = EMPTY
    coverage: Coverage = field(default_factory=lambda: Coverage({}))
    manifests: Mapping[int, ObjectInfo] = field(default_factory=dict)
    covers: Mapping[str, tuple[tuple[WriterKey, Held], ...]] = field(default_factory=dict)  # by pack

    _purged: Mapping[str, PurgedRun] = field(init=False, compare=False, repr=False)  # by run segment

    def __post_init__(self) -> None:
        object.__setattr__(self, "_purged", {encode_name(one.run_id): one for one in self.manifest.purged})

    def hides(self, run_segment: str, writer_id: str) -> bool:
        """Whether what this writer wrote was purged."""
        purged = self._purged.get(run_segment)
        return purged is not None and purged.hides(writer_id)


def load_state(store: Store, entity: str, project: str, known: PackState | None = None) -> PackState:
    """The state now. List the runs first: what a manifest covers goes only after a later one was published.

    Two requests, and one for each pack whose cover `known` does not have.

    Raises:
        CorruptData, FormatTooNew: the manifest or a cover cannot be read. Nothing may be packed then.
    """
    for _ in range(_ATTEMPTS):
        listed = {
            number: info
            for info in store.list(manifests_prefix(entity, project))
            if (number := parse_manifest_key(info.key)) is not None
        }
        if not listed:
            return PackState()
        info = listed[max(listed)]
        try:
            manifest = decode_manifest(store.get(info.key), max(listed), info.key, info.modified_us)
        except NotFound:  # a newer one was published and this one deleted, both since the listing
            continue
        covers = dict(known.covers) if known is not None else {}
        missing = [pack.id for pack in manifest.packs if pack.id not in covers]
        keys = [pack_key(entity, project, pack, COVER) for pack in missing]
        found = store.get_many(keys) if keys else []
        gone = [key for key, data in zip(keys, found, strict=True) if data is None]
        if gone and is_superseded(store, entity, project, manifest.number):
            continue
        if gone:
            raise CorruptData(
                f"{store.url}/{gone[0]} is gone, so nobody can tell what its pack covers. Run: tracker fsck"
            )
        for pack, key, data in zip(missing, keys, found, strict=True):
            covers[pack] = tuple(read_cover(pa.py_buffer(data), f"{store.url}/{key}", pack))
        covers = {pack.id: covers[pack.id] for pack in manifest.packs}
        return PackState(manifest, Coverage.of(one for cover in covers.values() for one in cover), listed, covers)
    raise CorruptData(f"The manifests of {entity}/{project} in {store.url} change all the time. Try again.")


def publish(
    store: Store,
    entity: str,
    project: str,
    state: PackState,
    change: Callable[[PackState], tuple[Manifest, Mapping[str, bytes]] | None],
    own_covers: Mapping[str, tuple[tuple[WriterKey, Held], ...]],
    own_keys: frozenset[str] = frozenset(),
) -> tuple[PackState, bool]:
    """(State afterwards, whether the change counts). Whoever takes the number first wins; then `change` is asked anew.

    `change` gives the manifest to publish on top of a state (its number and nonce are filled in here) and objects to
    put before it, or None where that state leaves it nothing to do. Objects of attempts that lost are deleted: their
    number is taken for good, so no manifest will ever name them. `own_keys` were put before: a later attempt looks
    whether they are still there, since whoever took them for orphans may have deleted them meanwhile.

    Raises:
        StorageUnavailable: nobody knows whether it counts. What it named stays.
        CorruptData, FormatTooNew: as `load_state`, or what the change must read is not there.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            state = load_state(store, entity, project, state)
            if own_keys and not own_keys <= {info.key for info in store.list(packs_prefix(entity, project))}:
                return state, False
        try:
            found = change(state)
        except NotFound as exc:  # a checkpoint that another manifest has replaced
            if is_superseded(store, entity, project, state.manifest.number):
                continue
            raise CorruptData(f"{exc} A manifest names it. Run: tracker fsck") from exc
        if found is None:
            return state, False
        manifest, objects = found
        manifest = replace(manifest, number=state.manifest.number + 1, nonce=os.urandom(8).hex())
        for key, data in objects.items():
            store.put_if_absent(key, data)
        covers = dict(state.covers) | dict(own_covers)
        if publish_manifest(store, entity, project, manifest):
            covers = {pack.id: covers[pack.id] for pack in manifest.packs}
            coverage = Coverage.of(one for cover in covers.values() for one in cover)
            return PackState(manifest, coverage, state.manifests, covers), True
        with contextlib.suppress(TrackerError):
            store.delete(list(objects))
    return state, False


def store_clock_us(store: Store) -> int:
    """The store's own time: that of an object put now. Three requests."""
    key = f"vacuum/{new_ulid(wall_us())}"
    store.put_if_absent(key, b"clock")
    try:
        return next((info.modified_us for info in store.list("vacuum/") if info.key == key), 0)
    finally:
        with contextlib.suppress(TrackerError):
            store.delete([key])


def is_superseded(store: Store, entity: str, project: str, number: int) -> bool:
    """Whether there is a manifest with a higher number."""
    listed = (parse_manifest_key(info.key) for info in store.list(manifests_prefix(entity, project)))
    return any(found is not None and found > number for found in listed)
