"""What notebooks use, under the name that scripts know; `%load_ext tracker` loads the magics."""

from __future__ import annotations

from tracker.sdk.magics import load_ipython_extension, load_magics
from tracker.sdk.notebook import in_notebook, show_html

__all__ = ["in_notebook", "load_ipython_extension", "load_magics", "show_html"]
