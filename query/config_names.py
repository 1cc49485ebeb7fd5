"""Which keys the configs of a project's runs have."""

from __future__ import annotations

from tracker.query.folded import folded
from tracker.query.snapshot import Snapshot
from tracker.storage.events import KIND_CONFIG, path_text, split_path

__all__ = ["config_names"]


def config_names(snapshot: Snapshot) -> frozenset[str]:
    """Top-level keys of the config of any run, and the dotted names of its leaves.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    if not snapshot.runs:
        return frozenset()
    with snapshot.runs.packed.reading():
        rows = folded(snapshot).con.execute("SELECT DISTINCT key FROM live WHERE kind = ?", [KIND_CONFIG]).fetchall()
    paths = [path for (path,) in rows]
    return frozenset(split_path(path)[0] for path in paths) | frozenset(map(path_text, paths))
