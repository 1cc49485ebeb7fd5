"""The fold of facts in SQL, for many runs at once. `tracker.storage.fold` is its reference: they answer the same.

Reads relations of the connection (tables, views, registered Arrow tables), named by the caller:

    events(run, writer, seq, hlc, kind, subject, key, t, v, i, s)   facts only; other columns may stand beside
    edits(run, writer, seq, hlc, kind, key, t, v, i, s)             facts that others wrote about the run, which are
                                                                    not in `events`, nor are their writers in
                                                                    `writers`; may be left out
    points_last(run, writer, seq, hlc, key, t, v, i, s)             last committed value per key, `_step`, `_timestamp`
                                                                    and `_runtime` among them; may be left out
    figures(run, writer, key, seq, hlc, first_seq, first_hlc, count, nan_count, floats, min_v, max_v, mean_v)
                                                                    of committed points (`tracker.query.part_digest`,
                                                                    FIGURES); may be left out where no summary is
                                                                    defined
    writers(run, writer, first_hlc, last_wall_us)                   hlc of the first event, wall time of the last, us

and leaves behind, for `tracker.query.compile_duckdb` and the reading of whole runs:

    live(run, kind, key, t, v, i, s)      leaves that hold, of every kind but `writer` and `tombstone`
    runs(run, state, created_at, heartbeat_at, duration, generations, entity, project)
                                          without deleted ones; times in us, duration in s; generations: how many are
                                          visible
    writer_states(run, writer, gen_no, visible, superseded, is_session, generation, job, rank, parent, state,
                  started_at, ended_at, first_us, last_us, wall_us)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import duckdb

from tracker.query.fold_metrics import MetricTables, Since, carried_sql, find_asked, replace_leaves
from tracker.query.fold_stamps import HLC, SEQ, WRITER, stamp_sql, unstamped_sql
from tracker.storage.events import (
    KIND_BRANCH,
    KIND_CARRIED,
    KIND_METRIC,
    KIND_SUMMARY,
    KIND_TOMBSTONE,
    KIND_WRITER,
    TOMBSTONE_PATH,
    Type,
    join_path,
    split_path,
)
from tracker.storage.fold import JOINING, SILENT_US

__all__ = ["FoldNames", "fold_relations", "judge_runs"]

_LAZY_EVENTS: Final = 1_000_000  # from here on `live` is a view: only the paths that are asked for are folded

_OWN_STAMP: Final = f"hlc::HUGEINT * {SEQ} + seq"  # where one writer's events are compared
_CELL: Final = "t, v, i, s"


@dataclass(frozen=True, slots=True)
class FoldNames:
    """Names of the relations, all ours. Those that are made are replaced when they exist."""

    events: str = "events"
    writers: str = "writers"
    points_last: str | None = "points_last"
    edits: str | None = None
    figures: str | None = None
    live: str = "live"
    runs: str = "runs"
    writer_states: str = "writer_states"
    dead: str = "dead_leaves"
    tombstones: str = "tombstones"
    rewinds: str = "rewinds"
    placed_edits: str = "placed_edits"
    metric_sets: str = "metric_sets"
    metric_asked: str = "metric_asked"
    metric_restarts: str = "metric_restarts"
    metric_leaves: str = "metric_leaves"
    metric_replaced: str = "metric_replaced"
    points_shown: str = "points_shown"
    live_base: str = "live_base"

    @property
    def made(self) -> tuple[str, ...]:
        """What a fold may leave behind, views and tables."""
        of_metrics = (self.metric_sets, self.metric_asked, self.metric_restarts, self.metric_leaves)
        views = (self.live, self.live_base, self.points_shown, f"{self.points_shown}_all")
        tables = (self.dead, self.placed_edits, self.writer_states, self.tombstones, self.rewinds, self.metric_replaced)
        return self.runs, *views, *tables, *of_metrics

    def __post_init__(self) -> None:
        for name in (getattr(self, field) for field in self.__dataclass_fields__):
            if name is not None and not name.isidentifier():
                raise ValueError(f"Not a name of ours: {name!r}")


_DEFAULT_NAMES: Final = FoldNames()


def fold_relations(
    con: duckdb.DuckDBPyConnection,
    *,
    now_us: int,
    entity: str,
    project: str,
    names: FoldNames = _DEFAULT_NAMES,
    lazy: bool | None = None,
    since: Since | None = None,
) -> None:
    """Fold everything in `events`, `edits` and `points_last`; afterwards `live`, `runs` and `writer_states` hold.

    `lazy`: make `live` a view over `events` and `points_last`, which must then stay; None decides by their number.
    From a view read single runs by `list_contains(?::VARCHAR[], run)`: DuckDB folds only those, which it does not
    for `run IN (SELECT ...)` (0.2 s against 2 s of 100,000 runs).
    `since`: reads the points behind an explicit write in the middle of a series.
    """
    events, shared = _one(
        con,
        f"SELECT (SELECT count(*) FROM {names.events}), (SELECT count(*) > count(DISTINCT run) FROM {names.writers})",
    )
    edited = names.edits is not None and _one(con, f"SELECT count(*) > 0 FROM {names.edits}")[0]
    if not edited:
        names = replace(names, edits=None)
    deleted = _find_tombstones(con, names)
    shared = shared or edited or deleted
    states = _writers_sql(names)
    if shared:
        states = _placed_sql(names, states, deleted=deleted, rewound=_find_rewinds(con, names))
    con.execute(f"CREATE OR REPLACE TEMP TABLE {names.writer_states} AS {states}")
    if edited:
        con.execute(f"CREATE OR REPLACE TEMP TABLE {names.placed_edits} AS {_placed_edits_sql(names, deleted=deleted)}")
    names, has_parts = _with_metrics(con, names, shared=shared)
    stamped = _stamped_sql(names, shared=shared)
    sources = _sources_sql(names, "kind, key")
    if edited:
        sources += f" UNION ALL SELECT kind, key FROM {names.placed_edits}"
    keys = f"SELECT DISTINCT kind, key FROM ({sources}) WHERE contains(key, '.')"
    has_dead = _find_dead(con, names, stamped, _nested_pairs(con.execute(keys).fetchall()))
    form = "VIEW" if (events > _LAZY_EVENTS if lazy is None else lazy) else "TABLE"
    live = _live_sql(names, stamped, has_dead=has_dead)
    if has_parts:
        _replace(con, form, names.live_base, live)
        replace_leaves(
            con,
            _metric_tables(names),
            base=f"FROM {names.live_base}",
            facts=_stamped_sql(replace(names, points_last=None), shared=shared),
            stamp=partial(stamp_sql, shared=shared),
            writer_of=partial(unstamped_sql, shared=shared),
            since=since,
        )
        live = f"""SELECT b.* FROM {names.live_base} b
            ANTI JOIN {names.metric_replaced} r ON r.run = b.run AND r.key = b.key AND b.kind = '{KIND_SUMMARY}'
            UNION ALL FROM {names.metric_leaves}"""
    _replace(con, form, names.live, live)
    if has_parts and form == "TABLE":
        for made in (names.live_base, names.metric_leaves, names.metric_replaced, names.metric_restarts):
            con.execute(f"DROP TABLE {made}")
    judge_runs(con, now_us=now_us, entity=entity, project=project, names=names)


def _with_metrics(con: duckdb.DuckDBPyConnection, names: FoldNames, *, shared: bool) -> tuple[FoldNames, bool]:
    """Names with the last points that make the summary, where these are others; and whether any key has parts."""
    told = dict(
        con.execute(
            f"""SELECT kind, bool_or(coalesce(contains(s, '"summary"'), FALSE)) FROM {names.events}
            WHERE kind IN ('{KIND_METRIC}', '{KIND_CARRIED}') GROUP BY kind"""
        ).fetchall()
    )
    if not told or names.points_last is None:
        return names, False
    shown = f"{names.points_shown}_all"
    points = "run, writer, seq, hlc, key, t, v, i, s"
    select = f"SELECT {points} FROM {names.points_last}"
    if KIND_CARRIED in told:
        select += f" UNION ALL {carried_sql(names.events, points)}"
    _replace(con, "VIEW", shown, select)
    names = replace(names, points_last=shown)
    if not told.get(KIND_METRIC) or names.figures is None:
        return names, False
    facts = _stamped_sql(replace(names, points_last=None), shared=shared)
    drops, has_parts = find_asked(con, _metric_tables(names), facts)
    if drops:
        dropped = f"SELECT run, key FROM {names.metric_sets} JOIN {names.metric_asked} USING (set_no) WHERE drops"
        _replace(con, "VIEW", names.points_shown, f"FROM {shown} ANTI JOIN ({dropped}) USING (run, key)")
        names = replace(names, points_last=names.points_shown)
    return names, has_parts


def _metric_tables(names: FoldNames) -> MetricTables:
    return MetricTables(
        events=names.events,
        points=names.points_last or "",
        figures=names.figures or "",
        states=names.writer_states,
        sets=names.metric_sets,
        asked=names.metric_asked,
        restarts=names.metric_restarts,
        leaves=names.metric_leaves,
        replaced=names.metric_replaced,
    )


def judge_runs(
    con: duckdb.DuckDBPyConnection,
    *,
    now_us: int,
    entity: str,
    project: str,
    names: FoldNames = _DEFAULT_NAMES,
    alone: bool = False,
) -> None:
    """Make `runs` anew from `writer_states` and `live`: who lives and who has crashed changes with time alone.

    `alone`: one writer a run, so nothing has to be grouped (of a run with more there is a row each).
    """
    params = [entity, project, now_us - SILENT_US]
    con.execute(f"CREATE OR REPLACE TEMP TABLE {names.runs} AS {_runs_sql(names, alone=alone)}", params)


def _about_the_run() -> str:
    return "(subject IS NULL OR subject = run)"


def _writers_sql(names: FoldNames) -> str:
    """What each writer says of itself; in a run with one writer nothing else is to know."""
    texts = ("generation", "job", "rank", "parent", "state")
    times = ("started_at", "ended_at")
    said = [f"max(s) FILTER (field = '{name}' AND t = {Type.STRING:d}) AS {name}" for name in texts]
    said += [f"max(i) FILTER (field = '{name}' AND t = {Type.INT:d}) AS {name}" for name in times]
    return f"""
        SELECT run, writer, 0::BIGINT AS gen_no, 0::BIGINT AS writer_no, TRUE AS visible, FALSE AS superseded,
            coalesce(fields > 0, FALSE) AS is_session, {", ".join((*texts, *times))},
            least(w.first_hlc, f.first_us) AS first_us, greatest(w.last_wall_us, f.last_us) AS last_us,
            w.last_wall_us AS wall_us
        FROM {names.writers} w LEFT JOIN (
            SELECT run, writer, min(first_us) AS first_us, max(last_us) AS last_us, count(field) AS fields,
                {", ".join(said)}
            FROM (
                SELECT run, writer, CASE WHEN kind = '{KIND_WRITER}' AND starts_with(key, writer || '.')
                        THEN substr(key, length(writer) + 2) END AS field,
                    min(hlc) AS first_us, max(hlc) AS last_us,
                    {_latest(_OWN_STAMP, "t", "i", "s")}
                FROM {names.events} WHERE {_about_the_run()} GROUP BY run, writer, field
            ) GROUP BY run, writer
        ) f USING (run, writer)"""


def _latest(stamp: str, *columns: str) -> str:
    """The columns of the row with the greatest stamp."""
    return ", ".join(f"arg_max_null({column}, {stamp}) AS {column}" for column in columns)


def _find_tombstones(con: duckdb.DuckDBPyConnection, names: FoldNames) -> bool:
    """Make the table of deleted runs: `writer` null, and `hlc` to which it hides; and of the writers that it names."""
    about = "run, key, hlc, writer, seq, t"
    facts = f"SELECT {about} FROM {names.events} WHERE kind = '{KIND_TOMBSTONE}' AND {_about_the_run()}"
    if names.edits is not None:
        facts += f" UNION ALL SELECT {about} FROM {names.edits} WHERE kind = '{KIND_TOMBSTONE}'"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {names.tombstones} AS
        WITH last AS (
            FROM ({facts})
            QUALIFY row_number() OVER (PARTITION BY run, key ORDER BY hlc DESC, writer DESC, seq DESC) = 1
        ),
        deciding AS (FROM last WHERE key = '{TOMBSTONE_PATH}' AND t <> {Type.DELETED:d})
        SELECT run, NULL::VARCHAR AS writer, hlc FROM deciding
        UNION ALL
        SELECT l.run, substr(l.key, {len(TOMBSTONE_PATH) + 2}), d.hlc
        FROM last l JOIN deciding d USING (run)
        WHERE starts_with(l.key, '{TOMBSTONE_PATH}.') AND l.t <> {Type.DELETED:d} AND (
            l.hlc > d.hlc OR l.hlc = d.hlc AND (l.writer > d.writer OR l.writer = d.writer AND l.seq >= d.seq))"""
    )
    return bool(_one(con, f"SELECT count(*) > 0 FROM {names.tombstones}")[0])


