"""The service that records what a run is made of: its program, code, packages and machine; and how it ended.

A thread of its own finds all of it out, so `init` never waits (META-1..6, CODE-3). It becomes facts of kind `meta`,
and files under the names that W&B gives them.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tracker.sdk import term
from tracker.storage.events import DELETED, KIND_META, flatten, join_path

if TYPE_CHECKING:
    from tracker.sdk.facts import FactRow
    from tracker.sdk.run import Run

__all__ = ["MetadataKeeper", "make_metadata"]

_END_WAIT_S: Final = 15.0
_PAUSE_S: Final = 0.002


def make_metadata(run: Run) -> MetadataKeeper | None:
    """None for a writer that is not the one to speak for the run (SET-6): another rank, or not a primary one."""
    recorder = run.recorder
    options = recorder.options
    joins_as_rank = not (recorder.opens_life or options.is_shared or recorder.place.is_primary)
    return MetadataKeeper(run) if options.x_primary and not joins_as_rank else None


class MetadataKeeper:
    """A service; see the module."""

    def __init__(self, run: Run) -> None:
        self._run, self._recorder, self._options = run, run.recorder, run.recorder.options
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._collect, name="tracker-metadata", daemon=True)
        self._found: dict[str, Any] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self, exit_code: int) -> None:
        """What is being found out is waited for; then the config and the summary as they are now become files."""
        _ = exit_code
        self._hurry.set()
        self._thread.join(_END_WAIT_S)
        if self._thread.is_alive():
            term.warn(f"what this run is made of could not be found out within {_END_WAIT_S:.0f} s of its end")
        if not self._options.x_disable_meta:
            from tracker.sdk.run_documents import config_document, summary_document

            files = self._recorder.files
            files.put_bytes("config.yaml", config_document(vars(self._run.config)["_items"]))
            files.put_bytes("wandb-summary.json", summary_document(self._recorder))

    def hurry(self) -> None:
        """No pauses any more: the process is about to die."""
        self._hurry.set()

    def after_fork(self) -> None:
        """The child has no such thread."""
        self._hurry.set()

    def _collect(self) -> None:
        options = self._options
        if not options.x_disable_meta:
            self._guarded("the program", self._add_program)
        if options.save_code and not options.disable_code:
            self._guarded("the code", self._add_code)
        if options.x_save_requirements:
            self._guarded("the installed packages", self._add_requirements)
        if not options.x_disable_meta and not options.x_disable_machine_info:
            self._guarded("the machine", self._add_machine)
        if not options.x_disable_meta:
            self._guarded("the metadata", self._add_file)

    def _add_program(self) -> None:
        from tracker.sdk.metadata_parts import TOP_KEYS, git_part, program_part

        part = program_part(self._options, self._recorder.started_us, os.environ) | git_part(self._options)
        facts: list[FactRow] = []
        if self._recorder.begun.resumed:  # what an earlier session said of another machine does not hold any more
            facts = [(KIND_META, None, join_path([key]), DELETED) for key in TOP_KEYS if key not in part]
        self._write(part, facts)

    def _add_machine(self) -> None:
        from tracker.sdk.metadata_parts import machine_part

        self._write(machine_part(self._options), [])

    def _add_requirements(self) -> None:
        from tracker.sdk.distributions import requirements_text

        text = requirements_text(lambda: self._pause())
        self._recorder.files.put_bytes("requirements.txt", text.encode())

    def _add_file(self) -> None:
        text = json.dumps(self._found, indent=2, default=str)
        self._recorder.files.put_bytes("wandb-metadata.json", text.encode("utf-8", "backslashreplace"))

    def _add_code(self) -> None:
        from tracker.sdk.saved_code import save_program, save_repository_diffs

        save_program(self._options, self._recorder.files)
        if not self._options.disable_git:
            save_repository_diffs(self._options, self._recorder.files)
        if self._options.code_dir is not None:
            self._run.log_code(self._options.code_dir)

    def _write(self, part: dict[str, Any], facts: list[FactRow]) -> None:
        self._found |= part
        self._recorder.write_facts([*facts, *((KIND_META, None, path, value) for path, value in flatten(part))])

    def _pause(self) -> None:
        """Let the training have the interpreter, unless the run is about to end."""
        self._hurry.wait(_PAUSE_S)

    def _guarded(self, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as exc:  # one part less; the training goes on
            term.warn(f"{what} could not be recorded: {type(exc).__name__}: {exc}")
        self._pause()
