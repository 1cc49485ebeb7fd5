"""When two stored values are the same, and which leaves of two trees are not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from tracker.query.cells import MISSING
from tracker.storage.errors import UsageError
from tracker.storage.events import path_text

__all__ = ["EXACT", "Change", "Tolerance", "is_ignored", "leaf_changes", "same_value"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Two floats x and y are taken for the same where |x - y| <= max(relative * max(|x|, |y|), absolute)."""

    relative: float = 0.0
    absolute: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.relative), ("atol", self.absolute)):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} must be a number of 0 or more, not {value!r:.80}.")

    @property
    def is_exact(self) -> bool:
        return not self.relative and not self.absolute


EXACT: Final = Tolerance()


@dataclass(frozen=True, slots=True)
class Change:
    """One path at which two runs differ. MISSING: that run has nothing there."""

    path: str  # as people read it
    a: Any
    b: Any

    @property
    def kind(self) -> str:
        """`changed`, `added` (only b has it) or `removed` (only a has it)."""
        return "added" if self.a is MISSING else "removed" if self.b is MISSING else "changed"

    def to_dict(self) -> dict[str, Any]:
        """`path`, `change`, and `a` and `b` where they are there."""
        sides = {name: value for name, value in (("a", self.a), ("b", self.b)) if value is not MISSING}
        return {"path": self.path, "change": self.kind, **sides}


def same_value(a: Any, b: Any, tolerance: Tolerance = EXACT) -> bool:
    """Numbers by value (1 is 1.0, NaN is NaN), booleans only with booleans, lists and dicts item by item."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return _same_number(a, b, tolerance)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_value(value, b[key], tolerance) for key, value in a.items())
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same_value(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and bool(a == b)


def _same_number(a: float, b: float, tolerance: Tolerance) -> bool:
    if a == b or (a != a and b != b):
        return True
    if tolerance.is_exact or (isinstance(a, int) and isinstance(b, int)):
        return False
    try:
        return math.isclose(a, b, rel_tol=min(tolerance.relative, 1.0), abs_tol=tolerance.absolute)
    except OverflowError:  # an integer beyond all doubles
        return False


def leaf_changes(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    *,
    section: str,
    tolerance: Tolerance = EXACT,
    ignore: Sequence[str] = (),
) -> list[Change]:
    """Where leaves (stored path to value) differ, sorted by path; without what `is_ignored`."""
    changes = []
    for path in sorted({*a, *b}):
        left, right = a.get(path, MISSING), b.get(path, MISSING)
        both = left is not MISSING and right is not MISSING
        if (both and same_value(left, right, tolerance)) or is_ignored(section, path_text(path), ignore):
            continue
        changes.append(Change(path_text(path), left, right))
    return changes


def is_ignored(section: str, path: str, ignore: Iterable[str]) -> bool:
    """Whether one of the patterns (`*`, `?`, `[...]`) is the path with its section before it, or all of a section."""
    return any(fnmatchcase(f"{section}.{path}", pattern) or pattern == section for pattern in ignore)
