"""The order of events inside a part: facts by (kind, key, seq), then points by (kind, key, step, seq).

Readers prune by it, and equal values lie side by side, so it is also what compresses best.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.events import POINT_KINDS

__all__ = ["event_order"]


def event_order(events: pa.Table) -> tuple[pa.Array, int]:
    """Row indices in the order above, and how many of them are facts. Arrow works outside the interpreter lock.

    `events` has one chunk and unified dictionaries (`Table.unify_dictionaries().combine_chunks()`).
    """
    if not events.num_rows:
        return pa.array([], pa.uint64()), 0
    kinds = _ranks(events["kind"], last=POINT_KINDS)
    by = pa.table(
        {
            "kind": kinds,
            "key": _ranks(events["key"]),
            "step": events["step"],
            "seq": events["seq"],
            "row": events["row"],
        }
    )
    order = [(name, "ascending") for name in by.column_names]
    words = events["kind"].chunk(0).dictionary.to_pylist()
    facts = sum(word not in POINT_KINDS for word in words)
    fact_rows = pc.sum(pc.less(kinds, facts)).as_py()
    return pc.sort_indices(by, sort_keys=order), fact_rows


def _ranks(column: pa.ChunkedArray, last: frozenset[str] = frozenset()) -> pa.Array:
    """Each value's place in the sorted dictionary (members of `last` behind all others); null is -1."""
    array = column.chunk(0)
    words = array.dictionary.to_pylist()
    order = sorted(range(len(words)), key=lambda n: (words[n] in last, words[n]))
    rank = np.empty(len(words), np.int32)
    rank[order] = np.arange(len(words), dtype=np.int32)
    return pc.fill_null(pa.array(rank).take(array.indices), -1)
