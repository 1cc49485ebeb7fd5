"""Every special name of the environment: ENV-1, ENV-2."""

from __future__ import annotations

from typing import Any

import pytest

from tracker.sdk.options import options_from
from tracker.sdk.settings_layers import from_environment

SETTINGS: dict[str, tuple[str, str, Any]] = {  # variable: its text, the setting, the setting's value
    "DIR": ("there", "root_dir", "there"),
    "NAME": ("n", "run_name", "n"),
    "NOTES": ("n", "run_notes", "n"),
    "TAGS": ("a, b", "run_tags", ("a", "b")),
    "JOB_TYPE": ("j", "run_job_type", "j"),
    "RUN_GROUP": ("g", "run_group", "g"),
    "RUN_ID": ("i", "run_id", "i"),
    "ENTITY": ("e", "entity", "e"),
    "PROJECT": ("p", "project", "p"),
    "MODE": ("offline", "mode", "offline"),
    "RESUME": ("allow", "resume", "allow"),
    "USER_EMAIL": ("a@b", "email", "a@b"),
    "USERNAME": ("u", "username", "u"),
    "HTTP_TIMEOUT": ("7", "x_graphql_timeout_seconds", 7.0),
    "FILE_PUSHER_TIMEOUT": ("8", "x_file_transfer_timeout_seconds", 8.0),
    "INIT_TIMEOUT": ("9", "init_timeout", 9.0),
    "SILENT": ("true", "silent", True),
    "QUIET": ("1", "quiet", True),
    "CONSOLE": ("off", "console", "off"),
    "DISABLE_CODE": ("true", "disable_code", True),
    "DISABLE_GIT": ("true", "disable_git", True),
    "SAVE_CODE": ("false", "save_code", False),
    "GIT_REMOTE": ("up", "git_remote", "up"),
    "PROGRAM": ("x.py", "program", "x.py"),
    "NOTEBOOK_NAME": ("n.ipynb", "notebook_name", "n.ipynb"),
    "HOST": ("h", "host", "h"),
    "DOCKER": ("image", "docker", "image"),
    "API_KEY": ("k" * 40, "api_key", "k" * 40),
    "ANONYMOUS": ("allow", "anonymous", "allow"),
    "CONFIG_PATHS": ("a.yaml,b.yaml", "config_paths", ("a.yaml", "b.yaml")),
    "IGNORE_GLOBS": ("*.pt, *.tmp", "ignore_globs", ("*.pt", "*.tmp")),
    "SWEEP_ID": ("s", "sweep_id", "s"),
    "SWEEP_PARAM_PATH": ("s.yaml", "sweep_param_path", "s.yaml"),
    "LAUNCH": ("true", "launch", True),
    "LAUNCH_CONFIG_PATH": ("l.json", "launch_config_path", "l.json"),
    "JOB_NAME": ("j", "job_name", "j"),
    "X_LABEL": ("l", "x_label", "l"),
    "_LABEL": ("l", "x_label", "l"),
    "X_STATS_SAMPLING_INTERVAL": ("2.5", "x_stats_sampling_interval", 2.5),
    "STRICT": ("true", "strict", True),
}

ELSEWHERE = """
    BASE_URL CACHE_DIR DATA_DIR ARTIFACT_DIR CONFIG_DIR CONFIG ARTIFACTS SHOW_RUN LAUNCH_QUEUE_NAME LAUNCH_QUEUE_ENTITY
    LAUNCH_TRACE_ID ERROR_REPORTING AGENT_REPORT_INTERVAL AGENT_KILL_DELAY AGENT_DISABLE_FLAPPING
    AGENT_MAX_INITIAL_FAILURES ARTIFACT_FETCH_FILE_URL_BATCH_SIZE DISABLED NO_SUCH_SETTING
""".split()  # noqa: SIM905


@pytest.mark.parametrize("prefix", ["WANDB_", "TRACKER_"])
@pytest.mark.parametrize("variable", SETTINGS)
def test_variables_set_their_setting(prefix: str, variable: str) -> None:
    """ENV-1, ENV-2"""
    text, name, value = SETTINGS[variable]
    found = from_environment({f"{prefix}{variable}": text})
    assert list(found) == [name]
    assert options_from(found).given[name] == value


def test_ours_win_over_the_references() -> None:
    """ENV-2"""
    both = {"TRACKER_PROJECT": "ours", "WANDB_PROJECT": "theirs"}
    assert from_environment(both) == from_environment(dict(reversed(both.items()))) == {"project": "ours"}


@pytest.mark.parametrize("variable", ELSEWHERE)
def test_variables_that_are_no_setting_are_no_error(variable: str) -> None:
    """ENV-1, ENV-2, ENV-7: read where they are needed, or not at all."""
    assert from_environment({f"WANDB_{variable}": "1"}) == {}
