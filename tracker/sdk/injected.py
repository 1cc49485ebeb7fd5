"""What a sweep, a launched job or SageMaker decides for a run: its config, and where it belongs (INIT-17, CFG-4)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from tracker.sdk import term
from tracker.sdk.config_sources import read_config_file
from tracker.sdk.identity import generate_id
from tracker.sdk.options import RunOptions

__all__ = ["Injected", "SageMaker", "injector_of", "read_injected", "without_decided"]

Injector = Literal["sweep", "launch"]

_DECIDED: Final = {"project": "project", "entity": "entity", "run_id": "id"}  # setting to argument
_TEXTS: Final = {"sweep": "in a sweep", "launch": "in a launched job"}
_SAGEMAKER_DIR: Final = Path("/opt/ml/input/config")


@dataclass(frozen=True, slots=True)
class Injected:
    """Config values that override those of `init`. Those of sweeps and launched jobs stay as they are: locked."""

    sweep: dict[str, Any] = field(default_factory=dict)
    launch: dict[str, Any] = field(default_factory=dict)


def injector_of(settings: Mapping[str, Any]) -> Injector | None:
    """Who decides where the run belongs, by the settings in force; None: the script does."""
    if settings.get("sweep_id"):
        return "sweep"
    return "launch" if str(settings.get("launch", "")).lower() in ("true", "1") else None


def without_decided(arguments: dict[str, Any], injector: Injector) -> dict[str, Any]:
    """The arguments of `init` (by setting name) that count there; a warning for each that does not (INIT-17)."""
    for name in _DECIDED:
        if arguments.get(name) is not None:
            term.warn(f"{_DECIDED[name]}={arguments[name]!r} is ignored {_TEXTS[injector]}, which decides it")
    return {name: value for name, value in arguments.items() if name not in _DECIDED}


def read_injected(options: RunOptions, environ: Mapping[str, str]) -> Injected:
    """The config that comes with the sweep or the job.

    Raises:
        ConfigError: the sweep's file can not be read.
    """
    sweep = read_config_file(Path(options.sweep_param_path)) if options.sweep_param_path else {}
    return Injected(sweep, _launch_config(options, environ) if options.launch else {})


def _launch_config(options: RunOptions, environ: Mapping[str, str]) -> dict[str, Any]:
    """CONFIG, or CONFIG_0, CONFIG_1, ... put together, or the file; what can not be read is said and ignored."""
    for prefix in ("TRACKER_CONFIG", "WANDB_CONFIG"):
        text = environ.get(prefix) or "".join(_numbered(environ, f"{prefix}_"))
        if text:
            return _object(text, prefix)
    path = options.launch_config_path
    if not path or not os.path.isfile(path):
        return {}
    try:
        whole = _object(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as exc:
        term.warn(f"{path} can not be read and is ignored: {exc}")
        return {}
    overrides = whole.get("overrides")
    found = overrides.get("run_config") if isinstance(overrides, dict) else None
    return found if isinstance(found, dict) else {}


def _numbered(environ: Mapping[str, str], prefix: str) -> list[str]:
    parts: list[str] = []
    while (part := environ.get(f"{prefix}{len(parts)}")) is not None:
        parts.append(part)
    return parts


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as exc:
        term.warn(f"{name} is no JSON and is ignored: {exc}")
        return {}
    if not isinstance(found, dict):
        term.warn(f"{name} holds no JSON object and is ignored")
        return {}
    return found


class SageMaker:
    """A SageMaker training job: hyperparameters become config, the job names the group and the run."""

    def __init__(self, environ: Mapping[str, str], folder: Path = _SAGEMAKER_DIR) -> None:
        self._job = environ.get("TRAINING_JOB_NAME") or environ.get("SM_TRAINING_JOB_NAME")
        self._environ, self._folder = environ, folder

    @property
    def is_here(self) -> bool:
        return (self._folder / "hyperparameters.json").is_file() or bool(self._job and self._environ.get("SM_HOSTS"))

    def config(self) -> dict[str, Any]:
        """Hyperparameters, which arrive as text and are read as JSON where they are; and the name of the job."""
        path = self._folder / "hyperparameters.json"
        text = path.read_text(encoding="utf-8") if path.is_file() else self._environ.get("SM_HPS", "{}")
        found = {key: _json_or_text(value) for key, value in _object(text, str(path)).items()}
        return found | ({"sagemaker_training_job_name": self._job} if self._job else {})

    def named(self, options: RunOptions) -> RunOptions:
        """The group is the job, the id has it and the host in it, where nothing else was given."""
        if not self._job:
            return options
        if options.run_id is None:
            host = self._environ.get("SM_CURRENT_HOST") or options.host or "host"
            options = replace(options, run_id=f"{self._job[-40:]}-{generate_id()[:6]}-{host[-16:]}".strip("-"))
        return options if options.run_group else replace(options, run_group=self._job)


def _json_or_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
