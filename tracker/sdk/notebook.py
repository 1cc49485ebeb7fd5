"""Whether this process is a notebook's kernel; nothing is imported to find out."""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["in_notebook", "shell_here", "show_html"]


def shell_here() -> Any:
    """IPython's shell in a kernel; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell if getattr(shell, "kernel", None) is not None else None


def in_notebook() -> bool:
    """True in a Jupyter kernel, False in scripts and in IPython's terminal."""
    return shell_here() is not None


def show_html(text: str) -> bool:
    """Put HTML below the current cell; False where nothing can show it."""
    try:
        display = importlib.import_module("IPython.display")
    except ImportError:
        return False
    display.display(display.HTML(text))
    return True
