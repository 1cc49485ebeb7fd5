"""`tracker files ...`: the files that runs keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tracker.cli.options import DryRun, Entity, FormatName, Json, Output, Project, UrlOption

__all__ = ["files_app"]

files_app = typer.Typer(
    help="List, download, add or remove files of a run.", no_args_is_help=True, rich_markup_mode=None
)

RunPath = Annotated[str, typer.Argument(metavar="RUN", help="The run: id, project/id or entity/project/id.")]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Names of files; * ? [ stand for others, * for / too. Default: all."),
]


@files_app.command("ls")
def _files_ls(
    run: RunPath,
    names: Names = None,
    url: UrlOption = None,
    project: Project = None,
    entity: Entity = None,
    format: FormatName = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """List the files of a run: name, size, type, time, SHA-256."""
    from tracker.cli.files_command import list_files

    list_files(run, names or [], url, project, entity, "json" if as_json else format, output)


@files_app.command("get")
def _files_get(
    run: RunPath,
    names: Names = None,
    root: Annotated[Path, typer.Option("--root", help="The folder to download to; it is made.")] = Path(),
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that are there already.")] = False,
    exist_ok: Annotated[bool, typer.Option("--exist-ok", help="Leave files that are there already.")] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Files at a time. Default: 64 from a bucket, 4 from a disk."),
    ] = None,
    url: UrlOption = None,
    project: Project = None,
    entity: Entity = None,
    as_json: Json = False,
) -> None:
    """Download files of a run, and print where they are.

    Every file is checked, and appears whole or not at all. What was stopped goes on when it is called again, with
    --exist-ok.
    """
    from tracker.cli.files_command import get_files

    get_files(
        run, names or [], url, project, entity, root=root, replace=replace, exist_ok=exist_ok, workers=workers,
        as_json=as_json,
    )  # fmt: skip


@files_app.command("put")
def _files_put(
    run: RunPath,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files, and folders with all that is in them.")],
    root: Annotated[
        Path, typer.Option("--root", help="Names are relative to this folder; all paths must lie below it.")
    ] = Path(),
    url: UrlOption = None,
    project: Project = None,
    entity: Entity = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Keep local files with a run, all or none of them.

    One of the same name is replaced.
    """
    from tracker.cli.files_command import put_files

    put_files(run, paths, url, project, entity, root=root, dry_run=dry_run, as_json=as_json)


@files_app.command("rm")
def _files_rm(
    run: RunPath,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of files; * ? [ stand for others.")],
    url: UrlOption = None,
    project: Project = None,
    entity: Entity = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove files from a run.

    Their contents go with tracker vacuum --blobs, if nothing else names them.
    """
    from tracker.cli.files_command import remove_files

    remove_files(run, names, url, project, entity, dry_run=dry_run, as_json=as_json)
