"""A figure: what was claimed, what was measured, what the peers did in the same call, and whether the claim holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

__all__ = ["Figure", "percentile", "render"]

_UNITS: Final = {"us": 1e6, "ms": 1e3, "s": 1.0}
_FRACTIONS: Final = ("MB", "%")
_COLUMNS: Final = ("trackio", "wandb", "mlflow", "tensorboard", "duckdb", "fsspec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the table.

    `value`, `limit`, `least` and `peers` are in base units (seconds, megabytes of 10^6 bytes, counts); `unit` says how
    to show them. `limit` and `least` None: shown for information. `times_faster` maps a peer to the least factor
    peer / ours; below 1 it may be faster than we are, by so much.
    """

    benchmark: str
    name: str
    value: float | None  # None: it could not be measured, `note` says why
    unit: str  # us, ms, s (base: seconds), MB, %, or a bare word that is counted
    limit: float | None = None  # at most
    least: float | None = None  # at least
    peers: Mapping[str, float] = field(default_factory=dict)
    times_faster: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    other_load: float = 0.0  # share of the processors that others used meanwhile

    def misses(self) -> list[str]:
        """What of the claim does not hold, in words; empty when all of it does."""
        if self.value is None:
            return [] if self.limit is None and self.least is None else ["not measured"]
        found = []
        if self.limit is not None and self.value > self.limit:
            found.append(f"over {self.shown(self.limit)}")
        if self.least is not None and self.value < self.least:
            found.append(f"under {self.shown(self.least)}")
        for peer, factor in self.times_faster.items():
            if peer in self.peers and self.peers[peer] < factor * self.value:
                found.append(f"under {factor:g}x of {peer}")
        return found

    def claim(self) -> str:
        """The claim in words; empty for a figure that is shown for information."""
        parts = [] if self.limit is None else [f"<= {self.shown(self.limit)}"]
        parts += [] if self.least is None else [f">= {self.shown(self.least)}"]
        parts += [_times(factor, peer) for peer, factor in self.times_faster.items()]
        return ", ".join(parts)

    def verdict(self, *, load_max: float = 0.15) -> str:
        """`pass`, `MISS: ...`, or nothing; `(loaded)` is added when others used over `load_max` of the processors."""
        misses = self.misses()
        text = f"MISS: {', '.join(misses)}" if misses else ("pass" if self.claim() else "")
        return f"{text} (loaded)".strip() if self.other_load > load_max else text

    def ratios(self) -> str:
        """Each peer's value as a multiple of ours."""
        if not self.value:
            return ""
        return " ".join(f"{peer} x{number / self.value:.1f}" for peer, number in self.peers.items())

    def shown(self, number: float | None) -> str:
        if number is None:
            return "-"
        if self.unit in _FRACTIONS:
            return f"{number:.2f} {self.unit}"
        if self.unit not in _UNITS:
            return f"{number:,.0f} {self.unit}"
        scaled = number * _UNITS[self.unit]
        return f"{scaled:,.{0 if scaled >= 1000 else 1 if scaled >= 10 else 2}f} {self.unit}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"claim": self.claim(), "misses": self.misses()}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of `values` lie: nearest rank; 1.0 gives the maximum."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def render(figures: Iterable[Figure]) -> str:
    """The table as text (Markdown, so that it can be pasted into a page)."""
    head = ["benchmark", "figure", "claim", "tracker", *_COLUMNS, "verdict", "note"]
    body = [
        [
            figure.benchmark,
            figure.name,
            figure.claim(),
            figure.shown(figure.value),
            *(_peer(figure, peer) for peer in _COLUMNS),
            figure.verdict(),
            figure.note,
        ]
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in [head, *body]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *body]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _times(factor: float, peer: str) -> str:
    if factor < 1:
        return f"<= {1 / factor:g}x {peer}"
    return f"{factor:g}x {peer}" if factor > 1 else f"< {peer}"


def _peer(figure: Figure, peer: str) -> str:
    if peer not in figure.peers:
        return "-"
    factor = f" (x{figure.peers[peer] / figure.value:.1f})" if figure.value else ""
    return figure.shown(figure.peers[peer]) + factor
