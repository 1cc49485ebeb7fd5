"""Other runs of the project that a snapshot's runs began in. A snapshot of one run does not hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.project_runs import ProjectRuns
from tracker.query.run_files import RunFiles, RunPart
from tracker.storage.branches import Branch, parse_branch
from tracker.storage.events import KIND_BRANCH, KIND_TOMBSTONE, Fact, decode_cell
from tracker.storage.fold import fold_tombstone

__all__ = ["Relatives", "branches_of"]


def branches_of(parts: Iterable[RunPart]) -> dict[str, Branch]:
    """The branches that these parts tell of, by the life that begins; the one that was said last comes last."""
    found: list[tuple[int, str, int, Branch]] = []
    for part in parts:
        facts = part.records.facts
        if pc.index(facts["kind"], KIND_BRANCH).as_py() < 0:
            continue
        for row in facts.filter(pc.equal(facts["kind"], KIND_BRANCH)).to_pylist():
            branch = parse_branch(row["key"], decode_cell(row["t"], row["v"], row["i"], row["s"]))
            if branch is not None and row["subject"] in (None, part.run_id):
                found.append((row["hlc"], part.writer_id, row["seq"], branch))
    found.sort(key=lambda one: one[:3])
    return {branch.generation: branch for *_, branch in found}


class Relatives:
    """Runs by id, hidden lives and all, as they were found first: one snapshot asks for each once."""

    def __init__(self, runs: ProjectRuns, edits: pa.Table, open_run: Callable[[str], ProjectRuns]) -> None:
        """`open_run`: lists and reads one run of the project."""
        self._runs = runs
        self._edits = edits
        self._open_run = open_run
        self._found: dict[str, RunFiles | None] = {}
        self._branches: dict[str, dict[str, Branch]] = {}

    def load(self, run_ids: Iterable[str]) -> None:
        """Many at once, which is much faster than one after the other. Raises PartsGone."""
        wanted = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in self._found]
        here = [run_id for run_id in wanted if self._runs.only in (None, run_id)]
        held = self._runs.load(here) if here else {}
        self._found |= {run_id: held.get(run_id) for run_id in here}
        for run_id in wanted:
            if run_id not in self._found:
                self._found[run_id] = self._open_run(run_id).load([run_id]).get(run_id)

    def get(self, run_id: str) -> RunFiles | None:
        """None: the store has nothing of it. Raises PartsGone."""
        if run_id not in self._found:
            self.load([run_id])
        return self._found[run_id]

    def branches(self, run_id: str) -> dict[str, Branch]:
        """All branches that the run's lives began as, hidden ones too: as `branches_of`. Raises PartsGone."""
        if run_id not in self._branches:
            run = self.get(run_id)
            self._branches[run_id] = {} if run is None else branches_of(run.parts)
        return self._branches[run_id]

    def is_deleted(self, run_id: str) -> bool:
        """Whether somebody deleted the run, and nobody restored it."""
        if not self._edits.num_rows:
            return False
        mine = pc.and_(pc.equal(self._edits["run"], run_id), pc.equal(self._edits["kind"], KIND_TOMBSTONE))
        facts = [
            Fact(
                kind=KIND_TOMBSTONE,
                subject=run_id,
                path=row["key"],
                value=decode_cell(row["t"], row["v"], row["i"], row["s"]),
                hlc_us=row["hlc"],
                writer_id=row["writer"],
                seq=row["seq"],
            )
            for row in self._edits.filter(mine).to_pylist()
        ]
        return fold_tombstone(facts) is not None
