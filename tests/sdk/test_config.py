"""run.config: CFG-1..12, CFG-14..18, EX-50..58."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import enum
import json
import math
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker.errors import ConfigError, UsageError


class Letter(enum.Enum):
    X = 1


@dataclasses.dataclass
class Model:
    depth: int
    width: Any = (1, 2)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float32(0.5), 0.5), (np.int64(3), 3),  # EX-50
        (np.arange(3), [0, 1, 2]),  # EX-51
        ((1, 2), [1, 2]), ({1}, [1]), ([np.int32(1), "s"], [1, "s"]), (frozenset({2}), [2]),  # EX-52
        (len, "builtins.len"), (dict, "builtins.dict"),  # EX-53
        (b"hi", "hi"), (Letter.X, "X"), (Path("a/b"), "a/b"),  # EX-54
        (datetime.datetime(2020, 1, 2, 3, 4, 5), "2020-01-02T03:04:05"),  # noqa: DTZ001 - EX-55
        (math.nan, None), (math.inf, math.inf), (np.float64("nan"), None),  # EX-56
        ([math.nan], [None]), ({"a": math.nan}, {"a": None}),
        (np.arange(40), str(np.arange(40))),
        (Model(2), {"depth": 2, "width": [1, 2]}),
        (slice(1, 2), {"slice_start": 1, "slice_step": None, "slice_stop": 2}),
        (argparse.Namespace(a=1), "Namespace(a=1)"), (2**70, 2**70), (None, None), (True, True),
        ({"a": {"b": (1,)}}, {"a": {"b": [1]}}), ({}, {}), ([], []), ({"a": {}}, {"a": {}}), (b"\xff", "b'\\xff'"),
    ],
    ids=repr,
)  # fmt: skip
def test_values_become_json_friendly(start: Any, value: Any, stored: Any) -> None:
    """CFG-6, both in what is read here and in what is stored; the same at init and later."""
    run, writer = start(config={"at_init": value})
    run.config["later"] = value
    assert writer.stored("config") == {"at_init": stored, "later": stored}
    assert dict(run.config) == {"at_init": stored, "later": stored}


@pytest.mark.parametrize("value", [np.array([3]), np.array(3), np.array([[3]])])
def test_differs_config_arrays_of_one_element_are_scalars(start: Any, value: Any) -> None:
    """CFG-6: the reference keeps their printed text."""
    assert start(config={"a": value})[1].stored("config") == {"a": 3}


def test_complex_numbers_are_refused(start: Any) -> None:
    """CFG-6"""
    run, writer = start()
    with pytest.raises(TypeError, match="complex"):
        run.config["z"] = [1j]
    assert writer.stored("config") == {}


def test_dashes_around_keys_are_stripped(start: Any) -> None:
    """CFG-5, EX-57"""
    run, writer = start(config={"--x-": 1})
    run.config.update({"-y": 2})
    assert run.config.x == 1
    assert writer.stored("config") == {"x": 1, "y": 2}


def test_a_key_of_nothing_is_refused(start: Any) -> None:
    run, _ = start()
    with pytest.raises(UsageError, match="empty"):
        run.config["--"] = 1
    with pytest.raises(TypeError):
        run.config[5] = 1


def test_a_value_is_not_changed_by_accident(start: Any) -> None:
    """CFG-8"""
    run, writer = start(config={"q": 1, "r": {"s": 1}})
    for change in (
        lambda: run.config.update({"new": 5, "q": 2}),
        lambda: setattr(run.config, "q", 2),
        lambda: run.config.__setitem__("q", 2),
    ):
        with pytest.raises(ConfigError, match=r"'q' is 1; it was to become 2"):
            change()
    assert writer.stored("config") == {"q": 1, "r": {"s": 1}}, "all of an update or nothing"
    run.config["q"] = 1
    run.config.update({"q": 2}, allow_val_change=True)
    assert run.config["q"] == 2
    assert writer.stored("config")["q"] == 2


def test_differs_allow_val_change_of_init_holds(start: Any) -> None:
    """CFG-18"""
    run, _ = start(config={"q": 1}, allow_val_change=True)
    run.config.q = 2
    assert run.config.q == 2
    with pytest.raises(ConfigError):
        run.config.update({"q": 3}, allow_val_change=False)


def test_update_is_shallow(start: Any) -> None:
    """CFG-9"""
    run, writer = start(config={"r": {"s": 1, "t": {"u": 2}}, "rest": 1})
    run.config.update({"r": {"t": 2}}, allow_val_change=True)
    assert run.config["r"] == {"t": 2}
    assert writer.stored("config") == {"r": {"t": 2}, "rest": 1}
    run.config.update({"r": 5}, allow_val_change=True)
    assert writer.stored("config") == {"r": 5, "rest": 1}


def test_setdefaults_adds_only_what_is_missing(start: Any) -> None:
    """CFG-9"""
    run, writer = start(config={"q": 1})
    run.config.setdefaults({"q": 7, "w": 8, "-q-": 9})
    assert writer.stored("config") == {"q": 1, "w": 8}


def test_missing_keys_and_what_a_config_can_not_do(start: Any) -> None:
    """CFG-10"""
    run, _ = start(config={"a": 1, "_hidden": 2})
    with pytest.raises(AttributeError, match="nope"):
        _ = run.config.nope
    with pytest.raises(KeyError):
        run.config["nope"]
    assert run.config.get("nope") is None
    assert run.config.get("nope", 3) == 3
    assert list(run.config.keys()) == ["a"]
    assert run.config.items() == [("a", 1)]
    assert run.config.as_dict() == {"a": 1}
    assert dict(run.config) == {"a": 1}
    assert run.config["_hidden"] == 2
    assert "a" in run.config
    assert "nope" not in run.config
    with pytest.raises(TypeError):
        len(run.config)
    assert not hasattr(run.config, "pop")
    with pytest.raises((TypeError, AttributeError)):
        del run.config["a"]


def test_the_items_are_where_a_search_looks_for_them(start: Any) -> None:
    """CFG-11"""
    run, _ = start(config={"a": 1})
    assert vars(run.config)["_items"] == {"a": 1}


def test_changing_a_nested_dict_sends_nothing(start: Any) -> None:
    """CFG-12"""
    run, writer = start(config={"a": {"b": 1}})
    run.config["a"]["b"] = 2
    assert writer.stored("config") == {"a": {"b": 1}}


def test_config_static_is_read_only(start: Any) -> None:
    """CFG-14"""
    run, _ = start(config={"a": 1})
    static = run.config_static
    assert (static["a"], static.a, list(static), dict(static)) == (1, 1, ["a"], {"a": 1})
    with pytest.raises(AttributeError, match="read-only"):
        static.a = 2
    with pytest.raises(AttributeError, match="read-only"):
        static["a"] = 2


def test_nested_keys_are_paths_and_literal_dots_stay(start: Any) -> None:
    """CFG-16, CFG-17"""
    run, writer = start()
    deep: Any = 1
    for _ in range(10):
        deep = {"k": deep}
    run.config.update({"a.b": 1, "a": {"b": 2}, "deep": deep})
    live = writer.folded().live["config"]
    assert live["a\\.b"] == 1
    assert live["a.b"] == 2
    assert live["deep" + ".k" * 10] == 1


def test_keys_that_are_no_text_are_stored_as_text(start: Any) -> None:
    run, writer = start(config={"sizes": {1: "one", (2, 3): "pair"}})
    assert run.config.sizes[1] == "one"
    assert writer.stored("config") == {"sizes": {"1": "one", "(2, 3)": "pair"}}


class Flags:
    """As absl's."""

    def flag_values_dict(self) -> dict[str, Any]:
        return {"lr": 0.1}


