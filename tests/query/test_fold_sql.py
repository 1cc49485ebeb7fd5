"""The SQL fold agrees with the plain-Python one on generated event logs, in any order, as table and as view."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest
from event_logs import SCENARIOS, EventLog, event_logs
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.query.fold_sql import FoldNames, fold_relations, judge_runs
from tracker.storage.events import (
    DELETED,
    KIND_CONFIG,
    KIND_SUMMARY,
    KIND_TOMBSTONE,
    KIND_WRITER,
    Fact,
    decode_cell,
    encode_cell,
)
from tracker.storage.fold import SILENT_US, RunState, WriterSpan, fold_run

_EVENTS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("run", "writer")),
        *(pa.field(name, pa.int64()) for name in ("seq", "hlc")),
        *(pa.field(name, pa.string()) for name in ("kind", "subject", "key")),
        pa.field("t", pa.int8()),
        pa.field("v", pa.float64()),
        pa.field("i", pa.int64()),
        pa.field("s", pa.string()),
    ]
)
_WRITERS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("run", "writer")),
        *(pa.field(name, pa.int64()) for name in ("first_hlc", "last_wall_us")),
    ]
)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def _register(con: duckdb.DuckDBPyConnection, logs: dict[str, EventLog]) -> None:
    facts = [_row(run, fact) for run, log in logs.items() for fact in log.facts]
    points = [_row(run, fact) for run, log in logs.items() for fact in log.points]
    writers = [
        dict(zip(_WRITERS.names, (run, span.writer_id, span.first_hlc_us, span.last_wall_us), strict=True))
        for run, log in logs.items()
        for span in log.spans.values()
    ]
    con.register("events", pa.Table.from_pylist(facts, _EVENTS))
    con.register("points_last", pa.Table.from_pylist(points, _EVENTS).drop_columns(["kind", "subject"]))
    con.register("writers", pa.Table.from_pylist(writers, _WRITERS))
    edits = [_row(run, fact) for run, log in logs.items() for fact in log.edits]
    con.register("edits", pa.Table.from_pylist(edits, _EVENTS).drop_columns(["subject"]))


def _row(run: str, fact: Fact) -> dict[str, object]:
    values = (run, fact.writer_id, fact.seq, fact.hlc_us, fact.kind, None, fact.path, *encode_cell(fact.value))
    return dict(zip(_EVENTS.names, values, strict=True))


def _folded(con: duckdb.DuckDBPyConnection, run: str) -> tuple[object, ...] | None:
    rows = con.execute(
        "SELECT state, created_at, heartbeat_at, duration, generations FROM runs WHERE run = ?", [run]
    ).fetchall()
    if not rows:
        assert con.execute("SELECT * FROM live WHERE run = ?", [run]).fetchall() == []
        assert con.execute("SELECT * FROM writer_states WHERE run = ? AND visible", [run]).fetchall() == []
        return None
    (row,) = rows
    live: dict[str, dict[str, object]] = {}
    for kind, key, t, v, i, s in con.execute("SELECT kind, key, t, v, i, s FROM live WHERE run = ?", [run]).fetchall():
        assert key not in live.setdefault(kind, {}), "one live leaf a path"
        live[kind][key] = decode_cell(t, v, i, s)
    shown = con.execute("SELECT writer FROM writer_states WHERE run = ? AND visible", [run]).fetchall()
    return (*row, frozenset(writer for (writer,) in shown), live)


def _expected(state: RunState | None) -> tuple[object, ...] | None:
    return state and (
        state.state,
        state.created_at_us,
        state.heartbeat_at_us,
        state.duration_s,
        len(state.generations),
        state.visible,
        state.live,
    )


_WITH_EDITS = FoldNames(edits="edits")


@settings(max_examples=160, deadline=None)
@given(logs=st.tuples(*(event_logs(f"r{n}") for n in range(3))), lazy=st.booleans())
def test_sql_folds_generated_logs_to_the_same_state(
    con: duckdb.DuckDBPyConnection, logs: tuple[EventLog, ...], lazy: bool
) -> None:
    runs = {f"r{number}": log for number, log in enumerate(logs)}
    now_us = logs[0].now_us
    _register(con, runs)
    fold_relations(con, now_us=now_us, entity="e", project="p", lazy=lazy, names=_WITH_EDITS)
    for run, log in runs.items():
        state = fold_run(log.facts, log.points, log.spans, now_us, log.edits)
        assert _folded(con, run) == _expected(state)


@pytest.mark.parametrize("name", SCENARIOS)
def test_sql_folds_each_case_of_edits_and_tombstones_to_the_same_state(
    con: duckdb.DuckDBPyConnection, name: str
) -> None:
    log = SCENARIOS[name]
    _register(con, {"r1": log})
    fold_relations(con, now_us=log.now_us, entity="e", project="p", names=_WITH_EDITS)
    assert _folded(con, "r1") == _expected(fold_run(log.facts, log.points, log.spans, log.now_us, log.edits))


@settings(max_examples=60, deadline=None)
@given(log=event_logs())
def test_a_tombstone_among_the_runs_own_facts_counts_as_well(con: duckdb.DuckDBPyConnection, log: EventLog) -> None:
    """A relation of edits is not needed for it."""
    facts = [*log.facts, *(fact for fact in log.edits if fact.kind == KIND_TOMBSTONE)]
    spans = log.spans | {fact.writer_id: WriterSpan(fact.writer_id, fact.hlc_us, fact.hlc_us) for fact in facts[::-1]}
    _register(con, {"r1": EventLog(facts, log.points, spans, log.now_us)})
    fold_relations(con, now_us=log.now_us, entity="e", project="p")
    assert _folded(con, "r1") == _expected(fold_run(facts, log.points, spans, log.now_us))


def _written(run: str = "r1", hlc: int = 1_000, **config: object) -> EventLog:
    facts = [
        Fact(kind=KIND_WRITER, subject=run, path="wa.started_at", value=hlc, hlc_us=hlc, writer_id="wa", seq=0),
        *(
            Fact(kind=KIND_CONFIG, subject=run, path=path, value=value, hlc_us=hlc + 1, writer_id="wa", seq=1)
            for path, value in config.items()
        ),
    ]
    return EventLog(facts, [], {"wa": WriterSpan("wa", hlc, hlc + 1)}, hlc + 2)


def _said(writer: str, hlc: int, **fields: object) -> list[Fact]:
    return [
        Fact(kind=KIND_WRITER, subject="r1", path=f"{writer}.{name}", value=value, hlc_us=hlc, writer_id=writer, seq=0)
        for name, value in fields.items()
    ]


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_ties_of_times_fall_the_same_way(con: duckdb.DuckDBPyConnection, off: int) -> None:
    """An older generation that ends when the newer begins, a joiner that ends there, a session silent just so long."""
    logs = {
        "overlap": [*_said("wa", 5, generation="g1", started_at=5), *_said("wb", 10, generation="g2", started_at=10)],
        "joiner": [
            *_said("wa", 5, generation="g1", started_at=5),
            *_said("wb", 10, generation="g2", started_at=10),
            *_said("wc", 10 + off, started_at=1),
        ],
        "resumed": [*_said("wa", 5, started_at=5, state="failed", ended_at=5), *_said("wb", 10, state="finished")],
    }
    ends = {"overlap": 10 + off, "joiner": 6, "resumed": 10 + off}
    made = {
        run: EventLog(facts, [], {"wa": WriterSpan("wa", 5, ends[run])}, 10 + off + SILENT_US)
        for run, facts in logs.items()
    }
    for run, log in made.items():
        spans = {writer: WriterSpan(writer, 99, 10) for writer in {fact.writer_id for fact in log.facts}} | log.spans
        made[run] = EventLog(log.facts, log.points, spans, log.now_us)
    _register(con, made)
    fold_relations(con, now_us=10 + off + SILENT_US, entity="e", project="p")
    for run, log in made.items():
        state = fold_run(log.facts, log.points, log.spans, log.now_us)
        assert state is not None
        assert _folded(con, run) == _expected(state), run


def test_a_run_is_judged_again_without_a_new_fold(con: duckdb.DuckDBPyConnection) -> None:
    log = _written(lr=0.1)
    _register(con, {"r1": log})
    fold_relations(con, now_us=log.now_us, entity="e", project="p")
    assert con.execute("SELECT state, entity, project FROM runs").fetchall() == [("running", "e", "p")]
    judge_runs(con, now_us=log.now_us + SILENT_US, entity="e", project="p")
    assert con.execute("SELECT state FROM runs").fetchall() == [("crashed",)]


def test_last_points_may_be_left_out_and_relations_have_other_names(con: duckdb.DuckDBPyConnection) -> None:
    log = _written(lr=0.1)
    _register(con, {"r1": log})
    con.execute("CREATE OR REPLACE TEMP VIEW other_events AS SELECT * FROM events")
    names = FoldNames(events="other_events", points_last=None, live="l2", runs="r2", writer_states="w2", dead="d2")
    fold_relations(con, now_us=log.now_us, entity="e", project="p", names=names)
    assert con.execute("SELECT kind, key, v FROM l2").fetchall() == [(KIND_CONFIG, "lr", 0.1)]
    assert con.execute("SELECT count(*) FROM r2 JOIN w2 USING (run)").fetchall() == [(1,)]


def test_facts_about_other_subjects_are_no_leaves_of_the_run(con: duckdb.DuckDBPyConnection) -> None:
    log = _written(lr=0.1)
    _register(con, {"r1": log})
    con.execute(
        "CREATE OR REPLACE TEMP VIEW with_artifact AS SELECT * FROM events UNION ALL "
        "SELECT * REPLACE ('model:v1' AS subject, 'size' AS key) FROM events WHERE kind = 'config'"
    )
    fold_relations(con, now_us=log.now_us, entity="e", project="p", names=FoldNames(events="with_artifact"))
    assert con.execute("SELECT key FROM live").fetchall() == [("lr",)]


def test_far_stamps_keep_their_order(con: duckdb.DuckDBPyConnection) -> None:
    """Clocks far off, frames by the million: the one number that stands for a stamp has room for them."""
    far = 2**62
    facts = [
        Fact(kind=KIND_SUMMARY, subject="r1", path="x", value=value, hlc_us=hlc, writer_id=writer, seq=seq)
        for value, hlc, writer, seq in [("a", far, "wa", 2**33), ("b", far, "wb", 0), ("c", far - 1, "wc", 2**33)]
    ]
    spans = {writer: WriterSpan(writer, far - 1, far) for writer in ("wa", "wb", "wc")}
    _register(con, {"r1": EventLog(facts, [], spans, far)})
    fold_relations(con, now_us=far, entity="e", project="p")
    assert con.execute("SELECT s FROM live").fetchall() == [("b",)]


def test_names_that_are_not_ours_are_refused() -> None:
    with pytest.raises(ValueError, match="Not a name of ours"):
        FoldNames(live="live; DROP TABLE runs")


def test_a_retracted_leaf_is_gone(con: duckdb.DuckDBPyConnection) -> None:
    log = _written(lr=0.1)
    gone = Fact(kind=KIND_CONFIG, subject="r1", path="lr", value=DELETED, hlc_us=2_000, writer_id="wa", seq=2)
    _register(con, {"r1": EventLog([*log.facts, gone], [], log.spans, 2_001)})
    fold_relations(con, now_us=2_001, entity="e", project="p")
    assert con.execute("SELECT * FROM live").fetchall() == []
