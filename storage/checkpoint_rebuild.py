"""A checkpoint made again from its packs: their facts and rollups say all that it holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from tracker.storage.arrow_arrays import one_chunk
from tracker.storage.checkpoint import LastFacts, checkpoint_records, encode_checkpoint, merge_checkpoints
from tracker.storage.derived import Record, read_derived
from tracker.storage.errors import CorruptData, NotFound
from tracker.storage.event_file import PACK_GROUP_ROWS, read_blocks
from tracker.storage.manifest import Pack
from tracker.storage.pack_job import created_by
from tracker.storage.packs import COVER, check_pack_file, read_writers
from tracker.storage.rollup import Owners, Rollup, collect_closed_rows
from tracker.storage.schema import PackFooter

__all__ = ["OpenPack", "encode_records", "rebuild_checkpoint"]

_EVENTS: Final = "fhsc"
_DERIVED: Final = (Record.OPEN, Record.SERIES, Record.WRITER)
_MARKERS: Final = ("run", "writer", "seq", "row", "kind", "step")

OpenPack = Callable[[Pack, str], Path]  # a pack and one of its families to a local file; NotFound, CorruptData


@dataclass(frozen=True, slots=True)
class _PackReader:
    """One pack; every file is fetched when it is asked for."""

    pack: Pack
    open_pack: OpenPack

    def path(self, family: str) -> Path:
        return self.open_pack(self.pack, family)

    def name(self, family: str) -> str:
        return f"packs/{self.pack.id}.{family}.parquet"

    def blocks(self, families: str, columns: Collection[str] | None = None) -> Iterator[pa.Table]:
        """Events of the families that the pack has, in its order."""
        for family in families:
            if family in self.pack.families:
                for block in read_blocks(self.path(family), self.name(family), PACK_GROUP_ROWS, columns=columns):
                    yield one_chunk(block)


def rebuild_checkpoint(
    checkpoint_id: str,
    entity: str,
    project: str,
    packs: Sequence[Pack],
    open_pack: OpenPack,
    *,
    memory_bytes: int = 64 << 20,
) -> bytes:
    """The checkpoint of these packs, with the same records as the one that is damaged or gone.

    Where the rollup of a pack is damaged too, its events are read; then keys are shown by their letters, not as they
    were first logged.

    Raises:
        CorruptData, FormatTooNew, NotFound: the facts of a pack, or its rollup and its events, cannot be read.
    """
    records = [_records(_PackReader(pack, open_pack)) for pack in packs]
    streams: Mapping[str, Iterable[pa.Table]] = (
        {what: [table] for what, table in records[0].items()}
        if len(records) == 1
        else merge_checkpoints([], (), records, [], memory_bytes=memory_bytes)
    )
    return encode_records(checkpoint_id, entity, project, streams, packs)


def encode_records(
    checkpoint_id: str, entity: str, project: str, records: Mapping[str, Iterable[pa.Table]], packs: Collection[Pack]
) -> bytes:
    """The file of a checkpoint: sorted records of each kind, which stand for `packs`."""
    footer = PackFooter(
        entity=entity,
        project=project,
        pack_id=checkpoint_id,
        family="k",
        writers=sum(pack.writers for pack in packs),
        hlc_max_us=max(pack.hlc_max_us for pack in packs),
        created_by=created_by(),
    )
    return encode_checkpoint(records, footer)


def _records(pack: _PackReader) -> dict[str, pa.Table]:
    facts = LastFacts()
    for block in pack.blocks("f"):
        facts.add(block)
    return checkpoint_records(_rolled(pack), facts.records(pack.pack.id), pack.pack.id)


def _rolled(pack: _PackReader) -> list[pa.Table]:
    """Records of the pack's rollup, each table of one kind."""
    try:
        path = pack.path("r")
        check_pack_file(path, pack.name("r"), pack.pack, "r")
        return [read_derived(path, pack.name("r"), what=[what]) for what in _DERIVED]
    except (CorruptData, NotFound, FileNotFoundError, KeyError):
        return _rolled_again(pack)


def _rolled_again(pack: _PackReader) -> list[pa.Table]:
    held = read_writers(pack.path(COVER), pack.name(COVER))
    frames = {owner: replace(found, pack=pack.pack.id) for owner, (found, _) in held.items()}
    owners = Owners(frames)
    rollup = Rollup(owners, collect_closed_rows(lambda: pack.blocks("h", _MARKERS), owners, lambda: None))
    try:
        for block in pack.blocks(_EVENTS):
            rollup.add(block)
    except KeyError as exc:
        raise CorruptData(f"{pack.name(COVER)} does not name {exc.args[0]!r}, whose events are there.") from exc
    return [
        table
        for table in rollup.records(frames)
        if table.num_rows and table["what"].chunk(0)[0].as_py() != Record.BUCKET
    ]
