"""From given options to complete ones: which run this is, where its data goes, what this release can not do."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path

from tracker.base_url import resolve_base_url
from tracker.sdk import term
from tracker.sdk.identity import (
    DEFAULT_ENTITY,
    check_entity,
    check_project,
    check_run_id,
    check_sweep_id,
    default_project,
    generate_id,
    program_of,
)
from tracker.sdk.options import RunOptions
from tracker.sdk.ranks import Place

__all__ = ["ResumeFile", "complete_options", "place_in_run"]

OFFLINE_NAME = "offline"


def complete_options(options: RunOptions) -> RunOptions:
    """Everything that a run needs is filled in: id, project, entity, root, working directory, program.

    Raises:
        UsageError: a name that is not allowed, or a root that is none.
    """
    program = options.program or program_of()
    complete = replace(
        options,
        mode={"dryrun": "offline", "run": "online"}.get(options.mode, options.mode),
        program=program,
        project=check_project(options.project or default_project(program)),
        entity=check_entity(options.entity or DEFAULT_ENTITY),
        run_id=check_run_id(generate_id() if options.run_id is None else options.run_id),
        sweep_id=options.sweep_id if options.sweep_id is None else check_sweep_id(options.sweep_id),
        root_dir=_writable(options.working_dir.parent),
    )
    root = str(complete.working_dir / OFFLINE_NAME) if complete.is_offline else resolve_base_url(complete.base_url)
    return replace(complete, base_url=root)


def place_in_run(options: RunOptions, place: Place) -> Place:
    """In shared mode the writer's label tells the writers apart, as the rank does in a job."""
    return Place(place.job, options.x_label or place.rank) if options.is_shared else place


class ResumeFile:
    """Remembers, for `resume="auto"`, the run that did not end well in this working directory (RES-3)."""

    def __init__(self, options: RunOptions) -> None:
        self._path = options.working_dir / "resume.json"

    def run_id(self) -> str | None:
        """The remembered id; None when there is none, or nothing readable."""
        try:
            run_id = json.loads(self._path.read_text(encoding="utf-8"))["run_id"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return run_id if isinstance(run_id, str) and run_id else None

    def choose(self, options: RunOptions) -> RunOptions:
        """The run that was given is gone on with, where it exists, else the one that is remembered; else one starts."""
        remembered = self.run_id()
        if options.run_id is not None and remembered not in (None, options.run_id):
            term.warn(f"resume='auto' remembers run {remembered}, but the id {options.run_id} was given and is used")
        return replace(options, run_id=remembered if options.run_id is None else options.run_id)

    def write(self, run_id: str) -> None:
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({"run_id": run_id}), encoding="utf-8")

    def remove(self, run_id: str) -> None:
        """The run ended with code 0."""
        if self.run_id() == run_id:
            self._path.unlink(missing_ok=True)


def _writable(folder: Path) -> str:
    """`folder`, or the system's temporary directory where it can not be written to (NAME-6)."""
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return str(folder)
    import tempfile

    instead = tempfile.gettempdir()
    term.warn(f"{folder} is no directory that can be written to; the local files of this run go to {instead}")
    return instead
