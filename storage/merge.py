"""A writer merges its own parts: many small neighbours become one, so that a run stays a handful of files.

Pure decisions (`merge_due`) and one function over bytes (`merge_parts`). Everything is read into memory,
so the bounds below are memory bounds: 100 bytes an event, about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import numbers
from tracker.storage.errors import CorruptData, NotFound
from tracker.storage.events import family_of
from tracker.storage.names import PartName, encode_name
from tracker.storage.schema import PartFooter, read_events, write_events

__all__ = ["merge_due", "merge_parts", "verify_covering"]

_FAN_IN: Final = 16
_SMALL_EVENTS: Final = 32_000  # a part with at least as many is worth its own objects
_MERGE_EVENTS_MAX: Final = 250_000
_FINISH_EVENTS_MAX: Final = 500_000


def merge_due(parts: Sequence[PartName], events: Sequence[int], *, at_finish: bool) -> tuple[int, int] | None:
    """Which neighbours to merge now, as parts[first:last], or None. `parts` are in order of their frames.

    While the run goes on: 16 small neighbours. At its end: the whole run up to 500,000 events, else any two.
    """
    if at_finish and len(parts) > 1 and sum(events) <= _FINISH_EVENTS_MAX and all(p.family == "e" for p in parts):
        return 0, len(parts)
    start, total = 0, 0
    for at, (part, count) in enumerate(zip(parts, events, strict=True)):
        if part.family != "e" or count >= _SMALL_EVENTS:
            if at_finish and at - start > 1:
                return start, at
            start, total = at + 1, 0
            continue
        if total + count > _MERGE_EVENTS_MAX:
            return start, at
        total += count
        if at + 1 - start >= _FAN_IN and not at_finish:
            return start, at + 1
    return (start, len(parts)) if at_finish and len(parts) - start > 1 else None


def merge_parts(
    keys: Sequence[str], get: Callable[[str], bytes], footer: PartFooter, breathe: Callable[[], None]
) -> list[tuple[PartName, bytes, int]]:
    """(name, bytes, events) of the files that replace `keys`, in the order in which they must be put.

    `footer` is that of the whole range. A small result stays one `e` file; a large one is cut by family,
    and the `f` file, which is always there, comes last: once it can be seen, so can the others.
    """
    tables = []
    for key in keys:
        tables.append(read_events(pa.BufferReader(get(key)), key)[1])
        breathe()
    events = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    if events.num_rows <= _SMALL_EVENTS:
        return [_encode(events, replace(footer, family="e"))]
    cut = {family: _rows_of(events, family) for family in "hscf"}
    families = "".join(family for family, rows in cut.items() if len(rows) or family == "f")
    merged = []
    for family in families:
        part = replace(footer, family=family, families=families if family == "f" else "")
        merged.append(_encode(events.take(cut[family]), part))
        breathe()
    return merged


def verify_covering(keys: Sequence[str], get: Callable[[str], bytes]) -> bool:
    """Whether every one of the files is there, whole and undamaged: only then may what they cover go."""
    for key in keys:
        try:
            footer, events = read_events(pa.BufferReader(get(key)), key)
        except (CorruptData, NotFound):
            return False
        if events.num_rows != footer.rows:
            return False
    return True


def _rows_of(events: pa.Table, family: str) -> pa.Array:
    kinds = events["kind"].chunk(0)
    wanted = np.array([family_of(kind) == family for kind in kinds.dictionary.to_pylist()], bool)
    codes = np.frombuffer(kinds.indices.buffers()[1], np.int32, len(kinds), kinds.indices.offset * 4)
    return numbers(np.flatnonzero(wanted[codes]), pa.int64())


def _encode(events: pa.Table, footer: PartFooter) -> tuple[PartName, bytes, int]:
    name = PartName(
        encode_name(footer.run_id), footer.writer_id, footer.family, footer.first, footer.last, footer.mark
    )
    return name, write_events(events, footer), events.num_rows
