"""Stored contents as local files: whole, checked, several at a time; what was stopped goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tracker.storage.contents import ContentSource
from tracker.storage.errors import CorruptData, NotFound
from tracker.storage.part_file import Existing, PartFile, already_there, open_part
from tracker.storage.read_ahead import Space, read_ahead
from tracker.storage.side_by_side import run_side_by_side
from tracker.storage.staging import EMPTY_SHA256

__all__ = ["Download", "download", "download_all"]

_COPY_BYTES: Final = 1 << 20
_SYNC_BYTES: Final = 16 << 20  # from here on a download is worth a wait for the disk
_SPACE_BYTES: Final = 128 << 20
_REMOTE_AT_ONCE: Final = 64
_LOCAL_AT_ONCE: Final = 4  # copying and hashing keep processors busy, not the network


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What is to lie at `target`: the object `key`, or `text`, the contents themselves."""

    target: Path
    sha256: str
    size: int  # bytes
    key: str
    text: bytes | None = None


def download(store: ContentSource, wanted: Download, existing: Existing, space: Space | None = None) -> None:
    """The target has these contents. It never has a part of them: they are gathered beside it, and renamed.

    What an earlier attempt has gathered is not asked for again. `existing`: whether a target that is there already is
    an error, stays, or is replaced; if it has these contents already nothing is fetched.

    Raises:
        RefusedTarget: the target is there and may not be, or cannot be. NotFound: the store has no such contents (yet).
        CorruptData: it has others under their name; nothing is kept of them.
        StorageUnavailable, CredentialsMissing: as the store. OSError: the local disk. Calling again goes on.
    """
    if os.path.lexists(wanted.target):
        if existing == "refuse":
            raise already_there([wanted.target])
        if existing == "keep" or _is_same(wanted):
            return
    with open_part(wanted.target, wanted.sha256) as part:
        begun = 0 < part.size <= wanted.size
        if not begun:
            part.clear()
        whole = _complete(store, wanted, part, space or Space(_SPACE_BYTES))
        if begun and not whole:  # the disk did not keep what it took before
            part.clear()
            whole = _complete(store, wanted, part, space or Space(_SPACE_BYTES))
        if not whole:
            part.clear()
            raise CorruptData(
                f"{wanted.target.name} is not what was kept: {wanted.key} holds other bytes than its name says. "
                "Run: tracker fsck"
            )
        if wanted.size >= _SYNC_BYTES:
            part.sync()
        part.publish(existing)


def download_all(
    store: ContentSource,
    wanted: Sequence[Download],
    existing: Existing,
    *,
    workers: int | None = None,
    on_done: Callable[[Download], None] = lambda _: None,
) -> None:
    """As `download`, of each, `workers` at a time (default: 64 from a bucket, 4 from a disk), in bounded memory.

    With "refuse" nothing is fetched when one of the targets is there. After an error those that are whole stay.
    `on_done` is told of each that is there, from any thread.

    Raises:
        As `download`: the first error, when those that are under way have stopped.
    """
    if existing == "refuse" and (there := [one.target for one in wanted if os.path.lexists(one.target)]):
        raise already_there(there)
    if not wanted:
        return
    space = Space(_SPACE_BYTES)
    failed: list[BaseException] = []

    def fetch(one: Download) -> None:
        try:
            download(store, one, existing, space)
            on_done(one)
        except BaseException as exc:
            failed.append(exc)
            space.stop()  # or the others would fetch their large files to the end
            raise

    is_local = store.local_path(wanted[0].key) is not None
    at_once = workers or (_LOCAL_AT_ONCE if is_local else _REMOTE_AT_ONCE)
    try:
        run_side_by_side([partial(fetch, one) for one in wanted], at_once)
    except BaseException as exc:
        space.stop()
        if failed and failed[0] is not exc:  # that which stopped the others
            raise failed[0] from failed[0].__cause__
        raise


def _complete(store: ContentSource, wanted: Download, part: PartFile, space: Space) -> bool:
    """Whether `part` holds the contents after the rest was fetched."""
    found = hashlib.sha256()
    for piece in part.pieces():
        found.update(piece)
    with closing(_rest(store, wanted, part.size, space)) as rest:  # or an error of the disk would keep its memory
        for piece in rest:
            found.update(piece)
            part.append(piece)
    return part.size == wanted.size and found.hexdigest() == wanted.sha256


def _rest(store: ContentSource, wanted: Download, start: int, space: Space) -> Generator[bytes, None, None]:
    if start >= wanted.size or wanted.sha256 == EMPTY_SHA256:
        return
    if wanted.text is not None:
        yield wanted.text[start:]
        return
    path = store.local_path(wanted.key)
    if path is None:
        yield from read_ahead(store, wanted.key, start, wanted.size, space)
        return
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            while piece := file.read(_COPY_BYTES):
                space.go_on()
                yield piece
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.") from None


def _is_same(wanted: Download) -> bool:
    """Whether a plain file with these contents is there."""
    if wanted.target.is_symlink() or not wanted.target.is_file() or wanted.target.stat().st_size != wanted.size:
        return False
    with open(wanted.target, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256
