"""What the SDK says to the person at the terminal: on stderr, one line at a time, never on stdout."""

from __future__ import annotations

import contextlib
import sys

__all__ = ["configure", "error", "info", "notify", "plain", "warn"]

_LEVELS = {"info": 0, "warn": 1, "error": 2}
_lowest = 0  # messages below this level are not shown


def configure(
    *, silent: bool, quiet: bool, show_info: bool = True, show_warnings: bool = True, show_errors: bool = True
) -> None:
    """`silent` shows nothing, `quiet` only errors (CON-2); the `show_` switches hide a level and those below."""
    global _lowest
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
    mark = {"warn": "warning: ", "error": "error: "}.get(level, "")
    lines = "".join(f"tracker: {mark if not n else ''}{line}\n" for n, line in enumerate(text.splitlines() or [""]))
    _write(lines)


def plain(level: str, text: str) -> None:
    """As `notify`, without our name and the level's."""
    if _LEVELS.get(level, 2) >= _lowest:
        _write(f"{text}\n")


def _write(lines: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed, or None in a GUI
        sys.stderr.write(lines)
        sys.stderr.flush()
