"""The fold of packed runs, straight from their checkpoints: what `tracker.query.fold_sql` leaves behind, for runs that
are simple. A run is simple when one writer in one pack is all there is of it; then nothing has to be compared but a
summary value with the points of that key, and a leaf with its prefixes. What definitions of metrics make of its
summary adds `tracker.query.packed_metrics`. All others go through the general fold.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import pyarrow.compute as pc

from tracker.query.fold_sql import FoldNames, judge_runs
from tracker.query.packed import Packed, sql_text
from tracker.query.packed_metrics import PackedMetrics, find_packed_metrics
from tracker.storage.derived import Record
from tracker.storage.events import (
    HISTORY,
    KIND_CARRIED,
    KIND_FILE,
    KIND_SUMMARY,
    KIND_TOMBSTONE,
    KIND_WRITER,
    ROW,
    Type,
    join_path,
    split_path,
)
from tracker.storage.fold import SILENT_US

__all__ = ["PackedFold", "fold_packed", "judged_between", "packed_relations"]

_CELL: Final = "t, v, i, s"
_STAMP: Final = f"hlc::HUGEINT * {2**34} + seq"
_MARKER_CELLS: Final = {  # what the last marker says
    "_step": f"{Type.INT:d}::TINYINT AS t, step::DOUBLE AS v, step AS i",
    "_runtime": f"{Type.FLOAT:d}::TINYINT AS t, v, NULL::BIGINT AS i",
    "_timestamp": f"{Type.FLOAT:d}::TINYINT AS t, (hlc + ts) / 1e6 AS v, NULL::BIGINT AS i",
}
_AUTOMATIC: Final = tuple(_MARKER_CELLS)
_LISTED_MAX: Final = 200  # more names than this are looked up in a table

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class PackedFold:
    """Relations of one connection. They hold rows of runs in `complex` too, which mean nothing: leave those out."""

    names: FoldNames  # live, runs, writer_states, dead, events (the records), writers
    complex: frozenset[str]
    valid_from_us: int  # states are those of any moment from here on ...
    expires_us: int  # ... to before here

    def drop(self, con: duckdb.DuckDBPyConnection) -> None:
        for view in (self.names.live, self.names.events):
            con.execute(f"DROP VIEW IF EXISTS {view}")
        names = self.names
        facts = names.runs, names.writer_states, names.dead, names.tombstones
        for table in (*facts, names.metric_sets, names.metric_asked):
            con.execute(f"DROP TABLE IF EXISTS {table}")


def fold_packed(con: duckdb.DuckDBPyConnection, packed: Packed, now_us: int) -> PackedFold:
    """Make the relations. `live` reads the checkpoints each time it is asked: 2,400,000 leaves of 100,000 runs as a
    table take 0.2 GB, and as long to make as four questions.

    Raises:
        PartsGone: a checkpoint is no more in the store. Open a new snapshot.
    """
    number = next(_numbers)
    names = FoldNames(**{name: f"packed_{name}_{number}" for name in FoldNames.__dataclass_fields__})
    with packed.reading():
        con.execute(f"CREATE OR REPLACE TEMP VIEW {names.events} AS SELECT * FROM {packed.scan()}")
        _make_states(con, names, packed)
        several = _complex_runs(con, names, packed)
        keys = _leaf_keys(con, names)
        compared = _compared_keys(keys)
        by_hand, logged = map(sorted, _summary_keys(keys))
        metrics = find_packed_metrics(con, names, packed, logged)
        several |= metrics.complex_runs(con, packed, by_hand, logged)
        facts = _of_kinds(keys)
        stamped = _stamped_sql(names, facts)
        has_dead = _find_dead(con, names, stamped, _nested_pairs(keys))
        live = _live_sql(con, names, facts, compared, metrics, has_dead)
        con.execute(f"CREATE OR REPLACE TEMP VIEW {names.live} AS {live}")
        judge_runs(con, now_us=now_us, entity=packed.entity, project=packed.project, names=names, alone=True)
    valid_from_us, expires_us = judged_between(con, names.writer_states, now_us)
    return PackedFold(names, several, valid_from_us, expires_us)


def judged_between(con: duckdb.DuckDBPyConnection, states: str, now_us: int) -> tuple[int, int]:
    """From when to when (us, exclusive) all sessions are as alive as they are at `now_us`."""
    ((before, after),) = con.execute(
        f"""SELECT max(wall_us) FILTER (wall_us <= ?), min(wall_us) FILTER (wall_us > ?)
        FROM {states} WHERE is_session AND ended_at IS NULL""",
        [now_us - SILENT_US] * 2,
    ).fetchall()
    return 0 if before is None else before + SILENT_US, 1 << 62 if after is None else after + SILENT_US


def _make_states(con: duckdb.DuckDBPyConnection, names: FoldNames, packed: Packed) -> None:
    """Every writer as if it were alone."""
    con.register(names.writers, packed.writers)
    try:
        con.execute(
            f"""CREATE OR REPLACE TEMP TABLE {names.writer_states} AS
            SELECT run, writer, 0::BIGINT AS gen_no, TRUE AS visible, FALSE AS superseded, is_session, state,
                started_at, ended_at, first_hlc AS first_us, greatest(last_wall_us, last_hlc) AS last_us,
                last_wall_us AS wall_us
            FROM {names.writers}"""
        )
    finally:
        con.unregister(names.writers)


def _complex_runs(con: duckdb.DuckDBPyConnection, names: FoldNames, packed: Packed) -> frozenset[str]:
    """Runs with several extents, deleted by their own writer, named by their own facts, or that inherited values."""
    runs = packed.writers["run"].combine_chunks()
    twice = pc.unique(runs[1:].filter(pc.equal(runs[1:], runs[:-1]))) if len(runs) > 1 else runs
    told = f"'{KIND_TOMBSTONE}', '{KIND_CARRIED}'"
    odd = con.execute(  # each finds next to nothing by the statistics of the row groups
        f"""SELECT DISTINCT run FROM {names.events} WHERE what = '{Record.FACT}' AND kind IN ({told})
        UNION SELECT DISTINCT run FROM {names.events}
        WHERE what = '{Record.FACT}' AND subject IS NOT NULL AND subject = run"""
    ).fetchall()
    return frozenset(twice.to_pylist()) | {run for (run,) in odd} | packed.partly_hidden()


def _leaf_keys(con: duckdb.DuckDBPyConnection, names: FoldNames) -> list[tuple[str, str, str]]:
    """(what, kind, key) of all that may become a leaf."""
    outside = f"(kind < '{KIND_WRITER}' OR kind > '{KIND_WRITER}')"  # not "<>", by which statistics do not prune
    among = f"{outside} AND kind NOT IN ('{KIND_TOMBSTONE}', '{KIND_FILE}')"
    found = con.execute(_facts_sql(names, f"DISTINCT '{Record.FACT}', kind, key", among)).fetchall()
    return found + con.execute(_points_sql(names, f"DISTINCT '{Record.SERIES}', kind, key")).fetchall()


def _of_kinds(keys: list[tuple[str, str, str]]) -> str:
    """SQL that is true for the kinds of facts that may become leaves: a list, which DuckDB looks up in statistics."""
    kinds = sorted({kind for what, kind, _ in keys if what == Record.FACT})
    return f"kind IN ({', '.join(map(sql_text, kinds))})" if kinds else "FALSE"


def _facts_sql(names: FoldNames, columns: str, among: str) -> str:
    """Facts about the run, of the kinds for which `among` is true."""
    return f"SELECT {columns} FROM {names.events} WHERE what = '{Record.FACT}' AND subject IS NULL AND {among}"


def _points_sql(names: FoldNames, columns: str) -> str:
    """The last points of the keys that were logged."""
    return f"""SELECT {_as_summary(columns)} FROM {names.events}
        WHERE what = '{Record.SERIES}' AND kind = '{HISTORY}'"""


def _as_summary(columns: str) -> str:
    return columns.replace("kind", f"'{KIND_SUMMARY}' AS kind", 1)


def _automatic_sql(names: FoldNames, key: str) -> str:
    """`_step`, `_runtime` or `_timestamp` of the last row, with stamp."""
    return f"""SELECT run, '{KIND_SUMMARY}' AS kind, '{key}' AS key, {_MARKER_CELLS[key]}, NULL::VARCHAR AS s,
            hlc::HUGEINT * {2**34} AS stamp
        FROM {_markers_sql(names.events, key)}"""


def _markers_sql(records: str, key: str) -> str:
    """Last markers. A `_timestamp` that was logged in that row stands for the marker's."""
    markers = f"SELECT * FROM {records} WHERE what = '{Record.SERIES}' AND kind = '{ROW}'"
    if key != "_timestamp":
        return f"({markers})"
    logged = f"""SELECT run, writer, pack, row FROM {records}
        WHERE what = '{Record.SERIES}' AND kind = '{HISTORY}' AND key = '_timestamp'"""
    return f"({markers} AND (run, writer, pack, row) NOT IN ({logged}))"


