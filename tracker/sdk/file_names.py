"""Names of a run's files: relative POSIX paths, and which of them are not kept."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable

__all__ = ["file_name", "is_ignored"]


def file_name(name: str) -> str:
    """`name` as a relative POSIX path below the run's files.

    Raises:
        ValueError: it is empty, absolute, or leads out of them.
    """
    segments = [segment for segment in name.replace(os.sep, "/").split("/") if segment not in {"", "."}]
    if not segments or ".." in segments or name.startswith("/"):
        raise ValueError(f"{name!r} is no name of a run's file: it must be a relative path that stays below the run.")
    return "/".join(segments).encode("utf-8", "backslashreplace").decode()


def is_ignored(name: str, globs: Iterable[str]) -> bool:
    """Whether a file of that name is not kept (ENV-9). A `*` matches `/` too."""
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)
