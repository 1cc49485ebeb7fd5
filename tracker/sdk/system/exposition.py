"""The text form in which Prometheus and OpenMetrics endpoints show their metrics.

Source: prometheus.io, "Exposition formats" (0.0.4); OpenMetrics 1.0, where a counter's samples end in `_total`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Sample", "parse_exposition"]

_SAMPLE: Final = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(?P<labels>(?:[^\"}]|\"(?:\\.|[^\"\\])*\")*)\})?\s*(?P<value>\S+)"
)
_LABEL: Final = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*\"((?:\\.|[^\"\\])*)\"")
_ESCAPED: Final = re.compile(r"\\(.)")
_PLAIN: Final = ("gauge", "counter")


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of one series."""

    name: str
    labels: tuple[tuple[str, str], ...]  # sorted by name
    value: float


def parse_exposition(text: str) -> Iterator[Sample]:
    """Samples of gauges and counters; parts of histograms and summaries, and lines we can not read, are left out."""
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("#"):
            words = line.split()
            if len(words) >= 4 and words[1] == "TYPE":
                kinds[words[2]] = words[3].lower()
            continue
        match = _SAMPLE.match(line)
        if match is None:
            continue
        name = match["name"]
        kind = kinds.get(name) or kinds.get(name.removesuffix("_total"), "")
        value = _number(match["value"])
        if kind in _PLAIN and value is not None:
            labels = sorted((key, _unescaped(text)) for key, text in _LABEL.findall(match["labels"] or ""))
            yield Sample(name, tuple(labels), value)


def _number(text: str) -> float | None:
    try:
        return float(text.replace("Inf", "inf"))
    except ValueError:
        return None


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], text)
