"""The commands and their options; what each one does stands in a module of its own, loaded when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="tracker",
    help="Ask questions of runs that were logged with tracker, wherever they are stored.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
runs_app = typer.Typer(help="List runs, or show one.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(runs_app, name="runs")

Url = Annotated[
    str | None,
    typer.Argument(
        help="Where the data is: a directory, s3://bucket/prefix, gs://bucket/prefix or any fsspec URL. "
        "Default: what tracker.init would use (see: tracker status).",
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
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="At most so many runs.")]
FormatName = Annotated[
    str | None,
    typer.Option(
        "--format", help="table, json, jsonl, csv, parquet or arrow. Default: by --output's suffix, else table."
    ),
]
Output = Annotated[Path | None, typer.Option("--output", help="Write to this file instead of stdout.")]


@app.callback(invoke_without_command=True)
def _tracker(
    version: Annotated[bool, typer.Option("--version", "-V", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from tracker import __version__

        typer.echo(f"tracker {__version__}")
        raise typer.Exit


@app.command("query")
def _query(
    url: Url = None,
    project: Project = None,
    entity: Entity = None,
    filter: Filter = None,
    order: Order = None,
    limit: Limit = None,
    keys: Annotated[
        str | None,
        typer.Option(
            "--keys",
            "-k",
            help="Columns, by comma. With --history: metrics, and only rows that "
            "have them all. Else: run fields, config.<path>, summary.<path>, or a metric's name for its summary.",
        ),
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Rows that the runs logged, instead of the runs.")] = False,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="With --history: at most so many rows of each run, evenly spread."),
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option("--sql", help="One read-only SELECT over the views runs, history, system and facts."),
    ] = None,
    sql_timeout: Annotated[
        float, typer.Option("--sql-timeout", min=0.001, help="Seconds after which the SQL is stopped.")
    ] = 60.0,
    sql_memory: Annotated[
        int, typer.Option("--sql-memory", min=16, help="Memory that the SQL may use, in MiB.")
    ] = 1024,
    format: FormatName = None,
    output: Output = None,
) -> None:
    """Print runs, their histories, or the answer to a SELECT.

    Data goes to stdout, everything else to stderr.
    """
    from tracker.cli.query_command import QueryOptions, run_query

    run_query(
        QueryOptions(
            url=url,
            project=project,
            entity=entity,
            filter_text=filter,
            order=order,
            limit=limit,
            keys=_names(keys),
            history=history,
            samples=samples,
            sql=sql,
            sql_timeout_s=sql_timeout,
            sql_memory_bytes=sql_memory << 20,
            format_name=format,
            output=output,
        )
    )


@runs_app.command("list")
def _runs_list(
    url: Url = None,
    project: Project = None,
    entity: Entity = None,
    filter: Filter = None,
    order: Order = None,
    limit: Limit = None,
    format: FormatName = None,
    output: Output = None,
) -> None:
    """List runs: id, name, state, times, tags."""
    from tracker.cli.runs_command import list_runs

    list_runs(url, project, entity, filter, order, limit, format, output)


@runs_app.command("show")
def _runs_show(
    run: Annotated[str, typer.Argument(help="The run: id, project/id or entity/project/id.")],
    url: Url = None,
    project: Project = None,
    entity: Entity = None,
    format: Annotated[str | None, typer.Option("--format", help="table or json. Default: table.")] = None,
) -> None:
    """Show one run: fields, config, summary."""
    from tracker.cli.runs_command import show_run

    show_run(run, url, project, entity, format)


@app.command("sync")
def _sync(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="What to ship: the folder that holds tracker-runs/, that folder, one "
            "run-* folder in it, or a root (a directory or URL) to copy.",
        ),
    ],
    to: Annotated[
        str | None, typer.Option("--to", metavar="URL", help="Ship here instead of where the runs wanted their data.")
    ] = None,
) -> None:
    """Ship what killed or offline processes left on this disk.

    Safe to repeat, and while others write: nothing arrives twice.
    """
    from tracker.cli.sync_command import run_sync

    run_sync(source, to)


@app.command("status")
def _status(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to look for waiting data. Default: here.", show_default=False)
    ] = Path(),
    format: Annotated[str | None, typer.Option("--format", help="table or json. Default: table.")] = None,
) -> None:
    """Show where data goes, and what waits on this disk."""
    from tracker.cli.status_command import show_status

    show_status(directory, format)


def _names(text: str | None) -> list[str] | None:
    """Names separated by commas; a comma inside a name is written `\\,`."""
    if text is None:
        return None
    parts = text.replace("\\,", "\0").split(",")
    return [name for part in parts if (name := part.strip().replace("\0", ","))]
