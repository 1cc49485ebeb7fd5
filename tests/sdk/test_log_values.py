"""What logged values are stored as: VAL-1..4."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tracker.sdk.values import history_value


def _name(value: Any) -> str:
    """A test's id: the same in every process."""
    return repr(value).split(" at 0x")[0]


class Colour(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Tensor:
    """Behaves like torch's, as far as it is asked."""

    dtype, shape = "torch.float32", (3,)
    is_sparse = False

    def __init__(self, values: list[float]) -> None:
        self.values, self.steps = values, ""

    def detach(self) -> Tensor:
        self.steps += "detach "
        return self

    def cpu(self) -> Tensor:
        self.steps += "cpu "
        return self

    def numpy(self) -> Any:
        assert self.steps.endswith("detach cpu ")
        return np.array(self.values, np.float32)


class JaxArray:
    """Behaves like jax's: only `__array__`."""

    dtype, shape = np.dtype("float32"), (2,)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        _ = copy
        return np.array([1.5, 2.5], dtype or np.float32)


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (1, 1), (0.5, 0.5), (True, True), ("text", "text"), (None, None),
        (math.inf, math.inf), (-math.inf, -math.inf), (-0.0, -0.0),
        (np.float32(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True), (np.str_("s"), "s"), (np.float16(0.5), 0.5),
        (np.longdouble(0.25), 0.25), (np.float64(2.5), 2.5), (np.uint64(2**64 - 1), 2**64 - 1),
        (np.array(5), 5), (np.array([5]), 5), (np.array([[2.5]]), 2.5), (np.arange(3), [0, 1, 2]), (np.array([]), []),
        (np.ones((2, 2)), [[1.0, 1.0], [1.0, 1.0]]), (np.array(["a", "b"]), ["a", "b"]),
        ([1, (2, 3)], [1, [2, 3]]), ((1, 2), [1, 2]), ({7}, [7]), ([np.float32(1)], [1.0]), ([], []), ([{}], [{}]),
        (datetime.datetime(2020, 1, 2, 3, 4, 5), "2020-01-02T03:04:05"),  # noqa: DTZ001 - a naive one stays naive
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (np.datetime64("2020-01-02"), "2020-01-02"),
        (np.datetime64("2020-01-02T03:04:05", "ns"), "2020-01-02T03:04:05.000000000"),
        (np.array(["2020-01-02", "2021-01-02"], "M8[D]"), ["2020-01-02", "2021-01-02"]),
        (b"hi", "hi"), (Colour.RED, "RED"), (Number.ONE, "ONE"), (len, "builtins.len"), (dict, "builtins.dict"),
        (Tensor([1, 2, 3]), [1.0, 2.0, 3.0]), (Tensor([4]), 4.0), (JaxArray(), [1.5, 2.5]),
        ({"_type": "histogram", "values": [1], "bins": [0, 1]}, {"_type": "histogram", "values": [1], "bins": [0, 1]}),
    ],
    ids=_name,
)  # fmt: skip
def test_the_table_of_values(start: Any, value: Any, stored: Any) -> None:
    """VAL-1"""
    run, writer = start()
    run.log({"k": value})
    run.log({"k": value})
    for _, cells in writer.rows():
        assert cells == {"k": stored}
        assert type(cells["k"]) is type(stored)


def test_nan_is_kept(start: Any) -> None:
    run, writer = start()
    for value in (math.nan, np.float32("nan"), np.array([math.nan])):
        run.log({"k": value, "l": [math.nan]})
    for _, cells in writer.rows():
        assert math.isnan(cells["k"])
        assert math.isnan(cells["l"][0])


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, 2**64, 2**200, -(2**63) - 1])
def test_differs_integers_beyond_64_bits_stay_exact(start: Any, value: int) -> None:
    """VAL-1 stores them as floats; here they keep all digits."""
    run, writer = start()
    run.log({"k": 1})
    run.log({"k": value})  # the fast way meets it
    run.log({"k": [value]})
    assert [cells["k"] for _, cells in writer.rows()] == [1, value, [value]]


@pytest.mark.parametrize("text", ["a\ud800b", "\x00", "é", "x" * 3000, ""])
def test_any_text_is_kept_whole(start: Any, text: str) -> None:
    """VAL-3"""
    run, writer = start()
    run.log({"k": "first"})
    run.log({"k": text})
    assert writer.rows()[1] == (1, {"k": text})


