"""Orders: signs, fields, ties, and what comes last (ORD-1 to ORD-5, FX-39 and FX-40)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from filter_oracle import ordered
from filter_runs import load_runs, make_run, select

from tracker.query.filter_tree import Field
from tracker.query.order import parse_order, parse_sweep_order


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


ACC = {"r1": 0.5, "r2": 0.9, "r4": math.nan}


@pytest.mark.parametrize(
    ("order", "expected"),
    [("+summary_metrics.acc", "r1 r2 r3 r4"), ("-summary_metrics.acc", "r2 r1 r3 r4")],
    ids=["FX-39", "FX-40"],
)
def test_worked_examples(con: duckdb.DuckDBPyConnection, order: str, expected: str) -> None:
    runs = [make_run(f"r{n}", summary={"acc": ACC[f"r{n}"]} if f"r{n}" in ACC else {}) for n in (1, 2, 3, 4)]
    load_runs(con, runs)
    assert select(con, {}, order) == expected.split()
    assert ordered(order, runs) == expected.split()


def _created(**times: int) -> list[dict[str, Any]]:
    return [make_run(name, created_at=time) for name, time in times.items()]


@pytest.mark.parametrize("order", [None, "+created_at", "created_at", "createdAt", ["created_at"]])
def test_ord_1_and_2_oldest_first_unless_told_otherwise(con: duckdb.DuckDBPyConnection, order: Any) -> None:
    load_runs(con, _created(b=2, a=3, c=1))
    assert select(con, {}, order) == ["c", "b", "a"]
    assert select(con, {}, "-created_at") == ["a", "b", "c"]


@pytest.mark.parametrize(
    "order",
    ["config.k.value", "config.k", "summary_metrics.k", "displayName", "name", "duration", "state", "heartbeat_at"],
)
def test_ord_3_every_field_orders(con: duckdb.DuckDBPyConnection, order: str) -> None:
    runs = [
        make_run(
            f"r{n}",
            config={"k": n},
            summary={"k": n},
            name=f"n{n}",
            duration=float(n),
            state=["failed", "finished", "killed"][n],
            created_at=n,
        )
        for n in (2, 0, 1)
    ]
    load_runs(con, runs)
    assert select(con, {}, f"+{order}") == ["r0", "r1", "r2"]
    assert select(con, {}, f"-{order}") == ["r2", "r1", "r0"]


@pytest.mark.parametrize(
    ("text", "field", "descending"),
    [
        ("loss", Field("summary", "cell", ("loss",)), True),
        ("+loss", Field("summary", "cell", ("loss",)), False),
        ("-a.b", Field("summary", "cell", ("a\\.b", "a.b")), True),
        ("config.lr", Field("config", "cell", ("lr",)), True),
        ("+summary_metrics.loss", Field("summary", "cell", ("loss",)), False),
        ("createdAt", Field("run", "time", ("created_at",)), True),
        ("+name", Field("run", "text", ("run",)), False),
        ("created_at", Field("summary", "cell", ("created_at",)), True),
    ],
)
def test_ord_2_and_4_the_sweep_side_reads_bare_words_as_metrics(text: str, field: Field, descending: bool) -> None:
    (key,) = parse_sweep_order(text).keys
    assert (key.field, key.descending) == (field, descending)


def test_ord_5_ties_by_creation_time_then_id(con: duckdb.DuckDBPyConnection) -> None:
    load_runs(con, _created(c=1, b=1, a=2))
    for order in ("+state", "-state", "-config.none"):
        assert select(con, {}, order) == ["b", "c", "a"]


def test_ord_5_numbers_then_strings_then_bools_then_the_rest(con: duckdb.DuckDBPyConnection) -> None:
    values = [None, [1], {"x": 1}, math.nan, True, False, "b", "a", math.inf, 2, 1.5, -math.inf]
    load_runs(con, [make_run(f"r{n:02}", config={"k": value}) for n, value in enumerate(values)])
    rest = ["r00", "r01", "r02", "r03"]
    assert select(con, {}, "config.k") == ["r11", "r10", "r09", "r08", "r07", "r06", "r05", "r04", *rest]
    assert select(con, {}, "-config.k") == ["r08", "r09", "r10", "r11", "r06", "r07", "r04", "r05", *rest]


def test_integers_that_doubles_cannot_tell_apart_are_ordered(con: duckdb.DuckDBPyConnection) -> None:
    values = [2**53 + 2, 2**53 + 1, float(2**53), 2**64 + 1, 2**64, -(2**60) - 1, -(2**60)]
    load_runs(con, [make_run(f"r{n}", config={"k": value}) for n, value in enumerate(values)])
    assert select(con, {}, "config.k") == ["r5", "r6", "r2", "r1", "r0", "r4", "r3"]


def test_several_keys(con: duckdb.DuckDBPyConnection) -> None:
    load_runs(con, [make_run(f"r{n}", config={"a": n // 2, "b,c": n}) for n in range(4)])
    assert select(con, {}, "-config.a, +name") == ["r2", "r3", "r0", "r1"]
    assert select(con, {}, ["-config.a", "-config.b,c"]) == ["r3", "r2", "r1", "r0"]


def test_a_page_and_the_total(con: duckdb.DuckDBPyConnection) -> None:
    load_runs(con, _created(a=1, b=2, c=3))
    assert select(con, {}, limit=2, offset=1) == ["b", "c"]
    assert select(con, {}, limit=2, offset=3) == []
    assert select(con, {}, offset=2) == ["c"]
    assert [key.descending for key in parse_order("-created_at").keys] == [True]
