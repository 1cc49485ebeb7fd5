"""What the facts of a run had said before the next frame: so that a frame can be told as changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracker.query.cells import MISSING
from tracker.query.diff_values import Change, same_value
from tracker.storage.events import DELETED, join_path, path_text, split_path

__all__ = ["KnownValues"]


class KnownValues:
    """Leaves of one kind in one life of the run, frame after frame. It holds the last value of each path."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._above: set[str] = set()  # proper prefixes of paths that ever were there

    @property
    def values(self) -> Mapping[str, Any]:
        """What holds now, by stored path."""
        return self._values

    def apply(self, facts: Mapping[str, Any]) -> list[Change]:
        """Take in the facts of one frame (path to value, DELETED for none); what they change, by path.

        A value at a path ends those above and below it that are older, as in the fold. What stays as it was is no
        change.
        """
        before: dict[str, Any] = {}
        for path in facts:
            for other in self._related(path):
                before[other] = self._values.pop(other)
        after = {path: value for path, value in facts.items() if value is not DELETED}
        self._values |= after
        for path in after:
            self._above.update(_above(path))
        changes = []
        for path in sorted({*before, *after}):
            old, new = before.get(path, MISSING), after.get(path, MISSING)
            if old is MISSING or new is MISSING or not _identical(old, new):
                changes.append(Change(path_text(path), old, new))
        return changes

    def _related(self, path: str) -> list[str]:
        """Paths that are there and end with a value at `path`: itself, those above, those below."""
        found = [other for other in (path, *_above(path)) if other in self._values]
        if path in self._above:
            start = f"{path}."
            found += [other for other in self._values if other.startswith(start)]
        return found


def _above(path: str) -> list[str]:
    segments = split_path(path) if "." in path else ()
    return [join_path(segments[:end]) for end in range(1, len(segments))]


def _identical(old: Any, new: Any) -> bool:
    """1 and 1.0 are two values here."""
    return type(old) is type(new) and same_value(old, new)
