"""A writer's directory on the local disk: log segments, files, owner, locks, how far the store has it.

    <dir>/run-<time>-<id>-<writer>/
        wal-<first>.log   frames; a segment is removed once the store has acknowledged it
        files/            the run's own files (`run.dir`)
        blobs/<sha256>    contents that the store does not have yet: see staging.py
        owner.json        whose it is and where it goes
        lock              held (flock) by the process that appends, for life
        ship.lock         held by whoever ships, one at a time
        ship.json         how far the store has it; only a hint, the names in the store are the truth
    <dir>/hlc             the highest stamp seen here

A spool whose owner lives is never touched by others. One without owner may be adopted by one process.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tracker.storage.errors import Conflict
from tracker.storage.names import RunRef, encode_name
from tracker.storage.staging import STAGING_DIR
from tracker.storage.wal import list_segments

__all__ = [
    "FileLock",
    "Owner",
    "ShipState",
    "Spool",
    "find_spool_dirs",
    "on_tmpfs",
    "read_hlc",
    "read_json",
    "write_hlc",
    "write_json",
]

_PRINTED: Final = re.compile(r"output\.log|logs/output_[^/]*\.log")  # what console capture writes
_OTHER_HOST_QUIET_S: Final = 600  # locks may not cross hosts on old network file systems: be quiet as well


class FileLock:
    """An flock on a file: held until released or the process is gone, whatever killed it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def try_acquire(self) -> bool:
        """True: this process holds it now. Never waits."""
        if self._fd >= 0:
            return True
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # whoever held it has shipped everything and removed the directory
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        if not _same_file(fd, self._path):  # the directory was removed and made again between open and lock
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Also what a forked child does: it closes its copy, the parent keeps the lock."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose spool it is: enough to ship it without the process that made it."""

    entity: str
    project: str
    run_id: str
    writer_id: str
    store_url: str
    host: str
    boot: str
    pid: int
    version: int = 1

    @property
    def ref(self) -> RunRef:
        return RunRef(self.entity, self.project, self.run_id)


@dataclass(slots=True, kw_only=True)
class ShipState:
    """How far the store has a writer's log."""

    next_seq: int = 0
    crc: int = 0  # hash chain over all frames below next_seq: crc32 and adler32 of their raw bytes
    adler: int = 1
    parts: list[dict[str, Any]] = field(default_factory=list)  # live files: family, first, last, mark, rows, families
    covered: list[dict[str, Any]] = field(default_factory=list)  # to delete: names, and by which files
    merging: list[int] | None = None  # frames (first, last) of a merge whose files are being put
    open_row: list[int] | None = None  # row, step, wall time: cells are in the store, their marker is not
    run_start_us: int | None = None  # what the markers' `_runtime` counts from
    finished: bool = False

    @property
    def mark(self) -> str:
        return f"{self.crc:08x}{self.adler:08x}"


