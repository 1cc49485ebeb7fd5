"""`tracker cache`: the local copies of remote files: how much, of which root; bound them, or delete them."""

from __future__ import annotations

import json
import os

from tracker.cli.columns import aligned, count_text, size_text
from tracker.cli.talk import say
from tracker.query.instants import iso_seconds
from tracker.storage.cache import default_cache_dir
from tracker.storage.cache_space import CacheSpace, cache_limit_bytes, parse_size, set_cache_limit

__all__ = ["run_cache"]


def run_cache(clear: bool, limit: str | None, dry_run: bool, as_json: bool) -> None:
    """Show the cache; before that keep a new limit, or delete every copy.

    Raises:
        UsageError: the limit is no size.
        CredentialsMissing: the cache directory is not ours to write.
    """
    directory = default_cache_dir()
    space = CacheSpace(directory)
    new_limit = None if limit is None else parse_size(limit)
    if new_limit is not None and not dry_run:
        set_cache_limit(directory, new_limit)
        space.added(0, new_limit)
        if os.environ.get("TRACKER_CACHE_LIMIT"):
            say("note: TRACKER_CACHE_LIMIT is set in this environment and wins over the limit that was kept.")
    roots = space.roots()
    files, size = sum(root.files for root in roots), sum(root.size_bytes for root in roots)
    if clear and not dry_run:
        files, size = space.clear()
        say(f"deleted {count_text(files, 'file')} ({size_text(size)})")
        roots = space.roots()
    elif clear:
        say(f"would delete {count_text(files, 'file')} ({size_text(size)})")
    bound = cache_limit_bytes(directory)
    if new_limit is not None and dry_run:
        say(f"would bound the cache by {size_text(new_limit)} instead of {size_text(bound)}")
    left = sum(root.size_bytes for root in roots)
    if as_json:
        shown = {
            "directory": str(directory),
            "limit_bytes": bound,
            "size_bytes": left,
            "roots": [
                {
                    "url": root.url,
                    "folder": root.folder,
                    "files": root.files,
                    "size_bytes": root.size_bytes,
                    "used_at": _time(root.used_at_us),
                }
                for root in roots
            ],
        }
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    print(f"directory  {directory}\nlimit      {size_text(bound)}\nin use     {size_text(left)}")
    if roots:
        rows = []
        for root in roots:
            used = _time(root.used_at_us) or ""
            rows.append([root.url or f"({root.folder})", f"{root.files:,}", size_text(root.size_bytes), used])
        print("\n" + aligned(["root", "files", "size", "last used"], rows, right=("files", "size")))


def _time(at_us: int) -> str | None:
    """ISO 8601 in UTC, to the second; None for never."""
    return iso_seconds(at_us) if at_us else None
