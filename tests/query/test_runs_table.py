"""Runs as columns: the table says what one dict a run says, however the runs are stored."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from project_plans import EDITS, NOW, PLANS, TIMES, S, pack, stored
from store_maker import T0, made_run
from table_oracle import plain_table, same

from tracker.query.errors import FilterTypeError
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.run_columns import RUN_COLUMNS, column_name
from tracker.query.runs import find_runs, load_runs
from tracker.query.runs_table import runs_reader, runs_table
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.format_file import ensure_format
from tracker.storage.memory import MemoryStore

NUMBERS = st.sampled_from([0, 1, -7, 2**63 - 1, -(2**63), 2**63, 2**70, 10**400, -(10**400), 0.5, -0.0, 1e300])
ODD_NUMBERS = st.sampled_from([float("nan"), float("inf"), -float("inf")])
TEXTS = st.sampled_from(["", "adam", "1", "null", "é", "a,b", '"', "\ud800", "x" * 300])
LISTS = st.sampled_from([[], [1, 2.5], ["a", None], [[True]], {}, {"_type": "file", "n": 1}, ["\ud800"]])
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, ODD_NUMBERS, TEXTS, LISTS)
NAMES = st.sampled_from(["lr", "opt", "a.b", "a", "b", "Z", "_x", "\\", "a\\.b", "é", "", "."])
LEAVES = st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=2), max_size=4)
ATTRS = st.dictionaries(st.sampled_from(["name", "notes", "group", "tags", "sweep", "other"]), VALUES, max_size=4)
RUNS = st.lists(st.tuples(LEAVES, LEAVES, ATTRS), min_size=1, max_size=5)


def opened(store: MemoryStore, cache: Path, as_of_us: int | None = None, run_id: str | None = None) -> Snapshot:
    return open_project(
        store, "main", "p", cache=PartCache(cache, 1 << 30), now_us=NOW, warn=pytest.fail, run_id=run_id,
        as_of_us=as_of_us,
    )  # fmt: skip


def check(table: pa.Table, snapshot: Snapshot, run_ids: Sequence[str], names: Sequence[str] | None = None) -> None:
    """`table` is that of the plain way, types and all."""
    wanted = plain_table(load_runs(snapshot, run_ids), names)
    assert table.column_names == list(wanted)
    for name, (kind, values) in wanted.items():
        assert table.schema.field(name).type == kind, name
        found = table[name].to_pylist()
        assert len(found) == len(values), name
        assert all(map(same, found, values)), (name, found, values)


def check_all(snapshot: Snapshot) -> None:
    """The table of all runs, of one of them, of a few columns, and in batches."""
    ids, _ = find_runs(snapshot, parse_filter({}), parse_order("-summary_metrics.a"))
    table = runs_table(snapshot, ids)
    check(table, snapshot, ids)
    table.validate(full=True)
    check(runs_reader(snapshot, ids).read_all(), snapshot, ids)
    check(runs_table(snapshot, ids[-1:]), snapshot, ids[-1:])
    some = ["id", "summary.a", "config.a.b", "tags"]
    for names in (some, [*reversed(table.column_names)], ["summary.no", "config.x"]):
        check(runs_table(snapshot, ids, names), snapshot, ids, names)
        check(runs_reader(snapshot, ids, names).read_all(), snapshot, ids, names)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=RUNS, packed=st.booleans())
@example(plans=[({"a.b": 1, "a": {"b": 2}}, {}, {}), ({"a": {"b": "t"}}, {}, {})], packed=False)
@example(plans=[({"a": 2**63}, {"a": 10**400}, {"name": 5}), ({"a": 1}, {"a": 0.5}, {"name": "\ud800"})], packed=True)
@example(plans=[({"a.b": False}, {"a.b": ""}, {}), ({"a": {"b": "t"}}, {"a": {"b": None}}, {})], packed=True)
@example(plans=[({"b": [1]}, {"b": {}}, {"tags": ["t", 1]}), ({"b": "[1]"}, {"b": -0.0}, {"tags": "t"})], packed=True)
def test_the_table_says_what_one_dict_a_run_says(plans: list[tuple[Any, ...]], packed: bool, tmp_path: Path) -> None:
    check_runs(plans, packed, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=RUNS, packed=st.booleans())
def test_many_tables_say_what_one_dict_a_run_says(plans: list[tuple[Any, ...]], packed: bool, tmp_path: Path) -> None:
    check_runs(plans, packed, tmp_path)


def check_runs(plans: list[tuple[Any, ...]], packed: bool, tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    ensure_format(store)
    for n, (config, row, attrs) in enumerate(plans):
        made_run(store, f"r{n}", [row], config=config, attrs=attrs)
    if packed:
        assert pack(store) == len(plans)
    check_all(opened(store, tmp_path / "cache"))


@pytest.mark.parametrize("form", ["loose", "later"])
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLANS, edits=EDITS, as_of_s=TIMES)
def test_lives_edits_and_times_gone_by_stand_in_the_table(
    form: str, plan: list[tuple[Any, ...]], edits: list[Any], as_of_s: int | None, tmp_path: Path
) -> None:
    check_all(opened(stored(plan, edits, form), tmp_path / "cache", None if as_of_s is None else T0 + as_of_s * S))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", ["loose", "packed", "later", "twice", "merged"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLANS, edits=EDITS, as_of_s=TIMES)
def test_whatever_a_project_went_through_stands_in_the_table(
    form: str, plan: list[tuple[Any, ...]], edits: list[Any], as_of_s: int | None, tmp_path: Path
) -> None:
    check_all(opened(stored(plan, edits, form), tmp_path / "cache", None if as_of_s is None else T0 + as_of_s * S))


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    store = MemoryStore(uuid.uuid4().hex)
    ensure_format(store)
    made_run(store, "a", [{"acc": 0.5}], config={"lr": 1, "opt": {"name": "adam"}, "a.b": 1}, attrs={"name": "A"})
    made_run(store, "b", [{"acc": float("nan"), "Z": 2}], config={"lr": 0.5, "layers": [64, 10]}, start_us=T0 + S)
    return opened(store, tmp_path / "cache")


def test_columns_are_run_fields_then_config_then_summary(snapshot: Snapshot) -> None:
    table = runs_table(snapshot, ["b", "a"])
    config = ["config.a.b", "config.layers", "config.lr", "config.opt.name"]
    summary = ["summary.Z", "summary._runtime", "summary._step", "summary._timestamp", "summary.acc"]
    assert table.column_names == [*RUN_COLUMNS, *config, *summary]
    assert table["id"].to_pylist() == ["b", "a"]
    assert table["name"].to_pylist() == ["b", "A"]
    assert table["entity"].to_pylist() == ["main"] * 2
    assert table["config.lr"].to_pylist() == [0.5, 1.0]
    assert table["config.layers"].to_pylist() == ["[64, 10]", None]
    assert table["summary.Z"].to_pylist() == [2, None]
    assert table["tags"].to_pylist() == [[], []]


def test_columns_are_selected_and_ordered_and_may_be_missing(snapshot: Snapshot) -> None:
    table = runs_table(snapshot, ["a", "b"], ["acc", "id", "config.none", "id", "summary_metrics.Z"])
    assert table.column_names == ["summary.acc", "id", "config.none", "summary.Z"]
    assert table["config.none"].null_count == 2
    assert table["summary.Z"].to_pylist() == [None, 2]
    assert runs_table(snapshot, ["a"], []).num_columns == 0


def test_a_name_of_many_dots_is_found_too(tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    ensure_format(store)
    deep: dict[str, Any] = {"g.h": 5}
    for name in reversed("abcdef"):
        deep = {name: deep}
    made_run(store, "r", config=deep)
    table = runs_table(opened(store, tmp_path / "cache"), ["r"], ["config.a.b.c.d.e.f.g.h"])
    assert table.to_pylist() == [{"config.a.b.c.d.e.f.g.h": 5}]


def test_runs_that_are_not_there_are_left_out(snapshot: Snapshot) -> None:
    assert runs_table(snapshot, ["b", "none", "a"])["id"].to_pylist() == ["b", "a"]
    assert runs_table(snapshot, []).schema.names == list(RUN_COLUMNS)
    assert runs_table(snapshot, [], ["id", "acc"]).schema.names == ["id", "summary.acc"]
    assert runs_reader(snapshot, []).read_all().num_rows == 0


def test_a_project_without_runs_has_the_run_fields(tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    ensure_format(store)
    assert runs_table(opened(store, tmp_path / "cache"), ["a"]).schema.names == list(RUN_COLUMNS)


def test_a_reader_gives_batches_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.query.runs_table._BATCH_RUNS", (1, 2))
    store = MemoryStore(uuid.uuid4().hex)
    ensure_format(store)
    for n in range(5):
        made_run(store, f"r{n}", [{"x": n if n < 4 else 0.5}], config={"k": [n]} if n == 3 else {"k": n})
    snapshot = opened(store, tmp_path / "cache")
    ids = [f"r{n}" for n in (3, 0, 4, 1, 2)]
    batches = list(runs_reader(snapshot, ids))
    assert [batch.num_rows for batch in batches] == [2, 2, 1]
    table = pa.Table.from_batches(batches)
    assert table.schema.field("summary.x").type == pa.float64(), "a type is that of all runs"
    assert table["config.k"].to_pylist() == ["[3]", "0", "4", "1", "2"]
    check(table, snapshot, ids)
    most = ["r0", "r1", "r2"]
    check(runs_reader(snapshot, most).read_all(), snapshot, most)


@pytest.mark.parametrize("columns", ["lr", ["id", 1]])
def test_columns_are_a_list_of_names(snapshot: Snapshot, columns: Any) -> None:
    with pytest.raises(FilterTypeError, match="list of names"):
        runs_table(snapshot, ["a"], columns)


def test_a_column_may_be_named_by_its_metric_alone() -> None:
    assert [column_name(name) for name in ("name", "config.lr", "summary.a", "a", "summary_metrics.a")] == [
        "name", "config.lr", "summary.a", "summary.a", "summary.a",
    ]  # fmt: skip
