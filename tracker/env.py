"""Names of environment variables, and what they say: under the names that scripts know (ENV-2, ENV-8).

A constant is the variable of this project (`PROJECT` is `TRACKER_PROJECT`); the functions read the reference's too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Final

__all__ = [
    "ANONYMOUS",
    "API_KEY",
    "ARTIFACT_DIR",
    "BASE_URL",
    "CACHE_DIR",
    "CONFIG_DIR",
    "CONFIG_PATHS",
    "DATA_DIR",
    "DIR",
    "DISABLE_CODE",
    "DISABLE_GIT",
    "DOCKER",
    "ENTITY",
    "HOST",
    "IGNORE",
    "INIT_TIMEOUT",
    "JOB_TYPE",
    "MODE",
    "NAME",
    "NOTEBOOK_NAME",
    "NOTES",
    "PROGRAM",
    "PROJECT",
    "QUIET",
    "RESUME",
    "RUN_GROUP",
    "RUN_ID",
    "SAVE_CODE",
    "SILENT",
    "SWEEP_ID",
    "SWEEP_PARAM_PATH",
    "TAGS",
    "USERNAME",
    "USER_EMAIL",
    "disable_git",
    "get_artifact_dir",
    "get_base_url",
    "get_cache_dir",
    "get_config_paths",
    "get_data_dir",
    "get_dir",
    "get_entity",
    "get_ignore",
    "get_project",
    "get_run",
    "get_tags",
    "get_user_email",
    "get_username",
    "is_offline",
    "set_entity",
    "set_project",
    "should_save_code",
]

_PREFIXES: Final = ("TRACKER_", "WANDB_")  # the first that is set and not empty counts

ANONYMOUS: Final = "TRACKER_ANONYMOUS"
API_KEY: Final = "TRACKER_API_KEY"
ARTIFACT_DIR: Final = "TRACKER_ARTIFACT_DIR"
BASE_URL: Final = "TRACKER_BASE_URL"
CACHE_DIR: Final = "TRACKER_CACHE_DIR"
CONFIG_DIR: Final = "TRACKER_CONFIG_DIR"
CONFIG_PATHS: Final = "TRACKER_CONFIG_PATHS"
DATA_DIR: Final = "TRACKER_DATA_DIR"
DIR: Final = "TRACKER_DIR"
DISABLE_CODE: Final = "TRACKER_DISABLE_CODE"
DISABLE_GIT: Final = "TRACKER_DISABLE_GIT"
DOCKER: Final = "TRACKER_DOCKER"
ENTITY: Final = "TRACKER_ENTITY"
HOST: Final = "TRACKER_HOST"
IGNORE: Final = "TRACKER_IGNORE_GLOBS"
INIT_TIMEOUT: Final = "TRACKER_INIT_TIMEOUT"
JOB_TYPE: Final = "TRACKER_JOB_TYPE"
MODE: Final = "TRACKER_MODE"
NAME: Final = "TRACKER_NAME"
NOTEBOOK_NAME: Final = "TRACKER_NOTEBOOK_NAME"
NOTES: Final = "TRACKER_NOTES"
PROGRAM: Final = "TRACKER_PROGRAM"
PROJECT: Final = "TRACKER_PROJECT"
QUIET: Final = "TRACKER_QUIET"
RESUME: Final = "TRACKER_RESUME"
RUN_GROUP: Final = "TRACKER_RUN_GROUP"
RUN_ID: Final = "TRACKER_RUN_ID"
SAVE_CODE: Final = "TRACKER_SAVE_CODE"
SILENT: Final = "TRACKER_SILENT"
SWEEP_ID: Final = "TRACKER_SWEEP_ID"
SWEEP_PARAM_PATH: Final = "TRACKER_SWEEP_PARAM_PATH"
TAGS: Final = "TRACKER_TAGS"
USERNAME: Final = "TRACKER_USERNAME"
USER_EMAIL: Final = "TRACKER_USER_EMAIL"

Env = Mapping[str, str]


def get_project(default: str | None = None, env: Env | None = None) -> str | None:
    return _read(PROJECT, default, env)


def get_entity(default: str | None = None, env: Env | None = None) -> str | None:
    return _read(ENTITY, default, env)


def get_run(default: str | None = None, env: Env | None = None) -> str | None:
    """The id of the run."""
    return _read(RUN_ID, default, env)


def get_username(default: str | None = None, env: Env | None = None) -> str | None:
    return _read(USERNAME, default, env)


def get_user_email(default: str | None = None, env: Env | None = None) -> str | None:
    return _read(USER_EMAIL, default, env)


def get_dir(default: str | None = None, env: Env | None = None) -> str | None:
    """Where run directories are made in."""
    return _read(DIR, default, env)


def get_tags(default: str = "", env: Env | None = None) -> list[str]:
    return _split(_read(TAGS, default, env))


def get_ignore(default: list[str] | None = None, env: Env | None = None) -> list[str] | None:
    """Globs of files that are not uploaded."""
    text = _read(IGNORE, None, env)
    return default if text is None else _split(text)


def get_config_paths(default: str | None = None, env: Env | None = None) -> str | None:
    """YAML files for the config, separated by commas."""
    return _read(CONFIG_PATHS, default, env)


def get_base_url(default: str | None = None, env: Env | None = None) -> str:
    """The root that data goes to and is read from.

    Raises:
        UsageError: what the variable names is no root.
    """
    from tracker.base_url import check_root, resolve_base_url

    if default is not None and _read(BASE_URL, None, env) is None:
        return check_root(default)
    return resolve_base_url(environ=env)


def get_cache_dir(env: Env | None = None) -> str:
    """Where what was fetched is kept: the platform's cache directory for tracker, unless named."""
    from tracker.storage.cache import default_cache_dir

    return str(default_cache_dir()) if env is None else env.get(CACHE_DIR) or str(default_cache_dir())


def get_data_dir(env: Env | None = None) -> str:
    """The platform's data directory of this user for tracker, unless named."""
    from tracker.sdk.places import data_dir

    return str(data_dir()) if env is None else env.get(DATA_DIR) or str(data_dir())


def get_artifact_dir(env: Env | None = None) -> str:
    """Where artifacts are downloaded to: `artifacts` in the current directory, unless named. An absolute path."""
    return os.path.abspath(os.path.expanduser(_read(ARTIFACT_DIR, None, env) or "artifacts"))


def is_offline(env: Env | None = None) -> bool:
    return _read("TRACKER_MODE", None, env) in ("offline", "dryrun")


def disable_git(env: Env | None = None) -> bool:
    return _flag(DISABLE_GIT, env)


def should_save_code(env: Env | None = None) -> bool:
    """Whether saving the program was asked for, and not switched off."""
    return _flag(SAVE_CODE, env) and not _flag(DISABLE_CODE, env)


def set_project(value: str, env: MutableMapping[str, str] | None = None) -> None:
    """Runs that begin from now on, here and in child processes, belong to this project."""
    (os.environ if env is None else env)[PROJECT] = value or "uncategorized"


def set_entity(value: str, env: MutableMapping[str, str] | None = None) -> None:
    """As `set_project`."""
    (os.environ if env is None else env)[ENTITY] = value


def _read(variable: str, default: str | None, env: Env | None) -> str | None:
    environ = os.environ if env is None else env
    name = variable.removeprefix("TRACKER_")
    return next((found for prefix in _PREFIXES if (found := environ.get(prefix + name))), default)


def _flag(variable: str, env: Env | None) -> bool:
    return (_read(variable, None, env) or "").lower() in ("1", "true", "yes", "on", "y", "t")


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]
