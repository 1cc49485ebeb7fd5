"""The printed lines as a text file of the run: `output.log`, or parts below `logs/` (CON-1, CON-3, RES-8)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from tracker.sdk import term

if TYPE_CHECKING:
    from tracker.storage.file_facts import Policy

__all__ = ["PART_BYTES_MAX", "ConsoleFile"]

PART_BYTES_MAX: Final = 16 << 20

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]")


class ConsoleFile:
    """Grows in the run's own directory and becomes one of its files when it is full or the run ends.

    A session that goes on with a run (resumed, or beside other processes) has a part of its own, so nothing that is
    there is replaced. Trouble with the disk is said once; the lines are kept as points all the same.
    """

    def __init__(
        self,
        folder: Path,
        put: Callable[[Path, str, Policy], object],
        *,
        goes_on: bool = False,
        parts: bool = False,
        label: str | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._put, self._now_s = folder, put, now_s
        self._in_parts = parts or goes_on
        self._rolls = parts
        self._suffix = f"_{_UNSAFE.sub('_', label)}" if label else ""
        self._names: set[str] = set()
        self._name: str | None = None
        self._file: IO[str] | None = None
        self._size = 0
        self._failed = False

    def add(self, text: str) -> None:
        """Lines joined by newlines, without the last one."""
        if self._failed:
            return
        try:
            if self._file is None:
                self._begin()
            assert self._file is not None
            self._file.write(text + "\n")
            self._file.flush()
            self._size += len(text) + 1
            if self._rolls and self._size >= PART_BYTES_MAX:
                self.close()
        except OSError as exc:
            self._failed = True
            term.warn(f"{self._folder / str(self._name)} can not be written: {exc}; the lines are kept with the run")

    def close(self) -> None:
        """What was begun is one of the run's files."""
        file, self._file = self._file, None
        if file is not None and self._name is not None:
            file.close()
            self._put(self._folder / self._name, self._name, "now" if self._rolls else "end")

    def forget(self) -> None:
        """In a forked child: the file is the parent's."""
        self._file, self._failed = None, True

    def _begin(self) -> None:
        self._name, self._size = self._next_name(), 0
        path = self._folder / self._name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", newline="\n")

    def _next_name(self) -> str:
        if not self._in_parts:
            return "output.log"
        stem = f"logs/output_{time.strftime('%Y%m%d_%H%M%S', time.gmtime(self._now_s()))}{self._suffix}"
        name, n = f"{stem}.log", 1
        while name in self._names:
            n += 1
            name = f"{stem}_{n}.log"
        self._names.add(name)
        return name
