"""`tracker runs export`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tracker.cli.options import Entity, Filter, Json, Limit, Order, Project, Urls, names_of

__all__ = ["add_commands"]


def _export(
    urls: Urls = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Folder to write to; it is made. Required.")
    ] = None,
    project: Project = None,
    entity: Entity = None,
    filter: Filter = None,
    order: Order = None,
    limit: Limit = None,
    what: Annotated[
        str | None,
        typer.Option(
            "--what",
            help="Which of runs, history, system, console, facts and files, by comma, or all. Default: runs,history.",
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="Of the tables: parquet, csv, jsonl or arrow. Default: parquet.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over what the folder holds.")] = False,
    as_json: Json = False,
) -> None:
    """Write runs and what they logged to a folder: one file a table, and export.json, which names them.

    Memory does not grow with the number of runs or rows. export.json comes last: where it is, all else is whole.
    """
    from tracker.cli.export_command import ExportOptions, run_export
    from tracker.storage.errors import UsageError

    if output is None:
        raise UsageError("Where to? Give a folder: --output DIR.")
    run_export(
        ExportOptions(
            urls=urls,
            project=project,
            entity=entity,
            filter_text=filter,
            order=order,
            limit=limit,
            output=output,
            what=names_of(what),
            format_name=format,
            replace=replace,
            as_json=as_json,
        )
    )


def add_commands(app: typer.Typer) -> None:
    """`export` is a command of `app`."""
    app.command("export")(_export)
