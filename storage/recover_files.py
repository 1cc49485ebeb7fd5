"""The files that a dead process had not yet named in its log: those it declared, and those in the run's directory."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tracker.storage.clock import wall_us
from tracker.storage.events import Value
from tracker.storage.file_facts import FileFact, Policy, read_short
from tracker.storage.file_notes import FileNotes, NotedFiles
from tracker.storage.files_below import files_below
from tracker.storage.spool import Spool
from tracker.storage.staging import Staging

__all__ = ["files_left"]


def files_left(spool: Spool, notify: Callable[[str, str], None]) -> list[tuple[FileFact, int]]:
    """Files that nobody named, each with its mtime in nanoseconds: what was promised, and what lies there now.
    Contents that are no short text wait afterwards.

    Nothing of a run that ended by itself: what changed since then is no part of it. The caller owns the spool.
    """
    notes = FileNotes(spool.path).read()
    staging = Staging(spool.path)
    promised = (_kept_promise(name, value, staging) for name, value in notes.promised.items())
    found = [(fact, fact.modified_us * 1000) for fact in promised if fact is not None]
    if not notes.finished:
        for name, source in _candidates(spool, notes):
            try:
                stat = os.stat(source)
                held = notes.logged.get(name)
                if held is not None and (held.policy == "now" or (held.mtime_ns, held.size) == _stamp(stat)):
                    continue
                policy: Policy = "end" if held is None or held.policy != "live" else "live"
                fact = read_short(name, source, stat.st_mtime_ns // 1000, policy)
                if fact is None:
                    fact = FileFact.of(name, staging.add_file(source), stat.st_mtime_ns // 1000, policy)
            except OSError as exc:
                notify("warn", f"{source} could not be kept with run {spool.owner.run_id}: {exc.strerror or exc}")
                continue
            found.append((fact, stat.st_mtime_ns))
    return found


def _stamp(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_mtime_ns, stat.st_size


def _kept_promise(name: str, value: dict[str, Value], staging: Staging) -> FileFact | None:
    fact = FileFact.parse("x", value)
    if fact is None or not staging.path(fact.sha256).exists():
        return None
    return FileFact(
        name=name, sha256=fact.sha256, size=fact.size, modified_us=fact.modified_us or wall_us(), policy=fact.policy
    )


def _candidates(spool: Spool, notes: NotedFiles) -> Iterator[tuple[str, Path]]:
    """(name, path) of what may be missing."""
    below = dict(files_below(spool.files_dir))
    for name, source in sorted({**below, **notes.declared}.items()):
        if name in notes.promised or any(fnmatch.fnmatchcase(name, glob) for glob in notes.ignore):
            continue
        if source.is_file():
            yield name, source
