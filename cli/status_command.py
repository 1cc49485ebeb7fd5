"""`tracker status`: which root, why that one, and what waits on this machine's disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tracker.cli.formats import plain
from tracker.cli.talk import say
from tracker.storage.errors import UsageError

__all__ = ["show_status"]


def show_status(directory: Path, format_name: str | None) -> None:
    """Print the root, where it was named, and the spools at or below `directory`. Makes no request to the store."""
    from tracker.storage.sync import find_spools

    if format_name not in (None, "table", "json"):
        raise UsageError(f'Unknown format "{format_name}". Known: table, json.')
    root, named_by = _root()
    spools = [
        {
            "state": info.state,
            "run": f"{info.entity}/{info.project}/{info.run_id}",
            "waiting_records": info.waiting_frames,
            "waiting_bytes": info.waiting_bytes,
            "store": info.store_url,
            "path": str(info.path),
        }
        for info in find_spools(directory)
    ]
    if format_name == "json":
        print(json.dumps(plain({"root": root, "named_by": named_by, "spools": spools}), indent=2))
        return
    print(f"root     {root}\nnamed by {named_by}")
    waiting = [spool for spool in spools if spool["state"] != "shipped"]
    if not waiting:
        print(f"waiting  nothing in {directory.absolute()}")
        return
    for spool in waiting:
        print(f"{spool['state']:8} {_spool_line(spool)}")
    if any(spool["state"] == "waiting" for spool in waiting):
        say(f"To ship what waits: tracker sync {directory}")


def _root() -> tuple[str, str]:
    from tracker.base_url import resolve_base_url
    from tracker.sdk.login import stored_base_url

    root = resolve_base_url()
    if os.environ.get("TRACKER_BASE_URL"):
        return root, "the environment variable TRACKER_BASE_URL"
    if root != resolve_base_url(environ={}):
        return root, "the environment variable WANDB_BASE_URL"
    if stored_base_url():
        return root, "tracker.login(host=...)"
    return root, "nobody: the user data directory of this platform"


def _spool_line(spool: dict[str, Any]) -> str:
    where = f"{spool['run']} -> {spool['store']}"
    if spool["state"] == "live":
        return f"{where} (its process ships by itself)"
    return f"{where}: {spool['waiting_records']:,} records, {spool['waiting_bytes']:,} bytes, in {spool['path']}"
