"""run.define_metric: MET-1..9, MET-11, EX-20..30, EX-40..43, as the writing process sees it."""

from __future__ import annotations

import math
from typing import Any

import pytest

import tracker
from tracker.storage.events import split_path
from tracker.storage.fold import fold_facts
from tracker.storage.metric_rules import MetricRules

_SUMMARIES: list[tuple[str, list[dict[str, Any]], list[Any], Any]] = [
    ("EX-20", [{}], [3, 1, 2], 2),
    ("EX-21", [{"summary": "min"}], [3, 1, 2], {"min": 1}),
    ("EX-22", [{"summary": "min,max"}], [3, 1, 2], {"min": 1, "max": 3}),
    ("EX-22 in two calls", [{"summary": "min"}, {"summary": "max"}], [3, 1, 2], {"min": 1, "max": 3}),
    ("EX-23", [{"summary": "mean,last"}], [3, 1, 2], {"mean": 2, "last": 2}),
    ("EX-25", [{"summary": "min"}, {"summary": "max", "overwrite": True}], [3, 1, 2], {"max": 3}),
    ("EX-26", [{"summary": "best", "goal": "maximize"}], [3, 1, 2], {"best": 3}),
    ("EX-28", [{"summary": "max"}], [3, "x", 2], {"max": 3}),
    ("MET-3", [{"summary": "MIN,Max"}], [3, 1, 2], {"min": 1, "max": 3}),
    ("MET-9 last alone", [{"summary": "last"}], [3, 1, 2], {"last": 2}),
    ("MET-9 copy", [{"summary": "copy"}], [3, 1, 2], 2),
    ("MET-9 best without goal", [{"summary": "best"}], [3, 1, 2], 2),
    ("MET-9 best with goal", [{"summary": "best,max", "goal": "min"}], [3, 1, 2], {"best": 1, "max": 3}),
    ("MET-10 no number", [{"summary": "max"}], ["x"], {"max": None}),
    ("whole numbers", [{"summary": "min,max"}], [3.0, 1.5], {"min": 1.5, "max": 3.0}),
]


@pytest.mark.parametrize("case", _SUMMARIES, ids=[case[0] for case in _SUMMARIES])
def test_summary_consists_of_what_was_asked_for(start: Any, case: Any) -> None:
    """MET-3, MET-8, MET-9, EX-20 to EX-28"""
    _, definitions, values, wanted = case
    run, _ = start()
    for definition in definitions:
        run.define_metric("m", **definition)
    for value in values:
        run.log({"m": value})
    assert run.summary["m"] == wanted  # whole numbers stay whole, but for means:
    assert sorted(repr(run.summary["m"]).replace("2.0", "2")) == sorted(repr(wanted))


def test_differs_best_with_a_goal_is_the_best(start: Any) -> None:
    """MET-9, EX-26"""
    run, _ = start()
    run.define_metric("m", summary="best", goal="maximize")
    run.define_metric("n", summary="best", goal="minimize")
    for value in (3, 1, 2):
        run.log({"m": value, "n": value})
    assert (run.summary["m"], run.summary["n"]) == ({"best": 3}, {"best": 1})


def test_none_leaves_the_key_out(start: Any) -> None:
    """MET-9, EX-24: alone and beside other words; what is set by hand stays"""
    run, _ = start()
    run.define_metric("m", summary="none")
    run.define_metric("n", summary="min,none")
    run.log({"m": 3, "n": 4, "x": 1})
    assert "m" not in run.summary
    assert "n" not in run.summary
    run.summary["m"] = 10
    run.log({"m": 5, "x": 2})
    assert run.summary["m"] == 10


def test_nan_is_ignored_by_min_and_max_and_spoils_the_mean(start: Any) -> None:
    """MET-10, EX-29"""
    run, _ = start()
    run.define_metric("m", summary="min,max,mean")
    run.define_metric("n", summary="max,mean")
    for value in (3, math.nan, 5):
        run.log({"m": value, "n": math.nan})
    assert (run.summary["m"]["min"], run.summary["m"]["max"]) == (3, 5)
    assert math.isnan(run.summary["m"]["mean"])
    assert math.isnan(run.summary["n"]["max"])


