"""What is known of a run's history without reading it: its keys, their types, its last step."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any, Final

from tracker.query.fold_input import last_points
from tracker.query.limited_parts import exact_stats
from tracker.query.run_files import KeyStats, RunFiles
from tracker.storage.events import Type, decode_cell, path_text

__all__ = ["key_report", "last_step", "row_count"]

_SHOWN: Final = {
    Type.FLOAT: "number",
    Type.INT: "number",
    Type.BOOL: "boolean",
    Type.STRING: "string",
    Type.JSON: "map",
    Type.NULL: "nil",
}


def last_step(run: RunFiles) -> int:
    """The highest step of a closed row, -1 without any."""
    return max((part.step_last for part in run.parts if part.step_last is not None), default=-1)


def row_count(run: RunFiles) -> int:
    """How many rows were closed."""
    return sum(part.rows for part in run.parts)


def key_report(run: RunFiles) -> dict[str, Any]:
    """`{"sets": [], "keys": {name: {"typeCounts", "monotonic", "previousValue"}}, "lastStep": n}`."""
    report: dict[str, Any] = {}
    values = _last_values(run)
    for stored in run.history_keys():
        stats = [exact_stats(part, stored) for part in run.parts if stored in part.keys]
        name = path_text(stored)
        if stored in values and (name not in report or "\\" in stored):  # the literal key wins
            report[name] = {
                "typeCounts": _type_counts(stats),
                "monotonic": _never_falls(stats),
                "previousValue": values[stored][1],
            }
    return {"sets": [], "keys": report, "lastStep": last_step(run)}


def _last_values(run: RunFiles) -> dict[str, tuple[int, Any]]:
    values: dict[str, tuple[int, Any]] = {}
    for _, parts in groupby(run.parts, key=lambda part: part.writer_id):
        for cell in (cell for table in last_points(list(parts)) for cell in table.to_pylist()):
            if cell["key"] not in values or values[cell["key"]][0] < cell["hlc"]:
                values[cell["key"]] = (cell["hlc"], decode_cell(cell["t"], cell["v"], cell["i"], cell["s"]))
    return values


def _type_counts(stats: list[KeyStats]) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for kind, shown in _SHOWN.items():
        count = sum(found.counts[kind] for found in stats)
        if count:
            counts[shown] = counts.get(shown, 0) + count
    return [{"type": shown, "count": count} for shown, count in counts.items()]


def _never_falls(stats: list[KeyStats]) -> bool:
    falls = any(later.first_v < before.last_v for before, later in pairwise(stats))
    return all(found.rising for found in stats) and not falls
