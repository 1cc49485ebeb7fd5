"""The commands and their options; what each one does stands in a module of its own, loaded when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tracker.cli.compare_app import add_commands as add_comparing
from tracker.cli.files_app import files_app
from tracker.cli.options import (
    DryRun,
    Entities,
    Entity,
    Filter,
    FormatName,
    Json,
    Limit,
    Order,
    Output,
    Project,
    Projects,
    Url,
    Urls,
    names_of,
)
from tracker.cli.runs_app import runs_app
from tracker.cli.store_app import add_commands as add_store_commands

__all__ = ["app"]

app = typer.Typer(
    name="tracker",
    help="Ask questions of runs that were logged with tracker, wherever they are stored.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(runs_app, name="runs")
app.add_typer(files_app, name="files")


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
    urls: Urls = None,
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
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="With --history: at most so many rows, of all runs together.")
    ] = None,
    rank: Annotated[
        str | None, typer.Option("--rank", help="With --history: only what processes of these ranks logged, by comma.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="With --history: only what processes on these hosts logged, by comma.")
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option("--sql", help="One read-only SELECT over the views runs, history, system, console and facts."),
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
            url=urls,
            project=project,
            entity=entity,
            filter_text=filter,
            order=order,
            limit=limit,
            keys=names_of(keys),
            history=history,
            samples=samples,
            rows=rows,
            sql=sql,
            sql_timeout_s=sql_timeout,
            sql_memory_bytes=sql_memory << 20,
            format_name=format,
            output=output,
            ranks=names_of(rank),
            hosts=names_of(host),
        )
    )


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
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Import the event files of TensorBoard below DIR as one new run.")
    ] = False,
    project: Annotated[str | None, typer.Option("--project", "-p", help="Project of the imported run.")] = None,
    entity: Annotated[str | None, typer.Option("--entity", "-e", help="Entity of the imported run.")] = None,
    run_id: Annotated[
        str | None, typer.Option("--id", help="Id of the imported run; one of that id is replaced.")
    ] = None,
) -> None:
    """Ship what killed or offline processes left on this disk.

    Safe to repeat, and while others write: nothing arrives twice.
    """
    from tracker.cli.sync_command import import_tensorboard, run_sync

    if tensorboard:
        import_tensorboard(source, to, project=project, entity=entity, run_id=run_id)
    else:
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


@app.command("compact")
def _compact(
    url: Url = None,
    project: Projects = None,
    entity: Entities = None,
    run: Annotated[str | None, typer.Option("--run", help="Only this run.")] = None,
    memory: Annotated[int, typer.Option("--memory", min=16, help="Memory that sorting may use, in MiB.")] = 256,
    finished_for: Annotated[
        float | None,
        typer.Option(
            "--finished-for",
            min=0,
            help="Pack runs that finished so many seconds ago. Default: 300 in a directory, 3600 in a bucket. "
            "Runs that never said so are packed after a day of silence.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Pack the files of finished runs into few large ones.

    Safe at any time, and from many places at once: readers and writers never wait. All projects, unless one is named.
    """
    from tracker.cli.compact_command import run_compact

    run_compact(
        url,
        project,
        entity,
        run_id=run,
        memory_mib=memory,
        finished_for_s=finished_for,
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command("vacuum")
def _vacuum(
    url: Url = None,
    project: Projects = None,
    entity: Entities = None,
    grace: Annotated[
        float | None,
        typer.Option(
            "--grace",
            min=0,
            help="Seconds for which readers may still need what is superfluous. Default: 300 for a "
            "directory, 3600 for a bucket. Shorter only when nobody reads.",
        ),
    ] = None,
    blobs: Annotated[
        bool,
        typer.Option("--blobs", help="Also the contents of files that nothing names for a week: reads every event."),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete files that packs and merged files replace.

    Only what a verified file covers, and no reader can need any more. All projects, unless one is named.
    """
    from tracker.cli.compact_command import run_vacuum

    run_vacuum(url, project, entity, grace_s=grace, blobs=blobs, dry_run=dry_run, as_json=as_json)


@app.command("fsck")
def _fsck(
    url: Url = None,
    project: Projects = None,
    entity: Entities = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Move damaged objects to _quarantine/ where readers can do without them. Never deletes."
        ),
    ] = False,
    dry_run: DryRun = False,
    blobs: Annotated[bool, typer.Option("--blobs/--no-blobs", help="Read blobs too.")] = True,
    as_json: Json = False,
) -> None:
    """Read everything that is stored and say what is wrong with it.

    Only reads, unless --repair is given. All projects, unless one is named.
    """
    from tracker.cli.fsck_command import run_fsck

    run_fsck(url, project, entity, repairs=repair, dry_run=dry_run, blobs=blobs, as_json=as_json)


@app.command("du")
def _du(
    url: Url = None,
    project: Projects = None,
    entity: Entities = None,
    by: Annotated[str, typer.Option("--by", help="project, family (kind of file) or run.")] = "project",
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Only so many, the largest first.")] = None,
    as_json: Json = False,
) -> None:
    """Show how much is stored. All projects, unless one is named."""
    from tracker.cli.du_command import show_usage

    show_usage(url, project, entity, by, limit, as_json)


@app.command("cache")
def _cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete every copy; what is needed is fetched again.")] = False,
    limit: Annotated[
        str | None,
        typer.Option(
            "--limit",
            metavar="SIZE",
            help="Keep the cache at about this size from now on (20GB, 512MiB); the least recently used go.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Show, bound or empty the local copies of remote files."""
    from tracker.cli.cache_command import run_cache

    run_cache(clear, limit, dry_run, as_json)


add_comparing(app)
add_store_commands(app)
