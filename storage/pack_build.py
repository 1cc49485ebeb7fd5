"""The files of one pack, made from sorted streams of events in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tracker.storage.ahead import ahead
from tracker.storage.arrow_arrays import codes_of, one_chunk
from tracker.storage.checkpoint import LastFacts, checkpoint_records
from tracker.storage.derived import Record, write_derived
from tracker.storage.errors import CorruptData
from tracker.storage.event_file import write_event_file
from tracker.storage.events import family_of
from tracker.storage.kway import PACK_ORDER, Source, merge_streams
from tracker.storage.manifest import Pack
from tracker.storage.names import encode_name
from tracker.storage.pack_plan import Held
from tracker.storage.packs import COVER
from tracker.storage.rollup import Frames, KeyPlaces, Owners, Rollup, collect_closed_rows
from tracker.storage.schema import PACK_SCHEMA, PackFooter

__all__ = ["BuiltPack", "PackInput", "RunWriter", "build_pack"]


RunWriter = tuple[str, str]  # the user's run id, writer
Blocks = Iterator[pa.Table]


@dataclass(frozen=True, slots=True)
class PackInput:
    """What goes into a pack: frames of writers, sorted streams of all their events, and how many those are."""

    frames: Mapping[RunWriter, Frames]  # `pack` is filled in
    sources: Sequence[Source]
    markers: Callable[[], Iterable[pa.Table]]  # all row markers (other events do not matter), may be read twice
    places: Sequence[tuple[RunWriter, pa.Array]]  # keys as first logged, file after file
    events: int


@dataclass(frozen=True, slots=True)
class BuiltPack:
    """Files that are ready to be put. `pack.since` is for whoever publishes it."""

    pack: Pack
    files: Mapping[str, Path | bytes]  # by family
    records: Mapping[str, pa.Table]  # for a checkpoint
    cover: tuple[tuple[tuple[str, str], Held], ...]


def build_pack(
    pack_id: str,
    entity: str,
    project: str,
    given: PackInput,
    directory: Path,
    *,
    memory_bytes: int,
    created_by: str,
    breathe: Callable[[], None] = lambda: None,
) -> BuiltPack:
    """Files of the pack under `directory`, which the caller removes.

    Raises:
        CorruptData, FormatTooNew, FileNotFoundError: a stream cannot be read, or gives other events than it said.
    """
    frames = {owner: replace(found, pack=pack_id) for owner, found in given.frames.items()}
    owners = Owners(frames)
    places = KeyPlaces()
    for owner, words in given.places:
        places.add(owners.number(*owner), words)
    rollup = Rollup(owners, collect_closed_rows(given.markers, owners, breathe), places)
    last_facts = LastFacts()
    footer = PackFooter(
        entity=entity, project=project, pack_id=pack_id, family="", writers=len(owners), created_by=created_by
    )

    def on_facts(events: pa.Table) -> None:
        rollup.add(events)
        last_facts.add(events)

    files: dict[str, Path | bytes] = {}
    written: dict[str, PackFooter] = {}
    merged = merge_streams(given.sources, PACK_ORDER, memory_bytes=memory_bytes // 4, spill=directory, breathe=breathe)
    for family, blocks in _by_family(ahead(merged)):
        files[family] = path = directory / f"{pack_id}.{family}.parquet"
        written[family] = write_event_file(
            path,
            blocks,
            replace(footer, family=family),
            PACK_SCHEMA,
            on_group=on_facts if family == "f" else rollup.add,
            breathe=breathe,
        )
    events = sum(one.rows for one in written.values())
    if events != given.events:
        raise CorruptData(f"Packing would turn {given.events} events into {events}. Keep all files and report it.")
    whole = replace(footer, hlc_max_us=max((one.hlc_max_us for one in written.values()), default=0))
    kept: list[pa.Table] = []
    files["r"] = write_derived(_keeping(rollup.records(frames), kept), replace(whole, family="r"))
    records = checkpoint_records(kept, last_facts.records(pack_id), pack_id)
    files[COVER] = write_derived([records[Record.WRITER]], replace(whole, family=COVER))
    return BuiltPack(
        Pack(
            id=pack_id,
            families={family: _size(file) for family, file in files.items()},
            writers=len(owners),
            events=events,
            hlc_max_us=whole.hlc_max_us,
            since=0,
        ),
        files,
        records,
        tuple(
            ((encode_name(run) if run else "", writer), Held(one.first, one.last, one.mark, pack_id))
            for (run, writer), one in frames.items()
        ),
    )


def _keeping(records: Iterable[pa.Table], kept: list[pa.Table]) -> Blocks:
    """The same tables; those that a checkpoint needs are kept."""
    for table in records:
        if table.num_rows and table["what"].chunk(0)[0].as_py() != Record.BUCKET:
            kept.append(table)
        yield table


def _by_family(blocks: Blocks) -> Iterator[tuple[str, Blocks]]:
    """(family, its tables) for each family that has events; kinds of one family are neighbours in a pack's order."""

    def pieces() -> Iterator[tuple[str, pa.Table]]:
        for block in blocks:
            table = one_chunk(block)
            kinds = table["kind"].chunk(0)
            letters = [family_of(word) for word in kinds.dictionary.to_pylist()]
            codes = codes_of(kinds)
            starts = np.flatnonzero(np.diff(codes, prepend=-1)).tolist()
            for start, end in itertools.pairwise([*starts, len(codes)]):
                yield letters[codes[start]], table.slice(start, end - start)

    for family, found in itertools.groupby(pieces(), key=lambda piece: piece[0]):
        yield family, (table for _, table in found)


def _size(file: Path | bytes) -> int:
    return file.stat().st_size if isinstance(file, Path) else len(file)
