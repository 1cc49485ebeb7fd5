"""SQL selects exactly the runs that the rules select, in exactly their order (FILT-1 to FILT-16, ORD-1 to ORD-5).

`filter_oracle` is the rules in plain Python; it reads the documents itself and shares no code with the query room.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from filter_oracle import matches, ordered
from filter_runs import load_runs, make_run, select
from hypothesis import example, given, settings
from hypothesis import strategies as st

EXACT = [2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), 2**64 + 1, 2**70, -(2**70), 2**70 + 1]
FLOATS = [0.1, 1.0, -0.0, 2.5, math.nan, math.inf, -math.inf, float(2**53), float(2**64), 1e25, 1e300]
NUMBERS = st.sampled_from([0, 1, -1, 3, *FLOATS, *EXACT, 10**25, 10**400, -(10**400)])
STRINGS = st.sampled_from(
    ["", "1", "a", "A", "ab", "é", "\U0001f600", "\uffff", "true", "null", "[1]", '"', "a b", "0.1", "\0", "%_"]
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS)
JSON_KEYS = st.sampled_from(["x", "a/b", "~", "", "0"])
NESTED_IN_LISTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(JSON_KEYS, inner, max_size=2),
    max_leaves=4,
)
LISTS = st.lists(NESTED_IN_LISTS, max_size=3)
KEYS = st.sampled_from(["a", "b", "a.b", "c", "value", "x y", "a\\", "a/", "b.value"])
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        st.one_of(SCALARS, SCALARS, LISTS, st.just({"_type": "image", "a": 1})),
        lambda inner: st.dictionaries(KEYS, inner, max_size=2),
        max_leaves=3,
    ),
    max_size=4,
)
OPERANDS = st.one_of(SCALARS, SCALARS, SCALARS, LISTS, TREES)
PATTERNS = st.sampled_from(["a", "^a", "b$", "^a$", "(?i)^A", "[0-9]", ".", "", "a|1", r"\.", "é"])
PATHS = st.lists(st.sampled_from(["a", "b", "c", "value", "x y", "a\\", "a/"]), min_size=1, max_size=3).map(".".join)
TIMES = st.sampled_from(["2024-01-08", "2024-01-08T05", "2024-01-08T05:00:01", "2024-01-08T06:00+01:00"])
CREATED = st.sampled_from([1704672000_000000, 1704690000_000000, 1704690001_000000])
STATES = st.sampled_from(["finished", "running", "crashed", "failed"])
TAGS = st.lists(st.sampled_from(["a", "b", "ab", "x y"]), max_size=3, unique=True)


ORDERINGS = ("$gt", "$gte", "$lt", "$lte")


@st.composite
def conditions(draw: st.DrawFn, operands: st.SearchStrategy[Any]) -> Any:
    """What may stand behind a field."""
    form = draw(st.sampled_from(["value", "operator", "operator", "operators", "not"]))
    if form == "value":
        return draw(operands)
    if form == "not":
        return {"$not": draw(operators(operands, 2))}
    return draw(operators(operands, 1 if form == "operator" else 3))


@st.composite
def operators(draw: st.DrawFn, operands: st.SearchStrategy[Any], count_max: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(draw(st.integers(1, count_max))):
        name = draw(st.sampled_from(["$eq", "$ne", *ORDERINGS, "$in", "$nin", "$exists", "$regex"]))
        match name:
            case "$in" | "$nin":
                found[name] = draw(st.lists(operands, max_size=3))
            case "$exists":
                found[name] = draw(st.booleans())
            case "$regex":
                found[name] = draw(PATTERNS)
            case _:
                found[name] = draw(operands)
    return found


@st.composite
def entries(draw: st.DrawFn) -> tuple[str, Any]:
    """A field and its condition."""
    source = draw(st.sampled_from(["config.", "config.", "summary_metrics.", "summary.", *OTHER_FIELDS]))
    if source in OTHER_FIELDS:
        return source, draw(conditions(OTHER_FIELDS[source]))
    return source + draw(PATHS), draw(conditions(OPERANDS))


@st.composite
def documents(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    document = dict(draw(st.lists(entries(), max_size=2)))
    if depth < 3 and draw(st.booleans()):
        logical = draw(st.sampled_from(["$and", "$or", "$nor"]))
        document[logical] = draw(st.lists(documents(depth + 1), min_size=1, max_size=2))
    return document


OTHER_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "tags": st.one_of(st.none(), TAGS, st.sampled_from(["a", "b", "c", 1])),
    "state": st.one_of(STATES, STATES.map(str.upper), st.none(), st.just(1)),
    "createdAt": st.one_of(TIMES, st.none(), st.just(5)),
    "created_at": TIMES,
    "displayName": st.one_of(STRINGS, st.none(), st.just(1)),
    "group": st.one_of(STRINGS, st.none()),
    "name": st.sampled_from(["r0", "r1", "x", None, 1]),
    "duration": st.one_of(NUMBERS, st.none(), st.just("1")),
}
DURATIONS = st.sampled_from([0.0, 1.0, 2.5, 1e25, math.nan, math.inf])
RUN_FIELDS = st.fixed_dictionaries(
    {
        "state": STATES,
        "created_at": CREATED,
        "duration": DURATIONS,
        "tags": TAGS,
        "config": TREES,
        "summary": TREES,
    },
    optional={"name": STRINGS, "group": STRINGS},
)
RUNS = st.lists(RUN_FIELDS, min_size=1, max_size=5).map(
    lambda found: [make_run(f"r{number}", **fields) for number, fields in enumerate(found)]
)
ORDER_NAMES = st.one_of(
    st.builds("{}{}".format, st.sampled_from(["config.", "summary_metrics."]), PATHS),
    st.sampled_from(["created_at", "createdAt", "state", "name", "displayName", "duration", "tags"]),
)
SIGNED = st.builds("{}{}".format, st.sampled_from(["", "+", "-"]), ORDER_NAMES)
ORDERS = st.lists(SIGNED, min_size=1, max_size=2).map(",".join)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@settings(max_examples=250, deadline=None)
@given(document=documents(), runs=RUNS)
@example(document={"$nor": [{"config.a": {"$gt": 1.0}}]}, runs=[make_run("r0", config={"a": None})])
@example(document={"config.a": {"$gt": 1.0}}, runs=[make_run("r0", config={"a": math.nan})])
@example(document={"createdAt": {"$gt": 5}}, runs=[make_run("r0", created_at=7)])
@example(document={"config.a": {"$ne": math.nan}}, runs=[make_run("r0", config={"a": math.nan})])
def test_sql_selects_exactly_the_runs_that_the_rules_select(
    con: duckdb.DuckDBPyConnection, document: dict[str, Any], runs: list[dict[str, Any]]
) -> None:
    load_runs(con, runs)
    assert sorted(select(con, document)) == [run["id"] for run in runs if matches(document, run)]


@settings(max_examples=250, deadline=None)
@given(data=st.data(), values=st.lists(st.one_of(SCALARS, LISTS, TREES), min_size=1, max_size=5))
def test_one_condition_on_one_path(con: duckdb.DuckDBPyConnection, data: st.DataObject, values: list[Any]) -> None:
    """Operands are mostly taken from what is stored, so that conditions often hold."""
    stored = st.sampled_from([*values, *(item for value in values if isinstance(value, list) for item in value)])
    document = {"config.k": data.draw(conditions(st.one_of(stored, stored, OPERANDS)))}
    runs = [make_run(f"r{number}", config={"k": value}) for number, value in enumerate(values)]
    runs.append(make_run("without"))
    load_runs(con, runs)
    assert sorted(select(con, document)) == sorted(run["id"] for run in runs if matches(document, run))


@settings(max_examples=120, deadline=None)
@given(order=ORDERS, runs=RUNS)
@example(order="-summary_metrics.a", runs=[make_run(f"r{n}", summary={"a": 2**53 + n}) for n in range(3)])
def test_sql_orders_runs_as_the_rules_do(
    con: duckdb.DuckDBPyConnection, order: str, runs: list[dict[str, Any]]
) -> None:
    load_runs(con, runs)
    assert select(con, {}, order) == ordered(order, runs)


@settings(max_examples=50, deadline=None)
@given(order=ORDERS, runs=RUNS, limit=st.integers(0, 6), offset=st.integers(0, 6))
def test_a_page_is_a_slice_of_the_whole(
    con: duckdb.DuckDBPyConnection, order: str, runs: list[dict[str, Any]], limit: int, offset: int
) -> None:
    load_runs(con, runs)
    assert select(con, {}, order, limit=limit, offset=offset) == select(con, {}, order)[offset : offset + limit]
