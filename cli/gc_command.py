"""`tracker gc`: what was deleted long enough ago goes for good."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from typing import Any, Final

from tracker.cli.choose_project import choose_projects, opened_store
from tracker.cli.columns import aligned, count_text, size_text
from tracker.cli.reading import Reader
from tracker.cli.talk import say, warn, working
from tracker.query.deleted_runs import DeletedRun, deleted_runs
from tracker.query.history_plan import PartsGone
from tracker.query.instants import iso_seconds
from tracker.query.projects import ProjectName
from tracker.storage.clock import wall_us
from tracker.storage.errors import NotFound, UsageError
from tracker.storage.pack_state import store_clock_us
from tracker.storage.port import Store
from tracker.storage.purge import PurgeReport, purge_runs

__all__ = ["DEFAULT_GRACE", "collect_garbage", "parse_duration"]

DEFAULT_GRACE: Final = "30d"

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", re.IGNORECASE)


@dataclass(slots=True)
class _Plan:
    """What of one project goes, and what stays."""

    name: ProjectName
    due: list[DeletedRun] = field(default_factory=list)
    young: list[DeletedRun] = field(default_factory=list)  # deleted too lately
    needed: list[DeletedRun] = field(default_factory=list)  # others that stay show rows of it, or would when restored
    report: PurgeReport | None = None


def collect_garbage(
    url: str | None,
    project: str | None,
    entity: str | None,
    *,
    grace: str,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Purge the runs that were deleted longer ago than `grace`, of all projects that are meant.

    Ages are told by the store's clock. Runs in which others began that still show stay: these would lose rows.

    Raises:
        UsageError: `grace` is no duration; a purge that nobody confirmed; a root whose runs cannot be purged.
        NotFound: no such root or project.
        StorageUnavailable, CredentialsMissing, CorruptData, FormatTooNew: as the store. Repeating is safe.
    """
    grace_us = int(parse_duration(grace) * 1e6)
    with opened_store(url) as store:
        plans = []
        for name in choose_projects(store, project, entity):
            with working(f"looking for deleted runs in {name}"):
                plans.append(_plan(store, name, grace_us, dry_run))
        count = sum(len(plan.due) for plan in plans)
        if count and not dry_run:
            if not yes:
                _confirm(plans, count)
            for plan in plans:
                if plan.due:
                    with working(f"purging {plan.name}"):
                        plan.report = _purge(store, plan)
        for plan in plans:
            for run in plan.needed:
                heirs = ", ".join(run.heirs[:5]) + (f" and {len(run.heirs) - 5} more" if len(run.heirs) > 5 else "")
                warn(f"{plan.name}/{run.run_id} stays: {heirs} began in it. To remove it: tracker runs delete --purge")
    if as_json:
        print(json.dumps([_as_dict(plan, dry_run) for plan in plans], indent=2, ensure_ascii=False))
    else:
        _print(plans)
    _tell(plans, count, grace, dry_run)


def parse_duration(text: str) -> float:
    """Seconds: `30d`, `12h`, `90m`, `2w`, `45s`; a number alone counts seconds.

    Raises:
        UsageError: no duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f'"{text}" is no duration. Write 30d, 12h, 90m, 45s or 0.')
    return float(match[1]) * _UNITS_S[match[2].lower() or "s"]


def _plan(store: Store, name: ProjectName, grace_us: int, dry_run: bool) -> _Plan:
    plan = _Plan(name)
    try:
        found = Reader(store, name, None).read(deleted_runs)
    except PartsGone:
        raise
    except NotFound:  # a project without runs
        return plan
    now_us = (wall_us() if dry_run else store_clock_us(store)) if found else 0
    plan.young = [run for run in found if now_us - run.deleted_us < grace_us]
    plan.due = [run for run in found if run not in plan.young]
    while stays := [run for run in plan.due if set(run.heirs).difference(one.run_id for one in plan.due)]:
        plan.needed += stays
        plan.due = [run for run in plan.due if run not in stays]
    return plan


def _purge(store: Store, plan: _Plan) -> PurgeReport:
    return purge_runs(
        store,
        plan.name.entity,
        plan.name.project,
        [run.run_id for run in plan.due],
        now_us=wall_us(),
        notify=lambda level, text: say(text) if level == "info" else warn(text),
    )


def _confirm(plans: list[_Plan], count: int) -> None:
    """It cannot be undone: ask a person, and refuse where there is none."""
    what = count_text(count, "deleted run")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"This removes {what} for good. Add --yes to do so without being asked, or look: --dry-run")
    shown = [f"{plan.name}/{run.run_id}" for plan in plans for run in plan.due]
    names = ", ".join(shown[:5]) + (f" and {count - 5} more" if count > 5 else "")
    print(f"Remove {what} for good ({names})? Type the word purge: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != "purge":
        raise UsageError("Nothing was purged.")


def _print(plans: list[_Plan]) -> None:
    rows = [[str(plan.name), run.run_id, iso_seconds(run.deleted_us)] for plan in plans for run in plan.due]
    if rows:
        print(aligned(["project", "run", "deleted"], rows))


def _tell(plans: list[_Plan], count: int, grace: str, dry_run: bool) -> None:
    young = sum(len(plan.young) for plan in plans)
    rest = f"; {count_text(young, 'run')} deleted less than {grace} ago" if young else ""
    verb = "would purge" if dry_run else "purged"
    say(f"{verb} {count_text(count, 'run')}{rest}" if count or young else "no run is deleted: nothing to purge")
    waiting = sum(plan.report.waiting_bytes for plan in plans if plan.report is not None)
    if waiting:
        say(f"{size_text(waiting)} go with the next tracker vacuum after its grace time; files of runs with --blobs.")


def _as_dict(plan: _Plan, dry_run: bool) -> dict[str, Any]:
    """Fields are only ever added."""
    report = plan.report

    def told(runs: list[DeletedRun]) -> list[dict[str, Any]]:
        return [{"id": run.run_id, "deleted_at": iso_seconds(run.deleted_us)} for run in runs]

    return {
        "entity": plan.name.entity,
        "project": plan.name.project,
        "dry_run": dry_run,
        "purged": told(plan.due),
        "within_grace": told(plan.young),
        "needed": [one | {"by": list(run.heirs)} for one, run in zip(told(plan.needed), plan.needed, strict=True)],
        "deleted_objects": report.deleted_objects if report else 0,
        "waiting_objects": report.waiting_objects if report else 0,
        "waiting_bytes": report.waiting_bytes if report else 0,
    }

