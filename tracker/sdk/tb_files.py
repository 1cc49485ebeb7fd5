"""Reads the event files of one directory as they grow, with TensorBoard's own reader."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

__all__ = ["EventFiles", "Pauses", "event_directories", "is_own_event_file"]

_MARK: Final = ".tfevents."


class EventFiles:
    """New events of the files in `directory` that `wanted` accepts by name, each event once, in the order of names."""

    def __init__(self, directory: str, wanted: Callable[[str], bool] = lambda _: True) -> None:
        self.directory = directory
        self.paths: list[str] = []  # of the files that were read
        self._wanted = wanted
        self._loaders: dict[str, Any] = {}

    def new_events(self) -> Iterator[Any]:
        """Events whose records are complete by now. A file that can not be read raises OSError."""
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # type: ignore[import-untyped]

        for name in sorted(_names_in(self.directory)):
            path = f"{self.directory}/{name}"
            if _MARK in name and path not in self._loaders and self._wanted(name):
                self._loaders[path] = EventFileLoader(path)
                self.paths.append(path)
        for path in self.paths:
            yield from self._loaders[path].Load()


def is_own_event_file(name: str, host: str, since_s: float) -> bool:
    """Whether a file of this name was begun on `host` after `since_s`: `...tfevents.<seconds>.<host>...`."""
    seconds, _, rest = name.partition(_MARK)[2].partition(".")
    return seconds.isdigit() and int(seconds) >= int(since_s) and (rest == host or rest.startswith(f"{host}."))


def event_directories(root: str) -> list[str]:
    """`root` and the directories below it that hold event files, in order."""
    return sorted(place for place, _, files in os.walk(root) if any(_MARK in name for name in files))


def _names_in(directory: str) -> list[str]:
    if "://" not in directory:
        try:
            return os.listdir(directory)
        except FileNotFoundError:  # removed, or not made yet
            return []
    from tensorboard.backend.event_processing import io_wrapper  # type: ignore[import-untyped]

    return [path.rpartition("/")[2] for path in io_wrapper.ListDirectoryAbsolute(directory)]


class Pauses:
    """Lets the training have the interpreter: a short pause after each slice of work."""

    def __init__(self, slice_s: float = 200e-6, pause_s: float = 1e-3) -> None:
        self._slice_s, self._pause_s = slice_s, pause_s
        self._since = time.perf_counter()

    def take(self) -> None:
        """Pause when the slice is used up."""
        if time.perf_counter() - self._since >= self._slice_s:
            time.sleep(self._pause_s)
            self._since = time.perf_counter()
