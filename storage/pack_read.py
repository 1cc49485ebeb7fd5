"""Small files of many writers as one table in the order of a pack.

They are read many at once and sorted together by where their series lie: a file is sorted already, so a batch is
put in order by moving slices, not rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tracker.storage.arrow_arrays import codes_of, numbers, one_chunk, rows_at, texts, valid_of, values_of
from tracker.storage.errors import CorruptData
from tracker.storage.events import POINT_KINDS, Type, join_path
from tracker.storage.names import PartName, encode_name
from tracker.storage.schema import PACK_SCHEMA, SCHEMA, PartFooter, holds_facts, parse_footer

__all__ = ["Batch", "LoosePart", "has_ended", "part_footer", "sorted_batch"]

_NAMES: Final = ["kind", "subject", "key"]
_NULL: Final = np.int64(2**63 - 1)  # nulls sort last
_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class LoosePart:
    """One file and the frames from `first` on that are taken of it. `source`: a local path, or its bytes."""

    name: PartName
    first: int
    source: Path | bytes
    shown: str  # what messages call it
    size_bytes: int
    must_end: bool = False  # it is its writer's only file, and nothing of it is taken unless it says that it ended

    def open(self) -> Path | pa.Buffer:
        return self.source if isinstance(self.source, Path) else pa.py_buffer(self.source)


@dataclass(frozen=True, slots=True)
class Batch:
    """Of each part its footer and its keys as first logged (facts' paths among them); all events in order."""

    footers: list[PartFooter]
    words: list[pa.Array]
    left_out: list[bool]  # it had to have ended, and did not
    events: pa.Table  # PACK_SCHEMA


@dataclass(frozen=True, slots=True)
class _Read:
    """Whole events of small files: footers in the order asked for, and one table, part after part."""

    footers: list[PartFooter]
    words: list[pa.Array]
    left_out: list[bool]
    events: pa.Table  # SCHEMA
    part: np.ndarray  # of each event: which part it is of


def part_footer(part: LoosePart) -> PartFooter:
    """What the file says of itself, compared with its name.

    Raises:
        CorruptData, FormatTooNew, FileNotFoundError: it cannot be trusted, or is gone.
    """
    try:
        with pq.ParquetFile(part.open()) as file:
            return _checked(file, part)
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError) as exc:
        raise _damaged(part, exc) from exc


def has_ended(part: LoosePart) -> bool:
    """Whether the writer says in this file (its last: `e` or `f`) that it ended.

    Raises: as `part_footer`.
    """
    try:
        with pq.ParquetFile(part.open(), page_checksum_verification=True, read_dictionary=_NAMES) as file:
            _checked(file, part)
            groups = [n for n in range(file.num_row_groups) if holds_facts(file.metadata, n)]
            facts = file.read_row_groups(groups, columns=["seq", "key", "t"], use_threads=False) if groups else None
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError) as exc:
        raise _damaged(part, exc) from exc
    return facts is not None and _says_end(facts, part)


def _read_small(parts: Sequence[LoosePart]) -> _Read:
    """All events of the parts that are taken. Checksums are verified.

    Raises: as `part_footer`.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        read = list(pool.map(_read, parts)) if len(parts) > 1 else [_read(part) for part in parts]
    words = [_first_words(events) for _, events in read]
    left_out = [part.must_end and not _says_end(events, part) for part, (_, events) in zip(parts, read, strict=True)]
    tables = [events.slice(0, 0) if out else events for (_, events), out in zip(read, left_out, strict=True)]
    counts = [events.num_rows for events in tables]
    events = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    part = np.repeat(np.arange(len(read), dtype=np.int32), counts)
    firsts = np.array([one.first for one in parts], np.int64)
    if any(one.first > one.name.first for one in parts):
        kept = np.flatnonzero(values_of(_array(events, "seq")) >= firsts[part])
        events, part = rows_at(events, kept), part[kept]
    return _Read([footer for footer, _ in read], words, left_out, events, part)


def sorted_batch(parts: Sequence[LoosePart]) -> Batch:
    """What the parts hold of the frames that are taken.

    Raises: as `part_footer`.
    """
    small = _read_small(parts)
    owners = [(footer.run_id, footer.writer_id) for footer in small.footers]
    runs, run_of = _numbered([run for run, _ in owners])
    writers, writer_of = _numbered([writer for _, writer in owners])
    order = _order(small, run_of, writer_of)
    events, part = rows_at(small.events, order), small.part[order]
    columns = {
        "run": pa.DictionaryArray.from_arrays(numbers(run_of[part], pa.int32()), texts(runs)),
        "writer": pa.DictionaryArray.from_arrays(numbers(writer_of[part], pa.int32()), texts(writers)),
    } | {name: events[name] for name in SCHEMA.names}
    return Batch(small.footers, small.words, small.left_out, pa.table(columns, schema=PACK_SCHEMA))


def _read(part: LoosePart) -> tuple[PartFooter, pa.Table]:
    try:
        with pq.ParquetFile(part.open(), page_checksum_verification=True, read_dictionary=_NAMES) as file:
            footer = _checked(file, part)
            events = file.read(use_threads=False)
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError) as exc:
        raise _damaged(part, exc) from exc
    if events.num_rows != footer.rows:
        raise CorruptData(f"{part.shown} holds {events.num_rows} events, not {footer.rows} as it says.")
    if events.schema.names != SCHEMA.names:
        events = events.select(SCHEMA.names)
    return footer, events if events.schema.equals(SCHEMA) else events.cast(SCHEMA)


def _says_end(events: pa.Table, part: LoosePart) -> bool:
    """Whether one of the facts among `events` (columns seq, key, t) is that the writer ended."""
    if not events.num_rows:
        return False
    events = one_chunk(events.select(["seq", "key", "t"]))
    words, codes = _words(events, "key")
    path = join_path((part.name.writer_id, "ended_at"))
    if path not in words:
        return False
    said = codes == words.index(path)
    said &= values_of(_array(events, "t")) != Type.DELETED
    return bool((said & (values_of(_array(events, "seq")) >= part.first)).any())


def _first_words(events: pa.Table) -> pa.Array:
    """The file's keys as its writer met them: the dictionary keeps that order, whatever rows are sorted by."""
    column = events["key"]
    return column.chunk(0).dictionary if column.num_chunks else pa.nulls(0, pa.string())