def packed_relations(packed: Packed, chosen: str) -> dict[str, str]:
    """SELECTs for the relations `events`, `points_last`, `figures` and `writers` of `tracker.query.fold_sql`.

    `chosen`: a table of the extents that count, with columns of `Packed.writers`. Open rows are not looked at.
    """
    records = f"(FROM {packed.scan()} SEMI JOIN {chosen} USING (run, writer, pack))"
    points = "run, writer, seq, hlc, key, t, v, i, s"
    last = [f"SELECT {points} FROM {records} WHERE what = '{Record.SERIES}' AND kind = '{HISTORY}'"]
    last += [
        f"SELECT run, writer, 0::BIGINT AS seq, hlc, '{key}' AS key, {cell}, NULL::VARCHAR AS s "
        f"FROM {_markers_sql(records, key)}"
        for key, cell in _MARKER_CELLS.items()
    ]
    figures = "run, writer, key, seq, hlc, first_seq, NULL::BIGINT AS first_hlc, nan_count, min_v, max_v, mean_v"
    return {
        "figures": f"SELECT {figures}, count - nan_count - other_count AS count, counts[1] AS floats FROM {records} "
        f"WHERE what = '{Record.SERIES}' AND kind = '{HISTORY}'",
        "events": f"SELECT run, writer, seq, hlc, kind, subject, key, {_CELL} FROM {records} "
        f"WHERE what = '{Record.FACT}' AND kind <> '{KIND_FILE}'",
        "points_last": " UNION ALL ".join(last),
        "writers": f"SELECT run, writer, min(first_hlc) AS first_hlc, max(last_wall_us) AS last_wall_us FROM {chosen} "
        "GROUP BY run, writer",
    }


