"""Names of a run's files: relative POSIX paths, and which of them are not kept."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["file_name", "files_below", "is_ignored"]


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


def files_below(directory: Path) -> Iterator[tuple[str, Path]]:
    """(name relative to `directory`, path) of every regular file, through links to directories but in no circle."""
    seen: set[tuple[int, int]] = set()
    waiting = [("", directory)]
    while waiting:
        prefix, folder = waiting.pop()
        try:
            stat = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        if (stat.st_dev, stat.st_ino) in seen:
            continue
        seen.add((stat.st_dev, stat.st_ino))
        for entry in entries:
            name = f"{prefix}{entry.name}"
            try:
                if entry.is_dir():
                    waiting.append((f"{name}/", Path(entry.path)))
                elif entry.is_file():
                    yield name.encode("utf-8", "backslashreplace").decode(), Path(entry.path)
            except OSError:
                continue