def test_globs_and_what_wins(start: Any) -> None:
    """MET-4, EX-27: own definitions before globs, long globs before short ones, never keys that begin with _"""
    run, _ = start()
    run.define_metric("*", summary="mean")
    run.define_metric("t/*", summary="max")
    run.define_metric("t/b", hidden=True)
    run.log({"t/a": 1, "t/b": 1, "x": 1, "_y": 1})
    run.log({"t/a": 3, "t/b": 3, "x": 3, "_y": 3})
    assert run.summary["t/a"] == {"max": 3}
    assert run.summary["t/b"] == 3
    assert run.summary["x"] == {"mean": 2}
    assert run.summary["_y"] == 3
    assert run.summary["_step"] == 1


def test_nested_and_literal_names(start: Any) -> None:
    """MET-7"""
    run, _ = start()
    run.define_metric("a.b", summary="min")
    run.define_metric(r"c\.d", summary="max")
    run.define_metric("e.*", summary="max")
    for value in (3, 5):
        run.log({"a": {"b": value, "z": value}, "a.b": value, "c.d": value, "c": {"d": value}})
        run.log({"e": {"f": {"g": value}}})
    assert run.summary["a"]["b"] == {"min": 3}
    assert run.summary["a"]["z"] == 5
    assert run.summary["a.b"] == 5
    assert run.summary["c.d"] == {"max": 5}
    assert run.summary["c"]["d"] == 5
    assert run.summary["e"]["f"]["g"] == {"max": 5}


def test_differs_explicit_values_restart_the_tracking(start: Any) -> None:
    """SUM-3, EX-30"""
    run, _ = start()
    run.define_metric("m", summary="min,max,mean")
    run.define_metric("n.o", summary="min")
    run.log({"m": 3, "n": {"o": 1}})
    run.log({"m": 1, "n": {"o": 1}})
    run.summary["m"] = 10
    run.summary["n"] = {"o": 7}
    assert run.summary["m"] == 10
    assert run.summary["n"] == {"o": 7}
    run.log({"m": 5, "n": {"o": 9}})
    run.log({"m": 7, "n": {"o": 8}})
    assert run.summary["m"] == {"min": 5, "max": 7, "mean": 6}
    assert run.summary["n"]["o"] == {"min": 8}
    run.summary["m"]["min"] = -7
    assert run.summary["m"] == {"min": -7}
    run.log({"m": 6})
    assert run.summary["m"] == {"min": 6, "max": 6, "mean": 6}
    del run.summary["m"]
    assert "m" not in run.summary
    run.log({"m": 4})
    assert run.summary["m"] == {"min": 4, "max": 4, "mean": 4}


def test_differs_a_late_definition_counts_from_the_last_value_on(start: Any) -> None:
    """MET-8: what was logged before is known by its last value alone"""
    run, writer = start()
    for value in (9, 4):
        run.log({"m": value, "n": 1})
    run.define_metric("m", summary="min,max")
    assert run.summary["m"] == {"min": 4, "max": 4}
    run.log({"m": 6, "n": 2})
    assert run.summary["m"] == {"min": 4, "max": 6}
    assert run.summary["n"] == 2
    assert {path for path in _live(writer, "carried")} == {
        f"m.{part}" for part in ("last", "count", "nan_count", "min", "max", "mean", "whole")
    }


def _rows(writer: Any) -> dict[int, dict[str, Any]]:
    return dict(writer.rows())


def _live(writer: Any, kind: str) -> dict[str, Any]:
    stamped = (((0, fact.hlc_us, fact.writer_id, fact.seq), fact) for fact in writer.facts())
    return fold_facts(stamped).get(kind, {})


def test_the_step_metric_joins_rows_that_lack_it(start: Any) -> None:
    """MET-6, EX-40"""
    run, writer = start()
    epoch = run.define_metric("e")
    run.define_metric("l", step_metric=epoch)
    run.log({"e": 1})
    run.log({"l": 5})
    run.log({"e": 2, "l": 6})
    run.log({"x": 1})
    assert _rows(writer) == {0: {"e": 1}, 1: {"l": 5, "e": 1}, 2: {"e": 2, "l": 6}, 3: {"x": 1}}
    assert run.summary["e"] == 2


def test_a_step_metric_that_was_never_logged_is_0(start: Any) -> None:
    """MET-6, EX-41"""
    run, writer = start()
    run.define_metric("l", step_metric="e")
    run.log({"l": 5})
    assert _rows(writer) == {0: {"l": 5, "e": 0}}
    assert run.summary["e"] == 0


