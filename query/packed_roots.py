"""What the packs of several roots hold together: every frame of a writer once, though packs of two roots may have it.

Each root packs by itself. What was copied before stands in packs of both, in others and cut elsewhere; and a root that
was copied as files has the very same packs. Of each writer the packs of one root count: of the root whose packs reach
furthest, which holds all that the others hold, since the packs of a root have a writer's frames without a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.connection import connection
from tracker.storage.arrow_arrays import numbers
from tracker.storage.manifest import Manifest
from tracker.storage.port import Store

__all__ = ["JoinedPacks", "PackSource", "distinct_packs", "join_writers", "scan_sql"]

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PackSource:
    """The packs of one root, as its own manifest lists them. Records of `without` do not count."""

    store: Store
    manifest: Manifest
    without: frozenset[str] = frozenset()

    @property
    def checkpoints(self) -> Manifest:
        """The manifest with those checkpoints only that tell of anything that counts."""
        kept = [one for one in self.manifest.checkpoints if not self.without.issuperset(one.packs)]
        return replace(self.manifest, checkpoints=tuple(kept))


@dataclass(frozen=True, slots=True)
class JoinedPacks:
    """`held`: one row an extent of the packs that are read; `counted`: those of them that count; `all` (run, pack):
    those that do not count too.
    """

    sources: tuple[PackSource, ...]
    held: pa.Table
    counted: pa.Table
    all: pa.Table
    warnings: tuple[str, ...]

    def stores_of(self, run_id: str) -> list[Store]:
        """Roots that have anything of the run in packs."""
        mine = set(self.all.filter(pc.equal(self.all["run"], run_id))["pack"].to_pylist())
        return [one.store for one in self.sources if any(pack.id in mine for pack in one.manifest.packs)]


def distinct_packs(sources: Sequence[PackSource]) -> list[PackSource]:
    """Each pack counts in the first root that lists it."""
    seen: set[str] = set()
    found = []
    for source in sources:
        mine = {pack.id for pack in source.manifest.packs}
        found.append(replace(source, without=source.without | (mine & seen)))
        seen |= mine
    return found


def join_writers(sources: Sequence[PackSource], writers: Sequence[pa.Table]) -> JoinedPacks:
    """`sources`: as `distinct_packs` gives them. `writers`: of each the extents that count (run, writer, pack,
    first_frame, last_frame, mark and others), sorted by run, writer and frame once they are joined.
    """
    joined = _sorted(pa.concat_tables(writers))
    listed = [{pack.id for pack in source.manifest.packs} for source in sources]
    of_roots = [  # a pack that several roots list is as good as each one's own
        mine.append_column("root", numbers(np.full(mine.num_rows, number), pa.int64()))
        for number, packs in enumerate(listed)
        for mine in [joined.filter(pc.is_in(joined["pack"], value_set=pa.array(sorted(packs), pa.string())))]
    ]
    owners = joined.select(["run", "pack"])
    counted, warnings = _once(pa.concat_tables(of_roots).combine_chunks(), sources)
    if counted.num_rows == joined.num_rows:
        return JoinedPacks(tuple(sources), _bare(joined), _bare(joined), owners, ())
    needed = set(pc.unique(counted["pack"]).to_pylist())
    kept = []
    for source in sources:
        idle = {pack.id for pack in source.manifest.packs} - needed
        kept.append(replace(source, without=source.without | idle))
    held = joined.filter(pc.is_in(joined["pack"], value_set=pa.array(sorted(needed), pa.string())))
    return JoinedPacks(tuple(kept), _bare(held), _bare(counted), owners, warnings)


def scan_sql(files: Sequence[tuple[Path, Sequence[str]]]) -> str:
    """SQL of all records of checkpoints: each file with the packs in it that do not count."""
    whole = [path for path, without in files if not without]
    selects = [f"SELECT * FROM {_read_sql(whole)}"] if whole else []
    for path, without in files:
        if without:
            selects.append(f"SELECT * FROM {_read_sql([path])} WHERE pack NOT IN ({', '.join(map(_text, without))})")
    return _read_sql(whole) if len(whole) == len(files) else f"({' UNION ALL '.join(selects)})"


def _read_sql(paths: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(map(_text, paths))}])"


def _text(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def _bare(extents: pa.Table) -> pa.Table:
    return extents.drop_columns(["mark"]).combine_chunks()


def _sorted(extents: pa.Table) -> pa.Table:
    keys = [(name, "ascending") for name in ("run", "writer", "first_frame")]
    return extents.take(pc.sort_indices(extents, sort_keys=keys)).combine_chunks()


def _once(extents: pa.Table, sources: Sequence[PackSource]) -> tuple[pa.Table, tuple[str, ...]]:
    """Extents of one root for each writer, in their order; and what is to be said of copies that differ."""
    con = connection()
    con.register("packed_extents", extents)
    try:
        ends = """SELECT run, writer, root, max(last_frame) AS last, arg_max(mark, last_frame) AS mark
            FROM packed_extents GROUP BY run, writer, root"""
        chosen = con.sql(
            f"""SELECT run, writer, arg_max(root, last::HUGEINT * {len(sources)} - root) AS root FROM ({ends})
            GROUP BY run, writer"""
        ).to_arrow_table()
        differ = con.execute(
            f"""SELECT run, writer, list(root ORDER BY root) FROM ({ends}) GROUP BY run, writer, last
            HAVING count(DISTINCT mark) > 1 ORDER BY run, writer"""
        ).fetchall()
        con.register("packed_chosen", chosen)
        try:
            kept = con.sql(
                "SELECT e.* FROM packed_extents e SEMI JOIN packed_chosen USING (run, writer, root)"
            ).to_arrow_table()
        finally:
            con.unregister("packed_chosen")
    finally:
        con.unregister("packed_extents")
    texts = tuple(
        f"Packs of {' and '.join(sources[root].store.url for root in roots)} tell two histories of writer {writer} of "
        f"run {run!r} (a copied machine?). The one in {sources[roots[0]].store.url} is shown."
        for run, writer, roots in differ
    )
    return _sorted(kept.select(extents.column_names).cast(extents.schema).drop_columns(["root"])), texts
