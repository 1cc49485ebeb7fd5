"""What a report and a listing of reports show in a notebook: the text of a report, and the runs of its sections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from tracker.apis.public.run_view import time_text
from tracker.apis.public.runs_view import runs_table_html
from tracker.errors import Error

if TYPE_CHECKING:
    from tracker.apis.public.reports import BetaReport, Reports

__all__ = ["report_page", "reports_page"]

_SECTIONS_MAX: Final = 6
_RUNS_MAX: Final = 10  # a section
_ROWS_MAX: Final = 200
_DEPTH_MAX: Final = 20
_GRID: Final = "panel-grid"


def report_page(report: BetaReport) -> str:
    """Title, texts in their order, and where a section shows runs the first 10 of them; of 6 sections."""
    from tracker.sdk.html_page import head, page

    saved = f"saved {time_text(report.updated_at)}" if report.updated_at else ""
    by = " · ".join(part for part in (report.user or "", saved) if part)
    body = head(report.display_name, report.description, by, report.url)
    blocks = report.spec.get("blocks") or []
    if not blocks:  # an older report: sections alone
        blocks = [{"type": _GRID}] * len(report.sections)
    sections = iter(report.sections[:_SECTIONS_MAX])
    return page(body + "".join(_block(report, block, sections) for block in blocks if isinstance(block, dict)))


def _block(report: BetaReport, block: dict[str, Any], sections: Iterator[dict[str, Any]]) -> str:
    from tracker.sdk.html_page import escaped

    kind = str(block.get("type") or "")
    if kind == _GRID:
        section = next(sections, None)
        return "" if section is None else _section(report, section)
    text = escaped(_text(block))
    match kind:
        case "horizontal-rule":
            return "<hr>"
        case "heading":
            return f"<h2>{text}</h2>" if text.strip() else ""
        case "code-block":
            return f"<pre>{text}</pre>"
        case "list":
            items = [item for item in block.get("children") or () if isinstance(item, dict)]
            lines = "".join(f"<li>{escaped(_text(item))}</li>" for item in items)
            return f"<ol>{lines}</ol>" if block.get("ordered") else f"<ul>{lines}</ul>"
        case "block-quote" | "callout-block":
            return f"<blockquote>{text}</blockquote>"
        case _:
            return f"<div>{text}</div>" if text.strip() else ""


def _section(report: BetaReport, section: dict[str, Any]) -> str:
    """The first runs that it shows, or why there are none."""
    from tracker.sdk import html_page

    try:
        found = report.runs(section, per_page=_RUNS_MAX)
        count, runs = len(found), found[:_RUNS_MAX]
    except (Error, ValueError) as exc:
        return f"<p>{html_page.escaped(f'runs are left out: {exc}')}</p>"
    title = html_page.counted(count, "run", len(runs))
    return html_page.section(title, runs_table_html(runs) if runs else "<p>none</p>")


def reports_page(listing: Reports) -> str:
    """A line for each of the first 200 reports."""
    from tracker.sdk.html_page import cells_table, counted, head, page

    reports = list(listing)
    rows = [
        (report.display_name, report.description, report.user, time_text(report.updated_at or ""))
        for report in reports[:_ROWS_MAX]
    ]
    found = counted(len(reports), "report", len(rows))
    table = cells_table(("title", "description", "user", "saved"), rows) if rows else ""
    return page(head(f"{listing.entity}/{listing.project.name}", found) + table)


def _text(node: Any, depth: int = 0) -> str:
    """The text of a block and of what is in it, a line each for parts of a code block."""
    if not isinstance(node, dict) or depth > _DEPTH_MAX:
        return ""
    own = str(node.get("text") or node.get("content") or "")
    parts = [_text(child, depth + 1) for child in node.get("children") or ()]
    return own + ("\n" if node.get("type") == "code-block" else "").join(parts)
