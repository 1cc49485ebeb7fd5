"""What the writers of one run say of themselves: sessions, ranks, when each began and was last heard of."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.run_files import RunFiles
from tracker.storage.events import KIND_WRITER, Fact, decode_cell
from tracker.storage.fold import WriterSpan, WriterState, fold_writers

__all__ = ["edit_facts", "last_frames", "own_facts", "writer_states"]


def writer_states(run: RunFiles) -> dict[str, WriterState]:
    """By id, of every writer that has a file, hidden or not."""
    spans: dict[str, WriterSpan] = {}
    for writer_id, parts in groupby(run.parts, key=lambda part: part.writer_id):
        held = list(parts)
        alive_us = max(part.records.wall_max_us for part in held)
        begun = [part.records.first_hlc_us for part in held if part.records.first_hlc_us is not None]
        spans[writer_id] = WriterSpan(writer_id, min(begun, default=alive_us), alive_us)
    return {writer.writer_id: writer for writer in fold_writers(own_facts(run, KIND_WRITER), spans)}


def last_frames(run: RunFiles) -> dict[str, int]:
    """Per writer the number of its last frame in the store."""
    frames: dict[str, int] = {}
    for part in run.parts:
        frames[part.writer_id] = max(part.last, frames.get(part.writer_id, -1))
    return frames


def own_facts(run: RunFiles, kind: str) -> list[Fact]:
    """The facts of one kind that its writers wrote about it, hidden or not, as they were written."""
    found = []
    for part in run.parts:
        table = part.records.facts
        rows = table.filter(pc.equal(table["kind"], kind)).to_pylist()
        found += [_fact(run, row, part.writer_id) for row in rows if row["subject"] in (None, run.run_id)]
    return found


def edit_facts(run: RunFiles, edits: pa.Table, kind: str) -> list[Fact]:
    """The facts of one kind among the project's `edits` that are about the run."""
    if not edits.num_rows:
        return []
    about = edits.filter(pc.and_(pc.equal(edits["run"], run.run_id), pc.equal(edits["kind"], kind)))
    return [_fact(run, row, row["writer"]) for row in about.to_pylist()]


def _fact(run: RunFiles, row: dict[str, Any], writer_id: str) -> Fact:
    return Fact(
        kind=row["kind"],
        subject=run.run_id,
        path=row["key"],
        value=decode_cell(row["t"], row["v"], row["i"], row["s"]),
        hlc_us=row["hlc"],
        writer_id=writer_id,
        seq=row["seq"],
    )
