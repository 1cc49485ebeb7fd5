"""Old-style filter strings and the run sets of reports become filter documents: REP-2, and the RS rules on reports."""

from __future__ import annotations

from typing import Any

import pytest
from filter_oracle import matches
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.query.errors import FilterError
from tracker.query.filter_strings import Condition, Group, parse_filter_string
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.run_sets import DISPLAY_NAMES, run_set_filter, run_set_order, string_filter

CONFIG = {"lr", "opt", "my_col", "a.b", "State"}


def of(text: str) -> dict[str, Any]:
    return string_filter(text, CONFIG.__contains__)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("", {}),
        ("  ", {}),
        ("my_col == 123", {"config.my_col": 123}),
        (
            "my_col == 123 and State == 'finished'",
            {"$and": [{"config.my_col": 123}, {"state": "finished"}]},
        ),
        ("acc > .5", {"summary_metrics.acc": {"$gt": 0.5}}),
        ("acc >= -1e-3", {"summary_metrics.acc": {"$gte": -0.001}}),
        ("acc < 5.", {"summary_metrics.acc": {"$lt": 5.0}}),
        ("acc <= 1_000", {"summary_metrics.acc": {"$lte": 1000}}),
        ("opt.lr != 0.1", {"config.opt.lr": {"$ne": 0.1}}),
        ("train/loss < 1", {"summary_metrics.train/loss": {"$lt": 1}}),
        ("layer.0.norm < 1", {"summary_metrics.layer.0.norm": {"$lt": 1}}),
        ("'my key' is None", {"summary_metrics.my key": None}),
        ("lr is not None", {"config.lr": {"$ne": None}}),
        ("State == finished", {"state": "finished"}),
        ("Name in ['a', \"b's\", c]", {"displayName": {"$in": ["a", "b's", "c"]}}),
        ("Tags not in ('a', 'b',)", {"tags": {"$nin": ["a", "b"]}}),
        ("lr in []", {"config.lr": {"$in": []}}),
        ("opt == [1, [True, None]]", {"config.opt": [1, [True, None]]}),
        ("config.x == 1 or summary.y == 2", {"$or": [{"config.x": 1}, {"summary.y": 2}]}),
        (
            "(lr == 1 and (acc == 2)) or Group == 'g'",
            {"$or": [{"$and": [{"config.lr": 1}, {"summary_metrics.acc": 2}]}, {"group": "g"}]},
        ),
        (
            "lr == 1 or lr == 2 and acc == 3",
            {"$or": [{"config.lr": 1}, {"$and": [{"config.lr": 2}, {"summary_metrics.acc": 3}]}]},
        ),
        ("Config('lr') > 0.1", {"config.lr": {"$gt": 0.1}}),
        ("SummaryMetric('acc') >= 0.9", {"summary_metrics.acc": {"$gte": 0.9}}),
        ("Metric('State') != 'failed'", {"state": {"$ne": "failed"}}),
        ("Metric('acc') > 1", {"summary_metrics.acc": {"$gt": 1}}),
        ("Config('a.b') == 1", {"config.a.b": 1}),
        ("Tags('x') == True", {"tags": "x"}),
        ("Tags('x') == False", {"tags": {"$ne": "x"}}),
        ("Tags('x') != True", {"tags": {"$ne": "x"}}),
        ("Tags('x') in ['x', 'y']", {"tags": {"$in": ["x", "y"]}}),
        ("KeysInfo('k') != None", {"summary_metrics.k": {"$exists": True}}),
        ("KeysInfo('k') == None", {"summary_metrics.k": {"$exists": False}}),
        ("lr == 'é\\n'", {"config.lr": "é\n"}),
    ],
)
def test_a_string_means_this_document(text: str, document: dict[str, Any]) -> None:
    """REP-2: names of run fields first, then of the config, else of the summary; every document is one that can run."""
    assert of(text) == document
    parse_filter(document)


@pytest.mark.parametrize(("shown", "stored"), sorted(DISPLAY_NAMES.items()))
def test_names_of_the_tables_are_fields(shown: str, stored: str) -> None:
    """REP-2: `ID` is `name`, `Runtime` is `duration`, ...; the stored names mean the same."""
    assert of(f'"{shown}" != 1') == of(f'"{stored}" != 1')
    parse_filter(of(f'"{shown}" != 1'))
    assert next(iter(of(f'"{shown}" != 1'))).split(".")[0] != "config", "a run field wins over a config key of its name"