class Spool:
    """One spool directory, opened for appending (`create`) or for shipping what is left (`adopt`)."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path = path
        self.owner = owner
        self.files_dir = path / "files"
        self.lock = FileLock(path / "lock")
        self.ship_lock = FileLock(path / "ship.lock")

    @classmethod
    def create(cls, directory: Path, time_name: str, ref: RunRef, writer_id: str, store_url: str) -> Spool:
        """A fresh directory, made exclusively and locked.

        Raises:
            OSError: the directory cannot be made.
        """
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"run-{time_name}-{encode_name(ref.run_id)[:64]}-{writer_id}"
        path.mkdir()
        owner = Owner(
            entity=ref.entity,
            project=ref.project,
            run_id=ref.run_id,
            writer_id=writer_id,
            store_url=store_url,
            host=socket.gethostname(),
            boot=_boot_id(),
            pid=os.getpid(),
        )
        spool = cls(path, owner)
        if not spool.lock.try_acquire():
            raise Conflict(f"{path} was just made by this process and is locked by another one.")
        (path / "files").mkdir()
        write_json(path / "owner.json", asdict(owner))
        return spool

    @classmethod
    def load(cls, path: Path) -> Spool | None:
        """The spool at `path`, or None where no readable owner stands (not one of ours, or torn at birth)."""
        raw = read_json(path / "owner.json")
        known = {name: raw[name] for name in Owner.__dataclass_fields__ if name in raw} if raw else {}
        try:
            return cls(path, Owner(**known)) if known else None
        except TypeError:
            return None

    def try_adopt(self) -> bool:
        """True: the owner is gone and this process may ship the spool; nobody else can until it is closed."""
        if not self.lock.try_acquire():
            return False
        if (self._elsewhere() and self._quiet_s() < _OTHER_HOST_QUIET_S) or not self.ship_lock.try_acquire():
            self.lock.release()
            return False
        return True

    def is_alive(self) -> bool:
        """Whether a process appends to it now."""
        probe = FileLock(self.path / "lock")
        free = probe.try_acquire()
        probe.release()
        return not free

    def load_state(self) -> ShipState | None:
        raw = read_json(self.path / "ship.json")
        if raw is None:
            return None
        try:
            return ShipState(**raw)
        except TypeError:
            return None

    def save_state(self, state: ShipState, *, durable: bool = False) -> None:
        write_json(self.path / "ship.json", asdict(state), durable=durable)

    def noted_at_s(self) -> float | None:
        """Unix seconds: when `save_state` was last called; None: never, or the note is gone."""
        try:
            return (self.path / "ship.json").stat().st_mtime
        except OSError:
            return None

    def forget_state(self) -> None:
        """The names in the store will tell how far it has the log."""
        (self.path / "ship.json").unlink(missing_ok=True)

    def remove_segments_below(self, next_seq: int) -> None:
        """Drop segments all of whose frames are below `next_seq`; the newest one stays while it may grow."""
        for path in self.segments_below(next_seq):
            path.unlink(missing_ok=True)

    def segments_below(self, next_seq: int) -> list[Path]:
        """What `remove_segments_below` would drop."""
        pairs = itertools.pairwise(list_segments(self.path))
        return [path for (_, path), (following, _) in pairs if following <= next_seq]

    def remove_log(self, *, directory_too: bool) -> None:
        """Everything is in the store: remove the log, and the directory too, of which only files of the user's stay."""
        for _, path in list_segments(self.path):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.path / STAGING_DIR, ignore_errors=True)  # what no event names
        if not directory_too:
            return
        if not _holds_files(self.files_dir):
            shutil.rmtree(self.path, ignore_errors=True)
            return
        for entry in list(os.scandir(self.path)):
            if entry.is_file(follow_symlinks=False):  # no spool any more: nobody looks at it again
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)

    def close(self) -> None:
        self.ship_lock.release()
        self.lock.release()

    def _elsewhere(self) -> bool:
        return self.owner.host != socket.gethostname()

    def _quiet_s(self) -> float:
        newest = max((path.stat().st_mtime for _, path in list_segments(self.path)), default=0.0)
        return time.time() - newest


def _holds_files(directory: Path) -> bool:
    """Whether there are files of the user's below it. Links lead to files elsewhere, printed lines are in the store."""
    found = (Path(folder, name) for folder, _, names in os.walk(directory) for name in names)
    return any(not path.is_symlink() and not _PRINTED.fullmatch(str(path.relative_to(directory))) for path in found)


def find_spool_dirs(directory: Path) -> list[Path]:
    """Spool directories directly below `directory` (or `directory` itself), oldest name first."""
    if (directory / "owner.json").exists():
        return [directory]
    try:
        entries = sorted(entry.path for entry in os.scandir(directory) if entry.name.startswith("run-"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [Path(path) for path in entries if os.path.exists(os.path.join(path, "owner.json"))]


def read_hlc(directory: Path) -> int:
    """The highest stamp that sessions in this directory have seen, 0 if none is known."""
    try:
        return int((directory / "hlc").read_text())
    except (OSError, ValueError):
        return 0


def write_hlc(directory: Path, hlc_us: int) -> None:
    """Raise the highest stamp kept beside the spools. A lost race costs little: the next session's wall clock leads."""
    with contextlib.suppress(OSError):
        if read_hlc(directory) < hlc_us:
            _replace(directory / "hlc", str(hlc_us).encode(), durable=False)


def on_tmpfs(path: Path) -> bool:
    """Whether `path` lies in memory: then a crash of the machine, or a container's end, takes it."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return False
    resolved = os.path.realpath(path)
    best = max(
        (mount for mount in mounts if resolved == mount[0] or resolved.startswith(mount[0].rstrip("/") + "/")),
        key=lambda mount: len(mount[0]),
        default=["", ""],
    )
    return best[1] in {"tmpfs", "ramfs"}


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) else None


def write_json(path: Path, value: dict[str, Any], *, durable: bool = False) -> None:
    """Replace the file in one step; readers see the old or the new content."""
    _replace(path, json.dumps(value).encode(), durable=durable)


def _replace(path: Path, data: bytes, *, durable: bool) -> None:
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:  # a full disk, say: leave nothing half-written on it
        temporary.unlink(missing_ok=True)
        raise


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
