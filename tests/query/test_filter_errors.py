"""What a filter cannot mean is refused, with the place, what is wrong and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from tracker.query.compile_duckdb import compile_query
from tracker.query.errors import FilterError, FilterTypeError
from tracker.query.order import parse_order
from tracker.query.parse_filter import DEPTH_MAX, parse_filter
from tracker.storage.errors import UsageError


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param(
            {"config.lr": {"$gtr": 1}},
            'Unknown operator "$gtr" at config.lr. Did you mean "$gt"? '
            "Known: $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $regex, $not.",
            id="FILT-2 operator",
        ),
        pytest.param(
            {"$or": [{"a.b": 1}, {"state": "x"}]}, 'Unknown field "a.b" at $or[0]. Known: name, ', id="field"
        ),
        pytest.param({"$and": [{"lr": 1}]}, 'Did you mean "config.lr" or "summary_metrics.lr"?', id="bare key"),
        pytest.param({"creatdAt": 1}, 'Did you mean "created_at"?', id="misspelt field"),
        pytest.param({"config": 1}, 'Field "config" needs a path: config.<key>.', id="no path"),
        pytest.param({"$ro": []}, 'Unknown operator "$ro". Did you mean "$or"? Known: $and, $or', id="logical"),
        pytest.param({"$not": {"state": "x"}}, '"$not" stands where a field is expected.', id="not outside"),
        pytest.param({"config.x": {"$or": []}}, '"$or" stands at config.x, below a field.', id="or inside"),
        pytest.param({"config.x": {"$gt": 1, "y": 2}}, "'y' stands among operators at config.x.", id="mixed"),
        pytest.param({"$or": []}, "$or needs a non-empty list of documents, not [] at $or.", id="FILT-3 empty"),
        pytest.param({"$and": {"state": "x"}}, "$and needs a non-empty list of documents", id="FILT-3 no list"),
        pytest.param({"$nor": [1]}, "A filter is a document {field: value}, not 1 at $nor[0].", id="FILT-3 item"),
        pytest.param({"tags": {"$in": "x"}}, "$in needs a list at tags, not 'x'.", id="in"),
        pytest.param({"tags": {"$nin": None}}, "$nin needs a list at tags, not None.", id="nin"),
        pytest.param({"tags": {"$exists": "yes"}}, "$exists needs true or false at tags, not 'yes'.", id="exists"),
        pytest.param({"state": {"$not": "x"}}, "$not needs operators at state", id="not"),
        pytest.param({"state": {"$not": {}}}, "$not needs operators at state", id="empty not"),
        pytest.param({"state": {"$regex": 1}}, "$regex needs a string at state, not 1.", id="regex type"),
        pytest.param({"state": {"$regex": "("}}, 'The pattern "(" at state is no RE2 pattern: missing )', id="FILT-12"),
        pytest.param({"state": {"$regex": "(?=x)"}}, "invalid perl operator", id="FILT-12 look-ahead"),
        pytest.param({"createdAt": {"$gt": "yesterday"}}, '"yesterday" at createdAt is no ISO 8601', id="FILT-13"),
        pytest.param({"config.k": "\ud800"}, "is not valid Unicode", id="half a pair as value"),
        pytest.param({"config.\ud800": 1}, "is not valid Unicode", id="half a pair as key"),
        pytest.param({"config.k": 1 << 20_000}, "has more than 14000 bits", id="huge number"),
        pytest.param({f"config.{'k' * 5000}": 1}, "is longer than 4096 bytes", id="long key"),
        pytest.param({1: 2}, "A field name is a string, not 1.", id="name"),
        pytest.param([{"state": "x"}], "A filter is a document {field: value}, not [", id="list"),
        pytest.param("state", "A filter is a document {field: value}, not 'state'.", id="string"),
        pytest.param({"config.k": [0] * 100_001}, "more than 100000 values", id="many values"),
        pytest.param({"$or": [{"state": "x"}] * 1001}, "more than 1000 conditions", id="many conditions"),
    ],
)
def test_a_wrong_filter_is_a_value_error_that_says_where(document: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        parse_filter(document)
    assert isinstance(caught.value, FilterError)
    assert isinstance(caught.value, UsageError)
    assert message in str(caught.value)


@pytest.mark.parametrize("nest", [lambda inner: {"$or": [inner, {"state": "x"}]}, lambda inner: [inner]])
def test_depth_has_a_bound_and_a_message(nest: Any) -> None:
    document: Any = {"state": "x"}
    for _ in range(DEPTH_MAX + 1):
        document = nest(document)
    with pytest.raises(FilterError, match=f"nested deeper than {DEPTH_MAX} levels"):
        parse_filter(document if isinstance(document, dict) else {"config.k": document})


def test_a_value_that_holds_itself_is_too_deep() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(FilterError, match="nested deeper"):
        parse_filter({"config.k": loop})


def test_fields_have_a_bound_and_a_message() -> None:
    tree = parse_filter({f"config.k{number}": 1 for number in range(101)})
    with pytest.raises(FilterError, match="name 101 fields; at most 100 are allowed"):
        compile_query(tree, parse_order(None))


def test_a_large_nested_literal_is_refused_before_it_becomes_sql() -> None:
    tree = parse_filter({"config.k": [[number] for number in range(500)]})
    with pytest.raises(FilterError, match="cannot be compared whole"):
        compile_query(tree, parse_order(None))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("", 'The order "" names no field.'),
        ("+", 'The order "+" names no field.'),
        ("-created_at,,name", 'The order "" names no field.'),
        ("-loss", 'Did you mean "config.loss" or "summary_metrics.loss"?'),
        ("*created_at", 'Unknown field "*created_at" at order.'),
        (",".join(["name"] * 33), "The order has 33 keys; at most 32 are allowed."),
    ],
)
def test_a_wrong_order_says_what_is_wrong(order: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_order(order)
    assert message in str(caught.value)


@pytest.mark.parametrize("order", [1, {"created_at": -1}, [1]])
def test_an_order_is_text(order: Any) -> None:
    with pytest.raises(FilterTypeError, match="An order is a string"):
        parse_order(order)
