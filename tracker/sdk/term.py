"""What the SDK says to the person at the terminal: on stderr, one line at a time, never on stdout."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

__all__ = [
    "can_rewrite",
    "configure",
    "emoji",
    "error",
    "has_unicode",
    "info",
    "notify",
    "paint",
    "plain",
    "rewrite",
    "shows",
    "warn",
]

_LEVELS = {"info": 0, "warn": 1, "error": 2}
_lowest = 0  # messages below this level are not shown
_colors: bool | None = None  # None: where stderr is a terminal
_emoji = False

_PAINT: Final = {"name": "1;33", "place": "4;34", "us": "1;34", "info": "1;34", "warn": "33", "error": "31", "dim": "2"}


def configure(
    *,
    silent: bool,
    quiet: bool,
    show_info: bool = True,
    show_warnings: bool = True,
    show_errors: bool = True,
    show_colors: bool | None = None,
    show_emoji: bool | None = None,
) -> None:
    """`silent` shows nothing, `quiet` only errors (CON-2); `show_info` and its like hide a level and those below.

    `show_colors` None: in a terminal that has them. `show_emoji`: only where it is asked for.
    """
    global _lowest, _colors, _emoji
    _colors, _emoji = show_colors, bool(show_emoji)
    if silent or not show_errors:
        _lowest = 3
    elif quiet or not show_warnings:
        _lowest = 2
    else:
        _lowest = 0 if show_info else 1


def info(text: str) -> None:
    notify("info", text)


def warn(text: str) -> None:
    notify("warn", text)


def error(text: str) -> None:
    notify("error", text)


def notify(level: str, text: str) -> None:
    """Show `text` with our name before each line. `level`: info, warn or error. Safe from any thread; never raises."""
    if _LEVELS.get(level, 2) < _lowest:
        return
    mark = {"warn": paint("warning:", "warn") + " ", "error": paint("error:", "error") + " "}.get(level, "")
    us = paint("tracker:", "us")
    _write("".join(f"{us} {mark if not n else ''}{line}".rstrip() + "\n" for n, line in enumerate(_lines(text))))


def plain(level: str, text: str) -> None:
    """As `notify`, without our name and the level's."""
    if _LEVELS.get(level, 2) >= _lowest:
        _write(f"{text}\n")


def shows(level: str) -> bool:
    """Whether a message of this level is shown."""
    return _LEVELS.get(level, 2) >= _lowest


def paint(text: str, role: str) -> str:
    """`text` in the colour of its role (name, place, dim, ...), where colours are shown."""
    return f"\x1b[{_PAINT[role]}m{text}\x1b[0m" if _has_colors() else text


def emoji(text: str) -> str:
    """`text` and a space behind it, or nothing where none are wanted or possible."""
    return f"{text} " if _emoji and has_unicode() else ""


def has_unicode() -> bool:
    """Whether stderr can show more than ASCII."""
    return str(getattr(sys.stderr, "encoding", None) or "").lower().replace("-", "").startswith("utf")


def can_rewrite() -> bool:
    """Whether stderr is a terminal on which a line can be written over."""
    return _is_terminal() and os.environ.get("TERM") != "dumb"


def rewrite(text: str) -> bool:
    """Show `text` in place of the current line, which has no end; empty: clear it. False: it is not to be shown."""
    if not shows("info") or not can_rewrite():
        return False
    _write(f"\r\x1b[K{paint('tracker:', 'us')} {text}" if text else "\r\x1b[K")
    return True


def _has_colors() -> bool:
    if _colors is not None:
        return _colors
    return can_rewrite() and "NO_COLOR" not in os.environ


def _is_terminal() -> bool:
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, ValueError):
        return False


def _lines(text: str) -> list[str]:
    return text.splitlines() or [""]


def _write(lines: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed, or None in a GUI
        sys.stderr.write(lines)
        sys.stderr.flush()
