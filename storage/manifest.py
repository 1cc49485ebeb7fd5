"""Manifests: which packs count. Published by put-if-absent of the next number; the highest counts.

A manifest is small: it lists packs, checkpoints, purged runs and what is about to be deleted, never coverage, which
stands in the packs' sidecars. Whoever loses the race for a number reads the winner's manifest and starts again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Protocol

import msgspec

from tracker.storage.errors import CorruptData, FormatTooNew, KeyTaken, NotFound
from tracker.storage.names import is_ulid, manifest_key, manifests_prefix, parse_manifest_key, ulid_time_us
from tracker.storage.port import Get, ListKeys, PutIfAbsent

__all__ = [
    "EMPTY",
    "Checkpoint",
    "Manifest",
    "Pack",
    "PurgedRun",
    "decode_manifest",
    "newest_manifest",
    "publish_manifest",
]

MANIFEST_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Files of many writers as one: `packs/<id>.<family>.parquet`."""

    id: str  # ULID
    families: dict[str, int]  # letter (f, h, s, c, r) or `cover` to size in bytes
    writers: int
    events: int
    hlc_max_us: int  # no event in it is later
    since: int  # what it holds stands in every manifest from this number on


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Folded facts and last points of some packs: `packs/<id>.k.parquet`. Every pack is in exactly one."""

    id: str
    size_bytes: int
    packs: tuple[str, ...]
    hlc_max_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgedRun:
    """A run that was removed for good: what these writers, or any begun before `hlc_us`, wrote never shows again."""

    run_id: str
    hlc_us: int
    writers: tuple[str, ...]
    since: int = 0  # number of the first manifest that says so

    def hides(self, writer_id: str) -> bool:
        """Whether this writer belongs to what was purged: known then, or begun before by its own clock."""
        return self.may_delete(writer_id) or (is_ulid(writer_id) and ulid_time_us(writer_id) <= self.hlc_us)

    def may_delete(self, writer_id: str) -> bool:
        """Whether its bytes may go: only what was known when it was purged. A clock alone, which may be wrong, hides
        what it says is old, until another purge names it.
        """
        return writer_id in self.writers


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    number: int
    nonce: str = ""  # tells our own manifest, whose reply was lost, from another's
    packs: tuple[Pack, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    purged: tuple[PurgedRun, ...] = ()
    # ids of packs and checkpoints that are being deleted, and the first manifest that says so: nobody may publish
    # them any more, and their files go once that manifest is older than the grace time
    gc: dict[str, int] = field(default_factory=dict)
    modified_us: int = field(default=0, compare=False)  # by the store's clock; not part of what is written

    def encode(self) -> bytes:
        fields = asdict(self) | {"format": MANIFEST_FORMAT}
        del fields["modified_us"]
        return msgspec.json.format(msgspec.json.encode(fields))


EMPTY: Final = Manifest(number=-1)


class _Readable(Get, ListKeys, Protocol):
    pass


def newest_manifest(store: _Readable, entity: str, project: str) -> Manifest:
    """The manifest that counts now, EMPTY where none was published. Two requests.

    List the runs first: what a manifest covers is deleted only after a later manifest was published.

    Raises:
        FormatTooNew, CorruptData: it cannot be read.
    """
    for _ in range(5):
        listed = [
            (number, info)
            for info in store.list(manifests_prefix(entity, project))
            if (number := parse_manifest_key(info.key)) is not None
        ]
        if not listed:
            return EMPTY
        number, info = max(listed, key=lambda one: one[0])
        try:
            return decode_manifest(store.get(info.key), number, info.key, info.modified_us)
        except NotFound:  # a newer one was published and this one deleted, both since the listing
            continue
    raise CorruptData(f"Manifests below {manifests_prefix(entity, project)} are listed, but are not there. Try again.")


def decode_manifest(data: bytes, number: int, name: str, modified_us: int = 0) -> Manifest:
    try:
        fields: dict[str, Any] = msgspec.json.decode(data)
        version = fields.pop("format")
        if version > MANIFEST_FORMAT:
            raise FormatTooNew(
                f"{name} has format {version}; this tracker reads up to {MANIFEST_FORMAT}. "
                "Run: pip install -U tracker"
            )
        found = msgspec.convert(fields, Manifest)
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError, AttributeError) as exc:
        raise CorruptData(f"{name} is no manifest ({exc}). Keep the file and report it.") from None
    if found.number != number:
        raise CorruptData(f"{name} says of itself that it is number {found.number}. Keep the file and report it.")
    return replace(found, modified_us=modified_us)


def publish_manifest(store: PutIfAbsent, entity: str, project: str, manifest: Manifest) -> bool:
    """True: `manifest` counts from now on. False: somebody else took its number; read theirs and start again."""
    try:
        store.put_if_absent(manifest_key(entity, project, manifest.number), manifest.encode())
    except KeyTaken:
        return False
    return True
