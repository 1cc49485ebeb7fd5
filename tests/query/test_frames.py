"""Answers as Arrow, polars, pandas and dicts agree on what a cell is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tracker.query.cells import ABSENT, Column, Rows, concat_rows
from tracker.query.frames import to_arrow, to_dicts, to_pandas, to_polars
from tracker.storage.events import JsonText, encode_cell

HOLE = object()


def column(*values: Any) -> Column:
    cells = [(ABSENT, None, None, None) if value is HOLE else encode_cell(value) for value in values]
    return Column(
        np.array([cell[0] for cell in cells], np.int8),
        np.array([math.nan if cell[1] is None else cell[1] for cell in cells]),
        pa.array([cell[2] for cell in cells], pa.int64()),
        pa.array([cell[3] for cell in cells], pa.string()),
    )


def rows(**columns: Column) -> Rows:
    return Rows(np.zeros(len(next(iter(columns.values()))), np.int64), columns)


CASES = {
    "floats": ([1.5, HOLE, math.inf], pa.float64(), [1.5, None, math.inf]),
    "integers": ([1, 2**62 + 1, -3], pa.int64(), [1, 2**62 + 1, -3]),
    "integers with holes": ([1, HOLE, None], pa.int64(), [1, None, None]),
    "numbers": ([1, 0.5], pa.float64(), [1.0, 0.5]),
    "huge integers": ([2**70, 1], pa.float64(), [2.0**70, 1.0]),
    "booleans": ([True, HOLE, False], pa.bool_(), [True, None, False]),
    "texts": (["a", HOLE, ""], pa.string(), ["a", None, ""]),
    "lists": ([[1, 2], HOLE, [3]], pa.list_(pa.int64()), [[1, 2], None, [3]]),
    "dicts": (
        [{"_type": "x", "n": 1}, HOLE],
        pa.struct({"_type": pa.string(), "n": pa.int64()}),
        [{"_type": "x", "n": 1}, None],
    ),
    "json that does not agree": ([[1], {"a": 1}], pa.string(), ["[1]", '{"a":1}']),
    "text and numbers": (["a", 1, 0.5, [1]], pa.string(), ["a", "1", "0.5", "[1]"]),
    "nothing but null": ([None, HOLE], pa.null(), [None, None]),
}


@pytest.mark.parametrize("name", CASES)
def test_arrow_has_the_type_of_the_values(name: str) -> None:
    values, kind, shown = CASES[name]
    table = to_arrow(rows(a=column(*values)))
    assert table.schema.field("a").type == kind
    assert table["a"].to_pylist() == shown
    assert to_polars(rows(a=column(*values)))["a"].to_list() == shown


@pytest.mark.parametrize("name", CASES)
def test_dicts_have_the_values_themselves(name: str) -> None:
    values, _, _ = CASES[name]
    shown = [row.get("a", HOLE) for row in to_dicts(rows(a=column(*values), b=column(*[1] * len(values))))]
    assert [(type(value), value) for value in shown] == [(type(value), value) for value in values]


@pytest.mark.parametrize("name", CASES)
def test_pandas_is_what_from_records_makes(name: str) -> None:
    """HQ-6, HQ-7."""
    values, _, _ = CASES[name]
    answer = rows(a=column(*values), b=column(*range(len(values))))
    pd.testing.assert_frame_equal(to_pandas(answer), pd.DataFrame.from_records(to_dicts(answer)))


def test_nan_and_a_missing_value_differ_where_they_can() -> None:
    answer = rows(a=column(math.nan, HOLE))
    assert to_arrow(answer)["a"].null_count == 1
    assert to_polars(answer)["a"].is_nan().to_list() == [True, None]
    assert to_dicts(answer)[1] == {}


def test_nothing_gives_frames_without_columns() -> None:
    nothing = Rows(np.empty(0, np.int64), {"a": Column.empty(0)})
    assert to_pandas(nothing).shape == (0, 0)
    assert concat_rows([]).columns == {}
    assert to_polars(concat_rows([])).shape == (0, 0)


def test_run_ids_stand_among_the_sorted_columns() -> None:
    """HISTS-4: by code point, upper case before the underscore before lower case."""
    answer = Rows(np.array([0, 1]), {"loss": column(1.0, 2.0), "Z": column(1, HOLE), "_step": column(0, 0)})
    for frame in (to_arrow(answer, ["x", "y"]), to_polars(answer, ["x", "y"]), to_pandas(answer, ["x", "y"])):
        names = frame.column_names if isinstance(frame, pa.Table) else list(frame.columns)
        assert names == ["Z", "_step", "loss", "run_id"]
    assert to_dicts(answer, ["x", "y"])[1] == {"loss": 2.0, "_step": 0, "run_id": "y"}
    assert to_polars(answer, ["x", "y"]).schema["run_id"] == pl.String


def test_batches_with_other_columns_and_types_become_one_answer() -> None:
    """HISTS-5: nulls, not a failure."""
    answer = concat_rows([rows(a=column(1, 2)), rows(b=column("x")), Rows(np.array([3]), {"a": column(0.5)})])
    assert to_arrow(answer).to_pydict() == {"a": [1.0, 2.0, None, 0.5], "b": [None, None, "x", None]}
    assert to_dicts(answer) == [{"a": 1}, {"a": 2}, {"b": "x"}, {"a": 0.5}]


def test_sparse_rows_keep_the_order_of_the_columns() -> None:
    names = [f"k{n}" for n in range(20)]
    answer = rows(**{name: column(*[1 if n == at else HOLE for at in range(20)]) for n, name in enumerate(names)})
    assert to_dicts(answer) == [{name: 1} for name in names]


def test_json_text_is_decoded_once() -> None:
    assert to_dicts(rows(a=column(JsonText('{"b": [1, null]}')))) == [{"a": {"b": [1, None]}}]
