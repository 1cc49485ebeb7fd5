"""What the command says beside the data: all of it on stderr, progress only where somebody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Progress", "coloured", "progress_bar", "say", "say_error", "warn", "working"]

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, how much there is


def say(text: str) -> None:
    """One line for people."""
    print(text, file=sys.stderr)


def warn(text: str) -> None:
    """One line about something that the answer lacks or that may surprise."""
    say(f"warning: {text}")


def coloured() -> bool:
    """Whether what goes to stdout may have colours: on a terminal that has them, unless NO_COLOR says otherwise."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say_error(error: BaseException) -> None:
    """What went wrong: its code and text; what is no error of ours is told as a bug."""
    from tracker.cli.exit_codes import root_error

    root = root_error(error)
    code = getattr(root, "code", None)
    if isinstance(code, str):
        say(f"error[{code}]: {root}")
    else:
        say(f"error[bug]: {type(root).__name__}: {root}\nThis is a bug in tracker. TRACKER_DEBUG=1 shows where.")


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A function to call with (what, done, total); it draws a bar per `what` on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


@contextmanager
def working(what: str) -> Iterator[None]:
    """A line with a moving sign while something runs that cannot say how far it is; on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def _silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""
