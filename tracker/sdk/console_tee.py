"""Run as a program of its own: shows what comes through descriptors, at once, and keeps a copy for the run.

It belongs to nobody: neither Ctrl-C nor the end of the training stops it. It ends when the last process that can
print into its descriptors is gone, so nothing that was printed is ever lost on its way to the terminal. The copy
goes into files `<number>.part` below a directory: records of HEAD (stream, bytes), then the bytes.

    python console_tee.py DIR CONTROL WIDTH (IN OUT STREAM)...     numbers of descriptors; WIDTH: bytes of all parts

Commands on CONTROL, one byte each: `f` is answered by `f` when all that was printed before is shown and kept; `q` too,
and nothing is kept from then on, as when CONTROL closes. `x` comes unasked: where it was shown, nobody reads any more.
"""

from __future__ import annotations

import os
import select
import struct
import sys
from typing import IO, Final

__all__ = ["HEAD", "Copy", "drain", "main", "moved", "obey", "readable", "show"]

HEAD: Final = struct.Struct("<BI")  # number of the stream, bytes that follow
PART_BYTES: Final = 1 << 20
READ_BYTES: Final = 1 << 16
DRAIN_READS: Final = 64  # more than a pipe or a terminal holds

Sources = dict[int, tuple[int, int]]  # descriptor to read: descriptor to write, number of the stream


class Copy:
    """Parts of what was printed, for one reader that removes those it has read."""

    def __init__(self, folder: str, bytes_max: int) -> None:
        self.folder, self.parts_max = folder, max(bytes_max // PART_BYTES, 2)
        self.number, self.size, self.on = 0, 0, True
        self.file: IO[bytes] | None = None

    def add(self, stream: int, data: bytes) -> None:
        """Keep `data`, unless there is no room, or nobody wants it. Trouble ends the copy, never the showing."""
        if not self.on:
            return
        try:
            if self.file is None or self.size >= PART_BYTES:
                self.file = self.turned()
            self.file.write(HEAD.pack(stream, len(data)) + data)
            self.size += HEAD.size + len(data)
        except OSError:
            self.on = False

    def turned(self) -> IO[bytes]:
        if self.file is not None:
            self.file.close()
        while len(os.listdir(self.folder)) >= self.parts_max:  # nobody reads: the oldest goes
            os.unlink(os.path.join(self.folder, min(os.listdir(self.folder))))
        self.number, self.size = self.number + 1, 0
        return open(os.path.join(self.folder, f"{self.number:012d}.part"), "xb", buffering=0)


def show(out: int, data: bytes) -> bool:
    """All of `data`, however slow the terminal is. False: nobody reads there any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(out, view) :]
        except BlockingIOError:
            select.select([], [out], [])
        except BrokenPipeError:
            return False
        except OSError:  # a full disk, a terminal that is gone: what could not be shown is passed over
            return True
    return True


def drain(sources: Sources, found: list[int], copy: Copy) -> bool:
    """One read of each of `found`; those that have ended are closed. True: where one was shown, nobody reads."""
    broken = False
    for source in found:
        out, stream = sources[source]
        try:
            data = os.read(source, READ_BYTES)
        except OSError:  # a terminal whose last writer is gone
            data = b""
        shown = show(out, data)
        if data:
            copy.add(stream, data)
        if not data or not shown:
            del sources[source]
            os.close(source)
        broken = broken or not shown
    return broken


def readable(descriptors: list[int], wait_s: float | None) -> list[int]:
    return select.select(descriptors, [], [], wait_s)[0]


def main(argv: list[str]) -> None:
    """Until every source has ended."""
    copy = Copy(argv[0], int(argv[2]))
    control = moved(int(argv[1]))
    numbers = list(map(int, argv[3:]))
    sources = {moved(numbers[n]): (moved(numbers[n + 1]), numbers[n + 2]) for n in range(0, len(numbers), 3)}
    while sources:
        found = readable([*sources, control] if control >= 0 else list(sources), None)
        if drain(sources, [source for source in found if source in sources], copy) and control >= 0:
            show(control, b"x")  # whoever prints should hear of it
        if control in found:
            control = obey(control, sources, copy)


def obey(control: int, sources: Sources, copy: Copy) -> int:
    """Carry out one command. Returns `control`, or -1 when it was closed."""
    try:
        command = os.read(control, 1)
    except OSError:
        command = b""
    for _ in range(DRAIN_READS):
        drain(sources, readable(list(sources), 0), copy)
    copy.on = copy.on and command == b"f"
    if command:
        show(control, command)
        return control
    os.close(control)
    return -1


def moved(descriptor: int) -> int:
    """The same under a low number, as `select` wants it."""
    low = os.dup(descriptor)
    os.close(descriptor)
    return low


if __name__ == "__main__":
    main(sys.argv[1:])
