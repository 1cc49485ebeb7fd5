"""The fold of one run in plain Python: for a question about a single run the SQL form takes longer to plan."""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.figures import run_series
from tracker.query.fold_input import last_points
from tracker.query.history_plan import Paths
from tracker.query.run_files import RunFiles
from tracker.storage.arrow_arrays import texts
from tracker.storage.events import (
    KIND_BRANCH,
    KIND_METRIC,
    KIND_SUMMARY,
    KIND_TOMBSTONE,
    KIND_WRITER,
    Fact,
    Value,
    decode_cell,
)
from tracker.storage.fold import RunState, WriterSpan, fold_run

__all__ = ["FACTS_MAX", "facts_count", "fold_kind", "fold_single"]

FACTS_MAX = 5_000  # beyond it the SQL form is faster
_DECIDING = (KIND_BRANCH, KIND_TOMBSTONE, KIND_WRITER)  # what shows


def facts_count(run: RunFiles) -> int:
    """How many facts its parts hold."""
    return sum(part.records.facts.num_rows for part in run.parts)


def fold_single(run: RunFiles, now_us: int, edits: pa.Table, paths: Paths) -> RunState | None:
    """The state of the run at `now_us`, given the project's `edits`. None: nothing was written, or all is deleted.

    `paths`: where local copies of its parts are; they are read only where a defined metric was set by hand meanwhile.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    return _fold(run, now_us, edits, paths, None)


def fold_kind(run: RunFiles, kind: str, now_us: int, edits: pa.Table, paths: Paths) -> dict[str, Value]:
    """The live facts of one kind, stored path to value: as in `fold_single`, which looks at all of them.

    Raises:
        PartsGone: start over with a fresh snapshot.
    """
    state = _fold(run, now_us, edits, paths, (*_DECIDING, kind))
    return {} if state is None else dict(state.live.get(kind, {}))


def _fold(
    run: RunFiles, now_us: int, edits: pa.Table, paths: Paths, kinds: Collection[str] | None
) -> RunState | None:
    facts: list[Fact] = []
    points: list[Fact] = []
    spans: dict[str, WriterSpan] = {}
    for writer_id, parts in groupby(run.parts, key=lambda part: part.writer_id):
        held = list(parts)
        for part in held:
            found = part.records.facts
            if kinds is not None:
                found = found.filter(pc.is_in(found["kind"], value_set=texts(list(kinds))))
            facts += _facts(run, writer_id, found)
        for table in last_points(held) if kinds is None else ():
            points += _facts(run, writer_id, table)
        alive = max(part.records.wall_max_us for part in held)
        begun = [part.records.first_hlc_us for part in held if part.records.first_hlc_us is not None]
        spans[writer_id] = WriterSpan(writer_id, min(begun, default=alive), alive)
    series = run_series(run, paths) if any(fact.kind == KIND_METRIC for fact in facts) else []
    return fold_run(facts, points, spans, now_us, _edits(run, edits), series)


def _edits(run: RunFiles, edits: pa.Table) -> list[Fact]:
    about = edits.filter(pc.equal(edits["run"], run.run_id)) if edits.num_rows else edits
    return [
        Fact(
            kind=row["kind"],
            subject=run.run_id,
            path=row["key"],
            value=decode_cell(row["t"], row["v"], row["i"], row["s"]),
            hlc_us=row["hlc"],
            writer_id=row["writer"],
            seq=row["seq"],
        )
        for row in about.to_pylist()
    ]


def _facts(run: RunFiles, writer_id: str, table: pa.Table) -> list[Fact]:
    """Facts about the run itself; rows without a kind are summary values."""
    return [
        Fact(
            kind=row.get("kind", KIND_SUMMARY),
            subject=run.run_id,
            path=row["key"],
            value=decode_cell(row["t"], row["v"], row["i"], row["s"]),
            hlc_us=row["hlc"],
            writer_id=writer_id,
            seq=row["seq"],
        )
        for row in table.to_pylist()
        if row.get("subject") in (None, run.run_id)
    ]
