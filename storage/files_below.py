"""The files below a directory, as names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["files_below"]


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
