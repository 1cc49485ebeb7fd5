"""Folded projects, kept per thread beside its DuckDB connection: an unchanged listing is not folded again."""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from tracker.query.connection import connection
from tracker.query.fold_input import FoldInput, fold_input
from tracker.query.fold_sql import FoldNames, fold_relations
from tracker.query.snapshot import Snapshot
from tracker.storage.fold import SILENT_US

__all__ = ["Folded", "folded"]

_KEPT_MAX: Final = 4  # projects per thread

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Folded:
    """A project in this thread's connection `con`: its `live`, `runs` and `writer_states` are those of the snapshot."""

    con: duckdb.DuckDBPyConnection
    names: FoldNames
    made_us: int
    expires_us: int  # from this moment on a silent session counts as crashed
    records: dict[str, Any]  # what was made of it for single runs, by id


class _Shelf(threading.local):
    """What this thread's connection holds."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.projects: OrderedDict[object, Folded] = OrderedDict()
        self.shown: FoldNames | None = None


_shelf = _Shelf()


def folded(snapshot: Snapshot) -> Folded:
    """`snapshot`, folded. Use it at once: the next call on this thread may show another project."""
    con = connection()
    if _shelf.pid != os.getpid():  # a fork: the connection is a new one, and empty
        _shelf.__init__()  # type: ignore[misc]
    found = _shelf.projects.get(snapshot.identity)
    if found is None or not found.made_us <= snapshot.now_us < found.expires_us:
        found = _fold(con, snapshot, found)
        _shelf.projects[snapshot.identity] = found
        while len(_shelf.projects) > _KEPT_MAX:
            _, old = _shelf.projects.popitem(last=False)
            _drop(con, old.names)
    _shelf.projects.move_to_end(snapshot.identity)
    if _shelf.shown != found.names:
        for view in ("live", "runs", "writer_states"):
            con.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS FROM {getattr(found.names, view)}")
        _shelf.shown = found.names
    return found


def _fold(con: duckdb.DuckDBPyConnection, snapshot: Snapshot, before: Folded | None) -> Folded:
    if before is not None:
        _drop(con, before.names)
    number = next(_numbers)
    names = FoldNames(**{name: f"{name}_{number}" for name in FoldNames.__dataclass_fields__})
    tables = fold_input(snapshot.runs.values(), snapshot.edits)
    _register(con, names, tables)
    fold_relations(con, now_us=snapshot.now_us, entity=snapshot.entity, project=snapshot.project, names=names)
    silent = con.execute(
        f"SELECT min(wall_us) FROM {names.writer_states} WHERE is_session AND wall_us > ?",
        [snapshot.now_us - SILENT_US],
    ).fetchall()
    oldest = silent[0][0]
    expires_us = 1 << 62 if oldest is None else oldest + SILENT_US
    return Folded(con, names, snapshot.now_us, expires_us, {})


def _register(con: duckdb.DuckDBPyConnection, names: FoldNames, tables: FoldInput) -> None:
    con.register(names.events, tables.events)
    con.register(names.writers, tables.writers)
    if names.points_last is not None:
        con.register(names.points_last, tables.points_last)
    if names.edits is not None:
        con.register(names.edits, tables.edits)


def _drop(con: duckdb.DuckDBPyConnection, names: FoldNames) -> None:
    if _shelf.shown == names:
        for view in ("live", "runs", "writer_states"):
            con.execute(f"DROP VIEW IF EXISTS {view}")
        _shelf.shown = None
    kinds = dict(con.execute("SELECT table_name, table_type FROM information_schema.tables").fetchall())
    for name in names.made:
        if name in kinds:
            con.execute(f"DROP {'VIEW' if kinds[name] == 'VIEW' else 'TABLE'} {name}")
    for name in filter(None, (names.events, names.writers, names.points_last, names.edits)):
        con.unregister(name)
