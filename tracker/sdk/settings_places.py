"""Places that settings lead to, under the reference's names (SET-2). Nothing here touches a disk or a store."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.sdk.git import find_git_root
from tracker.sdk.options import RunOptions

if TYPE_CHECKING:
    from tracker.sdk.settings import Settings

__all__ = ["address_of", "inferred_settings", "sync_dir_of", "timespec_of"]


def timespec_of(settings: Settings) -> str:
    """When the run began, `YYYYMMDD_HHMMSS` of local time; without a run, now."""
    return time.strftime("%Y%m%d_%H%M%S", time.localtime(settings.x_start_time))


def sync_dir_of(settings: Settings) -> Path:
    """The directory that the run would have, by the reference's rule, where it has none yet."""
    return settings.working_dir / f"{settings.run_mode}-{timespec_of(settings)}-{settings.run_id or 'none'}"


def address_of(settings: Settings, below: str) -> str:
    """The place `below` in the root; empty offline, and where entity, project or root are not known."""
    root = settings.base_url
    if settings.mode in ("offline", "dryrun", "disabled") or not (root and settings.entity and settings.project):
        return ""
    base = root if "://" in root else Path(root).absolute().as_uri()
    return f"{base.rstrip('/')}/{below.rstrip('/')}"


def inferred_settings(options: RunOptions) -> dict[str, Any]:
    """What the machine says about the program, by setting name (INIT-2)."""
    found: dict[str, Any] = {"x_executable": sys.executable}
    program = Path(options.program or "")
    if program.is_file():
        path = program.resolve()
        root = find_git_root(path.parent)
        found["program_abspath"] = str(path)
        found["program_relpath"] = os.path.relpath(path, root or Path(options.root_dir or "."))
    return found
