"""Runs in a sweep, a launched job, a SageMaker job: INIT-17, INIT-18, CFG-4, CFG-13, CFG-14."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.errors import ConfigError, UsageError
from tracker.sdk import injected
from tracker.sdk.config import Config

SWEEP = """
wandb_version: 1
lr: {value: 0.5}
net:
  value: {width: 64, deep: {a: 1}}
"""


@pytest.fixture
def in_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(SWEEP)
    for name, value in {"SWEEP_ID": "sw1", "SWEEP_PARAM_PATH": "params.yaml", "RUN_ID": "r1", "PROJECT": "q"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)


def test_a_sweep_decides_where_the_run_belongs_and_its_config(in_sweep: None, start: Any, capsys: Any) -> None:
    """INIT-17, CFG-4, CFG-13: its values are merged over those of `init` at any depth, and locked."""
    run, writer = start(
        project="p", entity="e", id="mine", config={"lr": 0.1, "own": 1, "net": {"depth": 2, "deep": {"b": 2}}}
    )
    said = capsys.readouterr().err
    for argument in ("project='p'", "entity='e'", "id='mine'"):
        assert f"{argument} is ignored in a sweep" in said
    assert (run.id, run.project, run.entity, run.sweep_id) == ("r1", "q", "main", "sw1")
    whole = {"lr": 0.5, "own": 1, "net": {"depth": 2, "width": 64, "deep": {"b": 2, "a": 1}}}
    assert run.config.as_dict() == whole == writer.stored("config")
    assert writer.stored("attr")["sweep"] == "sw1"
    run.config.update({"lr": 3, "own": 1})
    run.config["lr"] = 4
    run.config.lr = 5
    run.config.setdefaults({"lr": 6})
    run.config.update({"lr": 7}, allow_val_change=True)
    assert run.config.lr == 0.5
    assert capsys.readouterr().err.count("config key 'lr' was locked by sweep; the update is ignored") == 4
    run.config.new = 1
    assert writer.stored("config") == whole | {"new": 1}
    assert pickle.loads(pickle.dumps(run)).config.as_dict() == whole | {"new": 1}


def test_a_sweep_holds_for_a_disabled_run_too(in_sweep: None) -> None:
    """MODE-3, CFG-13"""
    with tracker.init(mode="disabled", config={"lr": 1}) as run:
        assert run.config.lr == 0.5


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"WANDB_CONFIG": '{"lr": 7}'}, 7),
        ({"WANDB_CONFIG": '{"lr": 7}', "TRACKER_CONFIG": '{"lr": 8}'}, 8),
        ({"WANDB_CONFIG_0": '{"l', "WANDB_CONFIG_1": 'r": 7', "WANDB_CONFIG_2": "}", "WANDB_CONFIG_4": "x"}, 7),
        ({"WANDB_LAUNCH_CONFIG_PATH": "launch.json"}, 9),
        ({"WANDB_LAUNCH_CONFIG_PATH": "missing.json"}, 1),
        ({}, 1),
    ],
)
def test_a_launched_job_decides_the_config(
    start: Any, monkeypatch: pytest.MonkeyPatch, names: dict[str, str], expected: int
) -> None:
    """CFG-4, CFG-13, INIT-17"""
    Path("launch.json").write_text(json.dumps({"overrides": {"run_config": {"lr": 9}}, "lr": 10}))
    for name, value in {"WANDB_LAUNCH": "true", "WANDB_PROJECT": "q", **names}.items():
        monkeypatch.setenv(name, value)
    run, _ = start(project="p", config={"lr": 1})
    assert (run.project, run.config.lr) == ("q", expected)


def test_a_job_that_was_not_launched_does_not_read_its_variables(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_CONFIG", '{"lr": 7}')
    assert start(config={"lr": 1})[0].config.lr == 1


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_a_malformed_config_of_a_launched_job_is_said_and_ignored(
    start: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any, text: str
) -> None:
    """CFG-4"""
    monkeypatch.setenv("WANDB_LAUNCH", "True")
    monkeypatch.setenv("WANDB_CONFIG", text)
    assert start(project=None, config={"lr": 1})[0].config.lr == 1
    assert "WANDB_CONFIG" in capsys.readouterr().err


def test_a_sweep_whose_file_is_gone_is_an_error(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """INIT-15"""
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "gone.yaml")
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        start()
    assert tracker.run is None


@pytest.mark.parametrize("sweep_id", ["", " s", "s ", "  "])
def test_ids_of_sweeps_are_checked_as_those_of_runs(start: Any, monkeypatch: pytest.MonkeyPatch, sweep_id: str) -> None:
    """INIT-18"""
    monkeypatch.setenv("WANDB_SWEEP_ID", sweep_id)
    with pytest.raises(UsageError, match=r"SWEEP_ID is set but empty|begins or ends with whitespace"):
        start(project=None)
    assert tracker.run is None


@pytest.fixture
def in_sagemaker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "opt"
    folder.mkdir()
    (folder / "hyperparameters.json").write_text(json.dumps({"lr": "0.5", "name": "text", "layers": "[1, 2]"}))
    monkeypatch.setattr(injected.SageMaker.__init__, "__defaults__", (folder,))
    monkeypatch.setenv("TRAINING_JOB_NAME", "job-1")
    monkeypatch.setenv("SM_CURRENT_HOST", "algo-2")


def test_sagemaker_gives_hyperparameters_and_names(in_sagemaker: None, start: Any, tmp_path: Path) -> None:
    """CFG-4: stronger than files and arguments, and not locked."""
    (tmp_path / "extra.yaml").write_text("lr: 0.3\nextra: 1\n")
    run, _ = start(config={"lr": 0.1, "own": 1}, settings={"config_paths": "extra.yaml"})
    assert run.config.as_dict() == {
        "lr": 0.5, "own": 1, "extra": 1, "name": "text", "layers": [1, 2], "sagemaker_training_job_name": "job-1",
    }  # fmt: skip
    assert run.group == "job-1"
    assert run.id.startswith("job-1-")
    assert run.id.endswith("-algo-2")
    run.config.update({"lr": 2}, allow_val_change=True)
    assert run.config.lr == 2
    run.finish()
    given, _ = start(id="mine", group="g")
    assert (given.id, given.group) == ("mine", "g")


def test_sagemaker_can_be_left_out(in_sagemaker: None, start: Any) -> None:
    """SET-3: `sagemaker_disable`."""
    run, _ = start(config={"lr": 0.1}, settings={"sagemaker_disable": True})
    assert (run.config.as_dict(), run.group) == ({"lr": 0.1}, "")


def test_locked_values_of_a_config_by_hand() -> None:
    """CFG-14"""
    config = Config(initial={"a": {"x": 1}, "b": 1})
    config.update_locked({"a": {"y": 2}})
    assert config.a == {"y": 2}
    config.merge_locked({"a": {"z": 3}, "-c-": 4}, user="me")
    assert config.as_dict() == {"a": {"y": 2, "z": 3}, "b": 1, "c": 4}
    config.update({"b": 1, "c": 9, "a": 0})
    assert config.as_dict() == {"a": {"y": 2, "z": 3}, "b": 1, "c": 4}
