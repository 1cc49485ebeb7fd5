"""Runs as the relations `live` and `runs`, and what a filter and an order select from them."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from tracker.query.compile_duckdb import compile_query
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.storage.events import encode_cell, flatten

_LIVE = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("run", "kind", "key")),
        pa.field("t", pa.int8()),
        pa.field("v", pa.float64()),
        pa.field("i", pa.int64()),
        pa.field("s", pa.string()),
    ]
)
_RUNS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("run", "state", "entity", "project")),
        *(pa.field(name, pa.int64()) for name in ("created_at", "heartbeat_at")),
        pa.field("duration", pa.float64()),
    ]
)

_ATTRS = ("name", "group", "job_type", "host", "username", "sweep", "notes", "commit")


def make_run(run_id: str, **fields: Any) -> dict[str, Any]:
    """A run as the oracle reads it; what is not given is empty."""
    plain = {"id": run_id, "state": "finished", "created_at": 0, "duration": 1.0, "config": {}, "summary": {}}
    return plain | fields


def load_runs(con: duckdb.DuckDBPyConnection, runs: list[dict[str, Any]]) -> None:
    live = []
    for run in runs:
        attrs = {name: run[name] for name in _ATTRS if name in run}
        attrs |= {"tags": run["tags"]} if run.get("tags") else {}  # an untagged run has no such fact
        for kind, tree in (("config", run["config"]), ("summary", run["summary"]), ("attr", attrs)):
            live += [(run["id"], kind, key, *encode_cell(value)) for key, value in flatten(tree)]
    rows = [
        (run["id"], run["state"], "main", "demo", run["created_at"], run["created_at"] + 1, run["duration"])
        for run in runs
    ]
    con.register("live", pa.Table.from_pylist([dict(zip(_LIVE.names, row, strict=True)) for row in live], _LIVE))
    con.register("runs", pa.Table.from_pylist([dict(zip(_RUNS.names, row, strict=True)) for row in rows], _RUNS))


def select(
    con: duckdb.DuckDBPyConnection, document: Any, order: Any = None, *, limit: int | None = None, offset: int = 0
) -> list[str]:
    """Ids of the runs that match, in order. The total that comes with each is checked where it can be."""
    query = compile_query(parse_filter(document), parse_order(order), limit=limit, offset=offset)
    rows = con.execute(query.sql, query.params).fetchall()
    assert limit is not None or offset or all(total == len(rows) for _, total in rows)
    return [run for run, _ in rows]
