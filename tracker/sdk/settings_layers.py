"""Settings from several places, put together: the later layer wins, None never overrides (INIT-2)."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tracker.errors import UsageError
from tracker.sdk.options import WORKING_DIR_NAME, is_flag_name, is_plain_name
from tracker.sdk.places import config_dir

__all__ = ["from_environment", "from_file", "from_machine", "merge_layers"]

_PREFIXES = ("WANDB_", "TRACKER_")  # the later one wins (ENV)
_SPECIAL = {  # ENV-2: names that are not the setting's
    "DIR": "root_dir",
    "NAME": "run_name",
    "NOTES": "run_notes",
    "TAGS": "run_tags",
    "JOB_TYPE": "run_job_type",
    "RUN_GROUP": "run_group",
    "USER_EMAIL": "email",
    "HTTP_TIMEOUT": "x_graphql_timeout_seconds",
    "FILE_PUSHER_TIMEOUT": "x_file_transfer_timeout_seconds",
    "FLUSH_MIN_S": "x_flush_min_s",
    "FLUSH_MAX_S": "x_flush_max_s",
    "FLUSH_BYTES": "x_flush_bytes",
    "SPOOL_BYTES_MAX": "x_spool_bytes_max",
    "FINISH_TIMEOUT_S": "x_finish_timeout_s",
    "KILL_FLUSH_S": "x_kill_flush_s",
    "STOP_CHECK_S": "x_stop_check_s",
    "SHIPPER": "x_shipper",
}
_ELSEWHERE = frozenset({"CONFIG_DIR", "CACHE_DIR", "DATA_DIR", "ARTIFACT_DIR"})  # read where they are needed
_LISTS = frozenset(  # comma separated
    ("run_tags", "ignore_globs", "config_paths", "x_stats_disk_paths", "x_stats_gpu_device_ids")
)


def merge_layers(session: Mapping[str, Any], given: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a new run by name, not yet validated.

    `session`: what setup() and login() left; `given`: init(settings=...); `arguments`: init's own, by setting name.

    Raises:
        UsageError: the environment holds an empty run id, or a settings file is no INI file.
    """
    environment = from_environment(os.environ)
    layers: list[Mapping[str, Any]] = [from_file(config_dir() / "settings"), environment, session, given, arguments]
    root_dir = Path(_last(layers, "root_dir") or "").expanduser()
    layers.insert(1, from_file(root_dir / WORKING_DIR_NAME / "settings"))
    merged = {name: value for layer in layers for name, value in layer.items() if value is not None}
    return from_machine(merged) | merged


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings in TRACKER_* and WANDB_* variables; unknown names are ignored, an empty value counts as not set.

    WANDB_BASE_URL is read by base_url.py, because it usually names a server and not a root.

    Raises:
        UsageError: RUN_ID or SWEEP_ID is set and empty (ENV-3, INIT-18).
    """
    found: dict[str, Any] = {}
    for prefix in _PREFIXES:
        for variable, text in environ.items():
            if not variable.startswith(prefix) or variable == "WANDB_BASE_URL":
                continue
            name = variable.removeprefix(prefix)
            field = _SPECIAL.get(name) or _field_of(name)
            if name in _ELSEWHERE or not _is_setting(field):
                continue
            if field in ("run_id", "sweep_id") and not text:
                raise UsageError(f"{variable} is set but empty. Unset it, or give it an id.")
            if text:
                found[field] = _value_of(field, text)
    return found


def from_file(path: Path) -> dict[str, Any]:
    """The section `[default]` of an INI file (INIT-4); a missing file gives nothing.

    Raises:
        UsageError: the file is no INI file.
    """
    if not os.path.isfile(path):  # a home that can not be read counts as one without settings
        return {}
    import configparser

    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError) as exc:
        raise UsageError(f"The settings file {path} can not be read: {exc}") from exc
    if not parser.has_section("default"):
        return {}
    entries = {key: value for key, value in parser.items("default") if value}
    return {key: value.split(",") if key in _LISTS else value for key, value in entries.items()}


def from_machine(known: Mapping[str, Any]) -> dict[str, Any]:
    """Host and user, where nothing else names them."""
    found: dict[str, Any] = {}
    if "host" not in known:
        found["host"] = os.uname().nodename
    if "username" not in known:
        found["username"] = os.environ.get("LOGNAME") or os.environ.get("USER") or _user_name()
    return found


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container whose user id has no name
        return str(os.getuid())


def _value_of(field: str, text: str) -> Any:
    """What the text of a variable means where that is beyond doubt; else the text, for `Settings` to read."""
    if field in _LISTS:
        return [part.strip() for part in text.split(",")]
    return text.lower() == "true" if is_flag_name(field) and text.lower() in ("true", "false") else text


def _field_of(name: str) -> str:
    lower = name.lower()
    return f"x{lower}" if lower.startswith("_") else lower


def _is_setting(field: str) -> bool:
    if is_plain_name(field):
        return True
    from tracker.sdk.settings import Settings

    return field in Settings.model_fields


def _last(layers: Iterable[Mapping[str, Any]], name: str) -> Any:
    value = None
    for layer in layers:
        value = layer.get(name) if layer.get(name) is not None else value
    return value