@pytest.mark.parametrize(
    "source",
    [{"lr": 0.1}, argparse.Namespace(lr=0.1), Flags(), types.SimpleNamespace(lr=0.1)],
    ids=lambda source: type(source).__name__,
)
def test_sources(start: Any, source: Any) -> None:
    """CFG-1, EX-58"""
    run, writer = start(config=source)
    assert writer.stored("config") == {"lr": 0.1}
    run.config.update(source)


@pytest.mark.parametrize("source", [5, ["a"], {1}])
def test_no_source(start: Any, source: Any) -> None:
    """CFG-1, INIT-5"""
    with pytest.raises(TypeError, match="config must be"):
        start(config=source)
    assert tracker.run is None


def test_yaml_files(start: Any, tmp_path: Path, capsys: Any) -> None:
    """CFG-1, CFG-2"""
    file = tmp_path / "c.yaml"
    file.write_text("wandb_version: 1\n_wandb: {desc: null, value: {}}\nlr: {desc: rate, value: 0.1}\nplain: 3\n")
    _, writer = start(config=str(file))
    assert writer.stored("config") == {"lr": 0.1, "plain": 3}
    tracker.finish()
    (tmp_path / "c.json").write_text(json.dumps({"lr": 0.2}))
    assert start(config=str(tmp_path / "c.json"))[1].stored("config") == {"lr": 0.2}
    tracker.finish()
    file.write_text("")
    assert start(config=str(file))[1].stored("config") == {}
    assert "is empty" in capsys.readouterr().err
    tracker.finish()
    for text in ("wandb_version: 2\n", "- 1\n- 2\n", "{", "a: b: c"):
        file.write_text(text)
        with pytest.raises(ConfigError):
            start(config=str(file))
    with pytest.raises(ConfigError, match="nope"):
        start(config="nope.yaml")
    assert tracker.run is None


def test_config_defaults_and_config_paths(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CFG-3, CFG-4, ENV-6"""
    (tmp_path / "config-defaults.yaml").write_text("a: {value: default}\nb: {value: default}\nc: {value: default}\n")
    (tmp_path / "first.yaml").write_text("c: first\nd: first\n")
    (tmp_path / "second.yaml").write_text("d: second\n")
    monkeypatch.setenv("WANDB_CONFIG_PATHS", "first.yaml, second.yaml")
    _, writer = start(config={"b": "init", "c": "init"})
    assert writer.stored("config") == {"a": "default", "b": "init", "c": "first", "d": "second"}


def test_include_and_exclude_keys(start: Any) -> None:
    """INIT-12"""
    config = {"a": 1, "b": {"c": 2}, "d": 3}
    assert start(config=config, config_include_keys=["a", "b"])[1].stored("config") == {"a": 1, "b": {"c": 2}}
    tracker.finish()
    assert start(config=config, config_exclude_keys=["a", "b"])[1].stored("config") == {"d": 3}
    tracker.finish()
    with pytest.raises(UsageError, match="exclude each other"):
        start(config=config, config_include_keys=["a"], config_exclude_keys=["b"])


def test_parse_config_helper() -> None:
    """MOD-8"""
    from tracker.helper import parse_config

    assert parse_config(argparse.Namespace(a=1, b=2), exclude=["a"]) == {"b": 2}
    assert parse_config({"a": 1, "b": 2}, include=["a"]) == {"a": 1}
    with pytest.raises(UsageError):
        parse_config({}, include=["a"], exclude=["b"])
