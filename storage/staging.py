"""Contents that wait beside a writer's log until the store has them: `<spool>/blobs/<sha256>`, whole or not there.

They are private copies: nobody writes to them any more, so they hold what was there when they were staged,
whatever becomes of the original. Who wrote them may die right after; whoever ships the log ships them first.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

from tracker.storage.keys import TEMPORARY

__all__ = ["EMPTY_SHA256", "STAGING_DIR", "Content", "Staging"]

STAGING_DIR: Final = "blobs"
EMPTY_SHA256: Final = hashlib.sha256().hexdigest()  # of empty contents, which no store keeps an object for

_PIECE_BYTES: Final = 1 << 20
_FICLONE: Final = 0x40049409  # Linux: share the blocks of another file until one of them changes


class Content(NamedTuple):
    """What was staged: its SHA-256 as 64 hex digits, and its size in bytes."""

    sha256: str
    size: int


class Staging:
    """The contents of one spool. Any thread or process may add; only who holds the shipping lock drops."""

    def __init__(self, spool_dir: Path) -> None:
        self._directory = spool_dir / STAGING_DIR

    def add_bytes(self, data: bytes | memoryview) -> Content:
        """`data` waits. Raises OSError when the disk takes it not."""
        content = Content(hashlib.sha256(data).hexdigest(), len(data))
        if content.size and not self.path(content.sha256).exists():
            with self._temporary() as (temporary, file):
                file.write(data)
                file.close()
                os.replace(temporary, self.path(content.sha256))
        return content

    def add_file(self, source: Path, breathe: Callable[[], None] = lambda: None) -> Content:
        """A copy of `source` as it is now waits; blocks are shared where the file system can. Never whole in memory.

        Raises:
            OSError: the file cannot be read, or the disk takes no copy.
        """
        with open(source, "rb") as file, self._temporary() as (temporary, copy):
            cloned = _clone(file, copy)
            content = _digest(copy if cloned else file, None if cloned else copy, breathe)
            copy.close()
            self._keep(temporary, content)
        return content

    def take(self, source: Path) -> Path:
        """`source` is the staging's now, under the name returned, for `adopt`: moved, or copied from another disk.

        Raises:
            OSError: it cannot be read or removed, or the disk takes no copy.
        """
        self._directory.mkdir(exist_ok=True)
        taken = self._directory / f"{TEMPORARY}taken-{os.urandom(8).hex()}"
        try:
            os.rename(source, taken)
        except OSError:
            with open(source, "rb") as file, self._temporary() as (temporary, copy):
                if not _clone(file, copy):
                    _digest(file, copy, lambda: None)
                copy.close()
                os.rename(temporary, taken)
            os.unlink(source)
        return taken

    def adopt(self, taken: Path, breathe: Callable[[], None] = lambda: None) -> Content:
        """What `take` gave waits under its hash. Raises OSError when it cannot be read."""
        with open(taken, "rb") as file:
            content = _digest(file, None, breathe)
        self._keep(taken, content)
        return content

    def path(self, sha256: str) -> Path:
        """Where these bytes wait, if they do."""
        return self._directory / sha256

    def waiting(self) -> set[str]:
        """Hashes of what waits."""
        try:
            return {entry.name for entry in os.scandir(self._directory) if len(entry.name) == len(EMPTY_SHA256)}
        except FileNotFoundError:
            return set()

    def size_bytes(self) -> int:
        """Of everything here, half-made copies too."""
        total = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat().st_size
        return total

    def drop(self, sha256: str) -> None:
        """The store has these bytes and what names them."""
        self.path(sha256).unlink(missing_ok=True)

    def _keep(self, temporary: Path, content: Content) -> None:
        if content.size:
            os.replace(temporary, self.path(content.sha256))
        else:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """A file of its own to write; gone afterwards unless it was renamed."""
        self._directory.mkdir(exist_ok=True)
        path = self._directory / f"{TEMPORARY}{os.urandom(8).hex()}"
        try:
            with open(path, "xb") as file:
                yield path, file
        finally:
            path.unlink(missing_ok=True)


def _clone(source: IO[bytes], target: IO[bytes]) -> bool:
    """Whether `target` now has the contents of `source` without copying them, and can be read."""
    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def _digest(source: IO[bytes], copy: IO[bytes] | None, breathe: Callable[[], None]) -> Content:
    """Hash, and with `copy` write, what `source` holds from its beginning."""
    found, size = hashlib.sha256(), 0
    with open(source.name, "rb", buffering=0) as raw:  # a clone was opened for writing only
        while piece := raw.read(_PIECE_BYTES):
            found.update(piece)
            size += len(piece)
            if copy is not None:
                copy.write(piece)
            breathe()
    return Content(found.hexdigest(), size)
