"""Whether this process is a notebook's kernel, and which notebook; nothing is imported to find out."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["in_notebook", "notebook_file", "shell_here", "show_html"]


def shell_here() -> Any:
    """IPython's shell in a kernel; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell if getattr(shell, "kernel", None) is not None else None


def in_notebook() -> bool:
    """True in a Jupyter kernel, False in scripts and in IPython's terminal."""
    return shell_here() is not None


def notebook_file(named: str | None = None) -> str | None:
    """The notebook of this kernel: `named` (a setting), or what its server or editor says; None: nobody knows."""
    shell = shell_here()
    if shell is None:
        return None
    said = named or os.environ.get("JPY_SESSION_NAME")
    with contextlib.suppress(AttributeError):
        said = said or shell.user_ns.get("__vsc_ipynb_file__")
    if not said:
        return None
    here = Path(str(said))
    return str(here) if here.is_file() or not Path(here.name).is_file() else here.name


def show_html(text: str) -> bool:
    """Put HTML below the current cell; False where nothing can show it."""
    try:
        display = importlib.import_module("IPython.display")
    except ImportError:
        return False
    display.display(display.HTML(text))
    return True
