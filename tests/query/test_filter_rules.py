"""The rules of filters, one by one, and the worked examples FX-1 to FX-38."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest
from filter_oracle import matches
from filter_runs import load_runs, make_run, select

from tracker.query.filter_tree import fields_of
from tracker.query.parse_filter import DEPTH_MAX, parse_filter


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


R1 = {"lr": 0.1, "n": 1, "opt": "adam", "m": {"d": 3}}
R2 = {"lr": 0.01, "n": 1.0, "opt": "sgd"}
R3 = {"lr": None, "n": True, "opt": "Adam"}
R4 = {"n": "1", "opt": "adamw", "m": {"d": [1, 3]}}
FX_RUNS = [
    make_run("r1", state="finished", tags=["a", "b"], config=R1, summary={"acc": 0.5}),
    make_run("r2", state="failed", tags=["b"], config=R2, summary={"acc": 0.9}),
    make_run("r3", state="running", tags=[], config=R3),
    make_run("r4", state="crashed", tags=[], config=R4, summary={"acc": math.nan}),
]
FX: dict[str, tuple[dict[str, Any], str]] = {
    "FX-1": ({}, "r1 r2 r3 r4"),
    "FX-2": ({"config.lr": 0.1}, "r1"),
    "FX-3": ({"config.lr": None}, "r3 r4"),
    "FX-4": ({"config.lr": {"$exists": False}}, "r4"),
    "FX-5": ({"config.lr": {"$exists": True}}, "r1 r2 r3"),
    "FX-6": ({"config.lr": {"$ne": 0.1}}, "r2 r3 r4"),
    "FX-7": ({"config.lr": {"$ne": None}}, "r1 r2"),
    "FX-8": ({"config.lr": {"$lt": 0.05}}, "r2"),
    "FX-9": ({"config.lr": {"$gte": 0.01, "$lt": 0.1}}, "r2"),
    "FX-10": ({"config.lr": {"$in": [0.1, None]}}, "r1 r3 r4"),
    "FX-11": ({"config.lr": {"$nin": [0.1]}}, "r2 r3 r4"),
    "FX-12": ({"config.lr": {"$nin": [None]}}, "r1 r2"),
    "FX-13": ({"config.n": 1}, "r1 r2"),
    "FX-14": ({"config.n": True}, "r3"),
    "FX-15": ({"config.n": "1"}, "r4"),
    "FX-16": ({"config.n": {"$gt": 0}}, "r1 r2"),
    "FX-17": ({"config.n": {"$regex": "1"}}, "r4"),
    "FX-18": ({"tags": "b"}, "r1 r2"),
    "FX-19": ({"tags": {"$in": ["a"]}}, "r1"),
    "FX-20": ({"tags": {"$ne": "a"}}, "r2 r3 r4"),
    "FX-21": ({"tags": {"$nin": ["b"]}}, "r3 r4"),
    "FX-22": ({"tags": None}, "r3 r4"),
    "FX-23": ({"config.opt": {"$regex": "adam"}}, "r1 r4"),
    "FX-24": ({"config.opt": {"$regex": "^adam$"}}, "r1"),
    "FX-25": ({"config.opt": {"$regex": "(?i)^adam"}}, "r1 r3 r4"),
    "FX-26": ({"config.m.d": 3}, "r1 r4"),
    "FX-27": ({"config.m.d": {"$gt": 2}}, "r1 r4"),
    "FX-28": ({"config.m": {"$exists": True}}, "r1 r4"),
    "FX-29": ({"$or": [{"state": "failed"}, {"config.lr": 0.1}]}, "r1 r2"),
    "FX-30": ({"$nor": [{"state": "failed"}, {"config.lr": 0.1}]}, "r3 r4"),
    "FX-31": ({"$and": [{"tags": "b"}, {"state": {"$ne": "failed"}}]}, "r1"),
    "FX-32": ({"summary_metrics.acc": {"$gt": 0.6}}, "r2"),
    "FX-33": ({"summary_metrics.acc": {"$lte": 0.9}}, "r1 r2"),
    "FX-34": ({"summary_metrics.acc": {"$ne": 0.5}}, "r2 r3 r4"),
    "FX-35": ({"config.lr": {"$not": {"$gt": 0.05}}}, "r2 r3 r4"),
    "FX-36": ({"state": {"$in": ["finished", "failed"]}}, "r1 r2"),
    "FX-37": ({"config.lr.value": 0.1}, "r1"),
}


@pytest.mark.parametrize("name", FX)
def test_worked_examples(con: duckdb.DuckDBPyConnection, name: str) -> None:
    document, expected = FX[name]
    load_runs(con, FX_RUNS)
    assert select(con, document) == expected.split()
    assert [run["id"] for run in FX_RUNS if matches(document, run)] == expected.split(), "as the oracle says"


def test_fx_38_an_unknown_operator_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r'Unknown operator "\$all" at tags'):
        parse_filter({"tags": {"$all": ["a"]}})


def selected(con: duckdb.DuckDBPyConnection, document: Any, **runs: Any) -> str:
    """Names of the runs that match; each is given as the value of config key `k`, or as a whole run."""
    whole = [run if isinstance(run, dict) and "id" in run else _holding(name, run) for name, run in runs.items()]
    load_runs(con, whole)
    return " ".join(select(con, document))


MISSING = object()


def _holding(name: str, value: Any) -> dict[str, Any]:
    return make_run(name, config={} if value is MISSING else {"k": value})


def test_filt_1_fields_and_operators_of_one_document_all_hold(con: duckdb.DuckDBPyConnection) -> None:
    runs = {
        "a": make_run("a", config={"x": 1, "y": 2}),
        "b": make_run("b", config={"x": 1, "y": 3}),
    }
    assert selected(con, {"config.x": 1, "config.y": 2}, **runs) == "a"
    assert selected(con, {"config.y": {"$gt": 1, "$lt": 3}}, **runs) == "a"
    assert selected(con, None, **runs) == "a b"


def test_filt_3_logical_operators_nest(con: duckdb.DuckDBPyConnection) -> None:
    """As deep as the bound lets them, in SQL too."""
    document: dict[str, Any] = {"config.k": 1}
    for level in range(DEPTH_MAX - 2):
        document = {"$nor": [document, {"config.k": 5}]} if level % 2 else {"$or": [document, {"config.k": 6}]}
    load_runs(con, [_holding("a", 1), _holding("b", 2)])
    assert select(con, document) == [r["id"] for r in (_holding("a", 1), _holding("b", 2)) if matches(document, r)]


ATTRS = {"name": "shown", "group": "g", "job_type": "train", "host": "box", "username": "ada", "sweep": "s1"}


@pytest.mark.parametrize(
    "document",
    [
        {"name": "x1"},
        {"id": "x1"},
        {"displayName": "shown"},
        {"display_name": "shown"},
        {"state": "failed"},
        {"group": "g"},
        {"jobType": "train"},
        {"job_type": "train"},
        {"host": "box"},
        {"username": "ada"},
        {"user": "ada"},
        {"sweep": "s1"},
        {"description": "words"},
        {"notes": "words"},
        {"commit": "0a1b"},
        {"tags": "t"},
        {"createdAt": "1970-01-01T00:00:01"},
        {"created_at": "1970-01-01T00:00:01"},
        {"heartbeatAt": {"$gt": "1970-01-01T00:00:01"}},
        {"heartbeat_at": {"$gt": "1970-01-01T00:00:01"}},
        {"updatedAt": {"$gt": "1970-01-01T00:00:01"}},
        {"updated_at": {"$gt": "1970-01-01T00:00:01"}},
        {"duration": 2.5},
        {"config.lr": 0.1},
        {"summary_metrics.acc": 0.5},
        {"summary.acc": 0.5},
    ],
)
def test_filt_4_every_field_in_each_spelling(con: duckdb.DuckDBPyConnection, document: dict[str, Any]) -> None:
    times = {"created_at": 1_000_000, "duration": 2.5}
    values = {"config": {"lr": 0.1}, "summary": {"acc": 0.5}, "tags": ["t"]}
    run = make_run("x1", state="failed", notes="words", commit="0a1b", **ATTRS, **times, **values)
    runs = {"x1": run, "other": make_run("other", created_at=-5_000_000)}
    assert selected(con, document, **runs) == "x1"
    assert selected(con, {"$nor": [document]}, **runs) == "other"
    assert selected(con, {name: {"$exists": True} for name in document}, **runs).split()[-1] == "x1"


@pytest.mark.parametrize("document", [{"entity": "main"}, {"project": "demo"}])
def test_filt_4_entity_and_project(con: duckdb.DuckDBPyConnection, document: dict[str, Any]) -> None:
    assert selected(con, document, a=1, b=2) == "a b"
    assert selected(con, {"$nor": [document]}, a=1, b=2) == ""


def test_filt_5_the_value_level_of_config_may_be_left_out(con: duckdb.DuckDBPyConnection) -> None:
    runs = {"a": make_run("a", config={"x": 1, "n": {"b": 2}}, summary={"s": {"value": 3}})}
    for document in ({"config.x": 1}, {"config.x.value": 1}, {"config.n.b": 2}, {"config.n.value.b": 2}):
        assert selected(con, document, **runs) == "a"
    assert selected(con, {"summary_metrics.s.value": 3}, **runs) == "a", "summary has no such level"
    assert selected(con, {"summary.s": 3}, **runs) == ""


def test_filt_6_a_literal_dot_comes_before_nesting(con: duckdb.DuckDBPyConnection) -> None:
    runs = {
        "literal": make_run("literal", config={"a.b": 1}),
        "nested": make_run("nested", config={"a": {"b": 1}}),
        "both": make_run("both", config={"a.b": 2, "a": {"b": 1}}),
        "deeper": make_run("deeper", config={"a.b": {"c": 1}, "a": {"b": 1}}),
    }
    assert selected(con, {"config.a.b": 1}, **runs) == "literal nested"
    assert selected(con, {"config.a.b": 2}, **runs) == "both"
    assert selected(con, {"config.a.b": {"c": 1}}, **runs) == "deeper"
    assert selected(con, {"config.a.b.c": 1}, **runs) == "deeper"
    assert selected(con, {"config.a\\.b": 1}, **runs) == "literal"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (None, "none gone"),
        ({"$eq": None}, "none gone"),
        ({"$ne": 1}, "none gone two"),
        ({"$ne": None}, "one two"),
        ({"$in": [1, None]}, "gone none one"),
        ({"$nin": [1]}, "gone none two"),
        ({"$nin": [1, None]}, "two"),
        ({"$in": []}, ""),
        ({"$nin": []}, "gone none one two"),
        ({"$exists": True}, "none one two"),  # FILT-8
        ({"$exists": False}, "gone"),
        ({"$lt": 5}, "one two"),
        ({"$gte": None}, ""),
        ({"$not": {"$lt": 2}}, "gone none two"),
        ({"$not": {"$exists": True}}, "gone"),
    ],
)
def test_filt_7_and_8_missing_and_null(con: duckdb.DuckDBPyConnection, condition: Any, expected: str) -> None:
    found = selected(con, {"config.k": condition}, gone=MISSING, none=None, one=1, two=2)
    assert sorted(found.split()) == sorted(expected.split())


@pytest.mark.parametrize("operator", ["$gt", "$gte", "$lt", "$lte", "$eq"])
def test_filt_9_nan_compares_to_nothing(con: duckdb.DuckDBPyConnection, operator: str) -> None:
    assert selected(con, {"config.k": {operator: 0}}, nan=math.nan) == ""
    assert selected(con, {"config.k": {operator: math.nan}}, nan=math.nan, one=1, inf=math.inf) == ""
    assert selected(con, {"config.k": {"$ne": math.nan}}, nan=math.nan, one=1) == "nan one"
    assert selected(con, {"config.k": {"$nin": [math.nan]}}, nan=math.nan, one=1) == "nan one"


def test_filt_9_types_do_not_compare_with_each_other(con: duckdb.DuckDBPyConnection) -> None:
    runs = {"number": 5, "text": "5", "yes": True, "none": None, "inf": math.inf, "low": -math.inf}
    assert selected(con, {"config.k": {"$gt": 0}}, **runs) == "inf number"
    assert selected(con, {"config.k": {"$gte": ""}}, **runs) == "text"
    assert selected(con, {"config.k": {"$lte": True}}, **runs) == ""
    assert selected(con, {"config.k": {"$lt": 6}}, **runs) == "low number"


def test_filt_9_strings_compare_by_code_point(con: duckdb.DuckDBPyConnection) -> None:
    runs = {"a": "Z", "b": "a", "c": "é", "d": "\uffff", "e": "\U0001f600"}
    assert selected(con, {"config.k": {"$gt": "a"}}, **runs) == "c d e"
    assert selected(con, {"config.k": {"$gt": "\uffff"}}, **runs) == "e", "UTF-16 would order these the other way round"


def test_filt_9_integers_compare_exactly_whatever_their_size(con: duckdb.DuckDBPyConnection) -> None:
    runs = {"a": 2**53, "b": 2**53 + 1, "c": float(2**53), "d": 2**64, "e": 2**64 + 1, "f": -(10**400), "g": 10**400}
    assert selected(con, {"config.k": 2**53}, **runs) == "a c"
    assert selected(con, {"config.k": 2**53 + 1}, **runs) == "b"
    assert selected(con, {"config.k": {"$gt": 2**53}}, **runs) == "b d e g"
    assert selected(con, {"config.k": {"$gte": 2**64 + 1}}, **runs) == "e g"
    assert selected(con, {"config.k": {"$lt": -math.inf}}, **runs) == ""
    assert selected(con, {"config.k": {"$lt": math.inf}}, **runs) == "a b c d e f g"
    assert selected(con, {"config.k": {"$in": [10**400, 2**64]}}, **runs) == "d g"


def test_filt_10_equality(con: duckdb.DuckDBPyConnection) -> None:
    runs = {"one": 1, "float": 1.0, "yes": True, "text": "1", "upper": "A", "list": [1, "a"], "dict": {"x": {"y": 1}}}
    assert selected(con, {"config.k": 1}, **runs) == "float list one", "a list holds 1"
    assert selected(con, {"config.k": True}, **runs) == "yes"
    assert selected(con, {"config.k": "a"}, **runs) == "list"
    assert selected(con, {"config.k": [1.0, "a"]}, **runs) == "list"
    assert selected(con, {"config.k": ["a", 1]}, **runs) == ""
    assert selected(con, {"config.k": list(range(2000))}, many=list(range(2000)), **runs) == "many"
    assert selected(con, {"config.k": {"x": {"y": 1.0}}}, **runs) == "dict"
    assert selected(con, {"config.k": {"x": {"y": 1, "z": 1}}}, **runs) == ""
    assert selected(con, {"config.k": {"x": {"y": True}}}, **runs) == ""
    assert selected(con, {"config.k": {"$ne": {"x": {"y": 1}}}}, **runs) == "float list one text upper yes"


def test_filt_10_dicts_compare_whole(con: duckdb.DuckDBPyConnection) -> None:
    runs = {"a": {"x": 1}, "b": {"x": 1, "y": [2, {"z": None}]}, "c": {}, "d": {"_type": "image", "x": 1}}
    assert selected(con, {"config.k": {"x": 1}}, **runs) == "a"
    assert selected(con, {"config.k": {"y": [2, {"z": None}], "x": 1}}, **runs) == "b"
    assert selected(con, {"config.k": {}}, **runs) == "c"
    assert selected(con, {"config.k": {"x": 1, "_type": "image"}}, **runs) == "d"
    assert selected(con, {"config.k": {"$in": [{}, {"x": 1}]}}, **runs) == "a c"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("x", "x xy"),
        ({"$in": ["x", "y"]}, "x xy"),
        ({"$ne": "x"}, "none z"),
        ({"$nin": ["x", "z"]}, "none"),
        (None, "none"),
        ({"$ne": None}, "x xy z"),
        ([], "none"),
        (["x", "y"], "xy"),
        ({"$regex": "^[xy]$"}, "x xy"),
        ({"$exists": True}, "none x xy z"),
        ({"$gt": "y"}, "z"),
    ],
)
def test_filt_11_tags(con: duckdb.DuckDBPyConnection, condition: Any, expected: str) -> None:
    tagged = {"none": [], "x": ["x"], "xy": ["x", "y"], "z": ["z"]}
    runs = {name: make_run(name, tags=tags) for name, tags in tagged.items()}
    assert selected(con, {"tags": condition}, **runs) == expected


def test_filt_11_without_a_tag_as_clients_write_it(con: duckdb.DuckDBPyConnection) -> None:
    runs = {name: make_run(name, tags=tags) for name, tags in {"none": [], "x": ["x"], "y": ["y"]}.items()}
    assert selected(con, {"$or": [{"tags": None}, {"tags": {"$ne": "x"}}]}, **runs) == "none y"


def test_filt_11_lists_of_config_and_summary_follow_membership(con: duckdb.DuckDBPyConnection) -> None:
    runs = {"a": [1, "x", None, True, [2]], "b": [0.5, {"k": 1}], "c": [], "d": 1}
    assert selected(con, {"config.k": "x"}, **runs) == "a"
    assert selected(con, {"config.k": None}, **runs) == "a"
    assert selected(con, {"config.k": True}, **runs) == "a"
    assert selected(con, {"config.k": [2]}, **runs) == "a"
    assert selected(con, {"config.k": {"k": 1}}, **runs) == "b"
    assert selected(con, {"config.k": {"$lt": 1}}, **runs) == "b"
    assert selected(con, {"config.k": {"$ne": 1}}, **runs) == "b c"
    summary = make_run("s", summary={"hist": [1, 2]})
    assert selected(con, {"summary_metrics.hist": 2}, s=summary) == "s"


def test_filt_12_regex(con: duckdb.DuckDBPyConnection) -> None:
    runs = {"a": "resnet50", "b": "ResNet", "c": 50, "d": None, "e": ["x", "net"], "f": "line\nnet"}
    assert selected(con, {"config.k": {"$regex": "net"}}, **runs) == "a e f"
    assert selected(con, {"config.k": {"$regex": "^net$"}}, **runs) == "e", "a line is no string"
    assert selected(con, {"config.k": {"$regex": "(?i)NET"}}, **runs) == "a b e f"
    assert selected(con, {"config.k": {"$regex": "5"}}, **runs) == "a", "a number is no string"
    assert selected(con, {"config.k": {"$not": {"$regex": "net"}}}, **runs) == "b c d"


DAY_US = 1_704_672_000_000_000  # 2024-01-08T00:00:00Z


@pytest.mark.parametrize(
    "moment",
    [
        "2024-01-08",
        "2024-01-08T00",
        "2024-01-08T00:00",
        "2024-01-08 00:00:00",
        "2024-01-08T00:00:00.000000",
        "2024-01-08T00:00:00Z",
        "2024-01-08T02:30:00+02:30",
        datetime(2024, 1, 8),  # noqa: DTZ001 - a naive time means UTC
        datetime(2024, 1, 8, tzinfo=UTC),
        datetime(2024, 1, 7, 19, tzinfo=timezone(timedelta(hours=-5))),
        date(2024, 1, 8),
    ],
)
def test_filt_13_times(con: duckdb.DuckDBPyConnection, moment: Any) -> None:
    runs = {
        "before": make_run("before", created_at=DAY_US - 1),
        "now": make_run("now", created_at=DAY_US),
        "tomorrow": make_run("tomorrow", created_at=DAY_US + 86_400_000_000),
    }
    assert selected(con, {"createdAt": moment}, **runs) == "now"
    assert selected(con, {"createdAt": {"$gte": moment}}, **runs) == "now tomorrow"
    assert selected(con, {"created_at": {"$in": [moment, None]}}, **runs) == "now"


def test_filt_13_a_month_and_a_year(con: duckdb.DuckDBPyConnection) -> None:
    run = make_run("now", created_at=DAY_US)
    assert selected(con, {"createdAt": {"$gt": "2024", "$lt": "2024-02"}}, now=run) == "now"


def test_filt_13_a_time_is_no_number_and_no_string(con: duckdb.DuckDBPyConnection) -> None:
    run = make_run("now", created_at=DAY_US)
    assert selected(con, {"createdAt": {"$gt": 0}}, now=run) == ""
    assert selected(con, {"createdAt": {"$regex": "2024"}}, now=run) == ""


@pytest.mark.parametrize("state", ["finished", "Finished", "FINISHED"])
def test_filt_14_states_in_any_case(con: duckdb.DuckDBPyConnection, state: str) -> None:
    runs = {"a": make_run("a", state="finished"), "b": make_run("b", state="failed")}
    assert selected(con, {"state": state}, **runs) == "a"
    assert selected(con, {"state": {"$in": [state, "x"]}}, **runs) == "a"
    assert selected(con, {"state": {"$ne": state}}, **runs) == "b"
    assert selected(con, {"state": {"$regex": f"^{state}$"}}, **runs) == "a"


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", 1j, [object()], {"x": object()}, {(1, 2): 3}])
def test_filt_15_values_without_a_json_form(value: Any) -> None:
    with pytest.raises(TypeError, match=r"config\.k has no JSON form"):
        parse_filter({"config.k": value})
    with pytest.raises(TypeError, match=r"config\.k has no JSON form"):
        parse_filter({"config.k": {"$in": [value]}})


def test_filt_15_dict_keys_become_what_json_makes_of_them(con: duckdb.DuckDBPyConnection) -> None:
    stored = {"2": "a", "null": "b", "true": "c", "0.5": "d"}
    assert selected(con, {"config.k": {2: "a", None: "b", True: "c", 0.5: "d"}}, x=stored) == "x"


def test_filt_16_duration(con: duckdb.DuckDBPyConnection) -> None:
    runs = {"short": make_run("short", duration=1.5), "long": make_run("long", duration=3600.0)}
    assert selected(con, {"duration": {"$gt": 60}}, **runs) == "long"
    assert selected(con, {"duration": {"$lte": 1.5}}, **runs) == "short"
    assert selected(con, {"duration": {"$gt": "60"}}, **runs) == ""


def test_a_filter_names_its_fields_once() -> None:
    tree = parse_filter({"$or": [{"config.a": 1}, {"state": "failed"}], "$nor": [{"config.a": {"$gt": 2}}]})
    assert [field.keys for field in fields_of(tree)] == [("a",), ("state",)]


def test_many_operands_are_one_list(con: duckdb.DuckDBPyConnection) -> None:
    """Past a few values `$in` binds one list; it means the same."""
    values = [3, "s3", [9, "s9"], 2**60, -1]
    load_runs(con, [make_run(f"r{n}", config={"k": value}, created_at=n) for n, value in enumerate(values)])
    numbers, texts = list(range(5000)), [f"s{n}" for n in range(5000)]
    assert select(con, {"config.k": {"$in": numbers}}) == ["r0", "r2"]
    assert select(con, {"config.k": {"$in": texts}}) == ["r1", "r2"]
    assert select(con, {"config.k": {"$nin": [*numbers, *texts, 2**60]}}) == ["r4"]
    assert select(con, {"name": {"$in": ["r4", *texts]}}) == ["r4"]
    assert select(con, {"duration": {"$nin": numbers}}) == []
    assert select(con, {"createdAt": {"$in": [datetime(1970, 1, 1, 0, 0, s, tzinfo=UTC) for s in range(20)]}}) == ["r0"]


def test_trees_are_values() -> None:
    document = {"config.a": {"$in": [1, [2], {"x": None}]}, "$or": [{"tags": "x"}]}
    assert parse_filter(document) == parse_filter(document)
    assert len({parse_filter(document), parse_filter(document)}) == 1