def test_one_and_one_point_zero_both_read_as_numbers(start: Any) -> None:
    """VAL-4"""
    run, writer = start()
    run.log({"k": 1})
    run.log({"k": 1.0})
    assert [type(cells["k"]) for _, cells in writer.rows()] == [int, float]


@pytest.mark.parametrize(
    "array", [np.arange(33), np.linspace(0, 1, 1000).reshape(10, 100), np.array([True, False] * 20)]
)
def test_long_arrays_become_histograms(start: Any, array: Any) -> None:
    """VAL-1: more than 32 elements, 32 bins."""
    run, writer = start()
    run.log({"k": array, "in": {"list": [array]}})
    ((_, cells),) = writer.rows()
    histogram = cells["k"]
    assert histogram["_type"] == "histogram"
    assert sum(histogram["values"]) == array.size
    assert (len(histogram["values"]), len(histogram["bins"])) == (32, 33)
    assert histogram["bins"][0] <= array.min() <= array.max() <= histogram["bins"][-1]
    assert cells["in.list"] == [histogram]


def test_an_array_of_32_is_a_list(start: Any) -> None:
    run, writer = start()
    run.log({"k": np.arange(32)})
    assert writer.rows() == [(0, {"k": list(range(32))})]


def test_differs_histograms_count_only_finite_elements(start: Any) -> None:
    """The reference raises ValueError on NaN: a diverged gradient would end the training."""
    run, writer = start()
    run.log({"some": np.array([1.0, math.nan, math.inf] * 20), "none": np.full(40, math.nan)})
    ((_, cells),) = writer.rows()
    assert sum(cells["some"]["values"]) == 20
    assert math.isnan(cells["none"])


@pytest.mark.parametrize(
    "value",
    [range(3), 1j, np.complex64(1j), Point(1), object(), Decimal("1.5"), Fraction(1, 2), Path("a"),
     datetime.timedelta(1), frozenset({1}), bytearray(b"x"), np.array(["a"] * 40), np.timedelta64(1, "s"),
     np.array([1j, 2j])],
    ids=_name,
)  # fmt: skip
def test_what_can_not_be_logged(start: Any, value: Any) -> None:
    """VAL-2, with the key in the message."""
    run, writer = start()
    for data in ({"the-key": value}, {"the-key": {"below": value}}, {"the-key": [value]}):
        with pytest.raises(TypeError, match="the-key"):
            run.log(data)
    assert writer.rows() == []


def test_pandas_is_told_apart_from_arrays(start: Any) -> None:
    """VAL-2: a Series has dtype and shape, but is refused; a DataFrame is for a later release."""
    import pandas as pd

    run, _ = start()
    for value in (pd.Series([1, 2]), pd.DataFrame({"a": [1]})):
        with pytest.raises(TypeError, match="pandas"):
            run.log({"k": value})


def test_a_value_that_contains_itself_is_refused(start: Any) -> None:
    run, writer = start()
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested deeper"):
        run.log({"k": loop})
    assert writer.rows() == []


def test_bytes_that_are_no_utf8_are_refused(start: Any) -> None:
    run, _ = start()
    with pytest.raises(ValueError, match="utf-8"):
        run.log({"k": b"\xff"})


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_plain)
@example({"": {"": 1}})
@example({"_type": {"x": 1}})
def test_plain_values_pass_unchanged(value: Any) -> None:
    """Already plain: the table changes nothing, whatever the nesting."""
    assert repr(history_value(value, "k")) == repr(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(st.text(max_size=5), _plain, max_size=5), max_size=5))
def test_the_live_summary_is_what_a_reader_folds(start: Any, calls: list[dict[str, Any]]) -> None:
    """SUM-1: last values, a newer leaf replacing what lies on a prefix or extension of its path (SUM-9)."""
    run, writer = start(reinit=True)
    for data in calls:
        run.log(data)
    automatic = {"_step", "_timestamp", "_runtime", "_wandb"}
    shown = {key: value for key, value in run.recorder.live.tree().items() if key not in automatic}
    stored = {key: value for key, value in writer.stored("summary").items() if key not in automatic}
    assert repr(sorted(shown.items())) == repr(sorted(stored.items()))
