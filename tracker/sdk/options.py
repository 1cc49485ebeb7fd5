"""What this release reads of the settings, as a frozen dataclass: no pydantic on the way of a plain `init`.

Values that are right beyond doubt are taken as they are; everything else goes through `Settings`,
which converts or refuses it. Both ways give equal options (tested).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

__all__ = [
    "CONSOLES",
    "MODES",
    "WORKING_DIR_NAME",
    "RunOptions",
    "is_flag_name",
    "is_plain",
    "is_plain_name",
    "options_from",
    "validated",
]

WORKING_DIR_NAME: Final = "tracker-runs"
CONSOLES: Final = ("auto", "off", "wrap", "redirect", "wrap_raw", "wrap_emu")
MODES: Final = ("online", "offline", "dryrun", "disabled", "run", "shared")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of one run, under the names and with the defaults that `Settings` gives them. Seconds and bytes."""

    entity: str | None = None
    project: str | None = None
    run_id: str | None = None
    run_name: str | None = None
    run_notes: str | None = None
    run_tags: tuple[str, ...] | None = None
    run_group: str | None = None
    run_job_type: str | None = None
    sweep_id: str | None = None
    mode: str = "online"
    resume: str | None = None
    resume_from: Any = None
    fork_from: Any = None
    init_timeout: float = 90.0
    allow_val_change: bool | None = None
    base_url: str | None = None
    root_dir: str = ""  # the current directory
    program: str | None = None
    host: str | None = None
    username: str | None = None
    git_commit: str | None = None
    disable_git: bool = False
    quiet: bool = False
    silent: bool = False
    show_errors: bool = True
    show_warnings: bool = True
    show_info: bool = True
    save_code: bool | None = None
    sync_tensorboard: bool | None = None
    config_paths: tuple[str, ...] | None = None
    ignore_globs: tuple[str, ...] = ()
    symlink: bool = sys.platform != "win32"
    heartbeat_seconds: int = 30
    compact: bool = True
    x_primary: bool = True
    x_label: str | None = None
    x_update_finish_state: bool = True
    x_shipper: Literal["thread", "process"] = "thread"
    x_flush_min_s: float = 2.0
    x_flush_max_s: float = 10.0
    x_flush_bytes: int = 1 << 20
    x_spool_bytes_max: int = 10 << 30
    x_finish_timeout_s: float = 15.0
    x_kill_flush_s: float = 5.0
    x_stop_check_s: float = 15.0
    console: str = "auto"
    console_multipart: bool = False
    show_colors: bool | None = None
    show_emoji: bool | None = None
    notebook_name: str | None = None
    code_dir: str | None = None
    disable_code: bool = False
    docker: str | None = None
    email: str | None = None
    git_remote: str = "origin"
    git_remote_url: str | None = None
    x_disable_meta: bool = False
    x_disable_stats: bool = False
    x_disable_machine_info: bool = False
    x_save_requirements: bool = True
    x_executable: str | None = None
    x_stats_pid: int = field(default_factory=os.getpid)
    x_stats_sampling_interval: float = 15.0
    x_stats_disk_paths: tuple[str, ...] | None = ("/",)
    x_stats_gpu_device_ids: tuple[int, ...] | None = None
    x_stats_open_metrics_endpoints: Mapping[str, str] | None = None
    x_stats_open_metrics_filters: Mapping[str, Mapping[str, str]] | tuple[str, ...] | None = None
    x_stats_open_metrics_http_headers: Mapping[str, str] | None = field(default=None, repr=False)
    x_stats_neuron_monitor_config_path: str | None = None
    x_stats_dcgm_exporter: str | None = None
    sweep_param_path: str | None = None
    launch: bool = False
    launch_config_path: str | None = None
    sagemaker_disable: bool = False
    alert_command: str | None = field(default=None, repr=False)
    alert_webhook: str | None = field(default=None, repr=False)
    alert_slack: str | None = field(default=None, repr=False)
    given: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # also what is not read here

    def as_settings(self) -> dict[str, Any]:
        """By setting name: what was given, and what was filled in since."""
        filled = {name: getattr(self, name) for name in _NAMES}
        return dict(self.given) | {name: value for name, value in filled.items() if value is not None}

    @property
    def working_dir(self) -> Path:
        """Where run directories are made: `<root_dir>/tracker-runs`."""
        return Path(self.root_dir or ".").expanduser().absolute() / WORKING_DIR_NAME

    @property
    def is_offline(self) -> bool:
        return self.mode in ("offline", "dryrun")

    @property
    def is_disabled(self) -> bool:
        return self.mode == "disabled"

    @property
    def is_shared(self) -> bool:
        return self.mode == "shared"


