"""`tracker du`: how much is stored, by project, by kind of file, or by run."""

from __future__ import annotations

import json
from typing import Any, Final

from tracker.cli.choose_project import choose_projects, opened_store
from tracker.cli.columns import aligned, size_text
from tracker.cli.talk import say, warn
from tracker.storage.errors import UsageError
from tracker.storage.names import project_prefix
from tracker.storage.usage import AREAS, ProjectUsage, RootUsage, measure_usage

__all__ = ["BY", "show_usage"]

BY: Final = ("project", "family", "run")
_RIGHT: Final = ("objects", "size", "loose", "packs", "other", "packed", "writers")
_FAMILIES: Final = {
    "e": "everything",
    "f": "facts",
    "h": "history",
    "s": "system",
    "c": "console",
    "r": "rollups",
    "k": "checkpoints",
    "cover": "covers",
}


def show_usage(
    url: str | None, project: str | None, entity: str | None, by: str, limit: int | None, as_json: bool
) -> None:
    """Print objects and bytes, of the whole root unless options or environment name a project.

    Raises:
        UsageError: `by` is none of BY.
        NotFound: no such root or project.
    """
    if by not in BY:
        raise UsageError(f'Unknown --by "{by}". Known: {", ".join(BY)}.')
    with opened_store(url) as store:
        names = choose_projects(store, project, entity)
        if project or entity:
            usage = RootUsage()
            for name in names:
                one = measure_usage(store, project_prefix(name.entity, name.project), runs=by == "run")
                usage.projects += one.projects
                usage.total.add(one.total.objects, one.total.size_bytes)
        else:
            usage = measure_usage(store, runs=by == "run")
        shown = store.url
    for found in usage.projects:
        for text in found.unread:
            warn(f"{text} What runs have in that pack is not counted for them.")
    if as_json:
        print(json.dumps(_as_dict(usage, by, limit), indent=2, ensure_ascii=False))
        return
    header, rows = {"project": _by_project, "family": _by_family, "run": _by_run}[by](usage)
    left_out = len(rows) - limit if limit is not None else 0
    print(aligned(header, rows[:limit], right=_RIGHT))
    if left_out > 0:
        say(f"{left_out:,} smaller ones are not shown.")
    total = usage.total
    print(f"\n{total.objects:,} objects, {size_text(total.size_bytes)} in {shown}")


def _by_project(usage: RootUsage) -> tuple[list[str], list[list[str]]]:
    rows = []
    for found in sorted(usage.projects, key=lambda one: -one.total.size_bytes):
        loose, packs = found.areas["loose"], found.areas["packs"]
        other = found.total.size_bytes - loose.size_bytes - packs.size_bytes
        sizes = [size_text(size) for size in (found.total.size_bytes, loose.size_bytes, packs.size_bytes, other)]
        rows.append([f"{found.entity}/{found.project}", f"{found.total.objects:,}", *sizes])
    if usage.elsewhere.objects:
        sizes = [size_text(usage.elsewhere.size_bytes), "", "", size_text(usage.elsewhere.size_bytes)]
        rows.append(["(no project)", f"{usage.elsewhere.objects:,}", *sizes])
    return ["project", "objects", "size", "loose", "packs", "other"], rows


def _by_family(usage: RootUsage) -> tuple[list[str], list[list[str]]]:
    rows = []
    for found in usage.projects:
        lines = [
            (where, f"{family} ({_FAMILIES.get(family, 'unknown')})", amount)
            for (where, family), amount in found.families.items()
        ]
        lines += [(area, "", found.areas[area]) for area in AREAS if area not in ("loose", "packs")]
        for where, what, amount in sorted(lines, key=lambda line: -line[2].size_bytes):
            if amount.objects:
                name = f"{found.entity}/{found.project}"
                rows.append([name, where, what, f"{amount.objects:,}", size_text(amount.size_bytes)])
    return ["project", "where", "family", "objects", "size"], rows


def _by_run(usage: RootUsage) -> tuple[list[str], list[list[str]]]:
    rows = []
    for name, run, found in _runs(usage):
        loose, packed = size_text(found.loose.size_bytes), size_text(found.packed_bytes)
        line = [f"{name.entity}/{name.project}", run, f"{found.writers:,}", f"{found.loose.objects:,}"]
        rows.append([*line, size_text(found.size_bytes), loose, packed])
    return ["project", "run", "writers", "objects", "size", "loose", "packed"], rows


def _runs(usage: RootUsage) -> list[tuple[ProjectUsage, str, Any]]:
    """All runs, the largest first."""
    runs = [(found, run, used) for found in usage.projects for run, used in found.runs.items()]
    return sorted(runs, key=lambda one: (-one[2].size_bytes, one[0].entity, one[0].project, one[1]))


def _as_dict(usage: RootUsage, by: str, limit: int | None) -> dict[str, Any]:
    """Fields are only ever added."""
    shown: dict[str, Any] = {
        "objects": usage.total.objects,
        "size_bytes": usage.total.size_bytes,
        "elsewhere": {"objects": usage.elsewhere.objects, "size_bytes": usage.elsewhere.size_bytes},
        "projects": [
            {
                "entity": found.entity,
                "project": found.project,
                "objects": found.total.objects,
                "size_bytes": found.total.size_bytes,
                "areas": {
                    area: {"objects": amount.objects, "size_bytes": amount.size_bytes}
                    for area, amount in found.areas.items()
                },
                "families": [
                    {"where": where, "family": family, "objects": amount.objects, "size_bytes": amount.size_bytes}
                    for (where, family), amount in sorted(found.families.items())
                ],
            }
            for found in usage.projects
        ],
    }
    if by == "run":
        shown["runs"] = [
            {
                "entity": name.entity,
                "project": name.project,
                "run": run,
                "writers": found.writers,
                "loose_objects": found.loose.objects,
                "loose_bytes": found.loose.size_bytes,
                "packed_bytes": found.packed_bytes,
                "size_bytes": found.size_bytes,
            }
            for name, run, found in _runs(usage)[:limit]
        ]
    return shown
