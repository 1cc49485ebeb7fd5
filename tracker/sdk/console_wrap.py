"""Hears what goes through `sys.stdout` and `sys.stderr`, without standing in its way."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any, Final

__all__ = ["STREAMS", "StreamTap", "tap_streams"]

STREAMS: Final = ("stdout", "stderr")
_DEPTH_MAX: Final = 5

Heard = Callable[[tuple[str, str]], None]  # (name of the stream, text); any thread, signal handlers too


class StreamTap:
    """The `write` of one stream object, followed by a word to us.

    The object stays the same, so that whoever holds it (logging handlers, progress bars) is heard too, and its
    encoding, descriptor and `isatty` are its own. What `write` returns or raises is the stream's own as well.
    """

    def __init__(self, name: str, stream: Any, heard: Heard) -> None:
        self.name, self._stream = name, stream
        self._heard: Heard | None = heard
        original = stream.write

        def write(text: Any, *others: Any) -> Any:
            answer = original(text, *others)
            heard = self._heard
            if heard is not None and type(text) is str:
                heard((name, text))
            return answer

        self._write = write
        stream.write = write  # AttributeError, TypeError: a stream without room for it

    def is_heard(self) -> bool:
        """Whether text of the stream still comes by: somebody may have put another `write` in place of ours."""
        stream = getattr(sys, self.name)
        return stream is not self._stream or _reaches(getattr(stream, "write", None), self._write, _DEPTH_MAX)

    def remove(self) -> None:
        """The stream is as it was. Where somebody else has wrapped our `write` since, it only passes text on."""
        self._heard = None
        with contextlib.suppress(Exception):  # whatever a foreign stream makes of it: we are silent by now
            if vars(self._stream).get("write") is self._write:
                del self._stream.write


def _reaches(call: Any, ours: Any, depth: int) -> bool:
    """Whether `call` is ours or, as wrappers are written, a closure over it."""
    if call is ours:
        return True
    for cell in getattr(call, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # an empty one
            if depth and callable(cell.cell_contents) and _reaches(cell.cell_contents, ours, depth - 1):
                return True
    return False


def tap_streams(heard: Heard, names: tuple[str, ...] = STREAMS) -> list[StreamTap]:
    """Taps on those of `sys.stdout` and `sys.stderr` that exist and can be listened to."""
    taps = []
    for name in names:
        stream = getattr(sys, name)
        if stream is None or not callable(getattr(stream, "write", None)):
            continue  # a program without a terminal
        with contextlib.suppress(AttributeError, TypeError):
            taps.append(StreamTap(name, stream, heard))
    return taps
