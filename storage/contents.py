"""Contents read back: streamed into a file, and never anything else than what the name says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from tracker.storage.errors import CorruptData, NotFound
from tracker.storage.keys import TEMPORARY
from tracker.storage.names import blob_key
from tracker.storage.port import Get, LocalPath
from tracker.storage.staging import EMPTY_SHA256

__all__ = ["ContentSource", "fetch_content", "fetch_key", "pieces_of", "write_content"]

_PIECE_BYTES: Final = 16 << 20


class ContentSource(Get, LocalPath, Protocol):
    """The verbs that reading contents needs."""


def fetch_content(store: ContentSource, entity: str, project: str, sha256: str, target: Path) -> None:
    """`target` is a file with these bytes, which replaces what was there at once. Its folders are made.

    Raises:
        NotFound: the store does not have them. CorruptData: it has others under their name.
        StorageUnavailable, CredentialsMissing: as the store. OSError: the local disk.
    """
    fetch_key(store, blob_key(entity, project, sha256), target)


def fetch_key(store: ContentSource, key: str, target: Path) -> None:
    """As `fetch_content`, by the key of the contents, whose last segment is their hash."""
    sha256 = key.rpartition("/")[2]

    def checked() -> Iterator[bytes]:
        found = hashlib.sha256()
        for piece in pieces_of(store, key) if sha256 != EMPTY_SHA256 else ():
            found.update(piece)
            yield piece
        if found.hexdigest() != sha256:
            raise CorruptData(f"{key} holds other bytes than its name says. Run: tracker fsck")

    write_content(checked(), target)


def write_content(pieces: Iterable[bytes], target: Path) -> None:
    """`target` is a file of these pieces, which replaces what was there at once; nothing changes where they raise.

    Raises:
        OSError: the local disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY}{os.urandom(8).hex()}")
    try:
        with open(temporary, "xb") as file:
            for piece in pieces:
                file.write(piece)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def pieces_of(store: ContentSource, key: str) -> Iterator[bytes]:
    """The object's bytes in order; at most 16 MiB in memory.

    Raises:
        NotFound: no such key. StorageUnavailable, CredentialsMissing: as the store.
    """
    path = store.local_path(key)
    if path is not None:
        try:
            with open(path, "rb") as file:
                yield from iter(lambda: file.read(1 << 20), b"")
        except FileNotFoundError:
            raise NotFound(f"There is no file {path}.") from None
        return
    start = 0
    while piece := store.get_range(key, start, start + _PIECE_BYTES):
        yield piece
        start += len(piece)
        if len(piece) < _PIECE_BYTES:
            return
