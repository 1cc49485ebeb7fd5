"""The module surface: MOD-1..8."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import tracker
from tracker.errors import Error, UnsupportedError


def test_all_names_what_exists() -> None:
    """MOD-1, as far as this release goes."""
    assert set(tracker.__all__) >= {"__version__", "init", "finish", "setup", "config", "log", "summary", "join", "Api"}
    for name in tracker.__all__:
        assert hasattr(tracker, name), name
    assert set(tracker.__all__) <= set(dir(tracker))


@pytest.mark.parametrize(
    "path",
    [
        "tracker.sdk.wandb_run.Run",
        "tracker.wandb_run.Run",
        "tracker.sdk.lib.RunDisabled",
        "tracker.sdk.lib.disabled.RunDisabled",
        "tracker.sdk.lib.config_util.ConfigError",
        "tracker.util.json_dumps_safer",
        "tracker.apis.public",
        "tracker.Settings",
        "tracker.Config",
        "tracker.Error",
        "tracker.CommError",
        "tracker.UsageError",
        "tracker.errors.AuthenticationError",
        "tracker.helper.parse_config",
        "tracker.login",
        "tracker.require",
        "tracker.teardown",
        "tracker.Run",
    ],
)
def test_import_paths_resolve_in_a_fresh_process(path: str) -> None:
    """MOD-2, MOD-3: as an attribute of the package, and as `from ... import`."""
    module, _, name = path.rpartition(".")
    code = f"import tracker; assert {path}; from {module} import {name}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_is_not_there_yet_is_said() -> None:
    with pytest.raises(AttributeError, match="has no Image yet"):
        _ = tracker.Image
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tracker.nonsense
    assert not hasattr(tracker, "watch")


@pytest.mark.parametrize(
    ("use", "named"),
    [
        (lambda: tracker.log({"a": 1}), "log()"),
        (lambda: tracker.config.lr, "config.lr"),
        (lambda: tracker.config["lr"], "config['lr']"),
        (lambda: tracker.config.__setattr__("lr", 1), "config.lr"),
        (lambda: tracker.config.__setitem__("lr", 1), "config['lr']"),
        (lambda: tracker.config.update({}), "config.update"),
        (lambda: tracker.summary["x"], "summary['x']"),
        (lambda: tracker.mark_preempting(), "mark_preempting()"),
    ],
)
def test_before_init_everything_asks_for_init(use: Any, named: str) -> None:
    """MOD-4"""
    with pytest.raises(Error) as caught:
        use()
    assert f"tracker.init() must be called before tracker.{named}" in str(caught.value)


def test_the_functions_show_their_parameters_before_init() -> None:
    import inspect

    assert list(inspect.signature(tracker.log).parameters) == ["data", "step", "commit", "sync"]
    assert not hasattr(tracker.config, "_repr_html_")
    assert repr(tracker.config) == "<tracker.config: no run is active>"


def test_finish_without_a_run_does_nothing() -> None:
    """MOD-4"""
    tracker.finish()
    tracker.join()
    assert tracker.run is None


def test_errors_derive_from_one() -> None:
    """MOD-5"""
    from tracker import errors

    for name in ("CommError", "UsageError", "AuthenticationError", "UnsupportedError", "ConfigError"):
        assert issubclass(getattr(errors, name), errors.Error)
    assert errors.Error.__base__ is Exception
    cause = ValueError("x")
    assert errors.CommError("text", cause).exc is cause
    assert errors.CommError("text").exc is None


def test_module_names_follow_the_run(start: Any) -> None:
    """MOD-6"""
    run, _ = start(config={"a": 1})
    assert tracker.run is run
    assert tracker.config.a == 1
    tracker.log({"m": 2})
    assert tracker.summary["m"] == 2
    run.finish()
    assert tracker.run is None
    with pytest.raises(Error, match="must be called before"):
        tracker.log({"m": 3})


@pytest.mark.parametrize(
    "name", ["core", "service", "legacy-service", "require", "core:beta", "service@1", ["core", "service"]]
)
def test_require_knows_old_names(name: Any, capsys: Any) -> None:
    """MOD-7"""
    assert tracker.require(name) is None
    assert ("default" in capsys.readouterr().err) == ("core" in name or name == "core:beta")


def test_require_refuses_others(capsys: Any) -> None:
    """MOD-7"""
    with pytest.raises(UnsupportedError, match="'nope:1'"):
        tracker.require("nope:1")
    assert "no such feature" in capsys.readouterr().err


def test_json_dumps_safer() -> None:
    """MOD-3"""
    import numpy as np

    assert tracker.util.json_dumps_safer({"a": np.arange(2), "b": np.float32(0.5)}) == '{"a": [0, 1], "b": 0.5}'


def test_import_is_light_and_quick() -> None:
    """Without pydantic, msgspec, numpy and their like; 0.05 s at most beyond a bare interpreter."""
    code = (
        "import sys, time; before = set(sys.modules); began = time.perf_counter(); import tracker\n"
        "took = time.perf_counter() - began\n"
        "print(took, *sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    heavy = set(["pydantic", "msgspec", "numpy", "pyarrow", "duckdb", "polars", "pandas", "fsspec", "platformdirs"])
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
        seconds, *loaded = done.stdout.split()
        times.append(float(seconds))
        assert not set(loaded) & heavy
    assert min(times) < 0.05
