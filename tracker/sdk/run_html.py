"""A run as a page of HTML that needs nothing from elsewhere: no script, no server, no other file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Final

from tracker.sdk.sparkline import shown_value

__all__ = ["framed", "run_page", "runs_page"]

_WIDTH: Final = 220
_HEIGHT: Final = 28
_STYLE: Final = """
body{font:13px/1.5 system-ui,sans-serif;margin:8px;color:#1c2330;background:#fff}
h1{font-size:16px;margin:0 0 2px}h2{font-size:13px;margin:14px 0 4px;color:#5a6477}
p{margin:0 0 2px;color:#5a6477}code{background:#f0f2f6;padding:1px 4px;border-radius:3px}
table{border-collapse:collapse}td,th{padding:2px 14px 2px 0;text-align:left;vertical-align:middle}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}svg{display:block}
.row{display:flex;flex-wrap:wrap;gap:0 40px}
@media (prefers-color-scheme:dark){body{color:#e6e9ef;background:#16191f}h2,p{color:#9aa4b8}code{background:#252a33}}
"""


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
    drawn = dict(series)
    metrics = [
        f"<tr><td>{_text(key)}</td><td>{_curve(drawn[key]) if key in drawn else ''}</td>"
        f"<td class=n>{_text(shown_value(value))}</td></tr>"
        for key, value in summary
    ]
    values = [f"<tr><td>{_text(key)}</td><td class=n>{_text(shown_value(value))}</td></tr>" for key, value in config]
    body = f"<h1>{_text(name)}</h1><p>{_text(path)} &middot; {_text(state)}</p><p>{_text(place)}</p>"
    body += f"<p><code>{_text(command)}</code></p>" if command else ""
    body += "<div class=row>"
    body += f"<div><h2>Summary</h2><table>{''.join(metrics)}</table></div>" if metrics else ""
    body += f"<div><h2>Config</h2><table>{''.join(values)}</table></div>" if values else ""
    return _page(body + "</div>")


def runs_page(path: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The runs of a project as a table."""
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    lines = ["".join(f"<td class=n>{_text(shown_value(value))}</td>" for value in row) for row in rows]
    return _page(f"<h1>{_text(path)}</h1><table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>")


def framed(page: str, height: int, hidden: bool, title: str) -> str:
    """The page in a frame of `height` pixels, so that neither its style nor the notebook's reaches the other.

    `hidden` folds it behind its title.
    """
    style = f"border:none;width:100%;height:{int(height)}px"
    frame = f'<iframe title="{_text(title)}" srcdoc="{html.escape(page)}" sandbox style="{style}"></iframe>'
    return f"<details><summary>{_text(title)}</summary>{frame}</details>" if hidden else f"<div>{frame}</div>"


def _page(body: str) -> str:
    return f"<!doctype html><html><head><meta charset=utf-8><style>{_STYLE}</style></head><body>{body}</body></html>"


def _text(text: str) -> str:
    return html.escape(str(text))


def _curve(values: Sequence[float]) -> str:
    """A line from left to right, its least value at the bottom."""
    low, high = min(values), max(values)
    span = (high / 2 - low / 2) or 1.0
    across = _WIDTH / max(len(values) - 1, 1)
    points = " ".join(
        f"{n * across:.1f},{_HEIGHT - 2 - (value / 2 - low / 2) / span * (_HEIGHT - 4):.1f}"
        for n, value in enumerate(values)
    )
    line = f'<polyline points="{points}" fill="none" stroke="#2f6fde" stroke-width="1.5"/>'
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{line}</svg>'
