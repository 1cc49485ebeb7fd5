"""What the definitions of metrics make of the summary, in SQL. `tracker.storage.summary_fold` is its reference.

Runs with equal definitions share a set of them, and what a set asks of each key is found once, in Python. All else is
relations: which points count (`figures` of whole stretches; where an explicit write stands inside of a stretch, the
caller reads the points behind it), what they come to, and the leaves that stand for the last value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import booleans, numbers, texts
from tracker.storage.events import (
    JSON,
    KIND_CARRIED,
    KIND_METRIC,
    KIND_SUMMARY,
    Type,
    decode_cell,
    join_path,
    split_path,
)
from tracker.storage.metric_rules import AUTOMATIC_KEYS, WHOLE_MAX, Figures, MetricRules

__all__ = ["MetricTables", "Since", "Stretch", "carried_sql", "find_asked", "pairs_around", "replace_leaves"]

_NOT_HELD: Final = 1 << 62  # greater than any seq


@dataclass(frozen=True, slots=True)
class Stretch:
    """The points of `key` by one writer of a run, with greater (hlc, seq)."""

    run: str
    writer: str
    key: str
    hlc_us: int
    seq: int


Since = Callable[[Sequence[Stretch]], list[Figures]]  # the figures of each, of points whose row is closed


@dataclass(frozen=True, slots=True)
class MetricTables:
    """Names of relations: given ones, and those that are made."""

    events: str
    points: str  # last points, with what was carried
    figures: str
    states: str  # writer_states
    sets: str  # (run, set_no)
    asked: str  # (set_no, key, drops, low, high, mean, last, best)
    restarts: str
    leaves: str  # live leaves that stand for ...
    replaced: str  # ... the last values of these (run, key)


def carried_sql(events: str, columns: str) -> str:
    """What was carried, as last points: just before all else of its frame. `columns`: of a last point."""
    return f"""SELECT {columns} FROM (
        SELECT * REPLACE ({_key_sql("key[:-6]")} AS key, seq - 1 AS seq)
        FROM {events} WHERE kind = '{KIND_CARRIED}' AND ends_with(key, '.last')
            AND (subject IS NULL OR subject = run))"""


def _key_sql(segment: str) -> str:
    """The one segment of a path, unescaped."""
    return rf"regexp_replace({segment}, '\\(.)', '\1', 'g')"


def find_asked(con: duckdb.DuckDBPyConnection, names: MetricTables, facts: str) -> tuple[bool, bool]:
    """Make `sets` and `asked`; whether a key is dropped, and whether one has parts. `facts`: SQL of stamped facts."""
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {names.sets} AS
        WITH defined AS (
            SELECT run, key, arg_max_null(s, stamp) AS s, arg_max(t, stamp) AS t FROM ({facts})
            WHERE kind = '{KIND_METRIC}' GROUP BY run, key
        ),
        texts AS (
            SELECT run, string_agg(key || chr(31) || s, chr(30) ORDER BY key) AS text
            FROM defined WHERE t = {JSON:d} GROUP BY run
        )
        SELECT run, text, dense_rank() OVER (ORDER BY text) AS set_no FROM texts"""
    )
    sets = con.execute(f"SELECT DISTINCT set_no, text FROM {names.sets}").fetchall()
    rules = {number: _rules(text) for number, text in sets}
    keys = con.execute(
        f"SELECT DISTINCT set_no, key FROM {names.points} JOIN {names.sets} USING (run)"
    ).fetchall()
    rows: list[tuple[Any, ...]] = []
    for number, key in keys:
        rule = rules[number].of(key)
        if rule is not None and (rule.parts or rule.drops) and key not in AUTOMATIC_KEYS:
            parts = () if rule.drops else rule.parts
            best = "" if "best" not in parts else "max" if rule.goal == "maximize" else "min"
            rows.append((number, key, rule.drops, *(part in parts for part in ("min", "max", "mean", "last")), best))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 8
    table = pa.table(
        {
            "set_no": numbers(np.array(columns[0], np.int64), pa.int64()),
            "key": texts(columns[1]),
            **{
                name: booleans(np.array(column, bool))
                for name, column in zip(("drops", "low", "high", "mean", "last"), columns[2:7], strict=True)
            },
            "best": texts(columns[7]),
        }
    )
    con.register(f"{names.asked}_arrow", table)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {names.asked} AS FROM {names.asked}_arrow")
    con.unregister(f"{names.asked}_arrow")
    return any(row[2] for row in rows), any(not row[2] for row in rows)


def _rules(text: str) -> MetricRules:
    pairs = (one.split("\x1f", 1) for one in text.split("\x1e"))
    return MetricRules.of_facts({path: decode_cell(JSON, None, None, said) for path, said in pairs})


