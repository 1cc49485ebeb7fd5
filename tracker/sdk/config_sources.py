"""Where a config can come from: dicts, namespaces, flags, YAML files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracker.errors import ConfigError, UsageError
from tracker.sdk import term

__all__ = ["initial_config", "load_config", "read_config_file", "select_keys"]


def load_config(source: Any) -> dict[str, Any]:
    """A new dict of the top-level keys (CFG-1). None gives an empty one.

    Raises:
        TypeError: nothing that a config can be read from.
        ConfigError: a file that is missing or is no mapping of keys.
    """
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return dict(source)
    if isinstance(source, str | os.PathLike):
        return read_config_file(Path(source))
    if hasattr(source, "flag_values_dict"):  # absl and tensorflow flags
        return dict(source.flag_values_dict())
    if hasattr(source, "as_dict") and hasattr(source, "keys"):  # a config of another run
        return dict(source.as_dict())
    if hasattr(source, "__dict__") and not isinstance(source, type):
        return {key: value for key, value in vars(source).items() if not key.startswith("__")}
    raise TypeError(
        f"config must be a dict, an object with attributes, flags or the path of a YAML file, "
        f"got {type(source).__name__}."
    )


def initial_config(source: Any, paths: tuple[str, ...] | None) -> dict[str, Any]:
    """What a run's config begins with: `config-defaults.yaml` of the current directory, then `source`, then `paths`
    (CFG-3, CFG-4).

    Raises as `load_config`.
    """
    config: dict[str, Any] = {}
    defaults = Path("config-defaults.yaml")
    if defaults.is_file():
        config |= read_config_file(defaults)
    config |= load_config(source)
    for path in paths or ():
        config |= read_config_file(Path(path))
    return config


def read_config_file(path: Path) -> dict[str, Any]:
    """Keys of a YAML (or JSON) file, each either `key: value` or `key: {desc: ..., value: ...}` (CFG-2).

    Raises:
        ConfigError: missing, no YAML, no mapping, or `wandb_version` other than 1.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"The config file {path} can not be read: {exc}.") from exc
    loaded = _parse(text, path)
    if loaded is None:
        term.warn(f"The config file {path} is empty.")
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"The config file {path} holds a {type(loaded).__name__}; it has to be a mapping of keys.")
    version = loaded.pop("wandb_version", 1)
    if version != 1:
        raise ConfigError(f"The config file {path} has wandb_version {version!r}; only version 1 is known.")
    loaded.pop("_wandb", None)
    return {str(key): _unwrapped(value) for key, value in loaded.items()}


def select_keys(config: dict[str, Any], include: list[str] | None, exclude: list[str] | None) -> dict[str, Any]:
    """Only the top-level keys in `include`, or all but those in `exclude` (INIT-12).

    Raises:
        UsageError: both are given.
    """
    if include and exclude:
        raise UsageError("config_include_keys and config_exclude_keys exclude each other. Give one of them.")
    if include:
        return {key: value for key, value in config.items() if key in include}
    return {key: value for key, value in config.items() if key not in (exclude or ())}


def _parse(text: str, path: Path) -> Any:
    if path.suffix == ".json":
        import json

        try:
            return json.loads(text) if text.strip() else None
        except ValueError as exc:
            raise ConfigError(f"The config file {path} is no JSON: {exc}.") from exc
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError as exc:
        raise ConfigError(f"Reading {path} needs PyYAML. Run: pip install pyyaml") from exc
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ConfigError(f"The config file {path} is no YAML: {exc}.") from exc


def _unwrapped(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and "value" in value and set(value) <= {"value", "desc"} else value
