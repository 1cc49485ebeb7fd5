"""`console="redirect"`: hears descriptors 1 and 2, so what libraries in C and child processes print is kept too.

A program of its own (console_tee.py) stands between them and the terminal. A thread of ours could not: it waits
while somebody holds the interpreter, and it ends with the process.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import termios
import tty
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from tracker.sdk import term
from tracker.sdk.console_tee import HEAD
from tracker.sdk.console_wrap import STREAMS

__all__ = ["Redirect", "redirect"]

_COPY_BYTES_MAX: Final = 256 << 20  # on the local disk, until the run has taken it over
_ANSWER_S: Final = 5.0
_TAKE_BYTES: Final = 8 << 20  # at one look
_PROGRAM: Final = Path(__file__).with_name("console_tee.py")


@dataclass
class _Channel:
    """What some of the descriptors 1 and 2 lead to instead."""

    descriptors: tuple[int, ...]
    saved: int  # where they led before
    spare: int  # our hold on the reading end: nobody who prints fails when the program is killed
    end: int  # the writing end, until it stands in place of the descriptors
    is_terminal: bool
    identity: tuple[int, ...]


def redirect(folder: Path) -> Redirect | None:
    """Standard output and errors go through console_tee.py, which keeps its copies in `folder`.

    None where that cannot be: said once, and nothing was changed.
    """
    channels: list[_Channel] = []
    try:
        folder.mkdir(parents=True)
        for descriptors, saved in _targets():
            channels.append(_channel(descriptors, saved))
        if not channels:
            return None
        return Redirect(folder, channels, _start_program(folder, channels))
    except (OSError, subprocess.SubprocessError, TimeoutError, termios.error) as exc:
        for channel in channels:
            for descriptor in (channel.saved, channel.spare, channel.end):
                os.close(descriptor)
        term.warn(f"console='redirect' is not possible here ({exc}); what Python prints is kept, as with 'wrap'")
        return None


class Redirect:
    """A ConsoleSource. Where stdout and stderr lead to one place their order is kept, and all counts as stdout."""

    def __init__(self, folder: Path, channels: list[_Channel], control: socket.socket) -> None:
        self._folder, self._channels, self._control = folder, channels, control
        self._open = True
        self._parts = _Parts(folder)
        heard = set()
        for channel in channels:
            _flush()
            for descriptor in channel.descriptors:
                os.dup2(channel.end, descriptor)
                heard.add(descriptor)
            os.close(channel.end)
        self.unheard = tuple(
            name for number, name in enumerate(STREAMS, 1) if number not in heard or not _leads_to(name, number)
        )

    def read(self) -> list[tuple[str, str]]:
        """(stream, text) since the last call. Also looks after the program and the size of the terminal."""
        if self._open:
            for channel in self._channels:
                if channel.is_terminal:
                    _same_size(channel.saved, channel.spare)
            self._hear()
        return self._parts.read()

    def stop(self) -> list[tuple[str, str]]:
        """The descriptors lead where they led before; all that was printed until now is on the terminal."""
        if not self._open:
            return self._parts.read()
        _flush()
        self._give_back()
        with contextlib.suppress(OSError):
            self._control.sendall(b"q")
            self._control.settimeout(_ANSWER_S)
            while self._control.recv(1) == b"x":
                continue
        self._close()
        found = self._parts.read(whole=True)
        self._parts.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return found

    def after_fork(self) -> None:
        """In a child: it goes on printing through the program; the rest is the parent's."""
        self._close()

    def _hear(self) -> None:
        try:
            said = self._control.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if said == b"x":  # `python train.py | head`: who prints fails, as it would without us
            for channel in self._channels:
                os.close(channel.spare)
                channel.spare = -1
                channel.is_terminal = False
        elif not said:
            self._rescue()

    def _rescue(self) -> None:
        """The program was killed: what it left in the middle is shown, and printing goes on without it."""
        self._give_back()
        for channel in self._channels:
            os.set_blocking(channel.spare, False)
            with contextlib.suppress(OSError):
                while data := os.read(channel.spare, 1 << 16):
                    os.write(channel.saved, data)
        self._close()
        term.warn("the program that keeps the console output was killed; nothing is kept from here on")

    def _give_back(self) -> None:
        for channel in self._channels:
            for descriptor in channel.descriptors:
                with contextlib.suppress(OSError):
                    if _identity(descriptor) == channel.identity:  # else somebody else has replaced it since
                        os.dup2(channel.saved, descriptor)

    def _close(self) -> None:
        self._open = False
        self._control.close()
        for channel in self._channels:
            for descriptor in (channel.saved, channel.spare):
                if descriptor >= 0:
                    os.close(descriptor)


