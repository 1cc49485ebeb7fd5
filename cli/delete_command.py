"""`tracker runs delete` and `tracker runs restore`: hide runs, show them again, or remove them for good."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from tracker.apis.public.run_edits import delete_runs, restore_runs
from tracker.cli.columns import count_text, size_text
from tracker.cli.reading import Question, open_reader, question
from tracker.cli.talk import say, warn
from tracker.query.branches import begun_in
from tracker.query.runs import find_runs
from tracker.query.snapshot import Snapshot
from tracker.storage.clock import wall_us
from tracker.storage.errors import NotFound, UsageError
from tracker.storage.purge import purge_runs

__all__ = ["delete_named", "restore_named"]


def delete_named(
    runs: Sequence[str],
    url: str | None,
    project: str | None,
    entity: str | None,
    *,
    filter_text: str | None,
    purge: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Hide the runs; with `purge` remove them for good, which a person has to confirm.

    Raises:
        UsageError: no runs, or runs and a filter; a purge that nobody confirmed.
        NotFound: one of them is not there; then none is deleted.
        StorageUnavailable, CredentialsMissing: as the store. Repeating is safe.
    """
    if bool(runs) == (filter_text is not None):
        raise UsageError("Name the runs to delete, or choose them with --filter: one of the two.")
    asked = question(filter_text, None, None)
    with open_reader(url, project, entity) as reader:
        run_ids = list(dict.fromkeys(runs)) or reader.read(lambda snapshot: _matching(snapshot, asked))
        name = reader.name
        done: dict[str, Any] = {"entity": name.entity, "project": name.project, "runs": run_ids, "dry_run": dry_run}
        if not run_ids:
            say(f"No run of {name} matches the filter.")
        elif purge:
            heirs = reader.read(lambda snapshot: begun_in(snapshot, run_ids))
            if heirs:
                shown = ", ".join(heirs[:5]) + (f" and {len(heirs) - 5} more" if len(heirs) > 5 else "")
                warn(f"{count_text(len(heirs), 'run')} began in these by a fork and will lack the rows: {shown}")
            if not dry_run and not yes:
                _confirm(run_ids, str(name))
            report = purge_runs(
                reader.store,
                name.entity,
                name.project,
                run_ids,
                now_us=wall_us(),
                dry_run=dry_run,
                notify=lambda level, text: say(text) if level == "info" else warn(text),
            )
            done |= {
                "purged": not dry_run,
                "forks": heirs,
                "writers": report.writers,
                "packs_rewritten": report.packs_rewritten,
                "deleted_objects": report.deleted_objects,
                "waiting_objects": report.waiting_objects,
                "waiting_bytes": report.waiting_bytes,
            }
            verb = "would purge" if dry_run else "purged"
            say(f"{verb} {count_text(len(run_ids), 'run')} of {name}")
            if report.waiting_objects:
                waiting = f"{count_text(report.waiting_objects, 'file')} ({size_text(report.waiting_bytes)})"
                say(f"{waiting} go with the next tracker vacuum after the grace time.")
        else:
            if not dry_run:
                reader.read(lambda snapshot: delete_runs(snapshot, run_ids))
            else:
                reader.read(lambda snapshot: _must_have(snapshot, run_ids))
            done["purged"] = False
            verb = "would delete" if dry_run else "deleted"
            say(f"{verb} {count_text(len(run_ids), 'run')} of {name}")
            if not dry_run:
                say("Their data stays. To show them again: tracker runs restore; to remove it for good: --purge")
    _print(done, as_json)


def restore_named(
    runs: Sequence[str], url: str | None, project: str | None, entity: str | None, *, dry_run: bool, as_json: bool
) -> None:
    """Show deleted runs again. Raises as `delete_named`."""
    run_ids = list(dict.fromkeys(runs))
    with open_reader(url, project, entity) as reader:
        if not dry_run:
            reader.read(lambda snapshot: restore_runs(snapshot, run_ids))
        else:
            reader.read(lambda snapshot: _must_have(snapshot, run_ids))
        name = reader.name
    verb = "would restore" if dry_run else "restored"
    say(f"{verb} {count_text(len(run_ids), 'run')} of {name}")
    _print({"entity": name.entity, "project": name.project, "runs": run_ids, "dry_run": dry_run}, as_json)


def _print(done: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(done, indent=2, ensure_ascii=False) if as_json else "\n".join(done["runs"]))


def _matching(snapshot: Snapshot, asked: Question) -> list[str]:
    return find_runs(snapshot, asked.where, asked.order)[0]


def _must_have(snapshot: Snapshot, run_ids: Sequence[str]) -> None:
    for run_id in run_ids:
        if run_id not in snapshot.runs:
            raise NotFound(f'There is no run "{run_id}" in {snapshot.entity}/{snapshot.project}.')


def _confirm(run_ids: Sequence[str], project: str) -> None:
    """A purge cannot be undone: ask a person, and refuse where there is none."""
    what = count_text(len(run_ids), "run")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"A purge removes {what} of {project} for good. Add --yes to do so without being asked.")
    shown = ", ".join(run_ids[:5]) + (f" and {len(run_ids) - 5} more" if len(run_ids) > 5 else "")
    print(f"Remove {what} of {project} for good ({shown})? Type the word purge: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != "purge":
        raise UsageError("Nothing was purged.")
