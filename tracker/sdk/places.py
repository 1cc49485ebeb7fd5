"""The user's own directories on this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["config_dir", "data_dir"]


def config_dir() -> Path:
    """Settings and login: TRACKER_CONFIG_DIR, WANDB_CONFIG_DIR, else the platform's place."""
    named = os.environ.get("TRACKER_CONFIG_DIR") or os.environ.get("WANDB_CONFIG_DIR")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("tracker", appauthor=False))


def data_dir() -> Path:
    """Where runs go when nobody says where: TRACKER_DATA_DIR, else the platform's place."""
    named = os.environ.get("TRACKER_DATA_DIR")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("tracker", appauthor=False))