def _find_rewinds(con: duckdb.DuckDBPyConnection, names: FoldNames) -> bool:
    """Make the table of lives that begin in an earlier one of the same run, each with the writers that it pins there.

    As `tracker.storage.branches.parse_branch`: what is no branch is none.
    """
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {names.rewinds} AS
        SELECT run, writer, key AS generation, coalesce(TRY(json_keys(s, '$.writers')), []) AS pinned
        FROM {names.events} WHERE kind = '{KIND_BRANCH}' AND t = {Type.JSON:d} AND {_about_the_run()}
            AND TRY(json_extract_string(s, '$.run')) = run AND TRY(json_type(s, '$.run')) = 'VARCHAR'
            AND TRY(json_type(s, '$.writers')) = 'OBJECT'
            AND TRY(json_type(s, '$.step')) IN ('BIGINT', 'UBIGINT', 'DOUBLE', 'HUGEINT')"""
    )
    return bool(_one(con, f"SELECT count(*) > 0 FROM {names.rewinds}")[0])


def _placed_sql(names: FoldNames, states: str, *, deleted: bool, rewound: bool) -> str:
    """Writers with their generation, who is visible, and whose session was resumed by a later one.

    `deleted`, `rewound`: whether there is anything in the tables of tombstones and of rewinds.
    """
    writers = "SELECT run, writer FROM w"
    if names.edits is not None:  # numbered together: where all else is equal, the greater writer wins
        writers += f" UNION SELECT run, writer FROM {names.edits}"
    begun = f"FROM w JOIN {names.tombstones} d ON d.run = w.run"
    hidden = f"""
            SELECT w.run, w.writer {begun} AND d.writer IS NULL WHERE w.first_us <= d.hlc
            UNION SELECT w.run, w.writer {begun} AND d.writer IN (w.writer, w.parent)
            UNION SELECT w.run, w.writer {begun} AND d.writer IS NULL
                JOIN w p ON p.run = w.run AND p.writer = w.parent AND p.first_us <= d.hlc"""
    later = f"""
            LEFT JOIN (
                SELECT r.run, r.pinned AS writer, min(g.no) AS no
                FROM (SELECT run, writer, generation, unnest(pinned) AS pinned FROM {names.rewinds}) r
                JOIN w o ON o.run = r.run AND o.writer = r.writer AND o.generation = r.generation
                JOIN opened g ON g.run = r.run AND g.generation = r.generation GROUP BY r.run, r.pinned
            ) p ON p.run = w.run AND p.writer = w.writer"""
    oldest = "NULL"
    if rewound:
        opens = f"(run, writer, generation) IN (SELECT (run, writer, generation) FROM {names.rewinds})"
        oldest = f"max(gen_no) FILTER (visible AND {opens}) OVER (PARTITION BY run)"
    return f"""
        WITH w AS MATERIALIZED ({states}),
        hidden AS ({hidden if deleted else "SELECT run, writer FROM w WHERE FALSE"}),
        numbered AS (
            SELECT run, writer, row_number() OVER (PARTITION BY run ORDER BY writer) AS writer_no FROM ({writers})
        ),
        named AS (
            SELECT run, generation, ends_with(generation, '{JOINING}') AS joins, min(first_us) AS first_us,
                {{'us': min(first_us), 'id': generation}} AS own
            FROM w WHERE generation IS NOT NULL GROUP BY run, generation
        ),
        opened AS (
            SELECT run, generation, life.us AS first_us, dense_rank() OVER (PARTITION BY run ORDER BY life) AS no
            FROM (SELECT run, generation, if(joins, coalesce(
                    max(if(joins, NULL, own)) OVER (PARTITION BY run ORDER BY first_us),
                    min(own) OVER (PARTITION BY run, joins)), own) AS life FROM named)
        ),
        joined AS (
            SELECT w.run, w.writer, arg_max(g.no, if(coalesce(o.job = w.job, FALSE), 4000000000, 0)
                + if(g.first_us <= w.last_us, 1000000000 + g.no, 1000000000 - g.no * 2)) AS no
            FROM w JOIN w o ON o.run = w.run AND o.generation IS NOT NULL
            JOIN opened g ON g.run = o.run AND g.generation = o.generation{later if rewound else ""}
            WHERE w.generation IS NULL{" AND (p.no IS NULL OR g.no < p.no)" if rewound else ""} GROUP BY w.run, w.writer
        ),
        placed AS (
            SELECT w.* REPLACE (coalesce(g.no, j.no, 0) AS gen_no, n.writer_no AS writer_no, h.run IS NULL AS visible)
            FROM w JOIN numbered n ON n.run = w.run AND n.writer = w.writer
            LEFT JOIN opened g ON g.run = w.run AND g.generation = w.generation
            LEFT JOIN joined j ON j.run = w.run AND j.writer = w.writer
            LEFT JOIN hidden h ON h.run = w.run AND h.writer = w.writer
        ),
        lasted AS (
            SELECT *, max(last_us) FILTER (visible) OVER (PARTITION BY run, gen_no) AS gen_last_us,
                max(gen_no) FILTER (visible) OVER (PARTITION BY run) AS newest, {oldest} AS oldest FROM placed
        ),
        seen AS (
            SELECT l.* REPLACE (visible AND gen_no >= coalesce(oldest, 0)
                AND coalesce(gen_no = newest OR gen_last_us >= n.first_us, TRUE) AS visible)
            FROM lasted l
            LEFT JOIN (SELECT DISTINCT run, no, first_us FROM opened) n ON n.run = l.run AND n.no = l.newest
        )
        SELECT * EXCLUDE (gen_last_us, newest, oldest) REPLACE (
            coalesce(max(if(visible AND is_session, first_us, NULL))
                OVER (PARTITION BY run, coalesce(rank, '0')) > last_us, FALSE) AS superseded)
        FROM seen"""


def _placed_edits_sql(names: FoldNames, *, deleted: bool) -> str:
    """Edits that count, with their stamp: in the newest generation that had begun, else the oldest, if that shows."""
    alive = f"ANTI JOIN {names.tombstones} d ON d.run = e.run AND d.writer IS NULL AND d.hlc >= e.hlc"
    return f"""
        WITH generations AS (
            SELECT run, gen_no, min(first_us) FILTER (generation IS NOT NULL) AS first_us, bool_or(visible) AS visible
            FROM {names.writer_states} GROUP BY run, gen_no
        ),
        edits AS (SELECT *, row_number() OVER () AS edit_no FROM {names.edits}),
        placed AS (
            SELECT e.edit_no, coalesce(max(g.gen_no) FILTER (g.first_us <= e.hlc), min(g.gen_no)) AS gen_no
            FROM (FROM edits e {alive if deleted else ""}) e JOIN generations g ON g.run = e.run
            WHERE e.kind NOT IN ('{KIND_WRITER}', '{KIND_TOMBSTONE}')
            GROUP BY e.edit_no
        ),
        numbered AS (
            SELECT run, writer, row_number() OVER (PARTITION BY run ORDER BY writer) AS writer_no
            FROM (SELECT run, writer FROM {names.writer_states} UNION SELECT run, writer FROM {names.edits})
        )
        SELECT e.run, e.kind, e.key, {_CELL},
            p.gen_no::HUGEINT * {HLC} + e.hlc::HUGEINT * {WRITER} + n.writer_no::HUGEINT * {SEQ} + e.seq AS stamp
        FROM edits e JOIN placed p USING (edit_no)
        JOIN generations g ON g.run = e.run AND g.gen_no = p.gen_no AND g.visible
        JOIN numbered n ON n.run = e.run AND n.writer = e.writer"""


def _sources_sql(names: FoldNames, columns: str) -> str:
    """All that folds into leaves: facts about the run itself, and last points as facts of the summary."""
    facts = f"""SELECT {columns} FROM {names.events}
        WHERE kind NOT IN ('{KIND_WRITER}', '{KIND_TOMBSTONE}') AND {_about_the_run()}"""
    if names.points_last is not None:
        as_summary = columns.replace("kind", f"'{KIND_SUMMARY}' AS kind", 1)
        facts += f" UNION ALL SELECT {as_summary} FROM {names.points_last}"
    return facts


def _stamped_sql(names: FoldNames, *, shared: bool) -> str:
    """Sources with one number as their stamp: generation, hlc, writer, seq."""
    if not shared:
        return _sources_sql(names, f"run, kind, key, {_CELL}, {_OWN_STAMP} AS stamp")
    own = f"""
        SELECT e.run, kind, key, {_CELL},
            w.gen_no::HUGEINT * {HLC} + hlc::HUGEINT * {WRITER} + w.writer_no::HUGEINT * {SEQ} + seq AS stamp
        FROM ({_sources_sql(names, f"run, kind, key, writer, hlc, seq, {_CELL}")}) e
        JOIN {names.writer_states} w ON w.run = e.run AND w.writer = e.writer AND w.visible"""
    if names.edits is None:
        return own
    return f"{own} UNION ALL SELECT run, kind, key, {_CELL}, stamp FROM {names.placed_edits}"


def _nested_pairs(keys: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """(kind, key, other) for each of `keys` and its proper prefixes, both ways round."""
    pairs = []
    for kind, key in keys:
        segments = split_path(key)
        for prefix in (join_path(segments[:end]) for end in range(1, len(segments))):
            pairs += [(kind, key, prefix), (kind, prefix, key)]
    return pairs


def _find_dead(
    con: duckdb.DuckDBPyConnection, names: FoldNames, stamped: str, pairs: list[tuple[str, str, str]]
) -> bool:
    """Fill the table of leaves of which a proper prefix or extension was written later; whether there are any."""
    if not pairs:
        return False
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {names.dead} AS
        WITH pairs AS (SELECT unnest(?::VARCHAR[]) AS kind, unnest(?::VARCHAR[]) AS key, unnest(?::VARCHAR[]) AS other),
        newest AS MATERIALIZED (
            SELECT run, kind, key, max(stamp) AS stamp FROM ({stamped}) SEMI JOIN pairs USING (kind, key)
            GROUP BY run, kind, key
        )
        SELECT DISTINCT a.run, a.kind, a.key
        FROM newest a JOIN pairs p ON p.kind = a.kind AND p.key = a.key
        JOIN newest b ON b.run = a.run AND b.kind = a.kind AND b.key = p.other
        WHERE b.stamp > a.stamp""",
        [list(column) for column in zip(*pairs, strict=True)],
    )
    (found,) = _one(con, f"SELECT count(*) > 0 FROM {names.dead}")
    return bool(found)


