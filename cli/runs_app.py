"""`tracker runs ...`: what can be done with runs by name."""

from __future__ import annotations

from typing import Annotated

import typer

from tracker.cli.compare_app import diff
from tracker.cli.export_app import add_commands as add_export
from tracker.cli.options import (
    DryRun,
    Entity,
    Filter,
    FormatName,
    Json,
    Limit,
    Order,
    Output,
    Project,
    Runs,
    UrlOption,
    Urls,
)
from tracker.cli.runs_changes_app import add_commands as add_changing

__all__ = ["runs_app"]

runs_app = typer.Typer(
    help="List, show, follow, change, delete, restore, stop and compare runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@runs_app.command("list")
def _runs_list(
    urls: Urls = None,
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

    list_runs(urls, project, entity, filter, order, limit, format, output)


@runs_app.command("show")
def _runs_show(
    run: Annotated[str, typer.Argument(help="The run: id, project/id or entity/project/id.")],
    urls: Urls = None,
    project: Project = None,
    entity: Entity = None,
    format: Annotated[str | None, typer.Option("--format", help="table or json. Default: table.")] = None,
) -> None:
    """Show one run: fields, config, summary."""
    from tracker.cli.runs_command import show_run

    show_run(run, urls, project, entity, format)


@runs_app.command("delete")
def _runs_delete(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Ids of the runs.")] = None,
    url: UrlOption = None,
    project: Project = None,
    entity: Entity = None,
    filter: Filter = None,
    purge: Annotated[bool, typer.Option("--purge", help="Remove them for good, whatever is synced later.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Purge without being asked.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Hide runs; their data stays, and restore shows them again.

    With --purge they are removed for good: hidden at once, and their bytes deleted once no reader can need them.
    """
    from tracker.cli.delete_command import delete_named

    delete_named(
        runs or [], url, project, entity, filter_text=filter, purge=purge, yes=yes, dry_run=dry_run, as_json=as_json
    )


@runs_app.command("restore")
def _runs_restore(
    runs: Runs,
    url: UrlOption = None,
    project: Project = None,
    entity: Entity = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Show deleted runs again, as if they had never been deleted."""
    from tracker.cli.delete_command import restore_named

    restore_named(runs, url, project, entity, dry_run=dry_run, as_json=as_json)


@runs_app.command("stop")
def _runs_stop(
    runs: Runs, url: UrlOption = None, project: Project = None, entity: Entity = None, as_json: Json = False
) -> None:
    """Ask the processes that write these runs to stop, as Ctrl-C does.

    Each of them looks for such a request about every 15 seconds; its run then ends as killed.
    """
    from tracker.cli.stop_command import stop_named

    stop_named(runs, url, project, entity, as_json=as_json)


runs_app.command("diff")(diff)
add_changing(runs_app)
runs_app.command("undelete", help=f"{_runs_restore.__doc__} The same as restore.")(_runs_restore)
add_export(runs_app)
