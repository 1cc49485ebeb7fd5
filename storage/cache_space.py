"""The room that the local cache takes: its bound, who may be evicted, what lies there. Shared by processes.

Nothing here is a source: whoever finds a file of the cache gone fetches it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracker.storage.errors import CredentialsMissing, UsageError
from tracker.storage.keys import TEMPORARY

__all__ = [
    "CACHE_BYTES_DEFAULT",
    "CacheSpace",
    "CachedRoot",
    "cache_limit_bytes",
    "parse_size",
    "set_cache_limit",
    "write_whole",
]

CACHE_BYTES_DEFAULT: Final = 8 << 30
_IN_USE_S: Final = 300.0  # what was used this recently is never evicted: another process may be about to open it
_KEEP_SHARE: Final = 0.8  # eviction frees down to this share of the bound, so that it is rare
_LOOK_EVERY_S: Final = 24 * 3600.0
_WRITE_TRIES: Final = 5
_LOCK_WAIT_S: Final = 2.0  # a process that was stopped while it held the lock must not stop the others
_SIZE_NOTE: Final = "size"
_LIMIT_NOTE: Final = "limit"
_LOCK: Final = "lock"
_ROOT_NOTE: Final = ".url"  # in the folder of a root: no key of a store begins with a dot
_OURS: Final = frozenset({_SIZE_NOTE, _LIMIT_NOTE, _LOCK, _ROOT_NOTE})
_SPILL = re.compile(r"spill-(\d+)-")  # folders in which a process keeps what does not fit into its memory
_UNITS: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4,
                 "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CachedRoot:
    """Copies of one root's objects. `url` is empty where the folder does not say (temporary data of readers)."""

    url: str
    folder: str
    files: int
    size_bytes: int
    used_at_us: int  # the last use of any of them


