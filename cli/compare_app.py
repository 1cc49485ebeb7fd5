"""`tracker diff` and `tracker log`: what tells two runs apart, and what happened to one."""

from __future__ import annotations

from typing import Annotated

import typer

from tracker.cli.options import Entity, FormatName, Json, Output, Project, UrlOption, names_of

__all__ = ["add_commands", "diff", "log"]

_RUN = "id, project/id, entity/project/id, or URL# and one of these."


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=f"The one run: {_RUN}")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other run.")],
    url: UrlOption = None,
    project: Project = None,
    entity: Entity = None,
    sections: Annotated[
        str | None,
        typer.Option(
            "--sections",
            "-s",
            help="What to compare, by comma: config, summary, metadata, packages, code, metrics. Default: all of it.",
        ),
    ] = None,
    keys: Annotated[str | None, typer.Option("--keys", "-k", help="Only these metrics, by comma.")] = None,
    rtol: Annotated[
        float, typer.Option("--rtol", min=0.0, help="Floats are the same up to so much of the greater one.")
    ] = 0.0,
    atol: Annotated[float, typer.Option("--atol", min=0.0, help="Floats are the same up to so much.")] = 0.0,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", "-i", metavar="PATTERN", help="What does not count: summary.time/*. Repeatable."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing: the exit code says it.")] = False,
    patch: Annotated[bool, typer.Option("--patch", help="Also the lines of code that differ.")] = False,
    rows: Annotated[
        bool, typer.Option("--rows", help="Instead, the metrics of both side by side, one row a step; exits with 0.")
    ] = False,
    as_json: Json = False,
    format: FormatName = None,
    output: Output = None,
) -> None:
    """Show what differs between two runs: config, summary, metadata, packages, code, metrics.

    Exits with 0 where nothing differs, with 1 where something does, with 2 or more where that cannot be told.
    What differs in any two runs does not count: times of start, _runtime, _timestamp.
    """
    from tracker.cli.diff_command import DiffOptions, print_diff

    print_diff(
        DiffOptions(
            a=a,
            b=b,
            url=url,
            project=project,
            entity=entity,
            sections=names_of(sections),
            keys=names_of(keys),
            rtol=rtol,
            atol=atol,
            ignore=ignore or (),
            quiet=quiet,
            patch=patch,
            as_json=as_json,
            rows=rows,
            format_name=format,
            output=output,
        )
    )


def log(
    run: Annotated[str, typer.Argument(metavar="RUN", help=f"The run, deleted ones too: {_RUN}")],
    url: UrlOption = None,
    project: Project = None,
    entity: Entity = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            "-k",
            help="Only such events, by comma: started, forked, fields, config, summary, metric, metadata, file, alert, "
            "state, stop, rows, ended, silent, deleted, restored, lost, heartbeat. "
            "Default: all but rows and heartbeat.",
        ),
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="From this time on (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time (ISO 8601).")] = None,
    last: Annotated[int | None, typer.Option("--last", "-n", min=1, help="Only the last so many events.")] = None,
    full: Annotated[bool, typer.Option("--full", help="All that changed, of every event.")] = False,
    as_json: Json = False,
    as_lines: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line.")] = False,
) -> None:
    """Show what happened to a run: who did what, and when.

    Sessions and how they ended, what was set, edits by others, deletes. It reads what was set, not what was logged.
    """
    from tracker.cli.log_command import LogOptions, print_log

    print_log(
        LogOptions(
            run=run,
            url=url,
            project=project,
            entity=entity,
            kinds=names_of(kinds),
            since=since,
            until=until,
            last=last,
            full=full,
            as_json=as_json,
            as_lines=as_lines,
        )
    )


def add_commands(app: typer.Typer) -> None:
    """`tracker diff` and `tracker log`."""
    app.command("diff")(diff)
    app.command("log")(log)