def _current_dir() -> str:
    try:
        return os.getcwd()
    except OSError:  # somebody removed it
        import tempfile

        return tempfile.gettempdir()


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_web(value: Any) -> bool:
    return type(value) is str and value.startswith(("http://", "https://"))


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_texts(value: Any) -> bool:
    return type(value) in (tuple, list) and all(type(item) is str for item in value)


_PLAIN: Final[dict[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("entity", "project", "run_id", "run_name", "run_notes", "run_group", "run_job_type"), _is_text),
    **dict.fromkeys(
        ("sweep_id", "base_url", "root_dir", "program", "host", "username", "git_commit", "x_label"), _is_text
    ),
    **dict.fromkeys(("api_key",), _is_text),  # known, and not used
    **dict.fromkeys(("alert_webhook", "alert_slack"), _is_web),
    **dict.fromkeys(("alert_command", "sweep_param_path", "launch_config_path"), _is_text),
    **dict.fromkeys(("allow_val_change", "disable_git", "quiet", "silent", "save_code", "sync_tensorboard"), _is_flag),
    **dict.fromkeys(("show_errors", "show_warnings", "show_info", "x_primary", "x_update_finish_state"), _is_flag),
    **dict.fromkeys(("reinit", "force", "compact", "symlink", "launch", "sagemaker_disable"), _is_flag),
    **dict.fromkeys(("disable_code", "x_disable_meta", "x_disable_stats", "x_disable_machine_info"), _is_flag),
    "x_save_requirements": _is_flag,
    **dict.fromkeys(("console_multipart", "show_colors", "show_emoji"), _is_flag),
    "console": lambda value: type(value) is str and value in CONSOLES,
    "notebook_name": _is_text,
    **dict.fromkeys(("run_tags", "config_paths", "ignore_globs"), _is_texts),
    "mode": lambda value: type(value) is str and value in MODES,
    "x_shipper": lambda value: type(value) is str and value in ("thread", "process"),
}


def is_plain_name(name: str) -> bool:
    """Whether a setting of this name can be taken without `Settings`."""
    return name in _PLAIN


def is_flag_name(name: str) -> bool:
    """Whether a setting of this name is true or false and can be taken without `Settings`."""
    return _PLAIN.get(name) is _is_flag


def is_plain(given: Mapping[str, Any]) -> bool:
    """Whether every name is known and every value right beyond doubt, so that validating would change nothing."""
    return all(name in _PLAIN and _PLAIN[name](value) for name, value in given.items())


def validated(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings, of the right types.

    Raises:
        pydantic.ValidationError (a ValueError): an unknown name or a value of a wrong type.
    """
    if is_plain(given):
        return dict(given)
    from tracker.sdk.settings import Settings

    return Settings(**given).given()


def options_from(merged: Mapping[str, Any]) -> RunOptions:
    """Options from settings by name.

    Raises:
        pydantic.ValidationError (a ValueError): an unknown name or a value of a wrong type.
    """
    values = validated({name: value for name, value in merged.items() if value is not None})
    for name in ("run_tags", "config_paths", "ignore_globs"):
        if name in values:
            values[name] = tuple(values[name])
    values.setdefault("root_dir", _current_dir())
    return RunOptions(**{name: values[name] for name in _NAMES if values.get(name) is not None}, given=values)


_NAMES: Final = tuple(entry.name for entry in fields(RunOptions) if entry.name != "given")
