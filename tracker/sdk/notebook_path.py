"""Which notebook this kernel runs, as far as the kernel is told; no server is asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tracker.sdk.notebook import in_notebook

__all__ = ["notebook_path"]


def notebook_path(given: str | None, environ: Mapping[str, str]) -> Path | None:
    """The notebook's file: `given` (settings.notebook_name), else what VS Code or Jupyter's server (2 and later) say.

    None outside of notebooks, and where nobody says. `given` counts even where there is no such file here.
    """
    if not in_notebook():
        return None
    if given:
        return Path(given).expanduser().absolute()
    told = getattr(sys.modules.get("__main__"), "__vsc_ipynb_file__", None) or environ.get("JPY_SESSION_NAME")
    path = Path(told).absolute() if isinstance(told, str) and told else None
    return path if path is not None and path.suffix == ".ipynb" and path.is_file() else None
