"""`tracker runs update`: change fields, tags, config and summary of runs that this process does not write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracker.apis.public.runs_changes import ChangedRun, Changes, change_runs, plan_changes
from tracker.cli.columns import count_text
from tracker.cli.formats import plain
from tracker.cli.reading import Reader, open_reader, question
from tracker.cli.talk import say
from tracker.cli.text_table import cell_text
from tracker.query.runs import find_runs, load_runs
from tracker.storage.errors import NotFound, UsageError

__all__ = ["UpdateOptions", "parse_pairs", "update_runs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOptions:
    """What was asked on the command line."""

    runs: Sequence[str]
    url: str | None
    project: str | None
    entity: str | None
    filter_text: str | None
    changes: Changes
    dry_run: bool
    as_json: bool


def update_runs(options: UpdateOptions) -> None:
    """Change the runs that were named, or that match the filter, all of them or none, and print what changed.

    Raises:
        UsageError: no runs, or runs and a filter.
        NotFound: one of them is not there.
        StorageUnavailable, CredentialsMissing: as the store. Repeating is safe.
    """
    if bool(options.runs) == (options.filter_text is not None):
        raise UsageError("Name the runs to change, or choose them with --filter: one of the two.")
    with open_reader(options.url, options.project, options.entity) as reader:
        run_ids = _chosen(reader, options)
        if options.dry_run:
            done = reader.read(lambda snapshot: plan_changes(load_runs(snapshot, run_ids), options.changes))
            missing = set(run_ids) - {one.run_id for one in done}
            if missing:
                raise NotFound(f'There is no run "{min(missing)}" in {reader.name}.')
        else:
            done = change_runs(run_ids, options.changes, lambda: reader.read(lambda snapshot: snapshot))
        name = reader.name
    changed = [one for one in done if one.edits]
    if options.as_json:
        shown = {
            "entity": name.entity,
            "project": name.project,
            "dry_run": options.dry_run,
            "runs": [{"id": one.run_id, "changes": _as_dict(one)} for one in changed],
            "unchanged": [one.run_id for one in done if not one.edits],
        }
        print(json.dumps(plain(shown), indent=2, ensure_ascii=False))
    else:
        for one in changed:
            print("\n".join(_lines(one)))
    verb = "would change" if options.dry_run else "changed"
    same = f"; {count_text(len(done) - len(changed), 'run')} had it already" if len(changed) < len(done) else ""
    said = f"{verb} {count_text(len(changed), 'run')} of {name}{same}"
    say(said if done else f"No run of {name} matches the filter.")


def parse_pairs(option: str, pairs: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` each. The value is JSON (0.1, true, null, [1, 2], "text"); what is no JSON is text as it stands.

    Raises:
        UsageError: no `=`, or no key before it.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f'{option} "{pair}" is no KEY=VALUE. Write {option} lr=0.1')
        try:
            found[key] = json.loads(text)
        except (ValueError, RecursionError):
            found[key] = text
    return found


def _chosen(reader: Reader, options: UpdateOptions) -> list[str]:
    if options.filter_text is None:
        return list(dict.fromkeys(options.runs))
    asked = question(options.filter_text, None, None)
    return reader.read(lambda snapshot: find_runs(snapshot, asked.where, asked.order)[0])


def _as_dict(one: ChangedRun) -> dict[str, Any]:
    return {name: {"before": before, "after": after} for name, (before, after) in one.changes.items()}


def _lines(one: ChangedRun) -> list[str]:
    """One line a change: `id  path: before -> after`."""
    return [
        f"{one.run_id}  {name}: {cell_text(before) or 'nothing'} -> {cell_text(after) or 'nothing'}"
        for name, (before, after) in one.changes.items()
    ]
