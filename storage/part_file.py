"""What a download has so far: a file beside its target, `.<name>.<16 digits>.part`, that a later attempt goes on with.

It only grows at its end, so it is a beginning of the contents whenever whoever wrote it was killed; whether it really
is shows their hash, before it gets the target's name. One process or thread at a time has it, by a lock of the file:
whoever comes second gathers in a file of its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from tracker.storage.renames import rename_no_replace
from tracker.storage.targets import RefusedTarget

__all__ = ["Existing", "PartFile", "already_there", "open_part", "part_path"]

Existing = Literal["refuse", "keep", "replace"]  # what becomes of a file that has the target's name already

_READ_BYTES: Final = 1 << 20
_NAME_BYTES_MAX: Final = 200
_TRIES: Final = 3
_NO_LINK: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class PartFile:
    """An open, locked file that gathers contents. `size` is how much it has."""

    def __init__(self, path: Path, fd: int, target: Path) -> None:
        self.path, self.target = path, target
        self.published = False
        self._fd = fd
        self.size = os.fstat(fd).st_size

    def append(self, data: bytes) -> None:
        """Raises OSError when the disk takes it not; what it took of `data` then counts for nothing."""
        rest, at = memoryview(data), self.size
        while rest:
            written = os.pwrite(self._fd, rest, at)
            rest, at = rest[written:], at + written
        self.size = at

    def pieces(self) -> Iterator[bytes]:
        """What is there, from the beginning."""
        at = 0
        while at < self.size and (data := os.pread(self._fd, min(_READ_BYTES, self.size - at), at)):
            yield data
            at += len(data)

    def clear(self) -> None:
        """Nothing is there."""
        if os.fstat(self._fd).st_size:  # ext4 writes a file that was ever cut to the disk at once when it is closed
            os.ftruncate(self._fd, 0)
        self.size = 0

    def sync(self) -> None:
        """What is there survives a power cut."""
        os.fsync(self._fd)

    def publish(self, existing: Existing) -> None:
        """It is the target now, at once and whole. With "keep" a target that came meanwhile stays instead.

        Raises:
            RefusedTarget: with "refuse", such a target is there.
        """
        try:
            if existing == "replace":
                os.replace(self.path, self.target)
            elif not _take_name(self.path, self.target):
                if existing == "refuse":
                    raise already_there([self.target])
                self.path.unlink()
        except IsADirectoryError:
            raise RefusedTarget(f"{self.target} is a folder. Remove it, or download elsewhere.") from None
        self.published = True


def already_there(targets: list[Path]) -> RefusedTarget:
    """The error for files that are there while none may be."""
    shown = ", ".join(map(str, targets[:5])) + (f" and {len(targets) - 5} more" if len(targets) > 5 else "")
    are, them = ("is", "it") if len(targets) == 1 else ("are", "them")
    return RefusedTarget(
        f"{shown} {are} there already. Replace {them} (replace=True, --replace), or leave {them} "
        "(exist_ok=True, --exist-ok)."
    )


def part_path(target: Path, sha256: str) -> Path:
    """Where what was downloaded of these contents for `target` waits for the rest."""
    name = os.fsencode(target.name)
    digits = hashlib.sha256(name + b"\0" + sha256.encode()).hexdigest()[:16]
    return target.with_name(f".{name[:_NAME_BYTES_MAX].decode('utf-8', 'ignore')}.{digits}.part")


@contextmanager
def open_part(target: Path, sha256: str) -> Iterator[PartFile]:
    """The part file of these contents, with what is there already; folders are made. If it is not published it stays,
    unless it is empty or only this caller's.

    Raises:
        RefusedTarget: a file stands where a folder should. OSError: the local disk.
    """
    shared = part_path(target, sha256)
    try:
        try:
            fd = _locked(shared)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            fd = _locked(shared)
    except (FileExistsError, NotADirectoryError):
        raise RefusedTarget(f"{target} needs a folder where a file stands. Download elsewhere.") from None
    path = shared
    if fd is None:
        path = shared.with_name(f"{shared.name.removesuffix('.part')}.{os.urandom(4).hex()}.part")
        fd = os.open(path, _OPEN | os.O_EXCL, 0o666)
    try:
        part = PartFile(path, fd, target)
        try:
            yield part
        finally:
            if not part.published and (path is not shared or not part.size):
                path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _locked(path: Path) -> int | None:
    """The file, which this caller alone has; None: another has it, or this disk knows no locks."""
    for _ in range(_TRIES):
        try:
            fd = os.open(path, _OPEN, 0o666)
        except (PermissionError, IsADirectoryError):
            return None
        except OSError as exc:
            if exc.errno == errno.ELOOP:  # a link in its place
                return None
            raise
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno != errno.EWOULDBLOCK and not os.fstat(fd).st_size:  # nobody can have locked it
                path.unlink(missing_ok=True)
            os.close(fd)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(fd)):
                return fd
        os.close(fd)  # it became the target while we waited
    return None


def _take_name(path: Path, target: Path) -> bool:
    """Give the file its name unless that is taken; False: it is."""
    try:
        return rename_no_replace(str(path), str(target))
    except OSError as exc:
        if exc.errno not in {errno.EINVAL, errno.ENOSYS}:
            raise
    try:
        os.link(path, target)
    except FileExistsError:
        return False
    except OSError as exc:
        if exc.errno not in _NO_LINK:
            raise
        if os.path.lexists(target):
            return False
        os.rename(path, target)
        return True
    os.unlink(path)
    return True
