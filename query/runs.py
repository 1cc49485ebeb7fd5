"""Runs of a snapshot: which match, in what order, and what each one is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import duckdb
import pyarrow.compute as pc

from tracker.query.branches import with_inherited, with_rewound
from tracker.query.compile_duckdb import compile_query
from tracker.query.filter_tree import Filter
from tracker.query.fold_single import FACTS_MAX, facts_count, fold_single
from tracker.query.folded import folded
from tracker.query.order import Order
from tracker.query.run_files import RunFiles
from tracker.query.snapshot import Snapshot
from tracker.storage.events import (
    KIND_ATTR,
    KIND_CONFIG,
    KIND_FILE,
    KIND_SUMMARY,
    KIND_TOMBSTONE,
    Value,
    decode_cell,
    path_text,
    split_path,
    unflatten,
)
from tracker.storage.fold import RunState

__all__ = ["RunRecord", "find_runs", "load_runs", "stream_files", "visible_files"]

_LISTED_MAX: Final = 200  # runs that DuckDB looks for by reading; more of them are joined
_RECORDS_MAX: Final = 10_000  # kept with a folded project
_ATTRS: Final = ("name", "notes", "group", "job_type", "host", "username", "program", "commit", "sweep")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as it stands. Times are microseconds since the epoch UTC."""

    run_id: str
    entity: str
    project: str
    state: str
    created_at_us: int
    heartbeat_at_us: int
    duration_s: float
    generations: int  # lives of the run that are shown; more than one overlap in time
    config: dict[str, Any]  # nested
    summary: dict[str, Any]  # nested; automatic and explicit values
    attrs: dict[str, Value]  # name, notes, tags, group, job_type, host, username, program, commit, sweep, ...
    live: Mapping[str, Mapping[str, Value]]  # live facts but those about files: kind to stored path to value

    @property
    def tags(self) -> list[str]:
        tags = self.attrs.get("tags")
        return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []

    def as_dict(self) -> dict[str, Any]:
        """The fields of `tracker.query.run_columns.RUN_COLUMNS`, `config` and `summary`."""
        return {
            "id": self.run_id,
            "state": self.state,
            "created_at": _datetime(self.created_at_us),
            "heartbeat_at": _datetime(self.heartbeat_at_us),
            "duration": self.duration_s,
            "entity": self.entity,
            "project": self.project,
            "tags": self.tags,
            **{name: _text(self.attrs.get(name)) for name in _ATTRS if name != "program"},
            "config": self.config,
            "summary": self.summary,
        }


def find_runs(
    snapshot: Snapshot, where: Filter, order: Order, *, limit: int | None = None, offset: int = 0
) -> tuple[list[str], int]:
    """Ids of the matching runs in order, cut to the page; and how many match in all."""
    if not snapshot.runs:
        return [], 0
    query = compile_query(where, order, limit=limit, offset=offset)
    with snapshot.runs.packed.reading():
        found = folded(snapshot).con.sql(query.sql, params=query.params).to_arrow_table()
    if found.num_rows or not offset:
        return found["run"].to_pylist(), found["total"][0].as_py() if found.num_rows else 0
    return [], find_runs(snapshot, where, order, limit=1)[1]


def load_runs(snapshot: Snapshot, run_ids: Sequence[str]) -> list[RunRecord]:
    """The whole state of these runs, in this order. Ids that the snapshot does not hold are left out.

    Records are shared: do not change what is in them.
    """
    single = _single(snapshot)
    if single is not None:
        state = fold_single(single, snapshot.now_us, snapshot.edits, snapshot.paths)
        return [_of_state(snapshot, run_id, state) for run_id in run_ids if run_id == single.run_id and state]
    project = folded(snapshot)
    wanted = [run_id for run_id in run_ids if run_id not in project.records]
    if wanted:
        if len(project.records) > _RECORDS_MAX:
            project.records.clear()
            wanted = list(run_ids)
        with snapshot.runs.packed.reading():
            project.records.update(_load(snapshot, project.con, wanted))
    return [project.records[run_id] for run_id in run_ids if run_id in project.records]


def _single(snapshot: Snapshot) -> RunFiles | None:
    """The snapshot's only run, where folding it by itself is the faster way."""
    run = snapshot.runs.single()
    return run if run is not None and facts_count(run) <= FACTS_MAX else None


