"""The five writers behind one face: start a run, log a dict, finish. Each imports its library only when it is started.

This file runs in two interpreters (ours and the peers'), so it needs the standard library alone. Every tracker keeps
its defaults, except that network, telemetry and sampling of the machine are off: what is compared is the logging of
scalars to this machine's disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

__all__ = ["PEERS", "PROJECT", "Subject", "environment", "store_of", "subject"]

PROJECT = "bench"
PEERS = ("trackio", "wandb", "mlflow", "tensorboard")

Log = Callable[[Mapping[str, float]], object]


class Subject(Protocol):
    """One tracker's way to write a run. `log` is the bound method itself, so that nothing of ours is timed with it."""

    def start(self, name: str, config: Mapping[str, object]) -> Log:
        """Begin run `name`; returns the callable that logs one row."""

    def finish(self) -> None:
        """End the run; all of it is on disk afterwards."""


def environment(name: str, work: Path) -> dict[str, str]:
    """The variables that keep tracker `name` inside `work` and off the network."""
    if name == "tracker":
        return {
            "TRACKER_BASE_URL": str(work / "store"),
            "TRACKER_DIR": str(work / "local"),
            "TRACKER_SILENT": "true",
            "TRACKER_COMPACT": "false",  # its process would run beside what is measured next
            "TRACKER_X_DISABLE_STATS": "true",  # as for the others; `beside` measures it
        }
    if name == "trackio":
        return {"TRACKIO_DIR": str(work / "store"), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    if name == "wandb":
        inside = {f"WANDB_{part}_DIR": str(work / part.lower()) for part in ("CACHE", "CONFIG", "DATA")}
        return inside | {
            "WANDB_MODE": "offline",
            "WANDB_DIR": str(work / "store"),
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_DISABLE_GIT": "true",
            "WANDB_DISABLE_CODE": "true",
            "WANDB_X_DISABLE_STATS": "true",
        }
    if name == "mlflow":
        return {
            "MLFLOW_TRACKING_URI": f"sqlite:///{work / 'store' / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "GIT_PYTHON_REFRESH": "quiet",
        }
    return {"BENCH_TENSORBOARD_DIR": str(work / "store")}


def store_of(work: Path) -> Path:
    """Where the variables of `environment` make a tracker keep its data."""
    return work / "store"


def subject(name: str) -> Subject:
    """The writer of tracker `name`, or ValueError."""
    known: dict[str, type[Subject]] = {
        "none": Nothing,
        "tracker": Tracker,
        "trackio": Trackio,
        "wandb": Wandb,
        "mlflow": Mlflow,
        "tensorboard": TensorBoard,
    }
    if name not in known:
        raise ValueError(f"Unknown tracker {name!r}. Known: {', '.join(known)}")
    return known[name]()


class Nothing:
    """The control: what the machine and the loop cost when nobody logs."""

    def start(self, name: str, config: Mapping[str, object]) -> Log:
        del name, config
        return lambda _row: None

    def finish(self) -> None:
        """Nothing was begun."""


class Tracker:
    """Ours, with its defaults."""

    def start(self, name: str, config: Mapping[str, object]) -> Log:
        import tracker

        self._run: Any = tracker.init(project=PROJECT, id=name, name=name, config=dict(config))
        log: Log = self._run.log
        return log

    def finish(self) -> None:
        self._run.finish()


class Trackio:
    """Its queue and thread write SQLite every half second; the sampling of CPU and GPU is off."""

    def start(self, name: str, config: Mapping[str, object]) -> Log:
        import trackio

        self._run: Any = trackio.init(
            PROJECT, name=name, config=dict(config), auto_log_cpu=False, auto_log_gpu=False, embed=False
        )
        log: Log = self._run.log
        return log

    def finish(self) -> None:
        self._run.finish()


class Wandb:
    """Offline mode: a service process beside the script writes a transaction log."""

    def start(self, name: str, config: Mapping[str, object]) -> Log:
        import wandb

        self._run: Any = wandb.init(project=PROJECT, id=name, name=name, config=dict(config))
        log: Log = self._run.log
        return log

    def finish(self) -> None:
        self._run.finish()


class Mlflow:
    """SQLite behind the client, in batches of 1,000 metrics, the most that one call takes (for reading)."""

    def start(self, name: str, config: Mapping[str, object]) -> Log:
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient()
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = self._client.create_experiment(PROJECT) if found is None else found.experiment_id
        self._id = self._client.create_run(experiment, run_name=name).info.run_id
        self._client.log_batch(self._id, params=[Param(key, str(value)) for key, value in config.items()])
        self._metric: Any = Metric
        self._waiting: list[Any] = []
        self._step = 0
        return self._log

    def _log(self, row: Mapping[str, float]) -> None:
        import time

        now_ms = time.time_ns() // 1_000_000
        self._waiting.extend(self._metric(key, value, now_ms, self._step) for key, value in row.items())
        self._step += 1
        if len(self._waiting) >= 1000:
            self._client.log_batch(self._id, metrics=self._waiting)
            self._waiting = []

    def finish(self) -> None:
        if self._waiting:
            self._client.log_batch(self._id, metrics=self._waiting)
        self._client.set_terminated(self._id)


class TensorBoard:
    """Event files through tensorboardX, which needs no TensorFlow."""

    def start(self, name: str, config: Mapping[str, object]) -> Log:
        from tensorboardX import SummaryWriter

        del config
        self._writer: Any = SummaryWriter(str(Path(os.environ["BENCH_TENSORBOARD_DIR"]) / name))
        self._step = 0
        return self._log

    def _log(self, row: Mapping[str, float]) -> None:
        for key, value in row.items():
            self._writer.add_scalar(key, value, self._step)
        self._step += 1

    def finish(self) -> None:
        self._writer.close()