def _live_sql(names: FoldNames, stamped: str, *, has_dead: bool) -> str:
    anti_join = f" ANTI JOIN {names.dead} USING (run, kind, key)" if has_dead else ""
    return f"""
        SELECT run, kind, key, {_CELL}
        FROM (SELECT run, kind, key, {_latest("stamp", *"tvis")} FROM ({stamped}) GROUP BY run, kind, key){anti_join}
        WHERE t <> {Type.DELETED:d}"""


def _one(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row = con.execute(query).fetchall()[0]  # to the end: a result left open blocks the connection
    return tuple(row)


def _replace(con: duckdb.DuckDBPyConnection, form: str, name: str, select: str) -> None:
    """A view does not replace a table, nor the other way round: then the old one is dropped first."""
    create = f"CREATE OR REPLACE TEMP {form} {name} AS {select}"
    try:
        con.execute(create)
    except duckdb.CatalogException:
        con.execute(f"DROP {'TABLE' if form == 'VIEW' else 'VIEW'} IF EXISTS {name}")
        con.execute(create)


def _runs_sql(names: FoldNames, *, alone: bool) -> str:
    """Parameters: entity, project, the wall time (us) after which a session must have spoken to be alive."""
    code = """CASE
                    WHEN superseded OR NOT is_session THEN NULL
                    WHEN ended_at IS NOT NULL OR state IN ('finished', 'failed', 'killed') THEN CASE state
                        WHEN 'preempting' THEN 1 WHEN 'preempted' THEN 1 WHEN 'killed' THEN 2
                        WHEN 'failed' THEN 3 WHEN 'crashed' THEN 4 ELSE 0 END
                    WHEN wall_us > ? THEN if(coalesce(state = 'preempting', FALSE), 6, 5)
                    ELSE if(coalesce(state = 'preempting', FALSE), 1, 4) END"""
    grouped = f"""
            SELECT run, coalesce(min(started_at), min(first_us)) AS created_at,
                coalesce(max(wall_us) FILTER (is_session), max(wall_us)) AS heartbeat_at,
                count(DISTINCT gen_no) AS generations, max({code}) AS code
            FROM {names.writer_states} WHERE visible GROUP BY run"""
    single = f"""
            SELECT run, coalesce(started_at, first_us) AS created_at, wall_us AS heartbeat_at,
                1::BIGINT AS generations, {code} AS code
            FROM {names.writer_states} WHERE visible"""
    return f"""
        SELECT r.run, ['finished', 'preempted', 'killed', 'failed', 'crashed', 'running', 'preempting', 'pending'][
                coalesce(r.code, 7) + 1] AS state,
            r.created_at, r.heartbeat_at, coalesce(if(d.t <= {Type.INT:d}, d.v, NULL),
                (r.heartbeat_at - r.created_at) / 1000000.0) AS duration,
            r.generations, ?::VARCHAR AS entity, ?::VARCHAR AS project
        FROM ({single if alone else grouped}
        ) r LEFT JOIN {names.live} d ON d.run = r.run AND d.kind = '{KIND_SUMMARY}' AND d.key = '_runtime'"""
