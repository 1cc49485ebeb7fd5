"""run.summary: SUM-1..9, EX-30..32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest


def test_the_last_logged_value_is_the_summary(start: Any) -> None:
    """SUM-1, EX-20"""
    run, _ = start()
    for value in (3, 1, 2):
        run.log({"m": value, "text": f"t{value}", "list": [value]})
    assert run.summary["m"] == 2
    assert run.summary.text == "t2"
    assert run.summary["list"] == [2]
    assert run.summary["_step"] == 2
    assert run.summary["_timestamp"] == pytest.approx(run.recorder.last_row_us() / 1e6)
    assert run.summary["_wandb"] == {"runtime": int(run.summary["_runtime"])}


def test_explicit_values_win_until_the_key_is_logged_again(start: Any) -> None:
    """SUM-3, EX-30, EX-31"""
    run, writer = start()
    run.log({"m": 3})
    run.log({"m": 1})
    run.summary["m"] = 10
    assert run.summary["m"] == 10
    assert writer.stored("summary")["m"] == 10
    run.log({"m": 2})
    assert run.summary["m"] == 2
    assert writer.stored("summary")["m"] == 2


def test_a_dict_replaces_what_stood_there(start: Any) -> None:
    """SUM-2, EX-32"""
    run, writer = start()
    run.log({"a": {"b": 1, "c": "x"}})
    run.summary.update({"a": {"d": 5}})
    assert run.summary["a"] == {"d": 5}
    assert writer.stored("summary")["a"] == {"d": 5}


def test_nested_assignment_merges(start: Any) -> None:
    """SUM-2"""
    run, writer = start()
    run.summary["a"] = {"b": 1}
    run.summary["a"]["c"] = 2
    run.summary.a.d = {"e": 3}
    assert run.summary["a"] == {"b": 1, "c": 2, "d": {"e": 3}}
    assert writer.stored("summary") == {"a": {"b": 1, "c": 2, "d": {"e": 3}}}


def test_deleting_a_key(start: Any) -> None:
    """SUM-2"""
    run, writer = start()
    run.log({"a": 1, "t": {"x": 1, "y": 2}})
    del run.summary["a"]
    del run.summary["t"]["x"]
    assert "a" not in run.summary
    assert run.summary["t"] == {"y": 2}
    assert writer.stored("summary") == {"t": {"y": 2}}
    with pytest.raises(KeyError):
        del run.summary["never"]
    run.log({"a": 5})
    assert run.summary["a"] == 5


def test_missing_keys(start: Any) -> None:
    """SUM-4"""
    run, _ = start()
    with pytest.raises(KeyError):
        run.summary["nope"]
    with pytest.raises(KeyError):
        _ = run.summary.nope
    assert run.summary.get("nope") is None
    assert run.summary.get("nope", 3) == 3


def test_differs_hasattr_works_on_the_summary(start: Any) -> None:
    """SUM-4: the reference raises KeyError alone."""
    run, _ = start()
    run.log({"a": 1})
    assert hasattr(run.summary, "a")
    assert not hasattr(run.summary, "nope")


def test_it_reads_as_a_dict_without_internals(start: Any) -> None:
    """SUM-4"""
    run, _ = start()
    run.log({"a": 1})
    assert "_wandb" not in run.summary.keys()  # noqa: SIM118 - keys() is what is tested
    assert set(dict(run.summary)) == {"a", "_step", "_timestamp", "_runtime"}
    assert "a" in run.summary
    assert dict(run.summary.items())["a"] == 1


@pytest.mark.parametrize(
    ("value", "read"), [(None, None), (math.nan, None), (math.inf, math.inf), ([math.nan, 1], [None, 1])]
)
def test_nan_set_by_hand_reads_as_none(start: Any, value: Any, read: Any) -> None:
    """SUM-5"""
    run, writer = start()
    run.summary["x"] = value
    assert run.summary["x"] == read
    assert writer.stored("summary")["x"] == read


def test_long_arrays_become_statistics(start: Any) -> None:
    """SUM-6"""
    run, writer = start()
    run.summary["long"] = np.arange(101)
    run.summary["short"] = np.arange(3)
    stored = writer.stored("summary")
    assert stored["short"] == [0, 1, 2]
    assert stored["long"] == run.summary["long"]
    assert stored["long"]["_type"] == "numpy.ndarray"
    expected = {"mean": 50, "min": 0, "max": 100, "10%": 10, "25%": 25, "75%": 75, "90%": 90, "size": 101, "var": 850}
    assert {key: stored["long"][key] for key in expected} == pytest.approx(expected)


def test_switching_between_scalar_and_dict_replaces(start: Any) -> None:
    """SUM-9, on the fast way too: `a` was known as a plain key before."""
    run, writer = start()
    for value in (1, 2, {"x": 1}, {"y": 2}, 3, 4, {"z": 5}):
        run.log({"a": value, "b": 0})
    assert run.summary["a"] == {"z": 5}
    assert writer.stored("summary")["a"] == {"z": 5}
    run.log({"a": 6, "b": 0})
    assert run.summary["a"] == 6
    assert writer.stored("summary")["a"] == 6


def test_explicit_values_below_a_logged_key_replace_it(start: Any) -> None:
    run, writer = start()
    run.log({"a": 1})
    run.log({"a": 2})
    run.summary["a"] = {"x": 1}
    assert run.summary["a"] == {"x": 1}
    run.log({"a": 3})
    assert run.summary["a"] == 3
    assert writer.stored("summary")["a"] == 3


def test_values_read_are_copies(start: Any) -> None:
    run, _ = start()
    run.log({"l": [1]})
    run.summary["l"].append(2)
    assert run.summary["l"] == [1]


def test_refused_values_change_nothing(start: Any) -> None:
    run, writer = start()
    run.summary["a"] = 1
    with pytest.raises(TypeError):
        run.summary.update({"a": 2, "b": object()})
    assert run.summary["a"] == 1
    assert writer.stored("summary") == {"a": 1}


def test_an_automatic_key_set_by_hand_lasts_until_the_next_row(start: Any) -> None:
    run, _ = start()
    run.log({"a": 1})
    run.summary["_step"] = 77
    assert run.summary["_step"] == 77
    run.log({"a": 2})
    assert run.summary["_step"] == 1


def test_threads_may_log_and_set_the_summary_at_once(start: Any) -> None:
    """Nested keys come and go in one thread while others log plain ones: nothing raises, the last values stand."""
    import threading

    run, writer = start()
    failures: list[BaseException] = []

    def work(step: Any) -> None:
        try:
            for n in range(400):
                step(n)
        except BaseException as exc:
            failures.append(exc)

    steps = [
        lambda n: run.log({"a": {"x": n, f"k{n % 7}": n}}),
        lambda n: run.log({"plain": n, f"many{n}": n}),
        lambda n: run.summary.update({"a": {"y": n}}),
        lambda n: dict(run.summary),
    ]
    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert run.summary["plain"] == 399
    assert len(writer.rows()) == 800
