"""Rows and steps: HIST-1..16, HIST-20, EX-1..13."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

import tracker

Calls = list[tuple[dict[str, Any], dict[str, Any]]]  # data, keywords


@pytest.mark.parametrize(
    ("calls", "rows", "step"),
    [
        pytest.param([({"a": 1}, {}), ({"a": 2}, {})], [(0, {"a": 1}), (1, {"a": 2})], 2, id="EX-1"),
        pytest.param([({"a": 1}, {"commit": False}), ({"b": 2}, {})], [(0, {"a": 1, "b": 2})], 1, id="EX-2"),
        pytest.param([({"a": 1}, {"commit": False}), ({"a": 9}, {"commit": False})], [(0, {"a": 9})], 0, id="EX-3"),
        pytest.param(
            [({"a": 1}, {"step": 5}), ({"b": 2}, {"step": 5}), ({"c": 3}, {"step": 7})],
            [(5, {"a": 1, "b": 2}), (7, {"c": 3})], 7, id="EX-4",
        ),
        pytest.param([({}, {}), ({"a": 1}, {})], [(0, {}), (1, {"a": 1})], 2, id="EX-7"),
        pytest.param(
            [({"a": 1}, {"step": 10}), ({"a": 2}, {}), ({"a": 3}, {})], [(10, {"a": 2}), (11, {"a": 3})], 12, id="EX-9"
        ),
        pytest.param(
            [({"a": 1}, {"commit": False}), ({"b": 1}, {"step": 4}), ({"c": 1}, {"commit": False})],
            [(0, {"a": 1}), (4, {"b": 1, "c": 1})], 4, id="EX-10",
        ),
        pytest.param(
            [({"a": {"b": 1, "c": {"d": 2}}, "a.b": 7}, {})], [(0, {"a.b": 1, "a.c.d": 2, "a\\.b": 7})], 1, id="EX-11"
        ),
        pytest.param(
            [({"": 1, "x y": 2, "_my": 3, "_step": 9, "_timestamp": 5.0, "_runtime": 99}, {})],
            [(0, {"x y": 2, "_my": 3, "_timestamp": 5.0})], 1, id="EX-12",
        ),
        pytest.param([({"a": 1}, {"step": 3, "commit": False}), ({}, {"step": 8})], [(3, {"a": 1})], 8, id="HIST-4"),
        pytest.param([({}, {"commit": False}), ({"a": 1}, {"step": 8})], [(8, {"a": 1})], 8, id="HIST-4-empty-row"),
        pytest.param([({"a": 1}, {"step": 3, "commit": True})], [(3, {"a": 1})], 4, id="HIST-7"),
        pytest.param(
            [({"a": 1}, {"step": 0, "commit": True}), ({"a": 2}, {})], [(0, {"a": 1}), (1, {"a": 2})], 2, id="HIST-7-c"
        ),
        pytest.param([({"a": 1}, {"step": 4}), ({"b": 2}, {})], [(4, {"a": 1, "b": 2})], 5, id="HIST-8"),
        pytest.param([({"a": 1}, {"commit": False}), ({"b": 2}, {"step": 0})], [(0, {"a": 1, "b": 2})], 0, id="HIST-5"),
        pytest.param([({}, {}), ({}, {})], [(0, {}), (1, {})], 2, id="HIST-12"),
    ],
)  # fmt: skip
def test_calls_make_these_rows(start: Any, calls: Calls, rows: list[Any], step: int) -> None:
    """HIST-2, HIST-3, HIST-9; and what `run.step` is then, HIST-11."""
    run, writer = start()
    for data, keywords in calls:
        run.log(data, **keywords)
    assert run.step == step
    run.finish()
    assert writer.rows() == rows


@pytest.mark.parametrize(
    ("calls", "rows", "step"),
    [
        pytest.param(
            [({"a": 1}, {"step": 5}), ({"a": 2}, {"step": 3}), ({"b": 1}, {})],
            [(5, {"a": 1, "b": 1}), (3, {"a": 2})], 6, id="EX-5",
        ),
        pytest.param(
            [({"a": 1}, {"step": 3, "commit": True}), ({"a": 2}, {"step": 3}), ({"a": 4}, {})],
            [(3, {"a": 1}), (3, {"a": 2}), (4, {"a": 4})], 5, id="EX-6",
        ),
        pytest.param(
            [({"a": 1}, {}), ({"b": 1}, {"step": 0}), ({"c": 1}, {"step": 1}), ({"d": 1}, {})],
            [(0, {"a": 1}), (1, {"c": 1, "d": 1}), (0, {"b": 1})], 2, id="EX-8",
        ),
        pytest.param([({"y": 1}, {"step": -1})], [(-1, {"y": 1})], 0, id="EX-13"),
        pytest.param([({"a": 1}, {}), ({}, {"step": 0})], [(0, {"a": 1})], 1, id="nothing-late"),
    ],
)  # fmt: skip
def test_differs_late_steps_are_kept_as_rows_of_their_own(
    start: Any, capsys: pytest.CaptureFixture[str], calls: Calls, rows: list[Any], step: int
) -> None:
    """HIST-6: the reference drops them. Here they become rows, and a warning says so once."""
    run, writer = start()
    for data, keywords in calls:
        run.log(data, **keywords)
    run.log({"z": 1}, step=-5)
    assert run.step == step
    run.finish()
    assert sorted(map(repr, writer.rows())) == sorted(map(repr, [*rows, (-5, {"z": 1})]))
    assert capsys.readouterr().err.count("lies below the current step") == 1


def test_rows_never_share_a_number(start: Any) -> None:
    """Random calls: every row is ended once, and holds exactly the cells of the calls that went into it."""
    chance = random.Random(7)
    run, writer = start()
    for n in range(400):
        step = chance.choice([None, None, run.step, run.step + chance.randrange(3), run.step - chance.randrange(1, 4)])
        run.log({f"k{n}": n}, step=step, commit=chance.choice([None, None, True, False]))
    run.finish()
    rows = writer.rows()
    assert sorted(value for _, cells in rows for value in cells.values()) == list(range(400))
    numbers = [mark.row for mark in writer.marks()]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("data", [5, None, [("a", 1)], "text"])
def test_data_must_be_a_mapping(start: Any, data: Any) -> None:
    """HIST-1"""
    run, _ = start()
    with pytest.raises(ValueError, match="needs a dict"):
        run.log(data)


@pytest.mark.parametrize("key", [5, None, ("a",), 1.5])
def test_keys_must_be_strings(start: Any, key: Any) -> None:
    """HIST-1"""
    run, writer = start()
    with pytest.raises(ValueError, match="must be strings"):
        run.log({"good": 1, key: 1})
    assert run.step == 0
    assert writer.rows() == []


def test_the_dict_passed_in_is_not_changed(start: Any) -> None:
    """HIST-1"""
    run, _ = start()
    data = {"a": {"b": [1, {"c": 2}]}, "": 3, "x": (1, 2)}
    before = {"a": {"b": [1, {"c": 2}]}, "": 3, "x": (1, 2)}
    run.log(data)
    run.log(data)
    assert data == before


def test_changing_the_dict_afterwards_changes_nothing(start: Any) -> None:
    run, writer = start()
    data = {"a": 1}
    for n in range(3):
        data["a"] = n
        run.log(data)
    assert [cells["a"] for _, cells in writer.rows()] == [0, 1, 2]


@pytest.mark.parametrize("step", ["5", 1.5, [1]])
def test_step_must_be_an_integer(start: Any, step: Any) -> None:
    """HIST-10"""
    run, writer = start()
    with pytest.raises(TypeError):
        run.log({"a": 1}, step=step)
    assert (run.step, writer.rows()) == (0, [])


def test_any_integer_like_step_will_do(start: Any) -> None:
    """HIST-10"""
    import numpy as np

    run, writer = start()
    run.log({"a": 1}, step=np.int32(7), commit=True)
    assert writer.rows() == [(7, {"a": 1})]


def test_a_step_beyond_64_bits_is_refused(start: Any) -> None:
    run, writer = start()
    with pytest.raises(ValueError, match="64 bits"):
        run.log({"a": 1}, step=2**63)
    run.log({"a": 1})
    assert writer.rows() == [(0, {"a": 1})]


def test_each_row_has_the_time_of_its_log_call(start: Any) -> None:
    """HIST-13"""
    run, writer = start()
    before = time.time()
    run.log({"a": 1})
    time.sleep(0.05)
    run.log({"a": 2})
    first, second = writer.marks()
    assert before <= first.ts_us / 1e6 <= time.time()
    assert second.runtime_s - first.runtime_s >= 0.05
    assert 0 <= first.runtime_s < 5


@pytest.mark.parametrize("value", [object(), range(3), 1j, {1, object()}])
def test_a_value_without_stored_form_logs_nothing(start: Any, value: Any) -> None:
    """HIST-15"""
    run, writer = start()
    run.log({"a": 0}, commit=False)
    for keywords in ({}, {"step": 9}, {"commit": False}):
        with pytest.raises(TypeError):
            run.log({"a": 1, "bad": value}, **keywords)
    assert run.step == 0
    run.finish()
    assert writer.rows() == [(0, {"a": 0})]


@pytest.mark.parametrize("key", ["a/b", "x y", "ünï", "a.b", "a\\b", "!?*", "-", "日本", "a\\.b"])
def test_any_key_is_kept(start: Any, key: str) -> None:
    """HIST-16, HIST-17"""
    from tracker.storage.events import join_path

    run, writer = start()
    run.log({key: 1})
    run.log({key: 2})
    assert writer.rows() == [(0, {join_path((key,)): 1}), (1, {join_path((key,)): 2})]
    assert run.summary[key] == 2


def test_a_key_that_utf8_can_not_hold_is_kept_readable(start: Any) -> None:
    run, writer = start()
    run.log({"bad\ud800key": 1})
    assert writer.rows() == [(0, {"bad\\\\ud800key": 1})]


def test_an_empty_dict_contributes_nothing(start: Any) -> None:
    """HIST-16"""
    run, writer = start()
    run.log({"a": {}, "b": {"c": {}}, "d": 1})
    assert writer.rows() == [(0, {"d": 1})]


def test_integer_keys_of_nested_dicts_become_text(start: Any) -> None:
    """HIST-18"""
    import numpy as np

    run, writer = start()
    run.log({"a": {1: 1, False: 2, None: 3, 1.5: 4}})
    assert writer.rows() == [(0, {"a.1": 1, "a.false": 2, "a.null": 3, "a.1\\.5": 4})]
    with pytest.raises(TypeError, match="int64"):
        run.log({"a": {np.int64(1): 1}})


def test_threads_lose_no_row(start: Any) -> None:
    """HIST-20"""
    run, writer = start()

    def work(name: str) -> None:
        for n in range(200):
            run.log({name: n})

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = writer.rows()
    assert [step for step, _ in rows] == list(range(1600))
    for n in range(8):
        assert [cells[f"t{n}"] for _, cells in rows if f"t{n}" in cells] == list(range(200))


def test_summary_and_config_writes_take_no_step(start: Any) -> None:
    """HIST-22"""
    run, _ = start()
    run.log({"a": 1})
    run.summary["b"] = 2
    run.config["c"] = 3
    run.name = "other"
    assert run.step == 1


def test_sync_is_accepted_and_ignored(start: Any) -> None:
    """HIST-1"""
    run, writer = start()
    run.log({"a": 1}, sync=True)
    assert writer.rows() == [(0, {"a": 1})]


def test_module_log_is_the_runs(start: Any) -> None:
    _, writer = start()
    tracker.log({"a": 1}, step=3)
    tracker.log({"b": 2})
    assert writer.rows() == [(3, {"a": 1, "b": 2})]


def test_memory_of_known_keys_is_bounded(start: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Keys that change with every call are stored, but not remembered for ever; one warning says so."""
    monkeypatch.setattr("tracker.sdk.live.KEYS_MAX", 50)
    monkeypatch.setattr("tracker.sdk.history.KEYS_MAX", 50)
    run, writer = start()
    for n in range(200):
        run.log({f"k{n}": n})
    history = run.recorder.history
    assert len(run.summary.keys()) == 53, "and the automatic ones"
    assert len(history.live.fast) <= 50
    assert len(writer.rows()) == 200
    assert capsys.readouterr().err.count("different keys") == 1
