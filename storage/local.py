"""The store in a local (or network) directory: whole files appear under their name at once, or not at all.

Source: the order of write, fsync, link, unlink, fsync of the directory is the one that survives a power cut;
LINK is atomic and exclusive on POSIX file systems and on NFS.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from tracker.storage.errors import (
    CorruptData,
    CredentialsMissing,
    KeyTaken,
    NotFound,
    StorageUnavailable,
    TrackerError,
    UsageError,
)
from tracker.storage.keys import TEMPORARY, check_data, check_file, check_key, check_prefix, check_range
from tracker.storage.port import ObjectInfo
from tracker.storage.renames import rename_no_replace
from tracker.storage.side_by_side import run_side_by_side

__all__ = ["LocalStore"]

_Blobs = list[bytes | None]  # inside the class, `list` is the method
_Listing = list[ObjectInfo]

_NO_LINK = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GONE = {errno.ENOENT, errno.ENOTDIR}
_COPY_BYTES = 1 << 20
_SYNCS_AT_ONCE = 16  # the file system writes its journal once for all that wait for it
_PUBLISH_TRIES = 5  # a directory can be pruned by another process between mkdir and link


class LocalStore:
    """Keys are files below `root`, which the first write creates."""

    def __init__(self, root: Path) -> None:
        self.url = os.path.abspath(root)
        self._root = self.url.rstrip("/") + "/"
        self._made: set[str] = set()  # directories known to exist: saves a mkdir a put
        self._way: Literal["link", "rename", "look"] = "link"  # goes on to the next where the file system refuses

    def put_if_absent(self, key: str, data: bytes) -> None:
        check_data(key, data)
        path = self._path(key)
        with self._translated("write", path):
            if not self._put(path, lambda name: _write_durably(name, data)) and Path(path).read_bytes() != data:
                raise KeyTaken(f"{path} already holds other bytes.")

    def put_file_if_absent(self, key: str, path: Path) -> None:
        check_file(key, path)
        target = self._path(key)
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        with self._translated("write", target):
            if not self._put(target, lambda name: _link_or_copy(path, name)) and not _equal_files(path, target):
                raise KeyTaken(f"{target} already holds other bytes.")

    def put_contents(self, contents: Sequence[tuple[str, Path]]) -> None:
        run_side_by_side([partial(self._put_content, key, path) for key, path in contents], _SYNCS_AT_ONCE)

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with self._translated("read", path):
            return Path(path).read_bytes()

    def get_many(self, keys: Sequence[str]) -> _Blobs:
        found: _Blobs = []
        for key in keys:
            try:
                found.append(self.get(key))
            except NotFound:
                found.append(None)
        return found

    def get_range(self, key: str, start: int, end: int) -> bytes:
        check_range(key, start, end)
        path = self._path(key)
        with self._translated("read", path), open(path, "rb") as file:
            file.seek(start)
            return file.read(end - start)

    def list(self, prefix: str) -> _Listing:
        check_prefix(prefix)
        cut = len(self._root)
        found: _Listing = []
        with self._translated("list", self._root):
            self._check_root()
            for entry in _files_below(self._root + prefix):
                with contextlib.suppress(FileNotFoundError):  # deleted while we looked
                    stat = entry.stat()
                    found.append(ObjectInfo(entry.path[cut:], stat.st_size, stat.st_mtime_ns // 1000))
        found.sort(key=lambda info: info.key)
        return found

    def list_dirs(self, prefix: str) -> Sequence[str]:
        check_prefix(prefix)
        with self._translated("list", self._root):
            self._check_root()
            entries = [entry for entry in _scan(self._root + prefix) if entry.is_dir()]
            return sorted(entry.name for entry in entries if any(True for _ in _files_below(entry.path)))

    def delete(self, keys: Iterable[str]) -> None:
        parents = set()
        for key in keys:
            path = self._path(key)
            with self._translated("delete", path):
                try:
                    os.unlink(path)
                except (FileNotFoundError, NotADirectoryError):
                    continue
            parents.add(path.rpartition("/")[0])
        for parent in parents:
            self._prune(parent)

    def local_path(self, key: str) -> Path | None:
        return Path(self._path(key))

    def enforces_put_if_absent(self) -> bool:
        from tracker.storage.probe import probe_once

        return probe_once(self) and self._way != "look"  # two that look at once both see nothing

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _put_content(self, key: str, path: Path) -> None:
        check_file(key, path)
        target = self._path(key)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            os.fsync(file.fileno())
        with self._translated("write", target):
            if not os.path.exists(target) and self._put(target, lambda name: _link_or_copy(path, name)):
                return
            if os.stat(target).st_size != size:
                raise KeyTaken(f"{target} has another size than the content that its name says.")
            try:
                os.utime(target)
            except PermissionError:  # another user's
                self._replace(target, path)

    def _path(self, key: str) -> str:
        return self._root + check_key(key)

    def _check_root(self) -> None:
        try:
            os.stat(self._root)  # the slash at its end refuses a file
        except FileNotFoundError:
            raise NotFound(
                f"There is no directory {self.url}. Check the path; the first run that logs there creates it."
            ) from None

    def _make(self, directory: str) -> None:
        """`directory` exists, and its name survives a power cut."""
        if directory in self._made:
            return
        missing = []
        while not os.path.isdir(directory):
            missing.append(directory)
            directory = os.path.dirname(directory)
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
            _fsync_dir(os.path.dirname(path))
        self._made.update(missing)

    def _put(self, path: str, write: Callable[[str], None]) -> bool:
        """True: `path` now holds what `write` makes under a name, and did not exist before. False: it existed."""
        parent, _, _ = path.rpartition("/")
        for _ in range(_PUBLISH_TRIES - 1):
            with contextlib.suppress(FileNotFoundError):  # the directory was pruned meanwhile
                self._make(parent)
                return self._publish(parent, path, write)
            self._made.clear()
        self._make(parent)
        return self._publish(parent, path, write)

    def _publish(self, parent: str, path: str, write: Callable[[str], None]) -> bool:
        temporary = f"{parent}/{TEMPORARY}{os.urandom(12).hex()}"
        try:
            write(temporary)
            created = self._take(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        if created:
            _fsync_dir(parent)
        return created

    def _replace(self, target: str, path: Path) -> None:
        """`target` is a new file with the same bytes."""
        temporary = f"{target.rpartition('/')[0]}/{TEMPORARY}{os.urandom(12).hex()}"
        try:
            _link_or_copy(path, temporary)
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _take(self, temporary: str, path: str) -> bool:
        """Give the file its name, unless that is taken: by LINK, else by an exclusive rename, else look and rename."""
        if self._way == "link":
            try:
                os.link(temporary, path)
                return True
            except FileExistsError:
                return os.path.samefile(temporary, path)  # two names of one file: the reply to our LINK was lost (NFS)
            except OSError as exc:
                if exc.errno not in _NO_LINK:
                    raise
                self._way = "rename"  # FAT, some FUSE and SMB mounts
        if self._way == "rename":
            try:
                return rename_no_replace(temporary, path)
            except OSError as exc:
                if exc.errno not in {errno.EINVAL, errno.ENOSYS}:
                    raise
                self._way = "look"
        if os.path.lexists(path):
            return False
        os.rename(temporary, path)
        return True

    def _prune(self, directory: str) -> None:
        """Remove directories that became empty; whoever writes there makes them again."""
        while len(directory) > len(self._root):
            try:
                os.rmdir(directory)
            except OSError:
                return
            self._made.discard(directory)
            directory = os.path.dirname(directory)

    @contextlib.contextmanager
    def _translated(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise _translate(exc, verb, path) from exc


def _translate(exc: OSError, verb: str, path: str) -> TrackerError:
    where = exc.filename if isinstance(exc.filename, str) and TEMPORARY not in exc.filename else path
    why = os.strerror(exc.errno) if exc.errno else str(exc)
    if exc.errno in _GONE and verb == "read":
        return NotFound(f"There is no file {path}.")
    if exc.errno in _FULL:
        return StorageUnavailable(f"Cannot {verb} {path}: {why}. Free space on that disk, or log to another one.")
    if exc.errno in _DENIED:
        return CredentialsMissing(
            f"Cannot {verb} {path}: {why} ({where}). Give this user the right to {verb} there, or use another place."
        )
    if exc.errno == errno.ENOTDIR:
        return StorageUnavailable(f"Cannot {verb} {path}: a file stands where a directory should. Use another place.")
    if exc.errno == errno.EISDIR:
        return CorruptData(f"Cannot {verb} {path}: a directory stands where a file should. Move it out of the store.")
    if exc.errno == errno.ENAMETOOLONG:
        return UsageError(f"Cannot {verb} {path}: the path is too long for this file system. Use a shorter directory.")
    return StorageUnavailable(f"Cannot {verb} {path}: {why} ({where}). Check that the disk is mounted and answers.")


def _write_durably(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _link_or_copy(source: Path, path: str) -> None:
    """`path` is a file with the bytes of `source`, on disk: another name of it, or a copy on another file system."""
    try:
        os.utime(source)  # an object's age counts from here
        os.link(source, path)
        return
    except OSError as exc:
        if exc.errno not in _NO_LINK:
            raise
    with open(source, "rb") as file, open(path, "xb") as copy:
        shutil.copyfileobj(file, copy, _COPY_BYTES)
        copy.flush()
        os.fsync(copy.fileno())


def _equal_files(one: Path, other: str) -> bool:
    with open(one, "rb") as a, open(other, "rb") as b:
        if os.fstat(a.fileno()).st_size != os.fstat(b.fileno()).st_size:
            return False
        while data := a.read(_COPY_BYTES):
            if data != b.read(len(data)):
                return False
    return True


def _fsync_dir(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:  # some network mounts cannot
            raise
    finally:
        os.close(fd)


def _files_below(directory: str) -> Iterator[os.DirEntry[str]]:
    """Every file below, in no order. What vanishes meanwhile, and temporary names, are not shown."""
    waiting = [directory.rstrip("/")]
    while waiting:
        here = waiting.pop()
        for entry in _scan(here):
            if entry.is_dir():
                if not (entry.is_symlink() and _loops(entry.path, here)):
                    waiting.append(entry.path)
            elif entry.is_file():
                yield entry


def _scan(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if not entry.name.startswith(TEMPORARY)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _loops(link: str, here: str) -> bool:
    """Whether following `link`, found in `here`, leads back to where we came from."""
    target = os.path.realpath(link)
    return f"{os.path.realpath(here)}/".startswith(f"{target}/")
