"""Folded projects, kept per thread beside its DuckDB connection.

Two layers: runs that only packs hold, folded once a manifest and read from the checkpoints; and the others, of which
only those that changed are folded again. When nothing but time went by, states are judged anew and nothing is folded.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, Final

import duckdb

from tracker.query.connection import connection
from tracker.query.fold_sql import FoldNames, judge_runs
from tracker.query.packed import Packed
from tracker.query.packed_fold import PackedFold, fold_packed, judged_between
from tracker.query.snapshot import Snapshot
from tracker.query.touched_fold import TouchedFold, fold_touched, touched_tokens

__all__ = ["Folded", "folded"]

_KEPT_MAX: Final = 4  # projects per thread
_BASES_MAX: Final = 2
_SHOWN: Final = {
    "live": "run, kind, key, t, v, i, s",
    "runs": "run, state, created_at, heartbeat_at, duration, generations, entity, project",
    "writer_states": "run, writer, visible",
}

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Folded:
    """A project in this thread's connection `con`: its `live`, `runs` and `writer_states` are those of the snapshot."""

    con: duckdb.DuckDBPyConnection
    views: dict[str, str]  # name to SELECT
    base: PackedFold | None
    top: TouchedFold | None
    skipped: str | None  # table of runs that `base` must not show
    valid_from_us: int  # states are those of any moment from here on ...
    expires_us: int  # ... to before here
    records: dict[str, Any]  # what was made of it for single runs, by id


class _Shelf(threading.local):
    """What this thread's connection holds."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.projects: OrderedDict[object, Folded] = OrderedDict()
        self.bases: OrderedDict[object, PackedFold] = OrderedDict()
        self.shown: Folded | None = None


_shelf = _Shelf()


def folded(snapshot: Snapshot) -> Folded:
    """`snapshot`, folded. Use it at once: the next call on this thread may show another project.

    Raises:
        PartsGone: a checkpoint is no more in the store. Open a new snapshot.
    """
    con = connection()
    if _shelf.pid != os.getpid():  # a fork: the connection is a new one, and empty
        _shelf.__init__()  # type: ignore[misc]
    found = _shelf.projects.get(snapshot.identity)
    if found is None or not _holds(found, snapshot):
        before = _shelf.projects.pop(snapshot.identity, None)
        found = _fold(con, snapshot, before)
        _shelf.projects[snapshot.identity] = found
        if before is not None:
            _drop(con, before)
        while len(_shelf.projects) > _KEPT_MAX:
            _drop(con, _shelf.projects.popitem(last=False)[1])
    _shelf.projects.move_to_end(snapshot.identity)
    if _shelf.shown is not found:
        for view, select in found.views.items():
            con.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {select}")
        _shelf.shown = found
    return found


def _holds(found: Folded, snapshot: Snapshot) -> bool:
    """Whether states are still right, and nobody judged the packed runs for another moment."""
    if not found.valid_from_us <= snapshot.now_us < found.expires_us:
        return False
    return found.base is None or _shelf.bases.get(snapshot.runs.packed.identity) is found.base


def _fold(con: duckdb.DuckDBPyConnection, snapshot: Snapshot, before: Folded | None) -> Folded:
    runs = snapshot.runs
    base = _base(con, runs.packed, snapshot) if runs.packed and runs.only is None else None
    number = next(_numbers)
    names = FoldNames(**{name: f"{name}_{number}" for name in FoldNames.__dataclass_fields__})
    tokens = touched_tokens(snapshot, base.complex if base is not None else None)
    top, skipped = None, None
    between = [(base.valid_from_us, base.expires_us)] if base is not None else []
    if tokens or base is None:
        with runs.packed.reading():
            top = fold_touched(con, snapshot, names, tokens, before.top if before is not None else _like(snapshot))
        between.append(judged_between(con, names.writer_states, snapshot.now_us))
    if tokens and base is not None:
        skipped = f"skipped_{number}"
        con.execute(f"CREATE OR REPLACE TEMP TABLE {skipped} AS SELECT unnest(?::VARCHAR[]) AS run", [list(tokens)])
    views = {name: _shown(name, columns, base, top, skipped) for name, columns in _SHOWN.items()}
    starts, ends = zip(*between, strict=True)
    return Folded(con, views, base, top, skipped, max(starts), min(ends), {})


def _shown(name: str, columns: str, base: PackedFold | None, top: TouchedFold | None, skipped: str | None) -> str:
    selects = []
    if base is not None:
        without = "" if skipped is None else f" ANTI JOIN {skipped} USING (run)"
        selects.append(f"SELECT {columns} FROM {getattr(base.names, name)}{without}")
    if top is not None:
        selects.append(f"SELECT {columns} FROM {getattr(top.names, name)}")
    return " UNION ALL ".join(selects)


def _base(con: duckdb.DuckDBPyConnection, packed: Packed, snapshot: Snapshot) -> PackedFold:
    """The packed runs, judged at the snapshot's time."""
    found = _shelf.bases.get(packed.identity)
    now_us = snapshot.now_us
    if found is None:
        found = fold_packed(con, packed, now_us)
    elif not found.valid_from_us <= now_us < found.expires_us:
        with packed.reading():
            place = {"entity": snapshot.entity, "project": snapshot.project}
            judge_runs(con, now_us=now_us, **place, names=found.names, alone=True)
        valid_from_us, expires_us = judged_between(con, found.names.writer_states, now_us)
        found = replace(found, valid_from_us=valid_from_us, expires_us=expires_us)
    _shelf.bases[packed.identity] = found
    _shelf.bases.move_to_end(packed.identity)
    while len(_shelf.bases) > _BASES_MAX:
        _, old = _shelf.bases.popitem(last=False)
        for identity, project in list(_shelf.projects.items()):
            if project.base is not None and project.base.names == old.names:
                _drop(con, _shelf.projects.pop(identity))
        old.drop(con)
    return found


def _like(snapshot: Snapshot) -> TouchedFold | None:
    """The newest fold on this thread of the same project, root and time: most of its runs will be the same."""
    for found in reversed(_shelf.projects.values()):
        if found.top is not None and found.top.place == TouchedFold.place_of(snapshot):
            return found.top
    return None


def _drop(con: duckdb.DuckDBPyConnection, old: Folded) -> None:
    if _shelf.shown is old:
        for view in _SHOWN:
            con.execute(f"DROP VIEW IF EXISTS {view}")
        _shelf.shown = None
    if old.top is not None:
        old.top.drop(con)
    if old.skipped is not None:
        con.execute(f"DROP TABLE IF EXISTS {old.skipped}")
