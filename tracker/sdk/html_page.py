"""Pages of HTML that need nothing from elsewhere: no script, no server, no other file. What is put in stays text."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tracker.sdk.sparkline import shown_value

__all__ = ["cells_table", "counted", "escaped", "fields_table", "framed", "head", "page", "section"]

_STYLE: Final = """
body{font:13px/1.5 system-ui,sans-serif;margin:8px;color:#1c2330;background:#fff}
h1{font-size:16px;margin:0 0 2px;overflow-wrap:anywhere}h2{font-size:13px;margin:14px 0 4px;color:#5a6477}
p{margin:0 0 2px;color:#5a6477;overflow-wrap:anywhere}code{background:#f0f2f6;padding:1px 4px;border-radius:3px}
table{border-collapse:collapse}td,th{padding:2px 14px 2px 0;text-align:left;vertical-align:middle}
thead th{color:#5a6477;border-bottom:1px solid #c9d0dc;font-weight:600}
tbody th{font-weight:400;max-width:260px;overflow-wrap:anywhere}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}svg{display:block}
.row{display:flex;flex-wrap:wrap;gap:0 40px}.charts{display:flex;flex-wrap:wrap;gap:8px 20px}
figure{margin:0}figcaption{font-weight:600;max-width:300px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.tag{border:1px solid #c9d0dc;border-radius:9px;padding:0 8px;margin-right:4px}
.dot{display:inline-block;width:9px;height:9px;border-radius:5px;margin-right:6px}
svg text{font:10px system-ui,sans-serif;fill:#5a6477}svg .grid{stroke:#dfe3ea}
pre{background:#f0f2f6;padding:8px;overflow:auto}img{max-width:100%}
@media (prefers-color-scheme:dark){body{color:#e6e9ef;background:#16191f}h2,p,thead th{color:#9aa4b8}
code,pre{background:#252a33}.tag,thead th{border-color:#3a4150}svg text{fill:#9aa4b8}svg .grid{stroke:#2c323d}}
"""


def page(body: str) -> str:
    """A whole page around `body`, which is HTML already."""
    return f"<!doctype html><html><head><meta charset=utf-8><style>{_STYLE}</style></head><body>{body}</body></html>"


def framed(page: str, height: int, hidden: bool, title: str) -> str:
    """The page in a frame of `height` pixels, so that neither its style nor the notebook's reaches the other.

    `hidden` folds it behind its title.
    """
    style = f"border:none;width:100%;height:{int(height)}px"
    frame = f'<iframe title="{escaped(title)}" srcdoc="{html.escape(page)}" sandbox style="{style}"></iframe>'
    return f"<details><summary>{escaped(title)}</summary>{frame}</details>" if hidden else f"<div>{frame}</div>"


def escaped(text: object) -> str:
    """`text` as it is shown, whatever it holds."""
    return html.escape(str(text))


def counted(count: int, noun: str, shown: int | None = None) -> str:
    """`12 runs`, and where only `shown` of them are, `12 runs, the first 10 shown`."""
    rest = "" if shown is None or shown >= count else f", the first {shown} shown"
    return f"{count} {noun}{'' if count == 1 else 's'}{rest}"


def head(title: str, *lines: str, tags: Iterable[str] = ()) -> str:
    """The top of a page: its title, lines below it (empty ones are left out), and tags."""
    shown = "".join(f"<p>{escaped(line)}</p>" for line in lines if line)
    labels = "".join(f'<span class="tag">{escaped(tag)}</span>' for tag in tags)
    return f"<h1>{escaped(title)}</h1>{shown}{f'<p>{labels}</p>' if labels else ''}"


def section(title: str, content: str) -> str:
    """A block with a heading; nothing without content, which is HTML already."""
    return f"<div><h2>{escaped(title)}</h2>{content}</div>" if content else ""


def fields_table(fields: Sequence[tuple[str, Any]]) -> str:
    """Names and values, one line each; nothing without any."""
    lines = [f"<tr><td>{escaped(key)}</td><td class=n>{escaped(shown_value(value))}</td></tr>" for key, value in fields]
    return f"<table>{''.join(lines)}</table>" if lines else ""


def cells_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], colors: Sequence[str] = ()) -> str:
    """Rows below their columns; None is an empty cell. `colors`: a dot before each of the first rows."""
    lines = []
    for n, row in enumerate(rows):
        dot = f'<span class="dot" style="background:{colors[n]}"></span>' if n < len(colors) else ""
        cells = ["" if value is None else escaped(shown_value(value)) for value in row]
        shown = "".join(f"<td class=n>{cell}</td>" for cell in cells[1:])
        lines.append(f"<tr><th>{dot}{cells[0]}</th>{shown}</tr>")
    titles = "".join(f"<th>{escaped(name)}</th>" for name in columns)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