def _stamped_sql(names: FoldNames, facts: str) -> str:
    """Everything with its stamp."""
    columns = f"run, kind, key, {_CELL}, {_STAMP} AS stamp"
    parts = [_facts_sql(names, columns, facts), _points_sql(names, columns)]
    return " UNION ALL ".join([*parts, *(_automatic_sql(names, key) for key in _AUTOMATIC)])


def _compared_keys(keys: list[tuple[str, str, str]]) -> list[str]:
    """Keys of the summary that have more than one source."""
    facts, points = _summary_keys(keys)
    return sorted((facts & points) | ((facts | points) & set(_AUTOMATIC)))


def _summary_keys(keys: list[tuple[str, str, str]]) -> tuple[set[str], set[str]]:
    """Those that were set, and those that were logged."""
    facts = {key for what, kind, key in keys if what == Record.FACT and kind == KIND_SUMMARY}
    return facts, {key for what, _, key in keys if what == Record.SERIES}


def _live_sql(
    con: duckdb.DuckDBPyConnection,
    names: FoldNames,
    facts: str,
    compared: list[str],
    metrics: PackedMetrics,
    has_dead: bool,
) -> str:
    """Leaves that hold. Keys with one source are taken as they are; of the others the later one counts."""
    columns = f"run, kind, key, {_CELL}"
    among, besides = _among(con, names, compared)
    alone = [
        f"{_facts_sql(names, columns, facts)} AND (kind <> '{KIND_SUMMARY}' OR {besides})",
        *metrics.points(_as_summary(columns), besides),
        *(f"SELECT {columns} FROM ({_automatic_sql(names, key)})" for key in _AUTOMATIC if key not in compared),
    ]
    if compared:
        stamp = f"{columns}, {_STAMP} AS stamp"
        several = [
            f"{_facts_sql(names, stamp, facts)} AND kind = '{KIND_SUMMARY}' AND {among}",
            *metrics.points(_as_summary(stamp), among),
            *(_automatic_sql(names, key) for key in _AUTOMATIC if key in compared),
        ]
        latest = ", ".join(f"arg_max_null({column}, stamp) AS {column}" for column in ("t", "v", "i", "s"))
        alone.append(f"SELECT run, kind, key, {latest} FROM ({' UNION ALL '.join(several)}) GROUP BY run, kind, key")
    if metrics.keys:
        alone.append(metrics.parts())
    anti_join = f" ANTI JOIN {names.dead} USING (run, kind, key)" if has_dead else ""
    return f"SELECT {columns} FROM ({' UNION ALL '.join(alone)}){anti_join} WHERE t <> {Type.DELETED:d}"