def test_without_step_sync_nothing_is_added(start: Any) -> None:
    """MET-5, MET-6, EX-42"""
    run, writer = start()
    run.define_metric("l", step_metric="e", step_sync=False)
    run.log({"e": 1})
    run.log({"l": 5})
    assert _rows(writer) == {0: {"e": 1}, 1: {"l": 5}}


def test_a_glob_with_a_step_metric(start: Any) -> None:
    """MET-4, MET-6, EX-43"""
    run, writer = start()
    run.define_metric("gs")
    run.define_metric("*", step_metric="gs")
    run.log({"gs": 3})
    run.log({"z": 1})
    run.log({"gs": 4, "q": 1})
    assert _rows(writer) == {0: {"gs": 3}, 1: {"gs": 3, "z": 1}, 2: {"gs": 4, "q": 1}}


def test_rows_that_are_filled_by_several_calls_get_the_step_when_they_are_closed(start: Any) -> None:
    """MET-6 with HIST-3, HIST-4, HIST-9"""
    run, writer = start()
    run.define_metric("l", step_metric="e")
    run.log({"x": 0})
    run.log({"l": 5}, commit=False)
    run.log({"e": 2})  # comes in time: nothing is added
    run.log({"l": 6}, commit=False)
    run.log({"x": 1})  # a plain call closes the row
    run.log({"l": 7}, step=5)
    run.log({"e": 3}, step=7)  # closes row 5
    run.log({"l": 8}, step=9)
    run.log({"l": 1}, step=2)  # late: a row of its own
    run.log({"l": [1, 2]}, step=9)
    run.finish()
    assert _rows(writer) == {
        0: {"x": 0},
        1: {"l": 5, "e": 2},
        2: {"l": 1, "e": 3},
        5: {"l": 7, "e": 2},
        7: {"e": 3},
        9: {"l": [1, 2], "e": 3},
    }


def test_automatic_keys_as_step_metric_and_as_metric(start: Any) -> None:
    """MET-6: every row has them already; no definition changes what they show"""
    run, writer = start()
    run.define_metric("l", step_metric="_step")
    run.define_metric("_timestamp", summary="min")
    run.log({"l": 5, "_timestamp": 7.0})
    assert _rows(writer) == {0: {"l": 5, "_timestamp": 7.0}}
    assert run.summary["_timestamp"] == 7.0


def test_what_define_metric_returns(start: Any) -> None:
    """MET-1, MET-5"""
    run, _ = start()
    metric = run.define_metric("l", step_metric="e", summary="max,MIN", goal="MAXi", hidden=True)
    assert (metric.name, metric.step_metric, metric.step_sync) == ("l", "e", True)
    assert (metric.summary, metric.goal, metric.hidden) == (("min", "max"), "maximize", True)
    plain = run.define_metric("p")
    assert (plain.step_metric, plain.step_sync, plain.summary) == (None, False, None)
    assert (plain.goal, plain.hidden) == (None, None)
    assert run.define_metric("q", step_metric=metric).step_metric == "l"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("",), "name"),
        (("a*b",), "[*]"),
        (("**",), "[*]"),
        ((5,), "int"),
        (("m", 5), "step_metric"),
        (("m", None, 1), "step_sync"),
        (("m", None, None, 1), "hidden"),
        (("m", None, None, None, "foo"), "'foo'"),
        (("m", None, None, None, "min, max"), "' max'"),
        (("m", None, None, None, 5), "summary"),
        (("m", None, None, None, None, "up"), "minimize"),
        (("m", None, None, None, None, 5), "goal"),
        (("m", None, None, None, None, None, 1), "overwrite"),
    ],
)
def test_what_is_refused(start: Any, arguments: tuple[Any, ...], said: str) -> None:
    """MET-2"""
    run, _ = start()
    with pytest.raises(tracker.Error, match=said):
        run.define_metric(*arguments)


def test_unknown_keywords_are_refused(start: Any) -> None:
    """MET-1"""
    run, _ = start()
    with pytest.raises(TypeError, match="colour"):
        run.define_metric("m", colour="red")


def test_old_words_are_said_to_be_old(start: Any, capsys: Any) -> None:
    """MET-3"""
    run, _ = start()
    run.define_metric("m", summary="best", goal="maximize")
    run.define_metric("n", summary="copy")
    said = capsys.readouterr().err
    assert "summary='max'" in said
    assert "copy" in said


