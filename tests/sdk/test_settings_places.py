"""Settings that follow from others: SET-1..4 defaults, SET-2 places, INIT-2 what the machine says."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import tracker

DEFAULTS: dict[str, dict[str, Any]] = {
    "SET-1": {
        **dict.fromkeys(["entity", "project", "run_id", "run_name", "run_notes", "run_tags", "run_group"]),
        **dict.fromkeys(["run_job_type", "sweep_id", "resume", "resume_from", "fork_from", "anonymous", "strict"]),
        **dict.fromkeys(["reinit", "resumed", "allow_val_change", "force"], False),
        "mode": "online",
    },
    "SET-2": {
        **dict.fromkeys(["code_dir", "program", "program_abspath", "program_relpath", "notebook_name"]),
        **dict.fromkeys(["host", "docker", "email", "username"]),
        "symlink": True,
        "ignore_globs": (),
    },
    "SET-3": {
        "init_timeout": 90.0, "summary_timeout": 60, "heartbeat_seconds": 30, "console": "auto",
        **dict.fromkeys(["show_errors", "show_warnings", "show_info", "disable_job_creation"], True),
        **dict.fromkeys(["console_multipart", "quiet", "silent", "disable_code", "disable_git"], False),
        "label_disable": False,
        **dict.fromkeys(["login_timeout", "show_colors", "show_emoji", "save_code", "sync_tensorboard"]),
        **dict.fromkeys(["git_remote_url", "git_commit", "git_root", "config_paths", "launch_config_path"]),
        **dict.fromkeys(["job_name", "job_source", "organization", "start_method"]),
        "git_remote": "origin", "table_raise_on_max_row_limit_exceeded": False, "allow_offline_artifacts": True,
        "launch": False,
    },
    "SET-4": {
        **dict.fromkeys(["x_disable_meta", "x_disable_stats", "x_disable_machine_info", "x_disable_viewer"], False),
        "x_disable_setproctitle": False, "x_save_requirements": True, "x_primary": True, "x_label": None,
        "x_update_finish_state": True, "x_stats_sampling_interval": 15.0, "x_stats_disk_paths": ("/",),
        **dict.fromkeys(["x_stats_gpu_device_ids", "x_stats_open_metrics_endpoints", "x_stats_open_metrics_filters"]),
        **dict.fromkeys(["x_graphql_retry_max", "x_file_stream_timeout_seconds", "x_file_transfer_retry_max"]),
        "x_server_side_derived_summary": False,
    },
}


@pytest.mark.parametrize("rule", DEFAULTS)
def test_fields_have_their_defaults(rule: str) -> None:
    settings = tracker.Settings()
    assert {name: getattr(settings, name) for name in DEFAULTS[rule]} == DEFAULTS[rule]
    assert settings.x_stats_pid == os.getpid()
    assert settings.root_dir == os.getcwd()


@pytest.mark.parametrize("name", ["sync_dir", "run_url", "is_local", "timespec", "wandb_dir"])
def test_what_follows_can_not_be_set(name: str) -> None:
    """SET-2, SET-5"""
    with pytest.raises((ValueError, AttributeError)):
        setattr(tracker.Settings(), name, "x")
    with pytest.raises(ValueError, match=name):
        tracker.Settings(**{name: "x"})


def test_places_before_a_run(tmp_path: Path) -> None:
    """SET-2"""
    settings = tracker.Settings(run_id="r", mode="offline")
    assert settings.wandb_dir == str(tmp_path / "tracker-runs")
    assert re.fullmatch(rf"{tmp_path}/tracker-runs/offline-run-\d{{8}}_\d{{6}}-r", settings.sync_dir)
    assert (settings.run_url, settings.project_url, settings.sweep_url, settings.colab_url) == ("", "", "", None)
    assert settings.settings_workspace == str(tmp_path / "tracker-runs" / "settings")
    assert (settings._offline, settings._noop, settings._jupyter) == (True, False, False)
    online = tracker.Settings(run_id="r", entity="e", project="p", base_url="s3://bucket")
    assert online.project_url == "s3://bucket/e/p"
    assert re.fullmatch(r"s3://bucket/e/p/runs/\w/r", online.run_url)


def test_places_of_a_run(start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SET-2, NAME-7: the settings of a run are what holds for it."""
    script = tmp_path / "train.py"
    script.write_text("")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    run, writer = start()
    settings = run.settings
    assert settings.sync_dir == str(writer.spool_dir)
    assert settings.files_dir == run.dir == str(writer.files_dir)
    assert settings.tmp_dir == str(writer.spool_dir / "tmp")
    assert Path(settings.log_user).parent == Path(settings.log_internal).parent == Path(settings.log_dir)
    assert settings.run_url == run.url
    assert settings.project_url == run.get_project_url()
    assert settings.program == settings.program_abspath == str(script)
    assert settings.program_relpath == "train.py"
    assert settings.x_executable == sys.executable
    assert settings.timespec in str(writer.spool_dir)
    assert (settings.run_id, settings.project, settings.entity, settings.run_mode) == (run.id, "p", "main", "run")
