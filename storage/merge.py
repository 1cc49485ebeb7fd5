"""A writer merges its own parts: many small neighbours become one, so that a run stays a handful of files.

Pure decisions (`merge_due`) and one function over bytes (`merge_parts`) whose memory is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.arrow_arrays import numbers
from tracker.storage.errors import CorruptData, NotFound
from tracker.storage.events import POINT_KINDS, family_of
from tracker.storage.names import PartName, encode_name
from tracker.storage.schema import PartFooter, encode_part, read_events

__all__ = ["merge_due", "merge_parts", "verify_covering"]

_FAN_IN: Final = 16
_SMALL_EVENTS: Final = 32_000  # a part with at least as many is worth its own objects
_MERGE_EVENTS_MAX: Final = 250_000
_FINISH_EVENTS_MAX: Final = 500_000
_BATCH_EVENTS: Final = 50_000


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
    The parts stay in memory as they are stored (compressed); decoded are about 50,000 events at a time.
    """
    parts = {key: get(key) for key in keys}
    series = _count_series(parts, breathe)
    if sum(series.values()) <= _SMALL_EVENTS:
        return [_encode(parts, series, [list(series)], replace(footer, family="e"), breathe)]
    of_family = {family: [s for s in series if family_of(s[0]) == family] for family in "hscf"}
    families = "".join(family for family, found in of_family.items() if found or family == "f")
    return [
        _encode(
            parts,
            series,
            _batches({one: series[one] for one in of_family[family]}),
            replace(footer, family=family, families=families if family == "f" else ""),
            breathe,
        )
        for family in families
    ]


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


_Series = tuple[str, str | None]  # kind, key


def _decode(data: bytes, name: str) -> pa.Table:
    """All events of a part, one chunk a column."""
    footer, events = read_events(pa.BufferReader(data), name)
    if events.num_rows != footer.rows:
        raise CorruptData(f"{name} holds {events.num_rows} events, not {footer.rows} as it says. Keep and report it.")
    return events.unify_dictionaries().combine_chunks()


def _count_series(parts: dict[str, bytes], breathe: Callable[[], None]) -> dict[_Series, int]:
    """Events per kind and key, in the order of a merged file."""
    counts: Counter[_Series] = Counter()
    for name, data in parts.items():
        events = _decode(data, name)
        kinds, keys = _words(events["kind"]), _words(events["key"])
        codes = _codes(events["kind"]) * (len(keys) + 1) + _codes(events["key"])
        for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
            kind, key = divmod(int(code), len(keys) + 1)
            counts[kinds[kind], keys[key] if key < len(keys) else None] += int(count)
        breathe()
    return dict(sorted(counts.items(), key=lambda item: (item[0][0] in POINT_KINDS, item[0][0], item[0][1] or "")))


def _batches(series: dict[_Series, int]) -> list[list[_Series]]:
    """Neighbouring series that together have about _BATCH_EVENTS events; a longer one stands alone."""
    batches: list[list[_Series]] = [[]]
    total = 0
    for one, count in series.items():
        if batches[-1] and total + count > _BATCH_EVENTS:
            batches.append([])
            total = 0
        batches[-1].append(one)
        total += count
    return batches


def _encode(
    parts: dict[str, bytes],
    series: dict[_Series, int],
    batches: list[list[_Series]],
    footer: PartFooter,
    breathe: Callable[[], None],
) -> tuple[PartName, bytes, int]:
    name = PartName(
        encode_name(footer.run_id), footer.writer_id, footer.family, footer.first, footer.last, footer.mark
    )

    def decoded() -> Iterator[pa.Table]:
        for batch in batches:
            wanted = set(batch)
            yield pa.concat_tables([_select(data, key, wanted) for key, data in parts.items()])
            pa.default_memory_pool().release_unused()
            breathe()

    data, rows = encode_part(decoded(), footer)
    if rows != sum(series[one] for batch in batches for one in batch):
        raise CorruptData(f"Merging into {name.file_name} would lose events. Keep all files and report it.")
    return name, data, rows


def _select(data: bytes, name: str, wanted: set[_Series]) -> pa.Table:
    """The events of one part that belong to the series in `wanted`."""
    events = _decode(data, name)
    kinds, keys = _words(events["kind"]), _words(events["key"])
    table = np.array([[(kind, key) in wanted for key in (*keys, None)] for kind in kinds], bool)
    if not table.size:
        return events
    mask = table[_codes(events["kind"]), _codes(events["key"])]
    return pc.take(events, numbers(np.flatnonzero(mask), pa.int64()), memory_pool=pa.system_memory_pool())


def _words(column: pa.ChunkedArray) -> list[str]:
    """The column's one dictionary."""
    words: list[str] = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    return words


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Dictionary codes as numpy; null is one past the dictionary."""
    if not column.num_chunks:
        return np.empty(0, np.int64)
    array = column.chunk(0)
    codes = np.frombuffer(array.indices.buffers()[1], np.int32, len(array), array.indices.offset * 4).astype(np.int64)
    if array.null_count:
        valid = np.unpackbits(
            np.frombuffer(array.indices.buffers()[0], np.uint8), count=len(array), bitorder="little"
        ).astype(bool)
        codes[~valid] = len(array.dictionary)
    return codes
