"""The fold of runs that have loose files, edits, or several writers: in tables, and only of those that changed.

Each run is folded by itself, so the leaves of a run whose files are the same as before are taken over as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.figures import figures_since
from tracker.query.fold_input import FoldInput, fold_input
from tracker.query.fold_metrics import Stretch
from tracker.query.fold_sql import FoldNames, fold_relations, judge_runs
from tracker.query.packed_fold import packed_relations
from tracker.query.snapshot import Snapshot
from tracker.storage.arrow_arrays import texts
from tracker.storage.metric_rules import Figures

__all__ = ["TouchedFold", "fold_touched", "touched_tokens"]

_CHANGED_SHARE: Final = 0.5  # where more than this has changed, all is folded again
_PACKED_TABLE_MAX: Final = 20_000  # runs of packs up to which their records are copied into a table

Tokens = Mapping[str, object]  # run to what it consists of


@dataclass(frozen=True, slots=True)
class TouchedFold:
    """Tables of one connection: `names.live`, `runs` and `writer_states`."""

    names: FoldNames
    place: tuple[object, ...]  # which project of which root at which time
    tokens: Tokens
    lazy: bool  # `live` is a view: what it reads stays registered

    @staticmethod
    def place_of(snapshot: Snapshot) -> tuple[object, ...]:
        return snapshot.store.url, snapshot.entity, snapshot.project, snapshot.runs.packed.as_of_us

    def drop(self, con: duckdb.DuckDBPyConnection) -> None:
        _drop(con, self.names)


def touched_tokens(snapshot: Snapshot, complex_runs: Collection[str] | None) -> dict[str, object]:
    """The runs that are folded here, and of each what it consists of: equal tokens, equal state.

    `complex_runs`: packed runs that have to be. None: all.
    """
    runs = snapshot.runs
    edited = _edit_tokens(snapshot.edits)
    chosen = set(runs.loose)
    chosen |= set(runs if complex_runs is None else complex_runs)
    chosen |= {run_id for run_id in edited if run_id in runs}
    packs = runs.packed.identity
    return {
        run_id: (
            tuple((part.info.key, part.first, part.last, part.upto_hlc_us) for part in runs.loose.get(run_id, ())),
            packs if runs.packed and run_id in runs.packed else None,
            edited.get(run_id),
        )
        for run_id in sorted(chosen)
        if runs.only is None or run_id == runs.only
    }


def _edit_tokens(edits: pa.Table) -> dict[str, object]:
    """Edits are only ever added, and no two have one stamp."""
    if not edits.num_rows:
        return {}
    found = edits.group_by("run").aggregate([("hlc", "max"), ("hlc", "count"), ("hlc", "sum")])
    columns = (found[name].to_pylist() for name in ("run", "hlc_max", "hlc_count", "hlc_sum"))
    return {run_id: tuple(numbers) for run_id, *numbers in zip(*columns, strict=True)}


def fold_touched(
    con: duckdb.DuckDBPyConnection, snapshot: Snapshot, names: FoldNames, tokens: Tokens, before: TouchedFold | None
) -> TouchedFold:
    """Make the relations `names` of the runs in `tokens`. `before`: an earlier fold, from which equal runs are taken.

    Raises:
        PartsGone: a checkpoint is no more in the store. Open a new snapshot.
    """
    place = TouchedFold.place_of(snapshot)
    changed = list(tokens)
    if before is not None and not before.lazy:
        changed = [run_id for run_id, token in tokens.items() if before.tokens.get(run_id) != token]
    if before is None or before.lazy or len(changed) > _CHANGED_SHARE * len(tokens):
        lazy = _fold(con, snapshot, names, list(tokens))
        return TouchedFold(names, place, tokens, lazy)
    part = replace(names, **{name: f"{getattr(names, name)}_new" for name in FoldNames.__dataclass_fields__})
    if changed:
        _fold(con, snapshot, part, changed, lazy=False)
    gone = [*changed, *(run_id for run_id in before.tokens if run_id not in tokens)]
    for name in ("live", "writer_states"):
        old, new = getattr(before.names, name), getattr(names, name)
        kept = f"FROM {old} WHERE run NOT IN (SELECT unnest(?::VARCHAR[]))" if gone else f"FROM {old}"
        more = f" UNION ALL BY NAME FROM {getattr(part, name)}" if changed else ""
        con.execute(f"CREATE OR REPLACE TEMP TABLE {new} AS {kept}{more}", [gone] if gone else [])
    if changed:
        _drop(con, part)
    judge_runs(con, now_us=snapshot.now_us, entity=snapshot.entity, project=snapshot.project, names=names)
    return TouchedFold(names, place, tokens, lazy=False)


def _fold(
    con: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    names: FoldNames,
    run_ids: list[str],
    *,
    lazy: bool | None = None,
) -> bool:
    """Fold these runs alone; whether `live` became a view."""
    runs = snapshot.runs
    in_packs = [run_id for run_id in run_ids if run_id not in runs.loose]
    by_hand = runs.loose.keys() & set(run_ids)
    if in_packs:
        unfinished = runs.packed.with_open_rows(in_packs)
        in_packs = [run_id for run_id in in_packs if run_id not in unfinished]
        by_hand |= unfinished
    edits = snapshot.edits
    if edits.num_rows and len(run_ids) < len(runs):
        edits = edits.filter(pc.is_in(edits["run"], value_set=texts(run_ids))).combine_chunks()
    tables = fold_input(runs.load(sorted(by_hand)).values(), snapshot.paths, edits)
    _register(con, names, tables)
    if in_packs:
        _add_packed(con, snapshot, names, in_packs)
    fold_relations(
        con,
        now_us=snapshot.now_us,
        entity=snapshot.entity,
        project=snapshot.project,
        names=names,
        lazy=lazy,
        since=partial(_since, snapshot),
    )
    views = con.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_name = ? AND table_type = 'VIEW'", [names.live]
    )
    ((is_view,),) = views.fetchall()
    if not is_view:
        _forget_input(con, names)
    return bool(is_view)


def _since(snapshot: Snapshot, asked: Sequence[Stretch]) -> list[Figures]:
    """Figures of the ends of series, read from the files."""
    runs = snapshot.runs.load(list(dict.fromkeys(one.run for one in asked)))
    found = []
    for one in asked:
        parts = [part for part in runs[one.run].parts if part.writer_id == one.writer]
        found.append(figures_since(parts, snapshot.paths, one.key, one.hlc_us, one.seq))
    return found


def _register(con: duckdb.DuckDBPyConnection, names: FoldNames, tables: FoldInput) -> None:
    for name in _INPUT:
        con.register(f"{getattr(names, name)}_arrow", getattr(tables, name))
        con.execute(f"CREATE OR REPLACE TEMP VIEW {getattr(names, name)} AS FROM {getattr(names, name)}_arrow")


_INPUT: Final = ("events", "points_last", "writers", "edits", "figures")


def _add_packed(con: duckdb.DuckDBPyConnection, snapshot: Snapshot, names: FoldNames, run_ids: list[str]) -> None:
    """What packs hold of these runs stands in the relations too: copied, where it is little."""
    chosen = f"{names.events}_chosen"
    extents = snapshot.runs.packed.writers
    wanted = extents.filter(pc.is_in(extents["run"], value_set=texts(run_ids)))
    con.register(f"{chosen}_arrow", wanted.combine_chunks())
    con.execute(f"CREATE OR REPLACE TEMP TABLE {chosen} AS FROM {chosen}_arrow")
    con.unregister(f"{chosen}_arrow")
    for name, select in packed_relations(snapshot.runs.packed, chosen).items():
        relation = getattr(names, name)
        source = f"({select})"
        if len(run_ids) <= _PACKED_TABLE_MAX and name != "figures":  # of these few are asked for, if any
            con.execute(f"CREATE OR REPLACE TEMP TABLE {relation}_packed AS {select}")
            source = f"{relation}_packed"
        con.execute(f"CREATE OR REPLACE TEMP VIEW {relation} AS FROM {relation}_arrow UNION ALL BY NAME FROM {source}")


def _forget_input(con: duckdb.DuckDBPyConnection, names: FoldNames) -> None:
    for name in _INPUT:
        relation = getattr(names, name)
        con.execute(f"DROP VIEW IF EXISTS {relation}")
        con.unregister(f"{relation}_arrow")
        con.execute(f"DROP TABLE IF EXISTS {relation}_packed")
    con.execute(f"DROP TABLE IF EXISTS {names.events}_chosen")


def _drop(con: duckdb.DuckDBPyConnection, names: FoldNames) -> None:
    kinds: dict[str, Any] = dict(con.execute("SELECT table_name, table_type FROM information_schema.tables").fetchall())
    for name in names.made:
        if name in kinds:
            con.execute(f"DROP {'VIEW' if kinds[name] == 'VIEW' else 'TABLE'} {name}")
    _forget_input(con, names)
