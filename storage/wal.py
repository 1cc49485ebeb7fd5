"""The write-ahead log of one writer: frames appended to segment files by single `write` calls.

A frame is `magic, payload length, crc32, sequence number` (20 bytes, little endian) and the payload. What
`append` returned from is in the kernel: killing the process loses nothing. Readers follow a log that is
being written; bytes that are no frame are skipped up to the next whole one, and reported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["HEADER_BYTES", "Damage", "FrameBlock", "RawFrame", "WalReader", "WalWriter", "list_segments"]

MAGIC: Final = b"TKF1"
_HEADER: Final = struct.Struct("<4sIIQ")
HEADER_BYTES: Final = _HEADER.size
_FRAME_BYTES_MAX: Final = 1 << 30  # a longer length field is damage
_READ_BYTES: Final = 1 << 20
_SEQ_MASK: Final = 0xFFFFFFFF
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNLIKE_FRAMES: Final = 64  # where frames do not look alike, as many are taken one by one before looking again


def list_segments(directory: Path) -> list[tuple[int, Path]]:
    """(first sequence number, path) of the segments, in order."""
    found = []
    for entry in os.scandir(directory):
        name = entry.name
        if name.startswith("wal-") and name.endswith(".log") and name[4:-4].isdigit():
            found.append((int(name[4:-4]), Path(entry.path)))
    return sorted(found)


def _segment_path(directory: Path, first: int) -> Path:
    return directory / f"wal-{first:012d}.log"


class WalWriter:
    """Appends frames. Not thread-safe: the caller holds its lock around `append`."""

    __slots__ = ("_at", "_directory", "_dirty", "_fd", "_path", "_segment_bytes", "next_seq", "total_bytes")

    def __init__(self, directory: Path, *, next_seq: int = 0, segment_bytes: int = 64 << 20) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self.next_seq = next_seq
        self.total_bytes = 0  # appended by this object
        self._dirty = False
        self._fd = -1
        self._open_segment()

    def append(self, payload: bytes) -> int:
        """Write one frame and return its sequence number; afterwards the kernel has it.

        Raises:
            OSError: disk full, quota, I/O error. Nothing of the frame stays in the log; later calls may succeed.
                A full disk also ends the segment: once the store has it, it goes, and there is room again.
        """
        if self._dirty:  # an exception (KeyboardInterrupt, say) cut the last call short: the file knows how far it came
            self._resync()
        seq = self.next_seq
        frame = _HEADER.pack(MAGIC, len(payload), zlib.crc32(payload, seq & _SEQ_MASK), seq) + payload
        self._dirty = True
        try:
            written = os.write(self._fd, frame)
            if written != len(frame):
                text = f"short write: {written} of {len(frame)} bytes"
                raise OSError(errno.ENOSPC, text, os.fspath(self._directory))
        except OSError as exc:
            self._undo()
            if exc.errno in _FULL and self._at:
                self._rotate()
            raise
        self._at += written
        self.total_bytes += written
        self.next_seq = seq + 1
        self._dirty = False
        if self._at >= self._segment_bytes:
            self._rotate()
        return seq

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def forget(self) -> None:
        """In a forked child: close the inherited descriptor, touch nothing."""
        with contextlib.suppress(OSError):
            self.close()

    def _open_segment(self) -> None:
        path = _segment_path(self._directory, self.next_seq)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._fd, self._path, self._at = fd, path, os.fstat(fd).st_size

    def _rotate(self) -> None:
        old = self._fd
        with contextlib.suppress(OSError):  # no room for a new segment: go on in the old one, try again later
            self._open_segment()
            os.close(old)

    def _undo(self) -> None:
        """Cut a torn frame off again. If that fails as well, readers skip it by its checksum."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._at)
        with contextlib.suppress(OSError):
            self._at = os.fstat(self._fd).st_size
        self._dirty = False

    def _resync(self) -> None:
        size = os.fstat(self._fd).st_size
        if size > self._at:
            with open(self._path, "rb") as file:
                file.seek(self._at)
                tail = file.read(size - self._at)
            found = _frame_at(tail, 0)
            if found is not None and found[0] == self.next_seq and found[2] == len(tail):
                self._at = size
                self.next_seq += 1
            else:
                os.ftruncate(self._fd, self._at)
        self._dirty = False


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One frame as it lies in the log; `raw` has the header too (the hash chain runs over it)."""

    seq: int
    payload: memoryview
    raw: memoryview


@dataclass(frozen=True, slots=True)
class FrameBlock:
    """`count` frames of one length, numbered from `seq` on; `raw` has them and their headers one after another."""

    seq: int
    count: int
    raw: memoryview

    def frame(self, at: int) -> RawFrame:
        size = len(self.raw) // self.count
        raw = self.raw[at * size : (at + 1) * size]
        return RawFrame(self.seq + at, raw[HEADER_BYTES:], raw)


@dataclass(frozen=True, slots=True)
class Damage:
    """Frames first..last could not be read; `where` says file and offset."""

    first: int
    last: int
    where: str


class WalReader:
    """Reads forward from a sequence number. Follows rotation; never waits."""

    def __init__(self, directory: Path, *, next_seq: int = 0) -> None:
        self._directory = directory
        self.next_seq = next_seq
        self._path: Path | None = None
        self._offset = 0

    def read(self, *, bytes_max: int, writer_gone: bool = False) -> Iterator[RawFrame | Damage]:
        """Frames that are whole now, in order, without gaps; at most about `bytes_max` bytes of them.

        A tail that is no whole frame yet is left for the next call; with `writer_gone` it was never
        acknowledged and is dropped. Frames numbered below `next_seq` are skipped (shipped before).
        """
        return (item for item in self._read(bytes_max, writer_gone, None) if not isinstance(item, FrameBlock))

    def read_blocks(
        self, alike: Callable[[memoryview, int], int], *, bytes_max: int, writer_gone: bool = False
    ) -> Iterator[RawFrame | FrameBlock | Damage]:
        """As `read`, with neighbouring frames as one block where `alike` (see alike.py) says that there are some."""
        return self._read(bytes_max, writer_gone, alike)

    def _read(
        self, bytes_max: int, writer_gone: bool, alike: Callable[[memoryview, int], int] | None
    ) -> Iterator[RawFrame | FrameBlock | Damage]:
        taken, want, look_at = 0, _READ_BYTES, 0
        while taken < bytes_max:
            chunk = self._chunk(want)
            if chunk is None:
                return
            view, used = memoryview(chunk), 0
            while taken < bytes_max and (found := _frame_at(view, used)) is not None:
                seq, payload, end = found
                raw = view[used:end]
                if alike is not None and seq == self.next_seq and seq >= look_at:
                    count = alike(view[: used + bytes_max - taken], used)
                    if count:
                        raw = view[used : used + count * len(raw)]
                        used += len(raw)
                        taken += len(raw)
                        self._offset += len(raw)
                        self.next_seq = seq + count
                        yield FrameBlock(seq, count, raw)
                        continue
                    look_at = seq + _UNLIKE_FRAMES
                used = end
                self._offset += len(raw)
                if seq < self.next_seq:
                    continue
                taken += len(raw)
                if seq > self.next_seq:
                    yield Damage(self.next_seq, seq - 1, f"{self._name()} before byte {self._offset - len(raw)}")
                self.next_seq = seq + 1
                yield RawFrame(seq, payload, raw)
            if taken >= bytes_max:
                return
            full = len(chunk) == want
            want = _READ_BYTES
            if full and used:
                continue  # the next frame may lie across the end of the chunk
            if full and (whole := _frame_bytes(view)) > len(chunk):
                want = whole
                continue
            if not self._move_on(len(chunk) - used, writer_gone):
                return

    def _name(self) -> str:
        return self._path.name if self._path is not None else "?"

    def _chunk(self, size: int) -> bytes | None:
        """What follows, None where no segment is left. An end that was shipped and removed meanwhile is no end."""
        while True:
            if self._path is None:
                segments = list_segments(self._directory)
                if not segments:
                    return None
                below = [path for first, path in segments if first <= self.next_seq]
                self._path, self._offset = (below[-1] if below else segments[0][1]), 0
            try:
                with open(self._path, "rb") as file:
                    file.seek(self._offset)
                    return file.read(size)
            except FileNotFoundError:
                self._path = None

    def _move_on(self, rest: int, writer_gone: bool) -> bool:
        """What bytes that are no frame mean: damage, the end of a segment, or the end. True: read on."""
        assert self._path is not None
        if rest >= HEADER_BYTES:
            jump = _next_frame_offset(self._path, self._offset)
            if jump is not None:
                self._offset = jump
                return True
        later = [path for _, path in list_segments(self._directory) if path.name > self._path.name]
        size = self._path.stat().st_size  # after the listing: what was appended before the rotation shows now
        if size > self._offset + rest:
            return True
        if later:
            self._path, self._offset = later[0], 0
            return True
        if writer_gone:
            self._offset = size
        return False


def _frame_bytes(view: memoryview) -> int:
    """How long the frame at the start says that it is; 0 where no header stands."""
    if len(view) < HEADER_BYTES:
        return 0
    magic, length, _, _ = _HEADER.unpack_from(view, 0)
    return HEADER_BYTES + length if magic == MAGIC and length <= _FRAME_BYTES_MAX else 0


def _frame_at(view: memoryview | bytes, at: int) -> tuple[int, memoryview, int] | None:
    """(seq, payload, end) of a whole, undamaged frame that begins at `at`, or None."""
    if len(view) - at < HEADER_BYTES:
        return None
    magic, length, crc, seq = _HEADER.unpack_from(view, at)
    end = at + HEADER_BYTES + length
    if magic != MAGIC or length > _FRAME_BYTES_MAX or end > len(view):
        return None
    payload = memoryview(view)[at + HEADER_BYTES : end]
    if zlib.crc32(payload, seq & _SEQ_MASK) != crc:
        return None
    return seq, payload, end


def _next_frame_offset(path: Path, offset: int) -> int | None:
    """Offset of the first whole frame at or behind `offset`: resynchronise on the magic, checked by length and crc."""
    with open(path, "rb") as file:
        file.seek(offset)
        rest = file.read()
    at = 0
    while True:
        at = rest.find(MAGIC, at)
        if at < 0:
            return None
        if _frame_at(rest, at) is not None:
            return offset + at
        at += 1
