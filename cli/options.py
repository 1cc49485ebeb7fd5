"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DryRun",
    "Entities",
    "Entity",
    "Filter",
    "FormatName",
    "Json",
    "Limit",
    "Order",
    "Output",
    "Project",
    "Projects",
    "Runs",
    "Url",
    "UrlOption",
    "Urls",
    "names_of",
]

Url = Annotated[
    str | None,
    typer.Argument(
        help="Where the data is: a directory, s3://bucket/prefix, gs://bucket/prefix or any fsspec URL. "
        "Default: what tracker.init would use (see: tracker status).",
        show_default=False,
    ),
]
Urls = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="url",
        help="Where the data is: a directory, s3://bucket/prefix, gs://bucket/prefix or any fsspec URL; several answer "
        "as one. Default: what tracker.init would use (see: tracker status).",
        show_default=False,
    ),
]
Project = Annotated[
    str | None,
    typer.Option("--project", "-p", help="Project, or entity/project. Default: TRACKER_PROJECT, else the only one."),
]
Entity = Annotated[
    str | None, typer.Option("--entity", "-e", help="Entity. Default: TRACKER_ENTITY, else the only one.")
]
Projects = Annotated[
    str | None,
    typer.Option(
        "--project", "-p", help="Only this project, or entity/project. Default: TRACKER_PROJECT, else all of them."
    ),
]
Entities = Annotated[
    str | None, typer.Option("--entity", "-e", help="Only this entity. Default: TRACKER_ENTITY, else all of them.")
]
Filter = Annotated[
    str | None,
    typer.Option(
        "--filter",
        "-f",
        metavar="JSON",
        help='Which runs, as a MongoDB-style document: \'{"state": "finished", "config.lr": {"$lt": 0.1}}\'.',
    ),
]
Order = Annotated[
    str | None,
    typer.Option(
        "--order",
        help="Order of the runs: a field, - before it for descending, several by comma: "
        "-summary_metrics.acc,+created_at. Default: +created_at.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, help="At most so many runs, the first in --order; not so many rows."),
]
FormatName = Annotated[
    str | None,
    typer.Option(
        "--format", help="table, json, jsonl, csv, parquet or arrow. Default: by --output's suffix, else table."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Runs = Annotated[list[str], typer.Argument(metavar="RUN", help="Ids of the runs.")]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="Where the data is. Default: what tracker.init would use.")
]
Output = Annotated[Path | None, typer.Option("--output", help="Write to this file instead of stdout.")]


def names_of(text: str | None) -> list[str] | None:
    """Names separated by commas; a comma inside a name is written `\\,`."""
    if text is None:
        return None
    parts = text.replace("\\,", "\0").split(",")
    return [name for part in parts if (name := part.strip().replace("\0", ","))]