@dataclass
class _Parts:
    """The files of console_tee.py, in order; each is removed when it was read."""

    folder: Path
    file: IO[bytes] | None = None
    name: str = ""
    rest: bytes = b""
    decoders: dict[int, codecs.IncrementalDecoder] = field(default_factory=dict)

    def read(self, whole: bool = False) -> list[tuple[str, str]]:
        """What came since the last call: some of it where it is a great deal, unless `whole`."""
        found: list[tuple[str, str]] = []
        left = 1 << 62 if whole else _TAKE_BYTES
        with contextlib.suppress(OSError):
            names = sorted(name for name in os.listdir(self.folder) if name >= self.name)
            while left > 0 and (data := self._next(names, left)):
                left -= len(data)
                found += self._records(self.rest + data)
        return found

    def close(self) -> None:
        """Nothing more is read."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def _next(self, names: list[str], count: int) -> bytes:
        while True:
            if self.file is not None:
                if data := self.file.read(min(count, _TAKE_BYTES)):
                    return data
                if names and names[-1] == self.name:  # it may still grow
                    return b""
                self.file.close()
                self.file = None
                (self.folder / self.name).unlink(missing_ok=True)
            newer = [name for name in names if name > self.name]
            if not newer:
                return b""
            self.name, self.rest = newer[0], b""
            self.file = (self.folder / self.name).open("rb")

    def _records(self, data: bytes) -> list[tuple[str, str]]:
        found, at = [], 0
        while at + HEAD.size <= len(data):
            number, size = HEAD.unpack_from(data, at)
            end = at + HEAD.size + size
            if end > len(data):
                break
            decoder = self.decoders.setdefault(number, codecs.getincrementaldecoder("utf-8")("replace"))
            found.append((STREAMS[number - 1], decoder.decode(data[at + HEAD.size : end])))
            at = end
        self.rest = data[at:]
        return found


def _targets() -> list[tuple[tuple[int, ...], int]]:
    """Which of the descriptors 1 and 2 are open, those that lead to one place together, and a copy of each."""
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            place = _identity(descriptor)
            found[place] = (*found.get(place, ()), descriptor)
    return [(descriptors, os.dup(descriptors[0])) for descriptors in found.values()]


def _channel(descriptors: tuple[int, ...], saved: int) -> _Channel:
    if os.isatty(saved):
        spare, end = os.openpty()
        tty.setraw(end)  # the terminal behind it does what a terminal does
        _same_size(saved, spare)
    else:
        spare, end = os.pipe()
    return _Channel(descriptors, saved, spare, end, os.isatty(saved), _identity(end))


def _start_program(folder: Path, channels: list[_Channel]) -> socket.socket:
    """Our end of its control. Raises OSError, TimeoutError or SubprocessError when it does not answer."""
    ours, theirs = socket.socketpair()
    numbers = [number for channel in channels for number in (channel.spare, channel.saved, channel.descriptors[0])]
    words = [sys.executable, "-I", "-S", str(_PROGRAM), str(folder), str(theirs.fileno()), str(_COPY_BYTES_MAX)]
    try:
        # by way of a shell that ends at once, so that it is no child of ours: somebody may wait for all children
        shell = subprocess.Popen(
            ["/bin/sh", "-c", '"$0" "$@" &', *words, *map(str, numbers)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), *{number for c in channels for number in (c.spare, c.saved)}],
            start_new_session=True,
        )
        shell.wait(_ANSWER_S)
        theirs.close()
        ours.settimeout(_ANSWER_S)
        ours.sendall(b"f")
        if ours.recv(1) != b"f":
            raise OSError(f"{sys.executable} did not start")
        ours.settimeout(None)
    except BaseException:
        ours.close()
        theirs.close()
        raise
    return ours


def _same_size(source: int, target: int) -> None:
    """The terminal `target` has as many rows and columns as `source`."""
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        if size != fcntl.ioctl(target, termios.TIOCGWINSZ, bytes(8)):
            fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def _identity(descriptor: int) -> tuple[int, ...]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_rdev


def _leads_to(name: str, descriptor: int) -> bool:
    """Whether Python's stream of that name writes to the descriptor."""
    try:
        return int(getattr(sys, name).fileno()) == descriptor
    except (OSError, ValueError, AttributeError):  # a stream without a descriptor
        return False


def _flush() -> None:
    """What Python and C still hold back is written."""
    for name in STREAMS:
        with contextlib.suppress(Exception):
            getattr(sys, name).flush()
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).fflush(None)
