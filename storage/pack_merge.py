"""One pack from several, their events in one order again; or from one, without the runs that were purged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import codes_of, one_chunk, rows_at
from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.event_file import event_source, read_blocks
from tracker.storage.kway import Source
from tracker.storage.manifest import Pack
from tracker.storage.names import new_ulid
from tracker.storage.pack_build import BuiltPack, PackInput, RunWriter, build_pack
from tracker.storage.pack_fetch import fetch_large
from tracker.storage.pack_job import PackJob, created_by
from tracker.storage.pack_loose import places_of
from tracker.storage.packs import COVER, DERIVED_FAMILIES, read_writers
from tracker.storage.rollup import Frames

__all__ = ["build_from_packs"]

_MARKER_ROWS: Final = 256 * 1024

Hides = Callable[[str, str], bool]  # the user's run id, writer


def build_from_packs(
    job: PackJob, packs: Sequence[Pack], directory: Path, hides: Hides | None = None
) -> BuiltPack | None:
    """A pack with all events of `packs`, without those of writers that `hides` names; None where nothing is left.

    Raises:
        NotFound: a pack is gone (another process merged it). CorruptData, FormatTooNew: it cannot be read.
    """
    frames: dict[RunWriter, Frames] = {}
    places: list[tuple[RunWriter, pa.Array]] = []
    sources: list[Source] = []
    history: list[tuple[Path, str]] = []
    events = 0
    for pack in packs:
        paths = {
            family: fetch_large(job.store, job.key(pack.id, family), size, directory)
            for family, size in pack.families.items()
        }
        held = read_writers(paths[COVER], f"{job.store.url}/{job.key(pack.id, COVER)}")
        gone = frozenset(owner for owner in held if hides is not None and hides(*owner))
        for owner, (found, count) in held.items():
            if owner not in gone:
                frames[owner] = _joined(frames.get(owner), found)
                events += count
        places += [one for one in _places(paths.get("r")) if one[0] in frames]
        for family, path in paths.items():
            if family in DERIVED_FAMILIES:
                continue
            shown = f"{job.store.url}/{job.key(pack.id, family)}"
            source = event_source(path, shown, rows=pack.events)
            sources.append(source if not gone else Source(_without(source, gone), source.rows))
            if family == "h":
                history.append((path, shown))
        job.breathe()
    if not frames:
        return None

    def markers() -> Iterator[pa.Table]:
        for path, shown in history:
            columns = ["run", "writer", "seq", "row", "kind", "step"]
            for block in read_blocks(path, shown, _MARKER_ROWS, families="h", columns=columns):
                yield _kept(block, frames.keys())

    return build_pack(
        new_ulid(job.wall_us),
        job.entity,
        job.project,
        PackInput(frames, sources, markers, places, events),
        directory,
        memory_bytes=job.memory_bytes,
        created_by=created_by(),
        breathe=job.breathe,
    )


def _joined(one: Frames | None, other: Frames) -> Frames:
    """Frames of one writer from two packs, which follow each other."""
    if one is None:
        return other
    before, after = (one, other) if one.first < other.first else (other, one)
    if after.first != before.last + 1:
        text = f"Packs hold frames {before.first}-{before.last} and {after.first}-{after.last} of one writer."
        raise CorruptData(f"{text} Run: tracker fsck")
    return Frames(before.first, after.last, after.mark)


def _places(rollup: Path | None) -> list[tuple[RunWriter, pa.Array]]:
    if rollup is None:
        return []
    try:
        return places_of(rollup, str(rollup))
    except (CorruptData, FormatTooNew):  # derived: without it keys are shown by their letters
        return []


def _without(source: Source, gone: Collection[RunWriter]) -> Callable[[int], Iterator[pa.Table]]:
    def blocks(rows: int) -> Iterator[pa.Table]:
        for block in source.open(rows):
            table = one_chunk(block)
            owner, pairs = _owners(table)
            keep = np.array([pair not in gone for pair in pairs], bool)[owner]
            if keep.any():
                yield table if keep.all() else rows_at(table, np.flatnonzero(keep))

    return blocks


def _kept(block: pa.Table, owners: Collection[RunWriter]) -> pa.Table:
    table = one_chunk(block)
    if not table.num_rows:
        return table
    owner, pairs = _owners(table)
    keep = np.array([pair in owners for pair in pairs], bool)[owner]
    return table if keep.all() else rows_at(table, np.flatnonzero(keep))


def _owners(table: pa.Table) -> tuple[np.ndarray, list[RunWriter]]:
    """Of each event a number, and the owners that the numbers stand for."""
    run, writer = table["run"].chunk(0), table["writer"].chunk(0)
    runs, writers = run.dictionary.to_pylist(), writer.dictionary.to_pylist()
    pair = codes_of(run).astype(np.int64) * len(writers) + codes_of(writer)
    found, at = np.unique(pair, return_inverse=True)
    return at, [(runs[one // len(writers)], writers[one % len(writers)]) for one in found.tolist()]