@pytest.mark.parametrize(
    "text",
    [
        "my_col", "== 1", "my_col ==", "my_col = 123", "my_col == 1 2", "1 == my_col", "(my_col == 1", "my_col == 1)",
        "not my_col == 1", "my_col not 1", "my_col in 3", "my_col in 'abc'", "my_col in [1", "my_col in [1 2]", "()",
        "0 < my_col < 3", "my_col < 3 < 4", "my_col == 1 and", "and my_col == 1", "my_col == 1 && lr == 2",
        "a + b == 2",
        "my_col == 12abc", "my_col == 'open", "my_col < other", "my_col == true", "my_col == null", "Config(lr) == 1",
        "Config() == 1", "Config('a', 'b') == 1", "Other('a') == 1", "f(x)", "lr == f(1)", "my_col == {}",
        "my_col == 0777",
        "Tags('x') > 1", "Tags('x') == 'x'", "KeysInfo('k') == 1", "UsingArtifact == 'a'", "True == 1", "my_col == -",
        "my_col == '\\x'", "my_col ≠ 1", "lr == 1__0", "(" * 60 + "lr == 1" + ")" * 60,
    ],
)  # fmt: skip
def test_what_is_malformed_is_a_value_error(text: str) -> None:
    """REP-2. The message shows the text or names what is wrong; nothing is narrowed silently."""
    with pytest.raises(ValueError, match=r"\S+ .*\.$") as failure:
        of(text)
    assert isinstance(failure.value, FilterError)


NAMES = st.sampled_from(["lr", "opt.x", "State", "acc", "train/loss"])
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
CONDITIONS = st.one_of(
    st.builds(Condition, st.just(""), NAMES, st.sampled_from(["=", "!="]), VALUES),
    st.builds(Condition, st.just("config"), st.text(), st.sampled_from(["<", "<=", ">", ">="]), st.integers()),
    st.builds(Condition, st.just(""), NAMES, st.sampled_from(["IN", "NIN"]), st.lists(VALUES, max_size=3)),
)
TREES = st.recursive(
    CONDITIONS,
    lambda parts: st.builds(
        Group, st.sampled_from(["AND", "OR"]), st.lists(parts, min_size=2, max_size=3).map(tuple)
    ),
    max_leaves=8,
)
WRITTEN = {"=": "==", "IN": "in", "NIN": "not in"}


def written(tree: Condition | Group) -> str:
    if isinstance(tree, Group):
        return f" {tree.op.lower()} ".join(f"({written(part)})" for part in tree.parts)
    left = f"Config({tree.name!r})" if tree.section else tree.name
    return f"{left} {WRITTEN.get(tree.op, tree.op)} {tree.value!r}"


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_what_is_written_is_read(tree: Condition | Group) -> None:
    """REP-2: any tree of conditions, written as text, is read as that tree."""
    assert repr(parse_filter_string(written(tree))) == repr(tree)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab .()[]'\"=<>!,0123andorint\\", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but a FilterError leaves, and what is read can be asked."""
    try:
        document = of(text)
    except FilterError:
        return
    parse_filter(document)


RUNS = [
    {"id": "r1", "name": "r1", "state": "finished", "tags": ["a"], "config": {"lr": 0.1}, "summary": {"acc": 0.5}},
    {"id": "r2", "name": "r2", "state": "failed", "tags": ["a", "b"], "config": {"lr": 0.2}, "summary": {"acc": 0.9}},
    {"id": "r3", "name": "r3", "state": "running", "tags": [], "config": {}, "summary": {}},
]


def leaf(section: str, name: str, op: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"op": op, "key": {"section": section, "name": name}, "value": value, **more}


def tree(*leaves: dict[str, Any]) -> dict[str, Any]:
    return {"op": "OR", "filters": [{"op": "AND", "filters": list(leaves)}]}


