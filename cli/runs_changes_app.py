"""`tracker runs tail`, `update` and `undelete`: follow a run, and change some."""

from __future__ import annotations

from typing import Annotated

import typer

from tracker.cli.options import DryRun, Entity, Filter, Json, Project, Url, UrlOption, names_of

__all__ = ["add_commands"]

_PAIR = "KEY=VALUE"


def _tail(
    run: Annotated[str, typer.Argument(help="The run: id, project/id, entity/project/id, or URL# and one of these.")],
    url: Url = None,
    project: Project = None,
    entity: Entity = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="So many of the newest rows come first.")] = 10,
    everything: Annotated[bool, typer.Option("--all", help="Everything that is there comes first.")] = False,
    keys: Annotated[
        str | None, typer.Option("--keys", "-k", help="Only these metrics, by comma, of rows that have them all.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Rows of the history. The default.")] = False,
    console: Annotated[bool, typer.Option("--console", help="Lines that the run prints.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Samples of the system metrics.")] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.05, help="Seconds between two looks at the store, at most.")
    ] = 0.75,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Wait so many seconds for a run that has not begun yet.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs, one record a line.")] = False,
) -> None:
    """Follow a run: its last rows, then each new one as it arrives, until the run ends.

    A row shows at most one flush interval of the run (2 to 10 s) and a second after it was logged. Exits with 0 when
    the run has finished, with 10 when it failed, 11 when it crashed, 12 when it was killed, 13 when it was preempted.
    """
    from tracker.cli.tail_command import TailOptions, tail_run
    from tracker.query.follow_run import FollowOptions

    asked = {"history": history or bool(keys), "system": system, "console": console}
    streams = tuple(name for name, wanted in asked.items() if wanted) or ("history",)
    wanted = names_of(keys)
    follow = FollowOptions(
        streams=streams,
        keys=("_step", *wanted) if wanted else None,
        last=None if everything else lines,
        every_s=every,
    )
    tail_run(
        TailOptions(
            run=run, url=url, project=project, entity=entity, follow=follow, wait_s=wait, as_json=as_json
        )
    )


def _update(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Ids of the runs.")] = None,
    url: UrlOption = None,
    project: Project = None,
    entity: Entity = None,
    filter: Filter = None,
    name: Annotated[str | None, typer.Option("--name", help="The name that is shown; empty: none.")] = None,
    notes: Annotated[str | None, typer.Option("--notes", help="What to say about them; empty: nothing.")] = None,
    group: Annotated[str | None, typer.Option("--group", help="Their group; empty: none.")] = None,
    job_type: Annotated[str | None, typer.Option("--job-type", help="Their job type; empty: none.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Add a tag. Repeatable.")] = None,
    untags: Annotated[
        list[str] | None, typer.Option("--untag", metavar="TAG", help="Take a tag away. Repeatable.")
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", "-c", metavar=_PAIR, help="Set a config value: lr=0.1, opt.name=adam. Repeatable."),
    ] = None,
    summary: Annotated[
        list[str] | None, typer.Option("--summary", "-s", metavar=_PAIR, help="Set a summary value. Repeatable.")
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option("--unset", metavar="PATH", help="Take config.<path> or summary.<path> away. Repeatable."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Change fields, tags, config and summary of runs, by name or by --filter; all of them or none.

    Values are JSON (0.1, true, null, [1, 2], {"a": 1}); what is no JSON is text. What others change meanwhile stays.
    """
    from tracker.apis.public.runs_changes import Changes
    from tracker.cli.update_command import UpdateOptions, parse_pairs, update_runs

    fields = {"name": name, "notes": notes, "group": group, "job_type": job_type}
    changes = Changes(
        fields={field: text for field, text in fields.items() if text is not None},
        add_tags=tags or (),
        remove_tags=untags or (),
        config=parse_pairs("--config", config or ()),
        summary=parse_pairs("--summary", summary or ()),
        unset=unset or (),
    )
    update_runs(
        UpdateOptions(
            runs=runs or (),
            url=url,
            project=project,
            entity=entity,
            filter_text=filter,
            changes=changes,
            dry_run=dry_run,
            as_json=as_json,
        )
    )


def add_commands(app: typer.Typer) -> None:
    """To `tracker runs`."""
    app.command("tail")(_tail)
    app.command("update")(_update)