def _checked(file: pq.ParquetFile, part: LoosePart) -> PartFooter:
    footer = parse_footer(file.metadata, part.shown)
    said = PartName(
        encode_name(footer.run_id), footer.writer_id, footer.family, footer.first, footer.last, footer.mark
    )
    if said != part.name:
        raise CorruptData(f"{part.shown} says of itself that it is {said.file_name} of run {footer.run_id!r}.")
    if file.metadata.num_rows != footer.rows:
        raise CorruptData(f"{part.shown} holds {file.metadata.num_rows} events, not {footer.rows} as it says.")
    return footer


def _damaged(part: LoosePart, exc: Exception) -> Exception:
    if isinstance(exc, FileNotFoundError):
        return exc
    return CorruptData(f"{part.shown} is damaged or not a whole Parquet file ({exc}).")


def _numbered(words: list[str]) -> tuple[list[str], np.ndarray]:
    """Distinct words in order, and of each word its place there."""
    distinct = sorted(set(words))
    place = {word: n for n, word in enumerate(distinct)}
    return distinct, np.array([place[word] for word in words], np.int32)


def _order(small: _Read, run_of: np.ndarray, writer_of: np.ndarray) -> np.ndarray:
    """Event numbers in the order of a pack: slices (one series of one part, sorted as it lies) in order."""
    events, part = small.events, small.part
    if not len(part):
        return np.empty(0, np.int64)
    series = _series(events)
    begins = np.flatnonzero((np.diff(series, prepend=-1) != 0) | (np.diff(part, prepend=-1) != 0))
    ends = np.append(begins[1:], len(part))
    step, seq, row = (_filled(events, name) for name in ("step", "seq", "row"))
    owner = part[begins]
    slices = np.lexsort((row[begins], seq[begins], step[begins], writer_of[owner], run_of[owner], series[begins]))
    begins, ends = begins[slices], ends[slices]
    lengths = ends - begins
    order = np.repeat(begins - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(len(part))
    after, before = begins[1:], ends[:-1] - 1  # where neighbouring slices touch
    same = series[after] == series[before]
    for number in (run_of, writer_of):
        same &= number[part[after]] == number[part[before]]
    falls = row[after] < row[before]
    for column in (seq, step):
        falls = (column[after] < column[before]) | ((column[after] == column[before]) & falls)
    if not (same & falls).any():
        return order
    return np.lexsort((row, seq, step, writer_of[part], run_of[part], series))


def _series(events: pa.Table) -> np.ndarray:
    """One number for (kind, key) that orders as a pack does: facts before points, then by name, null keys last."""
    kinds, kind_codes = _words(events, "kind")
    keys, key_codes = _words(events, "key")
    kind_order = sorted(range(len(kinds)), key=lambda n: (kinds[n] in POINT_KINDS, kinds[n]))
    kind_rank, key_rank = np.empty(len(kinds), np.int64), np.empty(len(keys) + 1, np.int64)
    kind_rank[kind_order] = np.arange(len(kinds))
    key_rank[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    key_rank[-1] = len(keys)  # a null's code is -1
    return np.asarray(kind_rank[kind_codes] * (len(keys) + 1) + key_rank[key_codes])


def _words(events: pa.Table, name: str) -> tuple[list[str], np.ndarray]:
    array = _array(events, name)
    return array.dictionary.to_pylist(), codes_of(array)


def _filled(events: pa.Table, name: str) -> np.ndarray:
    array = _array(events, name)
    values, valid = values_of(array), valid_of(array)
    return np.asarray(values if valid is None else np.where(valid, values, _NULL))


def _array(events: pa.Table, name: str) -> pa.Array:
    column = events[name]
    return column.chunk(0) if column.num_chunks else pa.nulls(0, column.type)