def _of_state(snapshot: Snapshot, run_id: str, state: RunState) -> RunRecord:
    head = (
        run_id,
        state.state,
        state.created_at_us,
        state.heartbeat_at_us,
        state.duration_s,
        len(state.generations),
    )
    return _record(snapshot, head, {kind: dict(leaves) for kind, leaves in state.live.items() if kind != KIND_FILE})


def _load(snapshot: Snapshot, con: duckdb.DuckDBPyConnection, run_ids: list[str]) -> dict[str, RunRecord]:
    few = len(run_ids) <= _LISTED_MAX
    chosen = "list_contains(?::VARCHAR[], run)" if few else "run IN (SELECT unnest(?::VARCHAR[]))"
    heads = con.execute(
        f"SELECT run, state, created_at, heartbeat_at, duration, generations FROM runs WHERE {chosen}", [run_ids]
    ).fetchall()
    cells = con.execute(f"SELECT run, kind, key, t, v, i, s FROM live WHERE {chosen}", [run_ids]).fetchall()
    live: dict[str, dict[str, dict[str, Value]]] = {run_id: {} for run_id in run_ids}
    for run_id, kind, key, t, v, i, s in cells:
        live[run_id].setdefault(kind, {})[key] = decode_cell(t, v, i, s)
    return {head[0]: _record(snapshot, head, live[head[0]]) for head in heads}


def visible_files(snapshot: Snapshot, run_ids: Iterable[str]) -> list[RunFiles]:
    """What the histories of these runs consist of, in this order: without hidden lives (of a run that was started anew,
    rewound or deleted), and with the rows of where they began (forked, rewound).
    """
    return with_inherited(snapshot, _own_files(snapshot, run_ids))


def stream_files(snapshot: Snapshot, run_ids: Iterable[str]) -> list[RunFiles]:
    """What their system metrics and console lines stand in: as above, but with all that was written before a rewind,
    and nothing of the runs that they were forked from.
    """
    return with_rewound(snapshot, _own_files(snapshot, run_ids))


def _own_files(snapshot: Snapshot, run_ids: Iterable[str]) -> list[RunFiles]:
    run_ids = list(run_ids)
    deleted = _ever_deleted(snapshot)
    files = snapshot.runs.load(run_ids)
    several = [
        run_id for run_id in run_ids if run_id in deleted or len({part.writer_id for part in files[run_id].parts}) > 1
    ]
    if not several:
        return [files[run_id] for run_id in run_ids]
    single = _single(snapshot)
    if single is not None:
        state = fold_single(single, snapshot.now_us, snapshot.edits, snapshot.paths)
        return [single.of_writers(state.visible if state is not None else frozenset())]
    rows = folded(snapshot).con.execute(
        "SELECT run, list(writer) FROM writer_states WHERE visible AND list_contains(?, run) GROUP BY run", [several]
    )
    shown = dict.fromkeys(several, frozenset[str]()) | {run_id: frozenset(ids) for run_id, ids in rows.fetchall()}
    return [files[run_id].of_writers(shown[run_id]) if run_id in shown else files[run_id] for run_id in run_ids]


def _ever_deleted(snapshot: Snapshot) -> frozenset[str]:
    """Runs with a tombstone among the edits, whether it still holds or not."""
    edits = snapshot.edits
    if not edits.num_rows:
        return frozenset()
    return frozenset(edits.filter(pc.equal(edits["kind"], KIND_TOMBSTONE))["run"].to_pylist())


def _record(snapshot: Snapshot, head: tuple[Any, ...], live: dict[str, dict[str, Value]]) -> RunRecord:
    run_id, state, created_at_us, heartbeat_at_us, duration_s, generations = head
    attrs = live.get(KIND_ATTR, {})  # where a literal and a nested path look alike the literal one wins: it comes last
    return RunRecord(
        run_id=run_id,
        entity=snapshot.entity,
        project=snapshot.project,
        state=state,
        created_at_us=created_at_us,
        heartbeat_at_us=heartbeat_at_us,
        duration_s=duration_s,
        generations=generations,
        config=_tree(live.get(KIND_CONFIG, {})),
        summary=_tree(live.get(KIND_SUMMARY, {})),
        attrs={path_text(path): attrs[path] for path in sorted(attrs, key=lambda path: ("\\" in path, path))},
        live=live,
    )


def _tree(leaves: dict[str, Value]) -> dict[str, Any]:
    """Nested, keys sorted by their path."""
    return unflatten(sorted(leaves.items(), key=lambda leaf: split_path(leaf[0])))


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def _datetime(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)
