"""Filter and order to one DuckDB statement with bound parameters: no text of the caller ever stands in the SQL.

The statement reads two relations (tables, views or temporary tables) of visible runs:

    live(run, kind VARCHAR, key VARCHAR, t TINYINT, v DOUBLE, i BIGINT, s VARCHAR)
        folded facts that hold now, at most one row per (run, kind, key); kind `config`, `summary` (automatic and
        explicit merged) or `attr`; key is the stored (escaped) path; the value columns are those of an event.
    runs(run, state VARCHAR, created_at BIGINT us, heartbeat_at BIGINT us, duration DOUBLE s, entity, project)
        one row per run.

It answers (run, total BIGINT): the runs that match, in order, cut to limit and offset, and with each of them how many
match in all. Only the paths that the question names are touched; where `live` is sorted by (kind, key), only
their row groups are read.

    query = compile_query(parse_filter({"config.lr": {"$lt": 0.1}}), parse_order("-summary_metrics.acc"), limit=50)
    con.execute(query.sql, query.params).fetchall()
"""

from __future__ import annotations

from dataclasses import dataclass

from tracker.query.filter_tree import Filter
from tracker.query.order import Order

__all__ = ["CompiledQuery", "compile_query"]


@dataclass(frozen=True, slots=True)
class CompiledQuery:
    """One statement for `con.execute(sql, params)`; the rows are (run, total), in order."""

    sql: str
    params: list[object]
    paths: tuple[tuple[str, str], ...]  # (kind, key) of `live` that the statement looks at; it may look below them too


def compile_query(filter: Filter, order: Order, *, limit: int | None = None, offset: int = 0) -> CompiledQuery:
    """The statement for a page: `offset` runs skipped, at most `limit` returned (None: all)."""
    raise NotImplementedError
