"""Loose files of many writers as sorted streams for one pack, in bounded memory: small ones by the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from tracker.storage.event_file import event_source, read_blocks
from tracker.storage.kway import Source
from tracker.storage.pack_read import LoosePart, part_footer, sorted_batch
from tracker.storage.schema import PartFooter

__all__ = ["PartStreams", "stream_parts"]

_SMALL_BYTES: Final = 1 << 20  # stored; a larger file is a stream of its own
_BATCH_PARTS: Final = 4096
_DECODED: Final = 40  # at most so many bytes in memory for one byte as stored, while a batch is put in order
_SPILL_ROWS: Final = 16 * 1024
_MARKER_ROWS: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class PartStreams:
    """Of each part its footer and its keys as first logged; sorted streams of all events, and their row markers."""

    footers: list[PartFooter]
    words: list[pa.Array]
    sources: list[Source]
    markers: Callable[[], Iterator[pa.Table]]
    events: int


def stream_parts(
    parts: Sequence[LoosePart], directory: Path, memory_bytes: int, breathe: Callable[[], None] = lambda: None
) -> PartStreams:
    """Streams of the parts' events (PACK_SCHEMA). Batches that do not fit into memory lie in `directory`.

    Keys of sets stand by their letters: their rollups know more.

    Raises:
        CorruptData, FormatTooNew, FileNotFoundError: a part cannot be read.
    """
    small = _Small(directory, memory_bytes, breathe)
    large: list[tuple[int, LoosePart, PartFooter]] = []
    for n, part in enumerate(parts):
        if part.size_bytes > _SMALL_BYTES:
            large.append((n, part, part_footer(part)))
        else:
            small.add(n, part)
    sources = small.finish()
    footers, words = dict(small.footers), dict(small.words)
    for n, part, footer in large:
        owner = footer.run_id, footer.writer_id
        footers[n], words[n] = footer, _first_words(part)
        sources.append(event_source(part.open(), part.shown, first=part.first, owner=owner, rows=footer.rows))

    def markers() -> Iterator[pa.Table]:
        for source in sources[: len(sources) - len(large)]:
            yield from source.open(_MARKER_ROWS)
        for _, part, footer in large:
            owner = footer.run_id, footer.writer_id
            yield from read_blocks(
                part.open(),
                part.shown,
                _MARKER_ROWS,
                families="h",
                first=part.first,
                owner=owner,
                columns=["seq", "row", "kind", "step"],
            )

    numbers = range(len(parts))
    events = small.events + sum(_count(part, footer) for _, part, footer in large)
    return PartStreams([footers[n] for n in numbers], [words[n] for n in numbers], sources, markers, events)


def _first_words(part: LoosePart) -> pa.Array:
    block = next(read_blocks(part.open(), part.shown, 1, columns=["seq", "kind", "key"]), None)
    return pa.nulls(0, pa.string()) if block is None else block["key"].chunk(0).dictionary


def _count(part: LoosePart, footer: PartFooter) -> int:
    """Events of the frames that are taken."""
    if part.first <= footer.first:
        return footer.rows
    blocks = read_blocks(part.open(), part.shown, _MARKER_ROWS, first=part.first, columns=["seq", "kind"])
    return sum(block.num_rows for block in blocks)


class _Small:
    """Collects small parts; every full batch becomes one sorted stream."""

    def __init__(self, directory: Path, memory_bytes: int, breathe: Callable[[], None]) -> None:
        self._directory, self._memory_bytes, self._breathe = directory, memory_bytes, breathe
        self._batch: list[tuple[int, LoosePart]] = []
        self._batch_bytes = self._held_bytes = 0
        self._sources: list[Source] = []
        self.footers: list[tuple[int, PartFooter]] = []
        self.words: list[tuple[int, pa.Array]] = []
        self.events = 0

    def add(self, number: int, part: LoosePart) -> None:
        size = self._batch_bytes + part.size_bytes
        if self._batch and (len(self._batch) == _BATCH_PARTS or size * _DECODED > self._memory_bytes):
            self._sort()
        self._batch.append((number, part))
        self._batch_bytes += part.size_bytes

    def finish(self) -> list[Source]:
        if self._batch:
            self._sort()
        return self._sources

    def _sort(self) -> None:
        batch = sorted_batch([part for _, part in self._batch])
        at = [n for n, _ in self._batch]
        self.footers += zip(at, batch.footers, strict=True)
        self.words += zip(at, batch.words, strict=True)
        self._batch, self._batch_bytes = [], 0
        self._breathe()
        events = batch.events
        self.events += events.num_rows
        if not events.num_rows:
            return
        if self._held_bytes + events.nbytes <= self._memory_bytes // 2:
            self._held_bytes += events.nbytes
            self._sources.append(_in_memory(events))
            return
        path = self._directory / f"batch-{len(self._sources)}.arrow"
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, events.schema, options=options) as writer:
            writer.write_table(events, max_chunksize=_SPILL_ROWS)
        self._sources.append(_on_disk(path, events.num_rows))


def _in_memory(events: pa.Table) -> Source:
    def blocks(rows: int) -> Iterator[pa.Table]:
        for start in range(0, events.num_rows, rows):
            yield events.slice(start, rows)

    return Source(blocks, events.num_rows)


def _on_disk(path: Path, count: int) -> Source:
    def blocks(rows: int) -> Iterator[pa.Table]:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                table = pa.Table.from_batches([batch])
                for start in range(0, table.num_rows, rows):
                    yield table.slice(start, rows)

    return Source(blocks, count)
