"""Loose files of many writers as sorted streams for one pack, in bounded memory: small ones by the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from tracker.storage.event_file import event_source
from tracker.storage.kway import Source
from tracker.storage.pack_read import LoosePart, part_footer, sorted_batch
from tracker.storage.schema import PartFooter

__all__ = ["stream_parts"]

_SMALL_BYTES: Final = 1 << 20  # stored; a larger file is a stream of its own
_BATCH_PARTS: Final = 4096
_DECODED: Final = 40  # at most so many bytes in memory for one byte as stored, while a batch is put in order
_SPILL_ROWS: Final = 16 * 1024


def stream_parts(
    parts: Sequence[LoosePart], directory: Path, memory_bytes: int, breathe: Callable[[], None] = lambda: None
) -> tuple[list[PartFooter], list[Source]]:
    """What each part says of itself, in order, and sorted streams of all their events (PACK_SCHEMA).

    Batches that do not fit into memory together lie in `directory` until the caller removes it.

    Raises:
        CorruptData, FormatTooNew, FileNotFoundError: a part cannot be read.
    """
    small, sources = _Small(directory, memory_bytes, breathe), []
    footers: list[PartFooter | None] = [None] * len(parts)
    for n, part in enumerate(parts):
        if part.size_bytes > _SMALL_BYTES:
            footers[n] = footer = part_footer(part)
            owner = footer.run_id, footer.writer_id
            sources.append(event_source(part.open(), part.shown, first=part.first, owner=owner, rows=footer.rows))
        else:
            small.add(n, part)
    sources += small.finish()
    for n, footer in small.footers:
        footers[n] = footer
    return [footer for footer in footers if footer is not None], sources


class _Small:
    """Collects small parts; every full batch becomes one sorted stream."""

    def __init__(self, directory: Path, memory_bytes: int, breathe: Callable[[], None]) -> None:
        self._directory, self._memory_bytes, self._breathe = directory, memory_bytes, breathe
        self._batch: list[tuple[int, LoosePart]] = []
        self._batch_bytes = self._held_bytes = 0
        self._sources: list[Source] = []
        self.footers: list[tuple[int, PartFooter]] = []

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
        footers, events = sorted_batch([part for _, part in self._batch])
        self.footers += zip((n for n, _ in self._batch), footers, strict=True)
        self._batch, self._batch_bytes = [], 0
        self._breathe()
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
