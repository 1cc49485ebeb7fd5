"""The figures of a run at its end: what its metrics did, and what its summary holds (FIN-6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tracker.sdk.sparkline import shown_value, sparkline
from tracker.storage.events import flatten, path_text

if TYPE_CHECKING:
    from tracker.sdk.live import LiveValues
    from tracker.sdk.traces import Traces

__all__ = ["LINES_MAX", "figure_lines", "metric_series", "summary_values"]

LINES_MAX: Final = 20
_NAME_MAX: Final = 40


def metric_series(live: LiveValues, traces: Traces) -> list[tuple[str, list[float]]]:
    """Name and numbers over the run of the first metrics that were logged more than once, by name."""
    found = {path_text(key): traces.of_key(key, live.last.get(key)) for key in traces.keys(live.last)}
    return [(name, found[name]) for name in sorted(found) if len(found[name]) > 1]


def summary_values(live: LiveValues) -> list[tuple[str, Any]]:
    """Names and values of the summary, by name, without what begins with `_`."""
    leaves = flatten({key: value for key, value in live.tree().items() if not key.startswith("_")})
    return sorted(((path_text(path), value) for path, value in leaves), key=lambda leaf: leaf[0])


def figure_lines(live: LiveValues, traces: Traces, *, bars: bool, dim: Callable[[str], str] = str) -> list[str]:
    """Lines of the footer; none for a run that logged nothing. `bars`: whether the terminal can show them."""
    series = metric_series(live, traces) if bars else []
    values = summary_values(live)
    names = [name for name, _ in [*series, *values[:LINES_MAX]]]
    width = min(max(map(len, names), default=0), _NAME_MAX)
    lines: list[str] = []
    if series:
        lines += [dim("run history:"), *(f"  {_name(name, width)} {sparkline(numbers)}" for name, numbers in series)]
    if values:
        lines.append(dim("run summary:"))
        lines += [f"  {_name(name, width)} {shown_value(value)}" for name, value in values[:LINES_MAX]]
        if len(values) > LINES_MAX:
            lines.append(f"  and {len(values) - LINES_MAX:,} more")
    return lines


def _name(name: str, width: int) -> str:
    return f"{name[: width - 1]}…" if len(name) > width else name.ljust(width)

