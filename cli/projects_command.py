"""`tracker projects`: what a root holds, project by project."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracker.cli.choose_project import from_environment, opened_store
from tracker.cli.columns import aligned, size_text
from tracker.cli.reading import Reader
from tracker.cli.talk import say
from tracker.query.filter_tree import Filter
from tracker.query.history_plan import PartsGone
from tracker.query.instants import iso_seconds
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.projects import ProjectName, find_projects
from tracker.query.runs import find_runs, load_runs
from tracker.query.snapshot import Snapshot
from tracker.storage.errors import NotFound
from tracker.storage.names import project_prefix
from tracker.storage.port import Store
from tracker.storage.usage import measure_usage

__all__ = ["list_projects"]


@dataclass(frozen=True, slots=True)
class _Row:
    name: ProjectName
    runs: int | None  # that show; None: nobody looked
    running: int | None
    active_us: int | None  # when one of them was last heard of; None without runs
    size_bytes: int | None


def list_projects(
    url: Sequence[str] | None, entity: str | None, *, names_only: bool, size: bool, as_json: bool
) -> None:
    """Print the projects of the root, or of one entity: how many runs, and when one was last heard of.

    `names_only` needs two listings a project and opens none. `size` lists everything that a project holds.

    Raises:
        NotFound: no such root.
        StorageUnavailable, CredentialsMissing, CorruptData, FormatTooNew: as the store and its parts.
    """
    entity = entity or from_environment("ENTITY")
    with opened_store(url) as store:
        rows = [_row(store, name, names_only, size) for name in find_projects(store, entity)]
        where = store.url
    if as_json:
        print(json.dumps([_as_dict(row) for row in rows], indent=2, ensure_ascii=False))
        return
    if not rows:
        say(f"There are no projects in {where}. See where data goes with: tracker status")
        return
    header = ["entity", "project"]
    header += [] if names_only else ["runs", "running", "last activity"]
    header += ["size"] if size else []
    print(aligned(header, [_cells(row) for row in rows], right=("runs", "running", "size")))


def _row(store: Store, name: ProjectName, names_only: bool, size: bool) -> _Row:
    runs, running, active_us = (None, None, None) if names_only else _activity(store, name)
    held = measure_usage(store, project_prefix(name.entity, name.project)).total.size_bytes if size else None
    return _Row(name, runs, running, active_us, held)


def _activity(store: Store, name: ProjectName) -> tuple[int, int, int | None]:
    """(runs, running ones, last sign of life)"""
    everything, running = parse_filter({}), parse_filter({"state": {"$in": ["running", "preempting"]}})

    def ask(snapshot: Snapshot) -> tuple[int, int, int | None]:
        newest, count = find_runs(snapshot, everything, parse_order("-heartbeat_at"), limit=1)
        active = [record.heartbeat_at_us for record in load_runs(snapshot, newest)]
        return count, _count(snapshot, running), max(active, default=None)

    try:
        return Reader(store, name, None).read(ask)
    except PartsGone:
        raise
    except NotFound:  # it was made, and nothing was logged to it yet
        return 0, 0, None


def _count(snapshot: Snapshot, where: Filter) -> int:
    return find_runs(snapshot, where, parse_order("+created_at"), limit=1)[1]


def _cells(row: _Row) -> list[str]:
    cells = [row.name.entity, row.name.project]
    if row.runs is not None:
        cells += [f"{row.runs:,}", f"{row.running:,}", _time(row.active_us).replace("T", " ").removesuffix("Z")]
    return cells if row.size_bytes is None else [*cells, size_text(row.size_bytes)]


def _as_dict(row: _Row) -> dict[str, Any]:
    """What nobody looked at is left out. Fields are only ever added."""
    shown: dict[str, Any] = {"entity": row.name.entity, "project": row.name.project}
    if row.runs is not None:
        shown |= {"runs": row.runs, "running": row.running, "last_activity": _time(row.active_us) or None}
    return shown if row.size_bytes is None else shown | {"size_bytes": row.size_bytes}


def _time(at_us: int | None) -> str:
    """ISO 8601 in UTC, to the second; empty for never."""
    return "" if at_us is None else iso_seconds(at_us)
