"""`tracker.termlog` and its like: what other libraries say in our name, on stderr."""

from __future__ import annotations

from typing import Any

from tracker.sdk import term

__all__ = ["termerror", "termlog", "termsetup", "termwarn"]

_SAID_MAX = 10_000
_said: set[str] = set()


def termlog(string: str = "", newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Show `string`; with `repeat=False` only once a process. Without `prefix`, our name does not stand before it."""
    _show("info", string, newline, repeat, prefix)


def termwarn(string: str, newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """The same as a warning."""
    _show("warn", string, newline, repeat, prefix)


def termerror(string: str, newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """The same as an error."""
    _show("error", string, newline, repeat, prefix)


def termsetup(settings: Any, logger: Any = None) -> None:
    """Show from now on what `settings` (with `silent`, `quiet`, `show_info`, ...) let through. `logger` has no use."""
    _ = logger
    term.configure(
        silent=bool(settings.silent),
        quiet=bool(settings.quiet),
        show_info=bool(settings.show_info),
        show_warnings=bool(settings.show_warnings),
        show_errors=bool(settings.show_errors),
    )


def _show(level: str, text: str, newline: bool, repeat: bool, prefix: bool) -> None:
    _ = newline  # lines are always whole here: other threads write to stderr too
    if not repeat:
        if text in _said or len(_said) >= _SAID_MAX:
            return
        _said.add(text)
    if prefix:
        term.notify(level, text)
    else:
        term.plain(level, text)
