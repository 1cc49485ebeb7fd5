"""The user's own directories on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from tracker.storage.credentials import config_dir

__all__ = ["config_dir", "data_dir"]


def data_dir() -> Path:
    """Where runs go when nobody says where: TRACKER_DATA_DIR, else the platform's place."""
    named = os.environ.get("TRACKER_DATA_DIR")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("tracker", appauthor=False))