def replace_leaves(
    con: duckdb.DuckDBPyConnection,
    names: MetricTables,
    *,
    base: str,
    facts: str,
    stamp: Callable[[str, str], str],
    writer_of: Callable[[str], str],
    since: Since | None,
) -> None:
    """Make `leaves` and `replaced`.

    `base`: SQL of live leaves without parts. `facts`: of stamped facts. `stamp(hlc, seq)`: SQL of a stamp of writer
    `w`. `writer_of(stamp)`: SQL of (generation, hlc, writer number, seq) as a struct g, h, w, s.
    """
    tracked = f"SELECT s.run, a.* FROM {names.sets} s JOIN {names.asked} a USING (set_no) WHERE NOT a.drops"
    _make_restarts(con, names, facts, tracked, stamp)
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {names.leaves}_points AS
        WITH c AS (
            SELECT f.*, {stamp("f.hlc", "f.seq")} AS last_stamp, {stamp("f.first_hlc", "f.first_seq")} AS first_stamp,
                {writer_of(stamp("f.hlc", "f.seq"))} AS own, r.since, {writer_of("r.since")} AS behind
            FROM {names.figures} f JOIN {names.states} w ON w.run = f.run AND w.writer = f.writer AND w.visible
            JOIN ({tracked}) t ON t.run = f.run AND t.key = f.key
            LEFT JOIN {names.restarts} r ON r.run = f.run AND r.key = f.key
        )
        SELECT run, writer, key, last_stamp, count, nan_count, floats, min_v, max_v, mean_v, own, behind,
            CASE WHEN since IS NULL THEN 'whole' WHEN last_stamp <= since THEN 'none'
                WHEN own.g > behind.g OR first_stamp > since
                    OR own.g = behind.g AND own.w = behind.w AND first_seq > behind.s THEN 'whole'
                ELSE 'cut' END AS counts
        FROM c"""
    )
    _read_cut(con, names, since)
    number = "CASE WHEN floats = 0 AND abs({0}) <= {1} THEN {2:d} ELSE {3:d} END".format
    none = f"WHEN count = 0 THEN if(nan_count > 0, {Type.FLOAT:d}, {Type.NULL:d})"
    nan = "CASE WHEN count = 0 THEN if(nan_count > 0, 'NaN'::DOUBLE, NULL) ELSE {0} END".format
    parts = []
    for part, wanted, column in (
        ("min", "low", "least"),
        ("max", "high", "most"),
        ("best", "best = 'min'", "least"),
        ("best", "best = 'max'", "most"),
    ):
        t = number(column, WHOLE_MAX, Type.INT, Type.FLOAT)
        parts.append(
            f"""SELECT run, key || '.{part}' AS key, (CASE {none} ELSE {t} END)::TINYINT AS t, {nan(column)} AS v,
            CASE WHEN count > 0 AND floats = 0 AND abs({column}) <= {WHOLE_MAX} THEN {column}::BIGINT END AS i,
            NULL::VARCHAR AS s FROM shown WHERE {wanted}"""
        )
    parts.append(
        f"""SELECT run, key || '.mean', if(count = 0 AND nan_count = 0, {Type.NULL:d}, {Type.FLOAT:d})::TINYINT,
        CASE WHEN nan_count > 0 THEN 'NaN'::DOUBLE WHEN count > 0 THEN average END, NULL::BIGINT, NULL::VARCHAR
        FROM shown WHERE mean"""
    )
    parts.append("SELECT run, key || '.last', t, v, i, s FROM shown WHERE last")
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {names.replaced} AS
        WITH counted AS (
            SELECT run, key, count, nan_count, floats, min_v, max_v, mean_v
            FROM {names.leaves}_points WHERE counts = 'whole'
            UNION ALL SELECT run, key, count, nan_count, floats, min_v, max_v, mean_v FROM {names.restarts}
            WHERE is_carried AND count IS NOT NULL
        ),
        totals AS (
            SELECT run, key, sum(count)::BIGINT AS count, sum(nan_count)::BIGINT AS nan_count,
                sum(floats)::BIGINT AS floats, min(min_v) AS least, max(max_v) AS most,
                sum(mean_v * count) / sum(count) AS average
            FROM counted GROUP BY run, key
        ),
        newest AS (
            SELECT p.run, p.key, max({stamp("p.hlc", "p.seq")}) AS stamp FROM {names.points} p
            JOIN {names.states} w ON w.run = p.run AND w.writer = p.writer AND w.visible
            JOIN ({tracked}) t ON t.run = p.run AND t.key = p.key GROUP BY p.run, p.key
        )
        SELECT t.run, t.key, t.low, t.high, t.mean, t.last, t.best, b.t, b.v, b.i, b.s,
            coalesce(o.count, 0) AS count, coalesce(o.nan_count, 0) AS nan_count, coalesce(o.floats, 0) AS floats,
            o.least, o.most, o.average
        FROM ({tracked}) t
        JOIN (SELECT * FROM ({base}) WHERE kind = '{KIND_SUMMARY}') b ON b.run = t.run AND b.key = t.key
        JOIN newest n ON n.run = t.run AND n.key = t.key
        LEFT JOIN {names.restarts} r ON r.run = t.run AND r.key = t.key
        LEFT JOIN totals o ON o.run = t.run AND o.key = t.key
        WHERE r.since IS NULL OR n.stamp > r.since OR (r.is_carried AND r.count IS NOT NULL)"""
    )
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {names.leaves} AS WITH shown AS (FROM {names.replaced})
        SELECT run, '{KIND_SUMMARY}' AS kind, key, t, v, i, s FROM ({" UNION ALL ".join(parts)})"""
    )
    con.execute(f"DROP TABLE {names.leaves}_points")


def _make_restarts(
    con: duckdb.DuckDBPyConnection, names: MetricTables, facts: str, tracked: str, stamp: Callable[[str, str], str]
) -> None:
    """Table (run, key, since, is_carried, figures): where the points begin that count."""
    wanted = [key for (key,) in con.execute(f"SELECT DISTINCT key FROM ({tracked})").fetchall()]
    by_hand = con.execute(f"SELECT DISTINCT key FROM ({facts}) WHERE kind = '{KIND_SUMMARY}'").fetchall()
    pairs = pairs_around(wanted, [key for (key,) in by_hand])
    figures = ", ".join(
        f"max({column}) FILTER (part = '{part}') AS {name}"
        for part, column, name in (
            ("count", "i", "count"),
            ("nan_count", "i", "nan_count"),
            ("whole", "1 - i", "floats"),
            ("min", "v", "min_v"),
            ("max", "v", "max_v"),
            ("mean", "v", "mean_v"),
        )
    )
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE {names.restarts} AS
        WITH pairs AS (SELECT unnest(?::VARCHAR[]) AS key, unnest(?::VARCHAR[]) AS other),
        by_hand AS (
            SELECT f.run, p.key, max(f.stamp) AS stamp FROM ({facts}) f JOIN pairs p ON p.other = f.key
            WHERE f.kind = '{KIND_SUMMARY}' GROUP BY f.run, p.key
        ),
        frames AS (
            SELECT e.run, {_key_sql("regexp_replace(e.key, '[.][a-z_]+$', '')")} AS key,
                {stamp("e.hlc", "(e.seq - 1)")} AS stamp, regexp_extract(e.key, '[a-z_]+$') AS part, e.v, e.i
            FROM {names.events} e JOIN {names.states} w ON w.run = e.run AND w.writer = e.writer AND w.visible
            WHERE e.kind = '{KIND_CARRIED}' AND (e.subject IS NULL OR e.subject = e.run)
        ),
        carried AS (
            SELECT run, key, stamp, {figures} FROM frames GROUP BY run, key, stamp
            QUALIFY row_number() OVER (PARTITION BY run, key ORDER BY stamp DESC) = 1
        )
        SELECT run, key, greatest(h.stamp, c.stamp) AS since, coalesce(h.stamp < c.stamp, c.stamp IS NOT NULL)
            AS is_carried, c.count, c.nan_count, c.floats, c.min_v, c.max_v, c.mean_v
        FROM by_hand h FULL JOIN carried c USING (run, key)""",
        [[key for key, _ in pairs], [other for _, other in pairs]],
    )


