"""A few dozen looks at the first metrics of a run, evenly spread over its rows: what its footer draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["KEYS_MAX", "LOOKS_MAX", "Traces", "is_number"]

KEYS_MAX: Final = 20
LOOKS_MAX: Final = 64

_GREATEST: Final = 1.7976931348623157e308


class Traces:
    """Looks at rows 1, 2, 3, ...; when there are too many, every other one is forgotten and looks become rarer.

    So a run of n rows is looked at about 32 log2(n / 64) times, and a look costs a microsecond or two.
    """

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._known = 0  # keys of the run when they were chosen
        self._looks: list[dict[str, Any]] = []
        self._stride = 1

    def look(self, last: Mapping[str, Any], row: int) -> int:
        """`last`: the newest value of each key before row number `row`. Returns the next row to look at."""
        if len(last) != self._known and len(self._keys) < KEYS_MAX:
            self._choose(last)
        if row:
            self._looks.append({key: last[key] for key in self._keys if key in last})
        stride = self._stride
        if len(self._looks) == LOOKS_MAX:
            del self._looks[1::2]  # this look too: the next one comes when it would have come, and goes on from there
            self._stride *= 2
        return row + stride

    def of_key(self, key: str, newest: Any) -> list[float]:
        """The numbers that were seen of one key, in order, and the newest one; without NaN and infinities."""
        found = [look[key] for look in self._looks if key in look]
        return [float(value) for value in [*found, newest] if is_number(value) and abs(value) <= _GREATEST]

    def keys(self, last: Mapping[str, Any]) -> list[str]:
        """Keys to draw, at most KEYS_MAX, in the order in which they were first logged."""
        self._choose(last)
        return list(self._keys)

    def _choose(self, last: Mapping[str, Any]) -> None:
        self._known = len(last)
        for key, value in list(last.items()):
            if len(self._keys) == KEYS_MAX:
                return
            if key not in self._keys and not key.startswith("_") and is_number(value):
                self._keys.append(key)


def is_number(value: Any) -> bool:
    """An integer or float; bools are none."""
    return type(value) is float or type(value) is int
