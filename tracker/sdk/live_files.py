"""Which files of policy "live" are due: stat by stat, a bounded number at a time, and none too often."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

__all__ = ["STATS_MAX", "LiveFiles", "Stamp", "stamp_of"]

Stamp = tuple[int, int, int]  # mtime in nanoseconds, size, inode

STATS_MAX: Final = 500  # files looked at in one round
_EVERY_S: Final = 10.0  # at most so often is one file taken again, a large one less often:
_BYTES_PER_S: Final = 5_000_000  # a gigabyte every 200 seconds
_RESTLESS_S: Final = 30.0  # a file that never rests is taken after that long as it is


@dataclass(slots=True)
class _Live:
    source: Path
    sent: Stamp | None = None
    seen: Stamp | None = None
    changed_s: float = 0.0  # since when it differs from what was sent
    not_before_s: float = 0.0


@dataclass(slots=True)
class LiveFiles:
    """By name. Times are seconds of one monotonic clock."""

    _files: dict[str, _Live] = field(default_factory=dict)
    _at: int = 0

    def add(self, name: str, source: Path) -> None:
        """Watch `source` from now on."""
        self._files[name] = _Live(source)

    def forget(self, name: str) -> None:
        self._files.pop(name, None)

    def sources(self) -> dict[str, Path]:
        return {name: live.source for name, live in self._files.items()}

    def __bool__(self) -> bool:
        return bool(self._files)

    def sent(self, name: str, stamp: Stamp, now_s: float) -> None:
        """The run has the file as it was at `stamp`."""
        live = self._files.get(name)
        if live is not None:
            live.sent = stamp
            live.not_before_s = now_s + max(_EVERY_S, stamp[1] / _BYTES_PER_S)

    def due(self, now_s: float) -> list[tuple[str, Path]]:
        """Files that changed, rest since the last look (or never do) and were not taken lately.

        Looks at the next STATS_MAX files, so that all have their turn.
        """
        names = list(self._files)
        if self._at >= len(names):
            self._at = 0
        looked = list(islice(names, self._at, self._at + STATS_MAX))
        self._at += len(looked)
        return [(name, self._files[name].source) for name in looked if self._is_due(self._files[name], now_s)]

    def _is_due(self, live: _Live, now_s: float) -> bool:
        stamp = stamp_of(live.source)
        if stamp is None or stamp == live.sent:
            live.seen = stamp
            return False
        if live.seen in (None, live.sent):
            live.changed_s = now_s
        rests = stamp == live.seen
        live.seen = stamp
        return now_s >= live.not_before_s and (rests or now_s - live.changed_s >= _RESTLESS_S)


def stamp_of(path: Path) -> Stamp | None:
    """How the file looks from outside; None where there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
