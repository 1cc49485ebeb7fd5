"""`%tracker` shows a run or a project in a notebook, `%%tracker` runs a cell below its run (NB-1)."""

from __future__ import annotations

import argparse
import importlib
import shlex
from typing import Any, Final, NoReturn

from tracker.errors import UsageError
from tracker.sdk import session, term

__all__ = ["NAMES", "load_ipython_extension", "load_magics", "show_path"]

NAMES: Final = ("tracker", "wandb")  # the second for cells that were written for the reference

_HEIGHT: Final = 420


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. Write: %tracker [PATH] [-h HEIGHT] [-w] [-q]")


def load_magics(shell: Any) -> None:
    """The shell knows the magics; of names that somebody else has taken it keeps theirs."""
    known = shell.magics_manager.magics
    for name in NAMES:
        if name not in known.get("line", {}):
            shell.register_magic_function(_line, "line", name)
        if name not in known.get("cell", {}):
            shell.register_magic_function(_cell, "cell", name)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext tracker`: the magics before the first run, which brings them by itself."""
    load_magics(shell)


def _line(line: str) -> None:
    """%tracker [PATH] [-h HEIGHT] [-w] [-q]: show the run (or project) PATH; without it, the current run."""
    asked = _parse(line)
    if asked is not None and not _show(asked):
        term.info("no run is active: call tracker.init(), or name one: %tracker entity/project/run")


def _cell(line: str, cell: str) -> None:
    """%%tracker [PATH] [-h HEIGHT] [-w] [-q]: run the cell, with the run above what it prints."""
    from tracker.sdk.notebook import shell_here

    asked = _parse(line)
    if asked is None:
        return
    display = importlib.import_module("IPython.display")
    before = session.current.run
    page = _html(asked) or ""
    handle = None if asked.quiet else display.display(display.HTML(page), display_id=True)
    shell = shell_here()
    shell.run_cell(cell)
    run = session.current.run or before
    if handle is not None and run is not None and asked.path is None and not asked.workspace:
        handle.update(display.HTML(run.to_html(asked.height)))


def _parse(line: str) -> argparse.Namespace | None:
    parser = _Parser(prog="tracker", add_help=False)
    parser.add_argument("path", nargs="?")
    parser.add_argument("-h", "--height", type=int, default=_HEIGHT)
    parser.add_argument("-w", "--workspace", action="store_true")
    parser.add_argument("-q", "--quiet", action="store_true")
    try:
        return parser.parse_args(shlex.split(line))
    except (UsageError, ValueError) as exc:
        term.error(str(exc))
        return None


def _show(asked: argparse.Namespace) -> bool:
    from tracker.sdk.notebook import show_html

    page = _html(asked)
    return page is not None and (asked.quiet or show_html(page))


def _html(asked: argparse.Namespace) -> str | None:
    """What was asked for, as HTML; None where nothing was named and no run is active. Errors are said in it."""
    run = session.current.run
    if asked.path is None and run is None:
        return None
    if asked.path is None and not asked.workspace:
        assert run is not None
        return run.to_html(asked.height)
    path = asked.path or f"{run.entity}/{run.project}" if run is not None else asked.path
    if asked.workspace:
        path = "/".join(path.split("/")[:2])
    try:
        return show_path(path, asked.height)
    except Exception as exc:  # a mistyped path should not look like a broken notebook
        term.error(f"{path} cannot be shown: {exc}")
        return ""


def show_path(path: str, height: int) -> str:
    """HTML of the run `entity/project/run`, or of the newest runs of `entity/project` or `project`.

    Raises:
        CommError: there is no such run or project.
    """
    from tracker.apis.public import Api

    if path.strip("/").count("/") == 2:
        return Api().run(path).to_html(height)
    return Api().runs(path, order="-created_at").to_html(height)
