"""The files that a run keeps: the fold of its facts of kind `file`, by name."""

from __future__ import annotations

from dataclasses import dataclass

from tracker.query.fold_single import fold_kind
from tracker.query.snapshot import Snapshot
from tracker.storage.events import KIND_FILE, split_path
from tracker.storage.file_facts import FileFact

__all__ = ["RunFileRow", "run_file_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFileRow:
    """One file: its path among the facts, and what the fact says."""

    path: str
    fact: FileFact

    @property
    def name(self) -> str:
        return self.fact.name


def run_file_rows(snapshot: Snapshot, run_id: str) -> list[RunFileRow]:
    """The files of the run, sorted by name. A fact that is no file (a newer release's, say) is left out.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    run = snapshot.runs.load([run_id]).get(run_id)
    facts = {} if run is None else fold_kind(run, KIND_FILE, snapshot.now_us, snapshot.edits, snapshot.paths)
    rows = [RunFileRow(path=path, fact=fact) for path, value in facts.items() if (fact := FileFact.parse(path, value))]
    return sorted(rows, key=lambda row: split_path(row.path))