def pairs_around(keys: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    """(key, other) where they are equal, or one is a proper prefix of the other's path."""
    known, found = frozenset(others), frozenset(keys)
    pairs = [(key, other) for key in keys for other in (key, *_prefixes(key)) if other in known]
    return pairs + [(prefix, other) for other in others for prefix in _prefixes(other) if prefix in found]


def _prefixes(path: str) -> list[str]:
    segments = split_path(path) if "." in path else ()
    return [join_path(segments[:end]) for end in range(1, len(segments))]


def _read_cut(con: duckdb.DuckDBPyConnection, names: MetricTables, since: Since | None) -> None:
    """Where a stretch counts in part, all of the series of its writer is read instead."""
    rows = con.execute(
        f"""SELECT DISTINCT run, writer, key, behind.h, CASE WHEN own.w > behind.w THEN -1
            WHEN own.w = behind.w THEN behind.s ELSE {_NOT_HELD} END
        FROM {names.leaves}_points WHERE counts = 'cut'"""
    ).fetchall()
    if not rows:
        return
    assert since is not None, "points have to be read"
    asked = [Stretch(*row) for row in rows]
    con.execute(
        f"""UPDATE {names.leaves}_points p SET counts = 'none' WHERE EXISTS (
            FROM {names.leaves}_points o
            WHERE o.run = p.run AND o.writer = p.writer AND o.key = p.key AND o.counts = 'cut')"""
    )
    for one, figures in zip(asked, since(asked), strict=True):
        some = figures.count > 0
        values: list[float | None] = [figures.count, figures.nan_count, int(not figures.whole)]
        values += [figures.min, figures.max, figures.mean] if some else [None, None, None]
        con.execute(
            f"""INSERT INTO {names.leaves}_points
                (run, writer, key, count, nan_count, floats, min_v, max_v, mean_v, counts)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'whole')""",
            [one.run, one.writer, one.key, *values],
        )
