"""Which process logged a row: columns `_rank`, `_host` and `_writer`, for whoever asks for them, and filters by these.

A run may have many writers: the ranks of a job, a session that resumed it. Each says of itself, once, which rank it is
and on which host it runs; a row has what its writer said, null where it said nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.cells import Column
from tracker.query.run_files import RunFiles, RunPart
from tracker.storage.errors import UsageError
from tracker.storage.events import KIND_WRITER, Type, decode_cell

__all__ = [
    "HOST",
    "RANK",
    "WRITER",
    "WRITER_COLUMNS",
    "WritersError",
    "check_wanted",
    "of_writers_like",
    "writer_column",
    "writer_column_type",
]

RANK: Final = "_rank"
HOST: Final = "_host"
WRITER: Final = "_writer"  # its id, a ULID
WRITER_COLUMNS: Final = (RANK, HOST, WRITER)

_FIELDS: Final = {RANK: "rank", HOST: "host"}


class WritersError(UsageError, TypeError):
    """`rank` or `host` is neither one nor several of them."""


def check_wanted(name: str, wanted: Any) -> frozenset[str] | None:
    """Ranks or hosts to keep, as text; None for all.

    Raises:
        WritersError: not a number or a name, nor a list of these.
    """
    if wanted is None:
        return None
    several = wanted if isinstance(wanted, (list, tuple, set, frozenset, range)) else [wanted]
    if any(isinstance(one, bool) or not isinstance(one, (int, np.integer, str)) for one in several):
        raise WritersError(f"{name} must be a number, a name, or a list of these, not {wanted!r:.80}.")
    return frozenset(str(one) for one in several)


def of_writers_like(run: RunFiles, ranks: Collection[str] | None, hosts: Collection[str] | None) -> RunFiles:
    """Only what writers of one of these ranks on one of these hosts wrote (None: any). One without a rank has none."""
    if ranks is None and hosts is None:
        return run
    tests = [(field, wanted) for field, wanted in (("rank", ranks), ("host", hosts)) if wanted is not None]
    said = {field: _said(run.parts, field) for field, _ in tests}
    writers = {part.writer_id for part in run.parts}
    kept = [one for one in writers if all(said[field].get(one) in wanted for field, wanted in tests)]
    return run.of_writers(frozenset(kept))


def writer_column(name: str, parts: Sequence[RunPart], part: np.ndarray) -> Column:
    """The column `name` of rows, given the part that each of them is in (its number in `parts`)."""
    values = _values(name, parts)
    if _type([values]) == Type.INT:
        known = np.array([value is not None for value in values], bool)[part]
        number = np.array([int(value or 0) for value in values], np.int64)[part]
        t = np.where(known, np.int8(Type.INT), np.int8(Type.NULL))
        i = pa.array(number, pa.int64(), mask=~known)
        return Column(t, np.where(known, number.astype(float), np.nan), i, pa.nulls(len(part), pa.string()))
    s = pa.array(values, pa.string()).take(pa.array(part))
    t = np.array([Type.NULL if value is None else Type.STRING for value in values], np.int8)[part]
    return Column(t, np.full(len(part), np.nan), pa.nulls(len(part), pa.int64()), s)


def writer_column_type(name: str, runs: Sequence[RunFiles]) -> Type:
    """The type of the column over all of these runs: INT where all that is said are whole numbers, else STRING."""
    return _type(_values(name, run.parts) for run in runs)


def _type(found: Iterable[Sequence[str | None]]) -> Type:
    texts = [value for values in found for value in values if value is not None]
    return Type.INT if texts and all(text.isdecimal() and len(text) < 19 for text in texts) else Type.STRING


def _values(name: str, parts: Sequence[RunPart]) -> list[str | None]:
    if name == WRITER:
        return [part.writer_id for part in parts]
    said = _said(parts, _FIELDS[name])
    return [said.get(part.writer_id) for part in parts]


def _said(parts: Iterable[RunPart], field: str) -> dict[str, str]:
    """Writer to what it said of itself last."""
    found: dict[str, tuple[int, Any]] = {}
    for part in parts:
        facts = part.records.facts
        path = f"{part.writer_id}.{field}"
        if not facts.num_rows or pc.index(facts["key"], path).as_py() < 0:
            continue
        mine = facts.filter(pc.and_(pc.equal(facts["key"], path), pc.equal(facts["kind"], KIND_WRITER)))
        for row in mine.to_pylist():
            if row["seq"] >= found.get(part.writer_id, (-1, None))[0]:
                found[part.writer_id] = row["seq"], decode_cell(row["t"], row["v"], row["i"], row["s"])
    return {writer: value for writer, (_, value) in found.items() if isinstance(value, str)}
