"""Line charts as inline SVG: axes with round numbers, a line and a band for each series, gaps without numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tracker.sdk.html_page import escaped

__all__ = ["COLORS", "HEIGHT", "WIDTH", "Series", "line_chart", "ticks"]

COLORS: Final = (
    "#2f6fde", "#e0692e", "#2e9e6b", "#b04fc4", "#c9a227", "#d1495b", "#3aa6b9", "#7a6ff0", "#8c6d46", "#6b7280",
)  # fmt: skip
WIDTH: Final = 300
HEIGHT: Final = 150

_LEFT: Final = 44
_RIGHT: Final = 8
_TOP: Final = 6
_BOTTOM: Final = 18
_TICKS: Final = 5


@dataclass(frozen=True, slots=True)
class Series:
    """A line: `y[n]` at `x[n]`, x rising. NaN and infinities are gaps. `low`, `high`: a band around it, or nothing."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def line_chart(title: str, series: Sequence[Series]) -> str:
    """A figure of WIDTH x HEIGHT pixels below its title, series in the order of COLORS; nothing without a number."""
    values = [value for one in series for value in (*one.y, *one.low, *one.high) if math.isfinite(value)]
    across = [x for one in series for x, y in zip(one.x, one.y, strict=True) if math.isfinite(y)]
    if not across:
        return ""
    wide, tall = _Scale(across, _LEFT, WIDTH - _RIGHT), _Scale(values, HEIGHT - _BOTTOM, _TOP)
    lines = "".join(_drawn(one, COLORS[n % len(COLORS)], wide, tall) for n, one in enumerate(series))
    shown = escaped(title)
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    drawing = f'<svg {size} role="img" aria-label="{shown}"><title>{shown}</title>{_axes(wide, tall)}{lines}</svg>'
    return f"<figure><figcaption>{shown}</figcaption>{drawing}</figure>"


def ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """At most `count` + 1 round numbers in low..high, evenly spaced (1, 2 or 5 times a power of ten); else `low`."""
    least = high / count - low / count
    if least <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(least))
    step = next((power * n for n in (1, 2, 5) if power * n >= least), power * 10)
    first = math.ceil(low / step)
    return [step * n for n in range(first, min(math.floor(high / step), first + count) + 1)] or [low]


class _Scale:
    """From values to pixels, `begin` to `end`. What is all the same stands in the middle."""

    def __init__(self, values: Iterable[float], begin: float, end: float) -> None:
        values = list(values)
        self.low, self.high = min(values), max(values)
        self._begin, self._end = begin, end

    def __call__(self, value: float) -> float:
        span = self.high / 2 - self.low / 2  # halves: the difference of two finite numbers may be none
        share = (value / 2 - self.low / 2) / span if span > 0 else 0.5
        return self._begin + share * (self._end - self._begin)


def _axes(wide: _Scale, tall: _Scale) -> str:
    drawn = []
    for value in ticks(tall.low, tall.high):
        y = tall(value)
        drawn.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="{_LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{value:.4g}</text>')
    for value in ticks(wide.low, wide.high, 4):
        x = wide(value)
        anchor = "end" if x > WIDTH - 24 else "middle"
        drawn.append(f'<text x="{x:.1f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{value:.6g}</text>')
    return "".join(drawn)


def _drawn(series: Series, color: str, wide: _Scale, tall: _Scale) -> str:
    """The band, then the lines between the gaps; what stands alone is a dot."""
    shapes = []
    for n in _stretches(series.low, series.high):
        edge = [f"{wide(series.x[i]):.1f},{tall(series.high[i]):.1f}" for i in n]
        edge += [f"{wide(series.x[i]):.1f},{tall(series.low[i]):.1f}" for i in reversed(n)]
        shapes.append(f'<polygon points="{" ".join(edge)}" fill="{color}" opacity="0.18"/>')
    for n in _stretches(series.y):
        points = [f"{wide(series.x[i]):.1f},{tall(series.y[i]):.1f}" for i in n]
        if len(points) == 1:
            x, y = points[0].split(",")
            shapes.append(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{color}"/>')
        else:
            line = f'points="{" ".join(points)}" fill="none" stroke="{color}" stroke-width="1.5"'
            shapes.append(f"<polyline {line} stroke-linejoin=\"round\"/>")
    return "".join(shapes)


def _stretches(*values: Sequence[float]) -> list[list[int]]:
    """Positions at which all of `values` are finite, in runs of neighbours."""
    found: list[list[int]] = []
    for n, row in enumerate(zip(*values, strict=True)):
        if all(map(math.isfinite, row)):
            if found and found[-1][-1] == n - 1:
                found[-1].append(n)
            else:
                found.append([n])
    return found
