"""No text of the caller ever becomes SQL: it is bound, whatever it looks like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from filter_runs import load_runs, make_run, select
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.query.compile_duckdb import compile_query
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter

ATTACKS = [
    "'; DROP TABLE runs; --",
    "x' OR '1'='1",
    '") OR 1=1 --',
    "$1",
    "?",
    "{}",
    "{0}",
    "%s",
    "\\",
    "\\'",
    "/* */",
    "\0",
    "name.name",
    "read_csv('/etc/passwd')",
    "getenv('HOME')",
    "\u2028'",
]


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def documents(key: str, value: str) -> list[dict[str, Any]]:
    field, nested = f"config.{key}", {"x": {value: value}}
    return [
        {field: value},
        {field: {"$in": [value, 1]}, f"summary_metrics.{key}": {"$ne": value}},
        {field: {"$gt": value, "$exists": True}},
        {field: [value, value]},
        {field: [[value]]},
        {field: nested},
        {field: [nested]},
        {"tags": value, "name": value, "state": value, "displayName": {"$nin": [value]}},
    ]


@pytest.mark.parametrize("attack", ATTACKS)
def test_values_and_keys_are_found_as_they_are(con: duckdb.DuckDBPyConnection, attack: str) -> None:
    key = attack.replace(".", "")
    hit = make_run("hit", config={key: attack}, tags=[attack], name=attack)
    load_runs(con, [hit, make_run("miss", config={key: "other"})])
    assert select(con, {f"config.{key}": attack, "tags": attack, "displayName": attack}) == ["hit"]
    by_value = ["hit", "miss"] if attack < "other" else ["miss", "hit"]
    assert select(con, {f"config.{key}": {"$exists": True}}, [f"config.{key}"]) == by_value


@settings(max_examples=100, deadline=None)
@given(
    key=st.text(st.characters(exclude_categories=["Cs"], exclude_characters=".\\,"), min_size=1, max_size=8),
    value=st.one_of(st.sampled_from(ATTACKS), st.text(st.characters(exclude_categories=["Cs"]), max_size=12)),
)
def test_the_statement_does_not_depend_on_any_text(key: str, value: str) -> None:
    for made, plain in zip(documents(key, value), documents("k", "v"), strict=True):
        query = compile_query(parse_filter(made), parse_order([f"-config.{key}"]))
        assert query.sql == compile_query(parse_filter(plain), parse_order(["-config.k"])).sql


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_any_text_is_found_by_itself_and_by_its_key(con: duckdb.DuckDBPyConnection, text: str) -> None:
    key = text.replace(".", "") or "k"
    load_runs(con, [make_run("hit", config={key: text, "l": [0, text, [text]], "d": {key: {"x": text}}})])
    for document in (
        {f"config.{key}": text},
        {f"config.{key}": {"$gte": text, "$lte": text}},
        {"config.l": text},
        {"config.l": [0, text, [text]]},
        {"config.d": {"$eq": {key: {"x": text}}}},
    ):
        if key not in ("l", "d"):
            assert select(con, document) == ["hit"], document


@pytest.mark.parametrize("attack", ATTACKS)
def test_patterns_are_bound(con: duckdb.DuckDBPyConnection, attack: str) -> None:
    load_runs(con, [make_run("r", config={"k": "benign"})])
    escaped = "".join(f"\\x{{{ord(char):x}}}" for char in attack)
    assert select(con, {"config.k": {"$regex": escaped}}) == []
    assert select(con, {"config.k": {"$not": {"$regex": escaped}}}) == ["r"]
