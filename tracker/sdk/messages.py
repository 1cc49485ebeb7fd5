"""What a run says when it begins and when it ends: where the data is, how to look at it, how to send it."""

from __future__ import annotations

import html
import shlex
import threading
from typing import TYPE_CHECKING, Final

from tracker.sdk import term
from tracker.sdk.footer import LINES_MAX, figure_lines, metric_series, summary_values
from tracker.sdk.notebook import in_notebook, show_html
from tracker.sdk.options import RunOptions
from tracker.storage.writer import FinishReport

if TYPE_CHECKING:
    from tracker.sdk.live import LiveValues
    from tracker.sdk.traces import Traces

__all__ = ["query_command", "say_begin", "say_end"]

_BEGUN: Final = "\U0001f680"  # a rocket
_ENDED: Final = "\U0001f3c1"  # a chequered flag
_FAILED: Final = "\u26a0\ufe0f"  # a warning sign


def say_begin(options: RunOptions, name: str) -> None:
    if in_notebook() and term.shows("info"):
        show_html(_begin_html(options, name))
        return
    verb = "stays in" if options.is_offline else "goes to"
    path = f"{options.entity}/{options.project}/{options.run_id}"
    term.info(
        f"{term.emoji(_BEGUN)}run {term.paint(name, 'name')} ({path}); "
        f"its data {verb} {term.paint(str(options.base_url), 'place')}\n"
        f"look at it: {query_command(options)}"
    )


def say_end(
    options: RunOptions,
    name: str,
    exit_code: int,
    report: FinishReport,
    figures: tuple[LiveValues, Traces] | None = None,
) -> None:
    """`figures`: what is drawn and listed of the run; None for one of several processes."""
    head = f"run {term.paint(name, 'name')} ended with exit code {exit_code}"
    place = term.paint(str(options.base_url), "place")
    sync = f"tracker sync {shlex.quote(str(options.working_dir))}"
    shown = ""
    if figures is not None and term.shows("info"):
        lines = figure_lines(*figures, bars=term.has_unicode(), dim=lambda text: term.paint(text, "dim"))
        shown = "".join(f"{line}\n" for line in ["", *lines, ""]) if lines else ""
    if not report.shipped:
        if shown:
            term.info(shown.removesuffix("\n"))
        term.warn(f"{head}; {report.waiting_frames} records wait on this machine: {report.reason}\nsend them: {sync}")
        return
    if figures is not None and term.shows("info") and in_notebook() and threading.main_thread().is_alive():
        show_html(_end_html(options, name, exit_code, *figures))
        return
    mark = term.emoji(_ENDED if exit_code == 0 else _FAILED)
    if options.is_offline:
        term.info(f"{shown}{mark}{head}; its data is in {place}\nsend it: {sync} --to URL")
    else:
        term.info(f"{shown}{mark}{head}; its data is in {place}\nlook at it: {query_command(options)}")


def _begin_html(options: RunOptions, name: str) -> str:
    path, place = f"{options.entity}/{options.project}/{options.run_id}", str(options.base_url)
    shown, path, place, command = map(html.escape, (name, path, place, query_command(options)))
    return f"tracker: run <b>{shown}</b> ({path}) in {place}<br><code>{command}</code>"


def _end_html(options: RunOptions, name: str, exit_code: int, live: LiveValues, traces: Traces) -> str:
    from tracker.sdk.html_page import framed
    from tracker.sdk.run_html import run_page

    path = f"{options.entity}/{options.project}/{options.run_id}"
    summary = summary_values(live)
    page = run_page(
        name,
        path,
        str(options.base_url),
        f"ended with exit code {exit_code}",
        series=metric_series(live, traces),
        summary=summary[:LINES_MAX],
        command=query_command(options),
    )
    return framed(page, 130 + 36 * min(len(summary), LINES_MAX), False, f"{name} ({path})")


def query_command(options: RunOptions) -> str:
    """The command that shows the runs of this project."""
    project = f"{options.entity}/{options.project}"
    return f"tracker query {shlex.quote(str(options.base_url))} --project {shlex.quote(project)}"
