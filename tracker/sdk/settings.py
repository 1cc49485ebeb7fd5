"""`tracker.Settings`: every option of a run, validated. Layers are put together in settings_layers.py."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from tracker.errors import UsageError
from tracker.sdk.options import WORKING_DIR_NAME
from tracker.sdk.settings_places import address_of, sync_dir_of, timespec_of
from tracker.storage.names import RunRef, project_prefix, run_prefix

__all__ = ["RunMoment", "Settings", "parse_run_moment"]

_MOMENT = re.compile(r"(?P<run>[^?]+)\?_step=(?P<step>-?\d+(\.\d+)?)")


class RunMoment(BaseModel):
    """A step of a run, as `resume_from` and `fork_from` name it."""

    run: str
    step: float


def parse_run_moment(text: str) -> RunMoment:
    """`<run id>?_step=<number>` (INIT-10). Raises ValueError for anything else."""
    match = _MOMENT.fullmatch(text)
    if match is None or math.isinf(float(match["step"])):
        raise ValueError(f"{text!r:.200} is no point in a run. Write it as <run id>?_step=<number>.")
    return RunMoment(run=match["run"], step=float(match["step"]))


class Settings(BaseModel):
    """Options of a run. Unknown names are refused; a legacy leading underscore is read as `x_` (INIT-3).

    Times are seconds, sizes bytes. None means: not set, somebody else decides.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, arbitrary_types_allowed=False)

    # the run (SET-1)
    entity: str | None = None
    project: str | None = None
    run_id: str | None = None
    run_name: str | None = None
    run_notes: str | None = None
    run_tags: tuple[str, ...] | None = None
    run_group: str | None = None
    run_job_type: str | None = None
    sweep_id: str | None = None
    mode: Literal["online", "offline", "dryrun", "disabled", "run", "shared"] = "online"
    reinit: bool | Literal["default", "finish_previous", "return_previous"] = False
    resume: Literal["allow", "must", "never", "auto"] | None = None
    resume_from: RunMoment | None = None
    fork_from: RunMoment | None = None
    resumed: bool = False
    allow_val_change: bool = False
    force: bool = False
    anonymous: Literal["allow", "must", "never"] | None = None
    strict: bool | None = None

    # places (SET-2)
    base_url: str | None = None  # the root: a directory or any fsspec URL
    root_dir: str = Field(default_factory=os.getcwd)
    settings_system: str | None = None
    symlink: bool = sys.platform != "win32"
    ignore_globs: tuple[str, ...] = ()
    code_dir: str | None = None
    program: str | None = None
    program_abspath: str | None = None
    program_relpath: str | None = None
    notebook_name: str | None = None
    host: str | None = None
    docker: str | None = None
    email: str | None = None
    username: str | None = None

    # behaviour (SET-3)
    init_timeout: float = 90.0
    summary_timeout: int = 60
    summary_warnings: int = 5
    heartbeat_seconds: int = Field(default=30, gt=0)
    login_timeout: float | None = None
    console: Literal["auto", "off", "wrap", "redirect", "wrap_raw", "wrap_emu"] = "auto"
    console_multipart: bool = False
    quiet: bool = False
    silent: bool = False
    show_errors: bool = True
    show_warnings: bool = True
    show_info: bool = True
    show_colors: bool | None = None
    show_emoji: bool | None = None
    save_code: bool | None = None
    disable_code: bool = False
    disable_git: bool = False
    disable_job_creation: bool = True
    git_remote: str = "origin"
    git_remote_url: str | None = None
    git_commit: str | None = None
    git_root: str | None = None
    sync_tensorboard: bool | None = None
    table_raise_on_max_row_limit_exceeded: bool = False
    allow_offline_artifacts: bool = True
    config_paths: tuple[str, ...] | None = None
    label_disable: bool = False
    launch: bool = False
    launch_config_path: str | None = None
    job_name: str | None = None
    job_source: Literal["repo", "artifact", "image"] | None = None
    organization: str | None = None
    start_method: str | None = None
    relogin: bool | None = None
    sweep_param_path: str | None = None
    sagemaker_disable: bool = False
    api_key: str | None = Field(default=None, repr=False)
    azure_account_url_to_access_key: dict[str, str] | None = Field(default=None, repr=False)
    credentials_file: str | None = None
    identity_token_file: str | None = None
    http_proxy: str | None = None
    https_proxy: str | None = None
    insecure_disable_ssl: bool = False

    # accepted for the sake of existing scripts and environments (SET-4)
    x_disable_meta: bool = False
    x_disable_stats: bool = False
    x_disable_machine_info: bool = False
    x_disable_viewer: bool = False
    x_disable_setproctitle: bool = False
    x_disable_service: bool = False
    x_save_requirements: bool = True
    x_primary: bool = True
    x_label: str | None = None
    x_update_finish_state: bool = True
    x_stats_pid: int = Field(default_factory=os.getpid)
    x_stats_sampling_interval: float = Field(default=15.0, ge=0.1)
    x_stats_disk_paths: tuple[str, ...] | None = ("/",)
    x_stats_gpu_device_ids: tuple[int, ...] | None = None
    x_stats_buffer_size: int = 0
    x_stats_open_metrics_endpoints: dict[str, str] | None = None
    x_stats_open_metrics_filters: dict[str, dict[str, str]] | tuple[str, ...] | None = None
    x_stats_open_metrics_http_headers: dict[str, str] | None = Field(default=None, repr=False)
    x_stats_neuron_monitor_config_path: str | None = None
    x_stats_dcgm_exporter: str | None = None
    x_cli_only_mode: bool = False
    x_executable: str | None = None
    x_extra_http_headers: dict[str, str] | None = Field(default=None, repr=False)
    x_file_stream_max_bytes: int | None = None
    x_file_stream_max_line_bytes: int | None = None
    x_file_stream_transmit_interval: float | None = None
    x_file_stream_retry_max: int | None = None
    x_file_stream_retry_wait_min_seconds: float | None = None
    x_file_stream_retry_wait_max_seconds: float | None = None
    x_file_stream_timeout_seconds: float | None = None
    x_file_transfer_retry_max: int | None = None
    x_file_transfer_retry_wait_min_seconds: float | None = None
    x_file_transfer_retry_wait_max_seconds: float | None = None
    x_file_transfer_timeout_seconds: float | None = None
    x_files_dir: str | None = None
    x_flow_control_custom: bool | None = None
    x_flow_control_disabled: bool | None = None
    x_graphql_retry_max: int | None = None
    x_graphql_retry_wait_min_seconds: float | None = None
    x_graphql_retry_wait_max_seconds: float | None = None
    x_graphql_timeout_seconds: float | None = None
    x_internal_check_process: float = 8.0
    x_jupyter_name: str | None = None
    x_jupyter_path: str | None = None
    x_jupyter_root: str | None = None
    x_live_policy_rate_limit: int | None = None
    x_live_policy_wait_time: int | None = None
    x_log_level: int = 20
    x_network_buffer: int | None = None
    x_proxies: dict[str, str] | None = Field(default=None, repr=False)
    x_require_legacy_service: bool = False
    x_runqueue_item_id: str | None = None
    x_server_side_derived_summary: bool = False
    x_service_transport: str | None = None
    x_service_wait: float = 30.0
    x_start_time: float | None = None
    x_sync: bool = False

    # this project's own
    alert_command: str | None = Field(default=None, repr=False)  # gets each alert as JSON on standard input
    alert_webhook: str | None = Field(default=None, repr=False, pattern=r"^https?://")
    alert_slack: str | None = Field(default=None, repr=False, pattern=r"^https?://")  # takes Slack's JSON
    compact: bool = True  # a run that ends starts, now and then, a process that packs what may be packed
    x_shipper: Literal["thread", "process"] = "thread"
    x_flush_min_s: float = Field(default=2.0, gt=0)
    x_flush_max_s: float = Field(default=10.0, gt=0)  # at most this much is lost with the machine's disk
    x_flush_bytes: int = Field(default=1 << 20, gt=0)
    x_spool_bytes_max: int = Field(default=10 << 30, gt=0)
    x_finish_timeout_s: float = Field(default=15.0, ge=0)  # without progress; then what waits stays in the spool
    x_kill_flush_s: float = Field(default=5.0, ge=0)  # for the last flush after SIGTERM
    x_stop_check_s: float = Field(default=15.0, ge=0)  # how often to look for a request to stop; 0: never

    _frozen: bool = PrivateAttr(default=False)
    _run_dir: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _rename_legacy(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {_current_name(key, cls.model_fields): value for key, value in data.items()}

    @field_validator("run_tags", "ignore_globs", "config_paths", "x_stats_disk_paths", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        """INIT-8: a bare string is one element, any other iterable is taken whole."""
        if value is None or isinstance(value, str):
            return value if value is None else (value,)
        return tuple(value)

    @field_validator(
        "x_stats_open_metrics_endpoints",
        "x_stats_open_metrics_filters",
        "x_stats_open_metrics_http_headers",
        mode="before",
    )
    @classmethod
    def _json_text(cls, value: Any) -> Any:
        """A variable or settings file gives these as JSON."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as exc:
            raise ValueError(f"{value!r} is no JSON: {exc}") from exc

    @field_validator("root_dir", "base_url", "code_dir", "settings_system", mode="before")
    @classmethod
    def _path_text(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("resume", mode="before")
    @classmethod
    def _resume_word(cls, value: Any) -> Any:
        """INIT-9: True is auto, False is none."""
        return ("auto" if value else None) if isinstance(value, bool) else value

    @field_validator("resume_from", "fork_from", mode="before")
    @classmethod
    def _moment(cls, value: Any) -> Any:
        return parse_run_moment(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        given = [name for name in ("resume", "resume_from", "fork_from") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other. Give one of them.")
        if self.resume_from is not None and self.run_id not in (None, self.resume_from.run):
            raise ValueError(f"resume_from names the run {self.resume_from.run!r}, but id is {self.run_id!r}.")
        if self.fork_from is not None and self.run_id == self.fork_from.run:
            raise ValueError(f"fork_from names the run {self.run_id!r} itself. A fork needs another id.")
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("_frozen", "_run_dir") and self._frozen:
            raise UsageError(f"The settings of a run can not be changed: {name}. Pass them to init(settings=...).")
        super().__setattr__(_current_name(name, type(self).model_fields), value)

    def frozen_copy(self, run_dir: Path | None = None) -> Settings:
        """A copy whose attributes can not be set (NAME-11). `run_dir`: the directory of the run that they are of."""
        copy = self.model_copy()
        copy._run_dir = run_dir
        copy._frozen = True
        return copy

    def given(self) -> dict[str, Any]:
        """The fields that were set, not defaulted."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    # read-only, derived

    @property
    def working_dir(self) -> Path:
        """Where run directories are made: `<root_dir>/tracker-runs`."""
        return Path(self.root_dir).expanduser().absolute() / WORKING_DIR_NAME

    @property
    def wandb_dir(self) -> str:
        return str(self.working_dir)

    @property
    def settings_workspace(self) -> str:
        """The settings file of the working directory (INIT-4)."""
        return str(self.working_dir / "settings")

    @property
    def timespec(self) -> str:
        return timespec_of(self)

    @property
    def sync_dir(self) -> str:
        """The run's directory: of a run's settings the true one, else what it might be called."""
        return str(self._run_dir or sync_dir_of(self))

    @property
    def files_dir(self) -> str:
        """What `run.dir` is."""
        return self.x_files_dir or str(Path(self.sync_dir) / "files")

    @property
    def log_dir(self) -> str:
        return str(Path(self.sync_dir) / "logs")

    @property
    def log_user(self) -> str:
        return str(Path(self.log_dir) / "debug.log")

    @property
    def log_internal(self) -> str:
        return str(Path(self.log_dir) / "debug-internal.log")

    @property
    def tmp_dir(self) -> str:
        return str(Path(self.sync_dir) / "tmp")

    @property
    def run_url(self) -> str:
        """Where the run's data lies; empty offline and without a run."""
        if not self.run_id:
            return ""
        return address_of(self, run_prefix(RunRef(str(self.entity), str(self.project), self.run_id)))

    @property
    def project_url(self) -> str:
        return address_of(self, project_prefix(str(self.entity), str(self.project)))

    @property
    def sweep_url(self) -> str:
        """Empty: a sweep has no address of its own."""
        return ""

    @property
    def resume_fname(self) -> str:
        return str(self.working_dir / "resume.json")

    @property
    def run_mode(self) -> str:
        return "offline-run" if self._offline else "run"

    @property
    def is_local(self) -> bool:
        return True

    @property
    def colab_url(self) -> None:
        return None

    @property
    def _offline(self) -> bool:
        return self.mode in ("offline", "dryrun")

    @property
    def _noop(self) -> bool:
        return self.mode == "disabled"

    @property
    def _shared(self) -> bool:
        return self.mode == "shared"

    @property
    def _jupyter(self) -> bool:
        from tracker.sdk.notebook import in_notebook

        return in_notebook()

    @property
    def _notebook(self) -> bool:
        return self._jupyter


def _current_name(name: str, fields: Any) -> str:
    """`_disable_stats` was the name of `x_disable_stats`."""
    modern = f"x{name}"
    return modern if name.startswith("_") and name not in fields and modern in fields else name
