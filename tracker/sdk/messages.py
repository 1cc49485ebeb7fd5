"""What a run says when it begins and when it ends: where the data is, how to look at it, how to send it."""

from __future__ import annotations

import shlex

from tracker.sdk import term
from tracker.sdk.options import RunOptions
from tracker.storage.writer import FinishReport

__all__ = ["query_command", "say_begin", "say_end"]


def say_begin(options: RunOptions, name: str) -> None:
    verb = "stays in" if options.is_offline else "goes to"
    term.info(
        f"run {name} ({options.entity}/{options.project}/{options.run_id}); its data {verb} {options.base_url}\n"
        f"look at it: {query_command(options)}"
    )


def say_end(options: RunOptions, name: str, exit_code: int, report: FinishReport) -> None:
    head = f"run {name} ended with exit code {exit_code}"
    sync = f"tracker sync {shlex.quote(str(options.working_dir))}"
    if not report.shipped:
        term.warn(f"{head}; {report.waiting_frames} records wait on this machine: {report.reason}\nsend them: {sync}")
    elif options.is_offline:
        term.info(f"{head}; its data is in {options.base_url}\nsend it: {sync} --to URL")
    else:
        term.info(f"{head}; its data is in {options.base_url}\nlook at it: {query_command(options)}")


def query_command(options: RunOptions) -> str:
    """The command that shows the runs of this project."""
    project = f"{options.entity}/{options.project}"
    return f"tracker query {shlex.quote(str(options.base_url))} --project {shlex.quote(project)}"
