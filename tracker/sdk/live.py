"""The last value of every key as this process knows it: what `run.summary` shows while the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from tracker.storage.events import split_path, unflatten
from tracker.storage.frames import RowMark

__all__ = ["KEYS_MAX", "LiveValues"]

KEYS_MAX: Final = 100_000  # keys remembered; the store keeps all of them

_AUTOMATIC: Final = ("_step", "_timestamp", "_runtime")


class LiveValues:
    """Stored path to plain value. A newer leaf replaces leaves on a prefix or an extension of its path (SUM-9).

    `fast` holds the keys that may be written with `last.update` alone: their stored path is the key
    itself, and no other path lies below it.
    """

    __slots__ = ("_explicit_at", "_inner", "_warn", "fast", "last", "mark")

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.last: dict[str, Any] = {}
        self.fast: set[str] = set()
        self.mark: RowMark | None = None  # the row ended last
        self._inner: set[str] = set()  # proper prefixes of paths in `last`
        self._explicit_at: dict[str, RowMark | None] = {}  # automatic key set by hand: the mark it has beaten
        self._warn: Callable[[str], None] | None = warn

    def put(self, cells: dict[str, Any]) -> None:
        """Cells were logged, after everything put before."""
        for path, value in cells.items():
            if path not in self.last and not self._admit(path):
                continue
            self._clear(path)
            self.last[path] = value

    def learn(self, keys: Iterable[str]) -> None:
        """These keys are stored under their own name, as plain values: `fast` from now on, where nothing hinders."""
        for key in keys:
            if key in self.last and key not in self._inner and key not in _AUTOMATIC:
                self.fast.add(key)

    def replace(self, path: str, leaves: list[tuple[str, Any]]) -> None:
        """An explicit write: `path` holds exactly these leaves; none of them takes it back."""
        self._clear(path)
        self.last.pop(path, None)
        self.put(dict(leaves))
        for key in _AUTOMATIC:
            if path == key:
                self._explicit_at[key] = self.mark

    def tree(self) -> dict[str, Any]:
        """Nested dicts of fresh lists and dicts: changing them changes nothing here."""
        tree = unflatten([(path, _copied(value)) for path, value in list(self.last.items())])
        mark = self.mark
        if mark is not None:
            for key, value in zip(_AUTOMATIC, (mark.step, mark.ts_us / 1e6, mark.runtime_s), strict=True):
                if key not in tree or self._explicit_at.get(key) is not mark:
                    tree[key] = value
            tree["_wandb"] = {"runtime": int(mark.runtime_s)}
        return tree

    def _admit(self, path: str) -> bool:
        if len(self.last) >= KEYS_MAX:
            if self._warn is not None:
                self._warn(
                    f"More than {KEYS_MAX:,} different keys were logged: run.summary shows the first ones only. "
                    f"All are stored."
                )
                self._warn = None
            return False
        if "." in path:
            segments = split_path(path)
            inner = {path[:end] for end in _segment_ends(path)} if len(segments) > 1 else set()
            self._inner |= inner
            self.fast -= inner
        return True

    def _clear(self, path: str) -> None:
        """Drop leaves on proper prefixes and extensions of `path`."""
        if "." in path:
            for end in _segment_ends(path):
                self.last.pop(path[:end], None)
        if path in self._inner:
            below = path + "."
            for other in list(self.last):  # a copy: other threads and signal handlers put values meanwhile
                if other.startswith(below):
                    self.last.pop(other, None)


def _segment_ends(path: str) -> list[int]:
    """Positions of the dots that separate segments: `a.b\\.c.d` has them at 1 and 6."""
    ends, at = [], 0
    while at < len(path):
        if path[at] == "\\":
            at += 1
        elif path[at] == ".":
            ends.append(at)
        at += 1
    return ends


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value
