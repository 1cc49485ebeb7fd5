"""Numbers as a line of small bars: `sparkline([1, 2, 3])` is `▁▅█`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["WIDTH", "shown_value", "sparkline"]

WIDTH: Final = 40
TEXT_MAX: Final = 60

_BARS: Final = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """At most `width` bars, the least value the lowest, the greatest the highest. Equal values are all the lowest."""
    if not values:
        return ""
    count = min(len(values), width)
    picked = [values[n * (len(values) - 1) // max(count - 1, 1)] for n in range(count)]
    low, high = min(picked), max(picked)
    span = high / 2 - low / 2  # halves: the difference of two finite numbers may be none
    if span <= 0:
        return _BARS[0] * count
    top = len(_BARS) - 1
    return "".join(_BARS[round((value / 2 - low / 2) / span * top)] for value in picked)


def shown_value(value: object) -> str:
    """A value of the summary on one line of at most TEXT_MAX characters."""
    if type(value) is float:
        return f"{value:.6g}"
    if isinstance(value, dict) and "_type" in value:
        return f"({value['_type']})"
    text = " ".join(str(value).split())
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
