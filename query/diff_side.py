"""One of two runs that are compared: what it is made of, each part read when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, TypeVar

from tracker.query.cells import Rows
from tracker.query.history import PartsGone, Paths, scan_batches
from tracker.query.run_file_rows import RunFileRow, run_file_rows
from tracker.query.run_files import RunFiles
from tracker.query.runs import RunRecord, load_runs, visible_files
from tracker.query.snapshot import Snapshot
from tracker.storage.contents import pieces_of
from tracker.storage.errors import NotFound
from tracker.storage.events import KIND_CONFIG, KIND_META, KIND_SUMMARY, join_path
from tracker.storage.names import blob_key
from tracker.storage.staging import EMPTY_SHA256

__all__ = ["TEXT_BYTES_MAX", "DiffSide"]

TEXT_BYTES_MAX: Final = 1 << 20  # of a file whose lines are compared; larger ones only by their hash

_ATTEMPTS_MAX: Final = 4
_REQUIREMENTS: Final = "requirements.txt"
_PATCH: Final = re.compile(r"diff(_[0-9a-f]+)?\.patch")
_CODE: Final = "code/"
_INTERNAL_CONFIG: Final = ("_wandb", "wandb_version")
# what no two runs have in common: when it began, what else was on the disk; and what belongs to the code
_NOT_COMPARED: Final = re.compile(r"startedAt|disk\..*\.used|git(\..*)?")
_TIMES: Final = ("_runtime", "_timestamp", "_wandb")

T = TypeVar("T")


class DiffSide:
    """A run of one store. Nothing is read before it is needed; what was read is kept."""

    def __init__(self, open_snapshot: Callable[[], Snapshot], run_id: str) -> None:
        """`open_snapshot`: the run, or its project, as the store holds it now. It raises where there is no such run."""
        self._open = open_snapshot
        self._run_id = run_id
        self._snapshot: Snapshot | None = None

    def read(self, ask: Callable[[Snapshot], T]) -> T:
        """`ask` of the snapshot that all answers are of; of a fresh one where parts were merged meanwhile."""
        for _ in range(_ATTEMPTS_MAX - 1):
            with suppress(PartsGone):
                return ask(self._held())
            self._snapshot = None
        return ask(self._held())

    def _held(self) -> Snapshot:
        if self._snapshot is None:
            self._snapshot = self._open()
        return self._snapshot

    @cached_property
    def record(self) -> RunRecord:
        """Raises NotFound where the run was deleted."""
        found = self.read(lambda snapshot: load_runs(snapshot, [self._run_id]))
        if not found:
            raise NotFound(f'Run "{self._run_id}" is deleted. See: tracker log, tracker runs restore')
        return found[0]

    @property
    def path(self) -> str:
        """`entity/project/id`."""
        return f"{self.record.entity}/{self.record.project}/{self.record.run_id}"

    @property
    def config(self) -> dict[str, Any]:
        """Leaves, stored path to value, without the internal keys."""
        leaves = self.record.live.get(KIND_CONFIG, {})
        return {path: value for path, value in leaves.items() if path.partition(".")[0] not in _INTERNAL_CONFIG}

    @property
    def summary(self) -> dict[str, Any]:
        """Leaves, without when the last row was logged."""
        leaves = self.record.live.get(KIND_SUMMARY, {})
        return {path: value for path, value in leaves.items() if path.partition(".")[0] not in _TIMES}

    @property
    def metadata(self) -> dict[str, Any]:
        """Leaves, without what no two runs have in common and without the repository, which is part of the code."""
        leaves = self.record.live.get(KIND_META, {})
        return {path: value for path, value in leaves.items() if not _NOT_COMPARED.fullmatch(path)}

    @cached_property
    def packages(self) -> dict[str, str] | None:
        """Version by stored path of the name, as pip compares names; None where the run did not record them."""
        text = self.text(_REQUIREMENTS)
        return None if text is None else _versions(text)

    @property
    def code(self) -> dict[str, Any]:
        """What the code was: `commit`, `git.remote`, ... and by name the SHA-256 of the files that were kept."""
        meta = self.record.live.get(KIND_META, {})
        found = {path: value for path, value in meta.items() if path.startswith("git.")}
        commit = self.record.attrs.get("commit") or found.get("git.commit")
        found.pop("git.commit", None)
        hashes = {join_path([name]): row.fact.sha256 for name, row in self.code_files.items()}
        return {**({"commit": commit} if commit else {}), **found, **hashes}

    @property
    def code_files(self) -> Mapping[str, RunFileRow]:
        """Patches against the repository, and the files below `code/`, by name."""
        return {name: row for name, row in self._files.items() if name.startswith(_CODE) or _PATCH.fullmatch(name)}

    @cached_property
    def _files(self) -> dict[str, RunFileRow]:
        return {row.name: row for row in self.read(lambda snapshot: run_file_rows(snapshot, self._run_id))}

    def text(self, name: str) -> str | None:
        """A file of the run as text; None where it has none of that name, or one that is large or no text.

        Raises:
            StorageUnavailable, CredentialsMissing: as the store.
        """
        row = self._files.get(name)
        if row is None or row.fact.size > TEXT_BYTES_MAX:
            return None
        if row.fact.text is not None:
            return row.fact.text
        if row.fact.sha256 == EMPTY_SHA256:
            return ""
        snapshot = self._held()
        try:
            key = blob_key(snapshot.entity, snapshot.project, row.fact.sha256)
            return b"".join(pieces_of(snapshot.store, key)).decode()
        except (NotFound, UnicodeDecodeError):  # declared, but not there (yet)
            return None

    def rows(self, keys: list[str] | None) -> Iterator[Rows]:
        """Every row, in batches of bounded size by (step, time): `_step` and `keys`, or all that was logged."""

        def reopen() -> tuple[RunFiles, Paths]:
            snapshot = self._open()
            return visible_files(snapshot, [self._run_id])[0], snapshot.paths

        return scan_batches(reopen, keys=None if keys is None else ["_step", *keys], every_row=True)


def _versions(text: str) -> dict[str, str]:
    """`name==version` lines, and others by what stands before a blank, as `pip freeze` writes them."""
    found = {}
    for line in map(str.strip, text.splitlines()):
        if line and not line.startswith("#"):
            name, _, version = line.partition("==") if "==" in line else line.partition(" ")
            found[join_path([re.sub(r"[-_.]+", "-", name.strip()).lower()])] = version.strip()
    return found
