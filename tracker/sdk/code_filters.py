"""Which files `log_code` keeps unless it is told otherwise. Nothing heavy: they are its default arguments."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["WORKING", "is_code", "is_generated"]

WORKING: Final = frozenset({"tracker-runs", "wandb", ".wandb"})  # working directories of ours and of W&B


def is_code(path: str) -> bool:
    """The default of `log_code`: Python files, requirements files and Dockerfiles."""
    name = os.path.basename(path)
    is_requirements = name.startswith("requirements") and name.endswith(".txt")
    return name.endswith(".py") or is_requirements or name.startswith("Dockerfile")


def is_generated(path: str, root: str) -> bool:
    """Whether the file lies in a working directory of ours or of W&B below `root`."""
    return not WORKING.isdisjoint(os.path.relpath(path, root).split(os.sep)[:-1])
