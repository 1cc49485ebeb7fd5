"""The order of events inside a part: facts by (kind, key, seq), then points by (kind, key, step, seq).

Readers prune by it, and equal values lie side by side, so it is also what compresses best.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.arrow_arrays import numbers
from tracker.storage.events import POINT_KINDS

__all__ = ["event_order"]


def event_order(events: pa.Table, pool: pa.MemoryPool | None = None) -> tuple[pa.Array, int]:
    """Row indices in the order above, and how many of them are facts. Arrow works outside the interpreter lock.

    `events` has one chunk and unified dictionaries (`Table.unify_dictionaries().combine_chunks()`).
    """
    if not events.num_rows:
        return numbers(np.empty(0, np.int64), pa.int64()), 0
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
    fact_rows = int(np.count_nonzero(np.frombuffer(kinds.buffers()[1], np.int32, len(kinds)) < facts))
    return pc.sort_indices(by, sort_keys=order, memory_pool=pool), fact_rows


def _ranks(column: pa.ChunkedArray, last: frozenset[str] = frozenset()) -> pa.Array:
    """Each value's place in the sorted dictionary (members of `last` behind all others); null stays null."""
    array = column.chunk(0)
    words = array.dictionary.to_pylist()
    order = sorted(range(len(words)), key=lambda n: (words[n] in last, words[n]))
    rank = np.empty(len(words), np.int32)
    rank[order] = np.arange(len(words), dtype=np.int32)
    return numbers(rank, pa.int32()).take(array.indices)