def test_definitions_are_facts_that_readers_can_use(start: Any) -> None:
    """MET-13, MET-8, MET-11: merged, hidden and step_sync stay, overwrite replaces"""
    run, writer = start()
    run.define_metric("a.b", step_metric="e", hidden=True)
    run.define_metric("a.b", summary="min", hidden=False, step_sync=False)
    run.define_metric("t/*", summary="max", goal="minimize")
    run.define_metric("t/*", summary="mean", overwrite=True)
    run.define_metric("a", summary="max")
    found = {rule.name: rule.as_dict() for rule in MetricRules.of_facts(_live(writer, "metric"))}
    assert found == {
        "a": {"summary": ["max"]},
        "a.b": {"step_metric": "e", "step_sync": True, "hidden": True, "summary": ["min"]},
        "t/*": {"summary": ["mean"]},
    }
    assert all(len(split_path(path)) == 1 for path in _live(writer, "metric"))


def test_saying_the_same_again_writes_nothing(start: Any) -> None:
    """MET-8"""
    run, writer = start()
    run.define_metric("m", summary="min")
    frames = len(writer.frames)
    run.define_metric("m", summary="min")
    assert len(writer.frames) == frames


def test_definitions_take_no_step(start: Any) -> None:
    """HIST-22"""
    run, _ = start()
    run.log({"m": 1}, commit=False)
    run.define_metric("m", summary="min")
    assert run.step == 0


def test_module_level(start: Any) -> None:
    """MOD-1, MOD-4, MOD-6"""
    with pytest.raises(tracker.Error, match="define_metric"):
        tracker.define_metric("m", summary="min")
    run, _ = start()
    tracker.define_metric("m", summary="min")
    run.log({"m": 1})
    assert run.summary["m"] == {"min": 1}
    run.finish()
    with pytest.raises(tracker.Error, match="finished"):
        run.define_metric("m", summary="max")


def test_disabled_runs_define_too() -> None:
    """MODE-3"""
    run = tracker.init(mode="disabled")
    run.define_metric("m", summary="min")
    run.define_metric("m", summary="max")
    run.log({"m": 3})
    run.log({"m": 1})
    assert run.summary["m"] == {"min": 1, "max": 3}


def test_a_row_counts_once_with_the_values_that_it_ends_with(start: Any) -> None:
    """MET-9"""
    run, writer = start()
    run.define_metric("m", summary="min,max,mean,last")
    run.log({"m": 1}, commit=False)
    assert "m" not in run.summary.keys()  # noqa: SIM118 (what iteration shows)
    run.log({"m": 5})
    assert _rows(writer) == {0: {"m": 5}}
    assert run.summary["m"] == {"min": 5, "max": 5, "mean": 5.0, "last": 5}
    run.log({"m": 9}, step=1)
    run.log({"m": 7}, step=1)
    assert run.summary["m"]["max"] == 5  # the row is still being filled
    run.log({"x": 1}, step=2)
    assert run.summary["m"] == {"min": 5, "max": 7, "mean": 6.0, "last": 7}


def test_a_late_row_beside_the_one_being_filled_counts_at_once(start: Any) -> None:
    """MET-9"""
    run, _ = start()
    run.define_metric("m", summary="min,max")
    run.log({"m": 4}, step=5)
    run.log({"m": 8}, step=2)
    assert run.summary["m"] == {"min": 8, "max": 8}
    run.log({"m": 6}, step=6)
    assert run.summary["m"] == {"min": 4, "max": 8}


def test_what_is_set_by_hand_ends_the_values_of_the_row_being_filled(start: Any) -> None:
    """SUM-3"""
    run, _ = start()
    run.define_metric("m", summary="min")
    run.log({"m": 1}, commit=False)
    run.summary["m"] = 7
    run.log({"x": 1})
    assert run.summary["m"] == 7
    run.log({"m": 3})
    assert run.summary["m"] == {"min": 3}


def test_differs_booleans_count_as_0_and_1(start: Any) -> None:
    """in min, max and mean"""
    run, _ = start()
    run.define_metric("ok", summary="min,max,mean")
    for value in (True, False, True, True):
        run.log({"ok": value})
    assert run.summary["ok"] == {"min": 0, "max": 1, "mean": 0.75}