def parse_size(text: str) -> int:
    """Bytes of `20GB`, `512 MiB`, `1.5g` or a plain number. k, M, G, T are powers of 1000; with an i, of 1024.

    Raises:
        UsageError: it is no size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no size. Write a number of bytes, or 500MB, 20GiB, 1.5TB.")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def cache_limit_bytes(directory: Path) -> int:
    """The bound of the cache in `directory`: TRACKER_CACHE_LIMIT, else what `set_cache_limit` kept there, else 8 GiB.

    Raises:
        UsageError: TRACKER_CACHE_LIMIT is no size.
    """
    if said := os.environ.get("TRACKER_CACHE_LIMIT"):
        try:
            return parse_size(said)
        except UsageError as exc:
            raise UsageError(f"TRACKER_CACHE_LIMIT: {exc}") from None
    with contextlib.suppress(OSError, ValueError):
        return int((directory / _LIMIT_NOTE).read_text())
    return CACHE_BYTES_DEFAULT


def set_cache_limit(directory: Path, size_bytes: int) -> None:
    """From now on every process bounds the cache in `directory` by `size_bytes`, which is checked at the next fetch.

    Raises:
        CredentialsMissing: the directory cannot be written.
    """
    try:
        write_whole(directory / _LIMIT_NOTE, b"%d" % size_bytes)
    except OSError as exc:
        raise CredentialsMissing(
            f"Cannot keep the limit in {directory}: {exc.strerror}. Make it writable, or set TRACKER_CACHE_LIMIT."
        ) from exc


class CacheSpace:
    """Keeps the files below `directory` at about a bound, least recently used first. Any number of processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def added(self, size_bytes: int, bound_bytes: int) -> None:
        """`size_bytes` came: evict if there is more than the bound. Never raises: a full cache is no error here.

        Looking at every file takes a second where there are 100,000, so the size is kept in a file beside them,
        and found anew when it passes the bound or is a day old.
        """
        note = self.directory / _SIZE_NOTE
        with contextlib.suppress(OSError), self._locked():
            now_s = time.time()
            size, looked_s = _read_note(note)
            size += size_bytes
            if size > bound_bytes or not 0 <= now_s - looked_s < _LOOK_EVERY_S:
                size, looked_s = self.evict(bound_bytes), now_s
            write_whole(note, f"{size} {int(looked_s)}".encode())

    def evict(self, bound_bytes: int) -> int:
        """Bytes that are left once the least recently used files are gone, if there were more than `bound_bytes`.

        What was used within five minutes stays, so that what one process was just given, another does not take away.
        """
        files = sorted(_files_below(self.directory))
        size = sum(size for _, size, _ in files)
        if size <= bound_bytes:
            return size
        oldest_kept_s = time.time() - _IN_USE_S
        for used_s, size_bytes, path in files:
            if size <= bound_bytes * _KEEP_SHARE or used_s > oldest_kept_s:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            size -= size_bytes
        return size

    def clear(self) -> tuple[int, int]:
        """Delete every copy, whoever used it last; returns (files, bytes). The limit stays.

        A process that was about to open one fetches it again.

        Raises:
            CredentialsMissing: something is not ours to delete.
        """
        with self._locked():
            files = list(_files_below(self.directory))
            try:
                for entry in list(os.scandir(self.directory)) if self.directory.is_dir() else []:
                    if _is_in_use(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        _remove_tree(entry.path)
                    elif entry.name not in {_LIMIT_NOTE, _LOCK}:
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(entry.path)
            except OSError as exc:
                raise CredentialsMissing(f"Cannot delete {exc.filename}: {exc.strerror}. Delete it yourself.") from exc
        return len(files), sum(size for _, size, _ in files)

    def roots(self) -> list[CachedRoot]:
        """What lies in the cache, one entry a folder, the largest first. Takes a second per 100,000 files."""
        found = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for entry in sorted(os.scandir(self.directory), key=lambda entry: entry.name):
                if entry.is_dir() and not _is_in_use(entry.name):
                    files = list(_files_below(Path(entry.path)))
                    url = ""
                    with contextlib.suppress(OSError, UnicodeDecodeError):
                        url = Path(entry.path, _ROOT_NOTE).read_text()
                    used_s = max((used for used, _, _ in files), default=0.0)
                    size = sum(size for _, size, _ in files)
                    found.append(CachedRoot(url, entry.name, len(files), size, int(used_s * 1e6)))
        return sorted(found, key=lambda root: (-root.size_bytes, root.folder))

    def name_root(self, folder: Path, url: str) -> None:
        """Note beside the copies which root they are of, for people. Never raises."""
        note = folder / _ROOT_NOTE
        with contextlib.suppress(OSError):
            if not note.exists():
                write_whole(note, url.encode())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time counts and evicts; where locks do not work or somebody sleeps on it, all do."""
        fd = -1
        try:
            with contextlib.suppress(OSError):
                self.directory.mkdir(parents=True, exist_ok=True)
                fd = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                _lock_within(fd, _LOCK_WAIT_S)
            yield
        finally:
            if fd >= 0:
                os.close(fd)


def write_whole(path: Path, data: bytes) -> None:
    """`path` holds `data`, whole at any moment; whoever empties the cache meanwhile makes us try again."""
    for tries_left in reversed(range(_WRITE_TRIES)):
        temporary = path.with_name(f"{TEMPORARY}{os.urandom(8).hex()}")
        try:
            _write_new(temporary, data)
            os.replace(temporary, path)
            return
        except FileNotFoundError:
            if not tries_left:
                raise
            path.parent.mkdir(parents=True, exist_ok=True)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _write_new(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)


def _lock_within(fd: int, seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > give_up:
                return False
            time.sleep(0.005)


def _read_note(note: Path) -> tuple[int, float]:
    """The size that the last look and what came since add up to, and when that look was; zeros where nobody knows."""
    try:
        size, looked_s = note.read_text().split()
        return int(size), float(looked_s)
    except (OSError, ValueError):
        return 0, 0.0


def _files_below(directory: Path) -> Iterator[tuple[float, int, str]]:
    """(last use, size, path) of all files, left-over temporary ones too; not our notes, nor what processes spill."""
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not _is_in_use(name)]
        for name in names:
            if name in _OURS:
                continue
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                stat = os.stat(path)
                yield stat.st_atime, stat.st_size, path


def _is_in_use(folder: str) -> bool:
    """Whether a living process of this machine spills there: it removes the folder itself."""
    match = _SPILL.match(folder)
    if match is None:
        return False
    try:
        os.kill(int(match[1]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove_tree(directory: str) -> None:
    """Files first, then folders; what others delete or add at the same time is no error."""
    for folder, names, files in os.walk(directory, topdown=False):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))
        for name in (*names, ""):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(folder, name))
