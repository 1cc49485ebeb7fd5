"""A run that goes on, or has just ended, as a page: where it is, its metrics and its config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tracker.sdk.html_page import escaped, fields_table, head, page, section
from tracker.sdk.sparkline import shown_value

__all__ = ["curve", "run_page", "summary_table"]

_WIDTH: Final = 220
_HEIGHT: Final = 28


def run_page(
    name: str,
    path: str,
    place: str,
    state: str,
    *,
    series: Sequence[tuple[str, Sequence[float]]] = (),
    summary: Sequence[tuple[str, Any]] = (),
    config: Sequence[tuple[str, Any]] = (),
    command: str = "",
) -> str:
    """What a run is and came to. `series`: numbers of its metrics over the run; `command` shows it in a terminal."""
    body = head(name, f"{path} · {state}", place)
    body += f"<p><code>{escaped(command)}</code></p>" if command else ""
    tables = section("Summary", summary_table(summary, series)) + section("Config", fields_table(config))
    return page(f"{body}<div class=row>{tables}</div>")


def summary_table(summary: Sequence[tuple[str, Any]], series: Sequence[tuple[str, Sequence[float]]] = ()) -> str:
    """Names, a curve where `series` has one of that name, and values; nothing without any."""
    drawn = dict(series)
    lines = [
        f"<tr><td>{escaped(key)}</td><td>{curve(drawn[key]) if drawn.get(key) else ''}</td>"
        f"<td class=n>{escaped(shown_value(value))}</td></tr>"
        for key, value in summary
    ]
    return f"<table>{''.join(lines)}</table>" if lines else ""


def curve(values: Sequence[float]) -> str:
    """A line from left to right, its least value at the bottom, without axes. The values are finite."""
    low, high = min(values), max(values)
    span = (high / 2 - low / 2) or 1.0  # halves: the difference of two finite numbers may be none
    across = _WIDTH / max(len(values) - 1, 1)
    points = " ".join(
        f"{n * across:.1f},{_HEIGHT - 2 - (value / 2 - low / 2) / span * (_HEIGHT - 4):.1f}"
        for n, value in enumerate(values)
    )
    line = f'<polyline points="{points}" fill="none" stroke="#2f6fde" stroke-width="1.5"/>'
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{line}</svg>'
