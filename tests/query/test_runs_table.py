"""Runs as columns: what agrees keeps its type, what does not becomes JSON text."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from tracker.query.runs_table import RUN_COLUMNS, column_array, runs_table

WHEN = datetime(2026, 1, 2, tzinfo=UTC)


def record(run_id: str, config: dict[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": run_id,
        "name": run_id.upper(),
        "created_at": WHEN,
        "tags": ["t"],
        "config": config,
        "summary": summary,
    }


RECORDS = [
    record("a", {"lr": 1, "opt": {"name": "adam"}, "a.b": 1}, {"acc": 0.5}),
    record("b", {"lr": 0.5, "layers": [64, 10]}, {"acc": math.nan, "Z": 2}),
]


def test_columns_are_run_fields_then_config_then_summary() -> None:
    table = runs_table(RECORDS)
    assert table.column_names == [
        *RUN_COLUMNS, "config.a.b", "config.layers", "config.lr", "config.opt.name", "summary.Z", "summary.acc",
    ]  # fmt: skip
    assert table["id"].to_pylist() == ["a", "b"]
    assert table["created_at"].to_pylist() == [WHEN, WHEN]
    assert table["tags"].to_pylist() == [["t"], ["t"]]
    assert table["state"].to_pylist() == [None, None]
    assert table["config.lr"].to_pylist() == [1.0, 0.5]
    assert table["config.layers"].to_pylist() == [None, "[64, 10]"]
    assert table["summary.Z"].to_pylist() == [None, 2]


def test_columns_are_selected_and_ordered_and_may_be_missing() -> None:
    table = runs_table(RECORDS, ["summary.acc", "id", "config.none", "id"])
    assert table.column_names == ["summary.acc", "id", "config.none"]
    assert table["config.none"].null_count == 2


def test_no_runs_have_the_run_fields() -> None:
    assert runs_table([]).schema.names == list(RUN_COLUMNS)


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ([1, None], pa.int64(), [1, None]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([1, 2**70], pa.float64(), [1.0, float(2**70)]),
        ([1, 10**400], pa.string(), ["1", str(10**400)]),
        ([True, None], pa.bool_(), [True, None]),
        ([True, 1], pa.string(), ["true", "1"]),
        (["a", None], pa.string(), ["a", None]),
        (["a", 1], pa.string(), ["a", "1"]),
        ([[1], {"x": None}], pa.string(), ["[1]", '{"x": null}']),
        ([None], pa.null(), [None]),
        ([], pa.null(), []),
    ],
)
def test_a_column_has_the_type_of_its_values(values: list[Any], kind: pa.DataType, stored: list[Any]) -> None:
    array = column_array(values)
    assert array.type == kind
    assert array.to_pylist() == stored
