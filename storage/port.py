"""The store as this project needs it: one small protocol per verb.

Keys are relative to the root, segments joined by "/", no leading slash. A function asks for the
verbs that it needs; adapters implement them all (`Store`). Objects are immutable: nothing ever
writes a key twice with other bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

__all__ = [
    "FRESH_US",
    "Delete",
    "Get",
    "ListKeys",
    "LocalPath",
    "ObjectInfo",
    "PutContents",
    "PutFile",
    "PutIfAbsent",
    "SignUrl",
    "Store",
]

FRESH_US: Final = 24 * 3600 * 1_000_000  # a content put so lately is not sent again


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as a listing shows it."""

    key: str
    size_bytes: int
    modified_us: int  # by the store's clock, microseconds since the epoch; 0 where the store does not say
    root: str = ""  # URL of the root that has it, where a store is made of several

    def shown_in(self, url: str) -> str:
        """Where it lies, for messages; `url`: of the store that listed it."""
        return f"{self.root or url}/{self.key}"


class PutIfAbsent(Protocol):
    def put_if_absent(self, key: str, data: bytes) -> None:
        """Make `data` readable under `key`, or raise and leave the key as it was.

        Readers see all of `data` or nothing. Calling again with the same bytes succeeds, so a
        caller that lost the reply simply retries. `data` is not empty.

        Raises:
            KeyTaken: `key` holds other bytes (only where the store enforces it, see `enforces_put_if_absent`).
            StorageUnavailable: nothing is known about the outcome; retry with the same bytes.
            CredentialsMissing: the store refused us.
        """


class PutFile(Protocol):
    def put_file_if_absent(self, key: str, path: Path) -> None:
        """As `put_if_absent` with the bytes of a local file, which is not loaded into memory where that can be.

        Nobody may write to the file any more: the store may keep it under its own name too.

        Raises:
            As `put_if_absent`. OSError: the file cannot be read.
        """


class PutContents(Protocol):
    def put_contents(self, contents: Sequence[tuple[str, Path]]) -> None:
        """Make each local file's bytes readable under its key, which follows from them: whoever puts it puts the same.

        So nothing is compared, a large file goes in pieces and is never whole in memory, and what was put within
        FRESH_US is not sent again. Afterwards the object is that fresh: who deletes old contents that nothing names
        leaves it alone. Nobody may write to the files any more. None is empty. Where it raises, some may be there.

        Raises:
            StorageUnavailable, CredentialsMissing: as `put_if_absent`. OSError: the file cannot be read.
            KeyTaken: what lies there is of another size (only where that is cheap to see).
        """


class Get(Protocol):
    def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            NotFound: no such key.
            StorageUnavailable, CredentialsMissing: as in `put_if_absent`.
        """

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The whole objects, fetched in parallel, in the order asked for; None where a key is missing."""

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes start..end-1 of the object. Raises as `get`."""


class ListKeys(Protocol):
    def list(self, prefix: str) -> list[ObjectInfo]:
        """All objects below `prefix` (which is empty or ends in "/"), asked fresh, sorted by key.

        An empty or missing prefix lists nothing; a missing root (no such bucket) raises NotFound.
        Temporary names of half-written local files are not shown.
        """

    def list_dirs(self, prefix: str) -> Sequence[str]:
        """The names of the next segment below `prefix` that have objects under them, sorted, without slashes."""


class Delete(Protocol):
    def delete(self, keys: Iterable[str]) -> None:
        """Afterwards the keys are gone; one that was gone before is no error."""


class LocalPath(Protocol):
    def local_path(self, key: str) -> Path | None:
        """Where the object lies on this machine's disk (whether it exists or not), or None for a remote store."""


@runtime_checkable
class SignUrl(Protocol):
    """What only some stores can."""

    def signed_url(self, key: str, valid_s: int) -> str | None:
        """An https address of the object, there or not, that anybody can read for so many seconds; no request.

        None: the credentials cannot sign.

        Raises:
            StorageUnavailable, CredentialsMissing: as `put_if_absent`.
        """


class Store(PutIfAbsent, PutFile, PutContents, Get, ListKeys, Delete, LocalPath, Protocol):
    """Everything. `url` names the root, without credentials."""

    url: str

    def enforces_put_if_absent(self) -> bool:
        """Whether a second put of other bytes under one key is refused. Probed once per root and kept.

        False means: claims fall back to "the lowest stamp wins" on reading, and packs are not made.
        """

    def close(self) -> None:
        """Release connections. A closed store must not be used again."""