@pytest.mark.parametrize(
    ("run_set", "found"),
    [
        ({}, ["r1", "r2", "r3"]),
        ({"filters": tree()}, ["r1", "r2", "r3"]),
        ({"filters": tree(leaf("run", "state", "=", "failed"))}, ["r2"]),
        ({"filters": tree(leaf("run", "State", "==", "failed", disabled=False))}, ["r2"]),
        ({"filters": tree(leaf("run", "state", "=", "failed", disabled=True))}, ["r1", "r2", "r3"]),
        ({"filters": tree(leaf("config", "", "=", 1), leaf("config", "lr", "<", None))}, ["r1", "r2", "r3"]),
        ({"filters": tree(leaf("config", "lr.value", ">", 0.1), leaf("tags", "b", "=", True))}, ["r2"]),
        ({"filters": tree(leaf("tags", "b", "=", False))}, ["r1", "r3"]),
        ({"filters": tree(leaf("tags", "", "IN", ["a"]))}, ["r1", "r2", "r3"]),
        ({"filters": tree(leaf("summary", "acc", "!=", None))}, ["r1", "r2"]),
        ({"filters": tree(leaf("run", "name", "REGEX", "r[12]"))}, ["r1", "r2"]),
        ({"filters": {"op": "AND", "filters": [leaf("run", "name", "IN", ["r1", "r3"])]}}, ["r1", "r3"]),
        ({"filters": "lr > 0 and Tags('b') == False"}, ["r1"]),
        ({"filters": {"config.lr": {"$gt": 0.1}}}, ["r2"]),
        ({"selections": {"root": 1, "tree": []}}, ["r1", "r2", "r3"]),
        ({"selections": {"root": 1, "tree": ["r1"]}}, ["r2", "r3"]),
        ({"selections": {"root": 0, "tree": ["r1"]}}, ["r1"]),
        ({"selections": {"root": 0, "tree": []}}, []),
        ({"selections": {}}, ["r1", "r2", "r3"]),
        ({"selections": {"tree": ["r1"]}, "filters": "State == 'failed'"}, []),
        ({"search": {"query": "R2"}}, ["r2"]),
        ({"search": {"query": "."}}, []),
        ({"search": {"query": "r.$", "isRegex": True}}, ["r1", "r2", "r3"]),
    ],
)
def test_a_run_set_selects_these_runs(run_set: dict[str, Any], found: list[str]) -> None:
    """REP-1: filters in each form, the search and the selection of a run set."""
    document = run_set_filter(run_set, CONFIG.__contains__)
    parse_filter(document)
    assert [run["id"] for run in RUNS if matches(document, run)] == found


def test_without_only_selected_the_selection_does_not_count() -> None:
    run_set = {"selections": {"root": 0, "tree": ["r1"]}, "filters": "State == 'failed'"}
    assert run_set_filter(run_set, CONFIG.__contains__, only_selected=False) == {"state": "failed"}


@pytest.mark.parametrize(
    "filters",
    [
        3, tree(leaf("run", "state", "~", 1)), tree(leaf("other", "x", "=", 1)), {"op": "XOR", "filters": []},
        tree({"op": "=", "key": "state", "value": 1}), tree(leaf("tags", "x", ">", 1)), tree(3),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_a_run_set_without_a_meaning_is_refused(filters: Any) -> None:
    with pytest.raises(FilterError):
        run_set_filter({"filters": filters}, CONFIG.__contains__)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (None, ["-created_at"]),
        ({"keys": []}, ["-created_at"]),
        ({"key": {"section": "run", "name": "createdAt"}, "ascending": True}, ["+createdAt"]),
        ({"keys": [{"key": {"section": "run", "name": "CreatedTimestamp"}}]}, ["-createdAt"]),
        (
            {"keys": [
                {"key": {"section": "config", "name": "lr.value"}, "ascending": True},
                {"key": {"section": "summary", "name": "a,b"}, "ascending": False},
                {"key": {"section": "run", "name": "Runtime"}, "ascending": False},
            ]},
            ["+config.lr.value", "-summary_metrics.a,b", "-duration"],
        ),
    ],
)  # fmt: skip
def test_the_order_of_a_run_set(sort: Any, order: list[str]) -> None:
    assert run_set_order({"sort": sort}, CONFIG.__contains__) == order
    parse_order(order)


def test_runs_cannot_be_ordered_by_their_tags() -> None:
    with pytest.raises(FilterError, match="tags"):
        run_set_order({"sort": {"keys": [{"key": {"section": "tags", "name": "x"}}]}}, CONFIG.__contains__)
