"""Loose files of many writers as sorted streams for one pack, in bounded memory: small ones by the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from tracker.storage.ahead import ahead
from tracker.storage.event_file import event_source, read_blocks
from tracker.storage.kway import Source, rows_a_block
from tracker.storage.pack_read import LoosePart, part_footer, sorted_batch
from tracker.storage.schema import PartFooter

__all__ = ["SMALL_BYTES", "PartStreams", "stream_parts"]

SMALL_BYTES: Final = 1 << 20  # stored; a larger file is a stream of its own
_BATCH_PARTS: Final = 4096
_DECODED: Final = 64  # about so many bytes in memory for one byte as stored, while a batch is put in order
_MARKER_ROWS: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class PartStreams:
    """Of each part its footer and its keys as first logged; sorted streams of all events, and their row markers."""

    footers: list[PartFooter]
    words: list[pa.Array]
    left_out: list[bool]  # it had to have ended, and did not: none of its events is in the streams
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
        if part.size_bytes > SMALL_BYTES:
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
    left_out = [n in small.left_out for n in numbers]
    return PartStreams([footers[n] for n in numbers], [words[n] for n in numbers], left_out, sources, markers, events)


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
    """Collects small parts in batches; each becomes one sorted stream."""

    def __init__(self, directory: Path, memory_bytes: int, breathe: Callable[[], None]) -> None:
        self._directory, self._memory_bytes, self._breathe = directory, memory_bytes, breathe
        self._batches: list[list[tuple[int, LoosePart]]] = []
        self._batch_bytes = self._held_bytes = 0
        self.footers: list[tuple[int, PartFooter]] = []
        self.words: list[tuple[int, pa.Array]] = []
        self.left_out: set[int] = set()
        self.events = 0

    def add(self, number: int, part: LoosePart) -> None:
        size = self._batch_bytes + part.size_bytes
        full = bool(self._batches) and len(self._batches[-1]) == _BATCH_PARTS
        if not self._batches or full or size * _DECODED > self._memory_bytes // 2:
            self._batches.append([])
            self._batch_bytes = 0
        self._batches[-1].append((number, part))
        self._batch_bytes += part.size_bytes

    def finish(self) -> list[Source]:
        sources: list[Source] = []
        read = ahead(sorted_batch([part for _, part in batch]) for batch in self._batches)
        for batch, found in zip(self._batches, read, strict=True):
            at = [n for n, _ in batch]
            self.footers += zip(at, found.footers, strict=True)
            self.words += zip(at, found.words, strict=True)
            self.left_out.update(n for n, out in zip(at, found.left_out, strict=True) if out)
            self.events += found.events.num_rows
            if found.events.num_rows:
                sources.append(self._keep(found.events, len(sources)))
            self._breathe()
        return sources

    def _keep(self, events: pa.Table, number: int) -> Source:
        if self._held_bytes + events.nbytes <= self._memory_bytes // 4:
            self._held_bytes += events.nbytes
            return _in_memory(events)
        path = self._directory / f"batch-{number}.arrow"
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, events.schema, options=options) as writer:
            # each stream holds one batch while they are merged
            writer.write_table(events, max_chunksize=rows_a_block(len(self._batches), self._memory_bytes // 4))
        return _on_disk(path, events.num_rows)


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
