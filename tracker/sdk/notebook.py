"""Whether this process is a notebook's kernel; nothing is imported to find out."""

from __future__ import annotations

import importlib
import sys

__all__ = ["in_notebook", "show_html"]


def in_notebook() -> bool:
    """True in a Jupyter kernel, False in scripts and in IPython's terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


def show_html(text: str) -> bool:
    """Put HTML below the current cell; False where nothing can show it."""
    try:
        display = importlib.import_module("IPython.display")
    except ImportError:
        return False
    display.display(display.HTML(text))
    return True