def _among(con: duckdb.DuckDBPyConnection, names: FoldNames, keys: list[str]) -> tuple[str, str]:
    """SQL that is true for these keys, and for all others."""
    if not keys:
        return "FALSE", "TRUE"
    if len(keys) <= _LISTED_MAX:
        listed = ", ".join(map(sql_text, keys))
        return f"key IN ({listed})", f"key NOT IN ({listed})"
    con.execute(f"CREATE OR REPLACE TEMP TABLE {names.tombstones} AS SELECT unnest(?::VARCHAR[]) AS key", [keys])
    return f"key IN (FROM {names.tombstones})", f"key NOT IN (FROM {names.tombstones})"


def _nested_pairs(keys: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """(kind, key, other) both ways round, for each key and proper prefix of it that both occur."""
    known = {(KIND_SUMMARY if what == Record.SERIES else kind, key) for what, kind, key in keys}
    known |= {(KIND_SUMMARY, key) for key in _AUTOMATIC}
    pairs = []
    for kind, key in known:
        segments = split_path(key) if "." in key else ()
        for prefix in (join_path(segments[:end]) for end in range(1, len(segments))):
            if (kind, prefix) in known:
                pairs += [(kind, key, prefix), (kind, prefix, key)]
    return sorted(pairs)


def _find_dead(
    con: duckdb.DuckDBPyConnection, names: FoldNames, stamped: str, pairs: list[tuple[str, str, str]]
) -> bool:
    """Fill the table of leaves of which a proper prefix or extension was written later; whether there are any."""
    if not pairs:
        return False
    columns: list[Any] = [list(column) for column in zip(*pairs, strict=True)]
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {names.dead} AS
        WITH pairs AS (SELECT unnest(?::VARCHAR[]) AS kind, unnest(?::VARCHAR[]) AS key, unnest(?::VARCHAR[]) AS other),
        newest AS MATERIALIZED (
            SELECT run, kind, key, max(stamp) AS stamp FROM ({stamped}) SEMI JOIN pairs USING (kind, key)
            GROUP BY run, kind, key
        )
        SELECT DISTINCT a.run, a.kind, a.key
        FROM newest a JOIN pairs p ON p.kind = a.kind AND p.key = a.key
        JOIN newest b ON b.run = a.run AND b.kind = a.kind AND b.key = p.other
        WHERE b.stamp > a.stamp""",
        columns,
    )
    ((found,),) = con.execute(f"SELECT count(*) > 0 FROM {names.dead}").fetchall()
    return bool(found)
