"""Stored reports of a project: things of the kind `report`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tracker.query.things import Thing
from tracker.storage.errors import CorruptData

__all__ = ["KIND_REPORT", "PUBLISHED", "ReportRecord", "report_records"]

KIND_REPORT: Final = "report"
PUBLISHED: Final = "runs"  # the type of a report that is no draft


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRecord:
    """A report as it stands. Times are microseconds since the epoch UTC."""

    id: str
    name: str
    display_name: str
    description: str
    type: str
    user: str | None  # who made it
    spec: dict[str, Any]
    created_us: int
    updated_us: int


def report_records(things: Mapping[str, Thing], *, warn: Callable[[str], None]) -> list[ReportRecord]:
    """The reports among things of their kind, drafts too, the one that was changed last first.

    One whose spec cannot be read is left out, and `warn` is told.
    """
    found = []
    for thing in things.values():
        if thing.get("spec") is None:  # deleted, and changed since by somebody who did not know
            continue
        try:
            found.append(_record(thing))
        except CorruptData as exc:
            warn(f"{exc} It is left out of the answer.")
    return sorted(found, key=lambda report: (-report.updated_us, report.id))


def _record(thing: Thing) -> ReportRecord:
    try:
        spec = json.loads(str(thing.get("spec")))
    except ValueError as exc:
        raise CorruptData(f"The spec of report {thing.id} is no JSON: {exc}. Save the report again.") from exc
    if not isinstance(spec, dict):
        raise CorruptData(f"The spec of report {thing.id} is no JSON object. Save the report again.")
    user = thing.get("user")
    return ReportRecord(
        id=thing.id,
        name=str(thing.get("name") or thing.id),
        display_name=str(thing.get("display_name") or "Untitled Report"),
        description=str(thing.get("description") or ""),
        type=str(thing.get("type") or PUBLISHED),
        user=None if user is None else str(user),
        spec=spec,
        created_us=thing.created_us,
        updated_us=thing.updated_us,
    )
