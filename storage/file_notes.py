"""What the log does not say of a run's files: `<spool>/files.jsonl`, one JSON array a line, for whoever takes over.

    ["ignore", [globs]]                              names that are not kept
    ["declared", name, source, policy]               to be kept when the run ends
    ["promised", name, value]                        the contents wait in blobs/, the log does not name them yet
    ["logged", name, mtime_ns, size, sha256, policy] the log names the file as it was then
    ["finished"]                                     the run ended: what changes from now on is no part of it
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tracker.storage.file_facts import FileFact

__all__ = ["FileNotes", "LoggedFile", "NotedFiles"]

_NAME: Final = "files.jsonl"


@dataclass(frozen=True, slots=True)
class LoggedFile:
    """A file as the log names it. `mtime_ns`, `size`: of the original."""

    mtime_ns: int
    size: int
    sha256: str
    policy: str


@dataclass(slots=True)
class NotedFiles:
    """All notes of one spool; of several about one name the last."""

    ignore: tuple[str, ...] = ()
    declared: dict[str, Path] = field(default_factory=dict)
    promised: dict[str, dict[str, Any]] = field(default_factory=dict)
    logged: dict[str, LoggedFile] = field(default_factory=dict)
    finished: bool = False


class FileNotes:
    """Appends notes, each whole or not at all. Notes that cannot be written are left out: they only help later."""

    def __init__(self, spool_dir: Path) -> None:
        self._path = spool_dir / _NAME

    def ignore(self, globs: tuple[str, ...]) -> None:
        self._append("ignore", list(globs))

    def declared(self, name: str, source: Path, policy: str) -> None:
        self._append("declared", name, str(source), policy)

    def promised(self, fact: FileFact) -> None:
        self._append("promised", fact.name, fact.row[3])

    def logged(self, fact: FileFact, mtime_ns: int) -> None:
        self._append("logged", fact.name, mtime_ns, fact.size, fact.sha256, fact.policy)

    def finished(self) -> None:
        self._append("finished")

    def _append(self, *note: Any) -> None:
        line = json.dumps(note).encode() + b"\n"
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)
        except OSError:
            return

    def read(self) -> NotedFiles:
        """All of them; lines that a dying process or a full disk cut short are left out."""
        found = NotedFiles()
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return found
        for line in lines:
            try:
                note = json.loads(line)
            except ValueError:
                continue
            match note:
                case ["ignore", list(globs)]:
                    found.ignore = tuple(map(str, globs))
                case ["declared", str(name), str(source), str()]:
                    found.declared[name] = Path(source)
                case ["promised", str(name), dict(value)]:
                    found.promised[name] = value
                case ["logged", str(name), int(mtime_ns), int(size), str(sha256), str(policy)]:
                    found.logged[name] = LoggedFile(mtime_ns, size, sha256, policy)
                    if found.promised.get(name, {}).get("sha256") == sha256:
                        del found.promised[name]
                case ["finished"]:
                    found.finished = True
        return found
