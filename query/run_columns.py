"""Columns of a table of runs: what they are called, and which stored paths stand in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import pyarrow as pa

from tracker.query.errors import FilterTypeError
from tracker.query.leaf_cells import Leaf
from tracker.storage.events import (
    KIND_ATTR,
    KIND_CONFIG,
    KIND_SUMMARY,
    flatten,
    join_path,
    path_text,
    split_path,
)

__all__ = ["RUN_ATTRS", "RUN_COLUMNS", "AskedColumns", "asked_columns", "column_name", "flat_record"]

RUN_COLUMNS: Final = {
    "id": pa.string(),
    "name": pa.string(),
    "state": pa.string(),
    "created_at": pa.timestamp("us", "UTC"),
    "heartbeat_at": pa.timestamp("us", "UTC"),
    "duration": pa.float64(),
    "entity": pa.string(),
    "project": pa.string(),
    "group": pa.string(),
    "job_type": pa.string(),
    "username": pa.string(),
    "host": pa.string(),
    "sweep": pa.string(),
    "commit": pa.string(),
    "notes": pa.string(),
    "tags": pa.list_(pa.string()),
}

RUN_ATTRS: Final = ("name", "group", "job_type", "username", "host", "sweep", "commit", "notes", "tags")

_LEAVES: Final = {KIND_CONFIG: "config.", KIND_SUMMARY: "summary."}
_DOTS_MAX: Final = 6  # in a name that is looked up; one with more is found by reading all of its kind


def column_name(name: str) -> str:
    """A run field or a path of config or summary as it is; any other name is a metric, that is its summary."""
    if name in RUN_COLUMNS or name.startswith(("config.", "summary.")):
        return name
    return f"summary.{name.removeprefix('summary_metrics.')}"


def flat_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Run fields, and the leaves of config and summary under `config.<path>` and `summary.<path>`."""
    flat = {name: record.get(name) for name in RUN_COLUMNS}
    for kind in ("config", "summary"):
        flat |= {f"{kind}.{path_text(path)}": value for path, value in flatten(dict(record.get(kind) or {}))}
    return flat


@dataclass(frozen=True, slots=True)
class AskedColumns:
    """`names`: columns as they were asked for, or None for all. `paths`: stored paths by kind, None for all of them."""

    names: tuple[str, ...] | None
    paths: dict[str, list[str] | None]

    @property
    def fields(self) -> list[str]:
        return [name for name in RUN_COLUMNS if self.names is None or name in self.names]

    def by_name(self, leaves: Iterable[Leaf]) -> dict[str, list[Leaf]]:
        """Columns of `leaves`, sorted as they stand in the table; each with the paths that look like it, the one that
        counts first.
        """
        found: dict[str, list[Leaf]] = {}
        for kind, head in _LEAVES.items():
            named: dict[str, list[Leaf]] = {}
            for leaf in leaves:
                if leaf[0] == kind:
                    named.setdefault(f"{head}{path_text(leaf[1])}", []).append(leaf)
            for name in sorted(named):
                if self.names is None or name in self.names:
                    found[name] = sorted(named[name], key=lambda leaf: split_path(leaf[1]), reverse=True)
        return found

    def schema(self, leaves: Mapping[str, pa.DataType]) -> pa.Schema:
        """Of the table; `leaves`: types of columns of config and summary, in their order."""
        names = (*RUN_COLUMNS, *leaves) if self.names is None else self.names
        return pa.schema([pa.field(name, RUN_COLUMNS.get(name) or leaves.get(name, pa.null())) for name in names])


def asked_columns(columns: Sequence[str] | None) -> AskedColumns:
    """What `columns` means: names as `column_name` takes them; None for all.

    Raises:
        FilterTypeError: it is no list of names.
    """
    if columns is None:
        return AskedColumns(None, {KIND_ATTR: list(RUN_ATTRS), KIND_CONFIG: None, KIND_SUMMARY: None})
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise FilterTypeError(f'columns is a list of names such as ["config.lr", "loss"], not {columns!r:.80}.')
    names = tuple(dict.fromkeys(map(column_name, columns)))
    paths: dict[str, list[str] | None] = {}
    attrs = [name for name in names if name in RUN_ATTRS]
    if attrs:
        paths[KIND_ATTR] = attrs
    for kind, head in _LEAVES.items():
        wanted = [name.removeprefix(head) for name in names if name.startswith(head) and name not in RUN_COLUMNS]
        readings = [_readings(text) for text in wanted]
        if wanted:
            paths[kind] = None if None in readings else sorted({path for one in readings for path in one or ()})
    return AskedColumns(names, paths)


def _readings(text: str) -> list[str] | None:
    """Stored paths that look like `text`; None where there are too many to try."""
    segments = text.split(".")
    inner = range(1, len(segments))
    if len(inner) > _DOTS_MAX or "\\" in text:
        return None
    cuts = (cut for count in range(len(inner) + 1) for cut in combinations(inner, count))
    return [
        join_path([".".join(segments[start:end]) for start, end in zip((0, *cut), (*cut, len(segments)), strict=True)])
        for cut in cuts
    ]
