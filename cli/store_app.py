"""`tracker projects`, `tracker gc` and `tracker login`: what a root holds, what goes from it, and which one it is."""

from __future__ import annotations

from typing import Annotated

import typer

from tracker.cli.options import DryRun, Entities, Json, Projects, Url, Urls

__all__ = ["add_commands"]


def _projects(
    urls: Urls = None,
    entity: Entities = None,
    names: Annotated[
        bool, typer.Option("--names", help="Only the names: by listing, without opening the projects.")
    ] = False,
    size: Annotated[bool, typer.Option("--size", help="Also how much each holds; lists all of its objects.")] = False,
    as_json: Json = False,
) -> None:
    """List the projects: how many runs each has, how many of them run now, when one was last heard of."""
    from tracker.cli.projects_command import list_projects

    list_projects(urls, entity, names_only=names, size=size, as_json=as_json)


def _gc(
    url: Url = None,
    project: Projects = None,
    entity: Entities = None,
    grace: Annotated[
        str, typer.Option("--grace", metavar="TIME", help="Only runs that were deleted so long ago: 30d, 12h, 0.")
    ] = "30d",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Purge without being asked.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove for good what was deleted long ago: such runs can be restored no more.

    Their bytes go with compact or vacuum. Runs in which others began that still show stay. All projects, unless one is
    named.
    """
    from tracker.cli.gc_command import collect_garbage

    collect_garbage(url, project, entity, grace=grace, yes=yes, dry_run=dry_run, as_json=as_json)


def _login(
    host: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="Where this user's runs go from now on: a directory, s3://bucket/prefix, gs://bucket/prefix. "
            "Default: where they go now.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            help="A credential to keep for it, where the environment has none: ID:SECRET for s3, a service account's "
            "JSON or its file for gs; - reads it from stdin.",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Write, read and delete a small object there.")
    ] = True,
    timeout: Annotated[int | None, typer.Option("--timeout", min=1, help="Seconds for that. Default: 30.")] = None,
) -> None:
    """Remember where this user's runs go, and see whether it can be written to and read from. There is no account."""
    from tracker.cli.login_command import log_in

    log_in(host, key, verify=verify, timeout_s=timeout)


def add_commands(app: typer.Typer) -> None:
    """To `tracker`."""
    app.command("projects")(_projects)
    app.command("gc")(_gc)
    app.command("login")(_login)
