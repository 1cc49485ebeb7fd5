"""The module surface: MOD-1..8."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.errors import Error, UnsupportedError

PUBLIC = """
    __version__ init finish setup save sweep controller agent config log summary join Api Graph Image Plotly Video Audio
    Table Html box3d Object3D Molecule Histogram ArtifactTTL log_artifact use_artifact log_model use_model link_model
    define_metric watch unwatch plot_table
""".split()  # noqa: SIM905 - as the rule lists them

REACHABLE = """
    run Artifact Settings Config Error AlertLevel Classes JoinedTable alert mark_preempting restore teardown login
    require _attach ensure_configured api apis env errors util sdk data_types plot visualize termlog termwarn termerror
    termsetup patched START_TIME InternalApi keras sklearn tensorflow tensorboard gym xgboost lightgbm catboost sacred
    docker jupyter integration
""".split()  # noqa: SIM905


def is_there(name: str) -> bool:
    """False: refused by a message that says that this release does not have it."""
    try:
        getattr(tracker, name)
    except AttributeError as exc:
        assert str(exc) == f"tracker {tracker.__version__} has no {name} yet. The README lists what is supported."  # noqa: PT017
        return False
    return True


def test_all_names_what_exists() -> None:
    """MOD-1, MOD-2: what this release has of the reference's names is public; the others are refused by name."""
    assert {name for name in PUBLIC if is_there(name)} == set(tracker.__all__) & set(PUBLIC)
    missing = {name for name in REACHABLE if not is_there(name)}
    assert missing <= {
        *("Artifact", "Classes", "JoinedTable", "plot", "visualize", "keras", "sklearn", "tensorflow", "xgboost"),
        *("lightgbm", "catboost", "sacred", "docker", "integration"),
    }
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
        "tracker.AlertLevel",
        "tracker.env.get_project",
        "tracker.ensure_configured",
        "tracker.termlog",
        "tracker.termwarn",
        "tracker.termerror",
        "tracker.termsetup",
        "tracker.InternalApi",
        "tracker.api",
        "tracker.START_TIME",
        "tracker.patched",
        "tracker._attach",
        "tracker.alert",
        "tracker.jupyter.load_ipython_extension",
        "tracker.tensorboard",
        "tracker.gym",
        "tracker.data_types",
        "tracker.apis.Api",
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
    assert not hasattr(tracker, "Table")


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
        (lambda: tracker.alert("a", "b"), "alert()"),
        (lambda: tracker.define_metric("m"), "define_metric()"),
        (lambda: tracker.save("*"), "save()"),
        (lambda: tracker.watch(None), "watch()"),
        (lambda: tracker.unwatch(), "unwatch()"),
        (lambda: tracker.log.anything, "log.anything"),
        (lambda: tracker.summary.__setattr__("x", 1), "summary.x"),
        (lambda: tracker.summary.update({}), "summary.update"),
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


def test_what_other_libraries_say_in_our_name(capsys: Any) -> None:
    """MOD-2: the term functions; nothing on stdout."""
    tracker.termlog("one")
    tracker.termwarn("two", prefix=False)
    for _ in range(3):
        tracker.termerror("three", repeat=False)
    captured = capsys.readouterr()
    assert captured == ("", "tracker: one\ntwo\ntracker: error: three\n")
    tracker.termsetup(tracker.Settings(silent=True), None)
    tracker.termerror("four")
    tracker.termlog("five", prefix=False)
    assert capsys.readouterr().err == ""


def test_the_environment_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MOD-2, ENV-8: names of variables, and what they say; ours win over the reference's."""
    env = tracker.env
    assert (env.get_project(), env.get_project("d"), env.get_tags(), env.is_offline()) == (None, "d", [], False)
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    assert env.get_project("d") == "theirs"
    monkeypatch.setenv(env.PROJECT, "ours")
    assert env.get_project() == "ours"
    monkeypatch.setenv("WANDB_TAGS", "a, b")
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    monkeypatch.setenv("WANDB_IGNORE_GLOBS", "*.pt,*.tmp")
    monkeypatch.setenv("WANDB_SAVE_CODE", "true")
    assert (env.get_tags(), env.is_offline(), env.get_ignore()) == (["a", "b"], True, ["*.pt", "*.tmp"])
    assert env.should_save_code()
    monkeypatch.setenv("WANDB_DISABLE_CODE", "1")
    assert not env.should_save_code()
    assert env.get_artifact_dir() == str(tmp_path / "artifacts")
    assert env.get_data_dir() == env.get_base_url() == str(tmp_path / "data")
    assert env.get_base_url("s3://bucket") == "s3://bucket"
    assert env.get_cache_dir({"TRACKER_CACHE_DIR": "there"}) == "there"
    values = {}
    env.set_project("p", values)
    env.set_entity("e", values)
    assert (env.get_project(env=values), env.get_entity(env=values)) == ("p", "e")


def test_the_internal_client_knows_settings_alone(start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MOD-2: `tracker.api`"""
    api = tracker.api
    assert api is tracker.api
    assert isinstance(api, tracker.InternalApi)
    assert (api.api_key, api.default_entity, api.settings("project")) == (None, "main", None)
    monkeypatch.setenv("WANDB_ENTITY", "team")
    monkeypatch.setenv("WANDB_PROJECT", "p")
    assert (api.default_entity, api.settings("project"), api.settings()["entity"]) == ("team", "p", "team")
    assert api.viewer()["entity"] == "team"
    assert api.api_url == str(tmp_path / "data")
    api.set_setting("run_group", "g")
    assert start(project=None)[0].group == "g"


def test_what_is_left_to_be_done_before_a_run_is_nothing() -> None:
    """MOD-2"""
    assert tracker.ensure_configured() is None
    assert 0 < tracker.START_TIME <= time.time()
    assert set(tracker.patched) == {"tensorboard", "keras", "gym"}
