"""Terminal output as the lines it comes to: carriage returns, backspaces and cursor moves are carried out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Protocol

__all__ = ["LINE_CHARS_MAX", "LineFold", "Lines", "RawLines", "printable"]

LINE_CHARS_MAX: Final = 64 * 1024  # a longer line is cut into several
REACH_MAX: Final = 64  # lines above the last one that a cursor can come back to
SETTLE_S: Final = 60.0  # without a move upwards nothing is held back any more

_REST_MAX: Final = 4096  # of an escape sequence that has not ended yet
_BLANKS_MAX: Final = 1000  # columns that a cursor can move beyond the end of a line
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f]")  # anything but tab and newline
_TOKEN: Final = re.compile(
    "\x1b\\[([0-9:;<=>?]*)[ -/]*([@-~])"  # CSI: parameters, final letter
    "|\x1b[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)"  # OSC and its like: titles, links
    "|\x1b[ -/]+[0-~]|\x1b[0-Z\\\\`-~]"  # other escapes
    "|\n|\r|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]"
)
_BEGUN: Final = re.compile("\x1b(?:\\[[0-?]*[ -/]*|[\\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)?\\Z")


class Lines(Protocol):
    """Text in as it was printed, lines out."""

    def feed(self, text: str) -> None:
        """More text of the stream."""

    def take(self, now_s: float) -> list[str]:
        """Whole lines that will not change any more, each given once. `now_s`: a clock that does not go back."""

    def open_text(self) -> str:
        """What is not given yet: lines that may still change, and the line that has not ended."""

    def end(self) -> list[str]:
        """All that is left."""


class LineFold:
    """Lines as a terminal of endless width would show them, without colours.

    A progress bar is one line with its last content. Displays of several lines, which move the cursor upwards, are
    held back as far as they reach, until they have been left alone for `SETTLE_S`.
    """

    def __init__(self) -> None:
        self._lines = [""]  # not given yet; the last one has not ended
        self._y = 0  # the cursor's line
        self._x = 0  # and column
        self._rest = ""
        self._reach = 0  # how far up the cursor went
        self._moved = False  # since the last take
        self._moved_s = 0.0

    def feed(self, text: str) -> None:
        if self._rest:
            text, self._rest = self._rest + text, ""
        if _CONTROL.search(text) is None:
            self._put_plain(text)
        else:
            self._put_with_controls(text)

    def take(self, now_s: float) -> list[str]:
        if self._moved:
            self._moved, self._moved_s = False, now_s
        elif self._reach and now_s - self._moved_s > SETTLE_S:
            self._reach = 0
        ready = min(len(self._lines) - 1 - self._reach, self._y)
        if ready <= 0:
            return []
        given = self._lines[:ready]
        del self._lines[:ready]
        self._y -= ready
        return _cut(given)

    def open_text(self) -> str:
        return "\n".join(self._lines)

    def end(self) -> list[str]:
        given = self._lines if self._lines[-1] else self._lines[:-1]
        self._lines, self._y, self._x, self._rest = [""], 0, 0, ""
        return _cut(given)

    def _put_plain(self, text: str) -> None:
        """Text with newlines and no other control character."""
        lines = self._lines
        if self._y != len(lines) - 1 or self._x != len(lines[-1]):
            for n, part in enumerate(text.split("\n")):
                if n:
                    self._newline()
                self._write(part)
            return
        first, *others = text.split("\n")
        lines[-1] += first
        lines += others
        self._y = len(lines) - 1
        self._x = len(lines[-1])
        self._bound()

    def _put_with_controls(self, text: str) -> None:
        at = 0
        for token in _TOKEN.finditer(text):
            start = token.start()
            if start > at:
                self._write(text[at:start].replace("\x1b", ""))
            at = token.end()
            match token[0]:
                case "\n":
                    self._newline()
                case "\r":
                    self._x = 0
                case "\b":
                    self._x = max(self._x - 1, 0)
                case _ if token[2]:
                    self._move(token[1], token[2])
                case _:
                    continue  # bells, titles, character sets
        tail = text[at:]
        begun = _BEGUN.search(tail)
        if begun is not None and len(begun[0]) <= _REST_MAX:
            self._rest = begun[0]
            tail = tail[: begun.start()]
        self._write(tail.replace("\x1b", ""))
        self._bound()

    def _write(self, text: str) -> None:
        if not text:
            return
        line, x = self._lines[self._y], self._x
        if x > len(line):
            line += " " * (x - len(line))
        self._x = x + len(text)
        self._lines[self._y] = line[:x] + text + line[self._x :]

    def _newline(self) -> None:
        self._y += 1
        self._x = 0
        if self._y == len(self._lines):
            self._lines.append("")

    def _move(self, parameters: str, final: str) -> None:
        """A CSI sequence that changes the screen or the cursor; colours and all others change nothing."""
        numbers = [int(part) if part.isdigit() else 0 for part in parameters.split(";")]
        count = max(numbers[0], 1)
        match final:
            case "A" | "F":
                self._reach = min(max(self._reach, len(self._lines) - 1 - self._y + count), REACH_MAX)
                self._moved = True
                self._y = max(self._y - count, 0)
            case "B" | "E":
                self._y = min(self._y + count, len(self._lines) - 1)
            case "C":
                self._x += min(count, _BLANKS_MAX)
            case "D":
                self._x = max(self._x - count, 0)
            case "G":
                self._x = min(count - 1, len(self._lines[self._y]) + _BLANKS_MAX)
            case "K":
                self._erase(numbers[0])
            case "J" if numbers[0] == 0:
                self._erase(0)
                self._lines[self._y + 1 :] = [""] * (len(self._lines) - self._y - 1)
            case "J" | "H" | "f":  # a cleared screen: what was there stays what it was, and a new page begins
                self._y = len(self._lines) - 1
                if self._lines[-1]:
                    self._newline()
            case _:
                return
        if final in "EF":
            self._x = 0

    def _erase(self, what: int) -> None:
        line = self._lines[self._y]
        if what == 0:
            line = line[: self._x]
        elif what == 1:
            line = " " * min(self._x + 1, len(line)) + line[self._x + 1 :]
        else:
            line = ""
        self._lines[self._y] = line

    def _bound(self) -> None:
        """Neither a line without end nor a page without end is kept in memory."""
        if len(self._lines[-1]) > LINE_CHARS_MAX and self._y == len(self._lines) - 1:
            self._lines[-1:] = _cut(self._lines[-1:])
            self._y, self._x = len(self._lines) - 1, len(self._lines[-1])


class RawLines:
    """Lines as they were printed: nothing is carried out, control characters are kept."""

    def __init__(self) -> None:
        self._lines = [""]

    def feed(self, text: str) -> None:
        first, *others = text.split("\n")
        self._lines[-1] += first
        self._lines += others
        if len(self._lines[-1]) > LINE_CHARS_MAX:
            self._lines[-1:] = _cut(self._lines[-1:])

    def take(self, now_s: float) -> list[str]:
        _ = now_s
        given = self._lines[:-1]
        del self._lines[:-1]
        return _cut(given)

    def open_text(self) -> str:
        return self._lines[-1]

    def end(self) -> list[str]:
        given = self._lines if self._lines[-1] else self._lines[:-1]
        self._lines = [""]
        return _cut(given)


def printable(text: str) -> str:
    """The text as UTF-8 can hold it: lone surrogates (bytes that were no text) are written out as escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _cut(lines: Iterable[str]) -> list[str]:
    """The same lines, none longer than `LINE_CHARS_MAX`."""
    found = list(lines)
    if not found or len(max(found, key=len)) <= LINE_CHARS_MAX:
        return found
    return [
        line[at : at + LINE_CHARS_MAX] for line in found for at in range(0, max(len(line), 1), LINE_CHARS_MAX)
    ]
