"""What packs hold, for everyone who reads: checkpoints as tables, frames in packs, covers, whether a pack is whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import codes_of, one_chunk, values_of
from tracker.storage.checkpoint import CHECKPOINT_COLUMNS
from tracker.storage.derived import DERIVED_SCHEMA, Record, parse_derived_footer, read_derived
from tracker.storage.errors import CorruptData
from tracker.storage.manifest import Pack
from tracker.storage.names import encode_name
from tracker.storage.pack_plan import Held
from tracker.storage.parquet_check import check_parquet
from tracker.storage.rollup import Frames
from tracker.storage.schema import PACK_SCHEMA, parse_pack_footer

__all__ = [
    "COVER",
    "DERIVED_FAMILIES",
    "check_pack_file",
    "packed_frames",
    "read_checkpoints",
    "read_cover",
    "read_writers",
]

COVER: Final = "cover"
DERIVED_FAMILIES: Final = frozenset({"r", "k", COVER})
_FRAMES: Final = ("run", "writer", "first_frame", "last_frame")

WriterKey = tuple[str, str]  # run segment, writer


def read_checkpoints(
    paths: Sequence[Path], what: Collection[str] = (Record.WRITER, Record.FACT, Record.SERIES, Record.OPEN)
) -> dict[str, pa.Table]:
    """The records of all checkpoints by what they are, each with the columns that it uses (CHECKPOINT_COLUMNS).

    One chunk a column. Checkpoint after checkpoint, each sorted; the order of their packs is lost.

    Raises:
        CorruptData, FormatTooNew: a checkpoint cannot be read. FileNotFoundError: it is gone.
    """
    found = {}
    for one in what:
        columns = CHECKPOINT_COLUMNS[one]
        tables = [read_derived(path, path.name, what=[one], columns=columns).select(columns) for path in paths]
        empty = pa.schema([DERIVED_SCHEMA.field(name) for name in columns]).empty_table()
        found[one] = one_chunk(pa.concat_tables(tables)) if any(table.num_rows for table in tables) else empty
    return found


def packed_frames(writers: pa.Table) -> dict[WriterKey, int]:
    """(run segment, writer) to the last frame that packs hold of it, from frame 0 on without a gap.

    `writers`: records `writer` of all checkpoints (or covers) of one manifest; several of a writer where
    packs hold one after the other of its frames. This is what `choose_files` takes as `packed`.
    """
    if not writers.num_rows:
        return {}
    table = one_chunk(writers.select(_FRAMES))
    runs, run_of = table["run"].chunk(0).dictionary.to_pylist(), codes_of(table["run"].chunk(0))
    names, name_of = table["writer"].chunk(0).dictionary.to_pylist(), codes_of(table["writer"].chunk(0))
    segments = [encode_name(run) if run else "" for run in runs]
    first, last = (values_of(table[name].chunk(0)) for name in ("first_frame", "last_frame"))
    order = np.lexsort((first, name_of, run_of)).tolist()
    rows = zip(*(column[order].tolist() for column in (run_of, name_of, first, last)), strict=True)
    found: dict[WriterKey, int] = {}
    for run, name, begin, end in rows:
        writer = segments[run], names[name]
        if begin <= found.get(writer, -1) + 1:
            found[writer] = max(end, found.get(writer, -1))
    return found


def read_cover(source: Path | pa.Buffer, name: str, pack: str) -> list[tuple[WriterKey, Held]]:
    """Which frames of which writers the pack holds, as its cover says.

    Raises:
        CorruptData, FormatTooNew: as `read_derived`. FileNotFoundError: it is gone.
    """
    table = read_derived(source, name, what=[Record.WRITER], columns=[*_FRAMES, "mark"])
    columns = (table[one].to_pylist() for one in (*_FRAMES, "mark"))
    return [
        ((encode_name(run) if run else "", writer), Held(first, last, mark, pack))
        for run, writer, first, last, mark in zip(*columns, strict=True)
    ]


def read_writers(source: Path | pa.Buffer, name: str) -> dict[tuple[str, str], tuple[Frames, int]]:
    """Per (run id, writer) the frames that the pack with this cover holds, and how many events those are.

    Raises: as `read_cover`.
    """
    columns = [*_FRAMES, "mark", "events"]
    table = read_derived(source, name, what=[Record.WRITER], columns=columns)
    rows = zip(*(table[one].to_pylist() for one in columns), strict=True)
    return {(run, writer): (Frames(first, last, mark), events) for run, writer, first, last, mark, events in rows}


def check_pack_file(source: Path | bytes, name: str, pack: Pack, family: str) -> int:
    """How many events (or records) one file of `pack` holds, once every page of it was read and found undamaged.

    Raises:
        CorruptData: it is damaged, or not that file. FileNotFoundError: it is gone.
    """
    schema = DERIVED_SCHEMA if family in DERIVED_FAMILIES else PACK_SCHEMA
    metadata = check_parquet(source, name, schema)
    footer = (parse_derived_footer if family in DERIVED_FAMILIES else parse_pack_footer)(metadata, name)
    found = getattr(footer, "pack_id", ""), footer.family, footer.rows
    if found != (pack.id, family, metadata.num_rows):
        raise CorruptData(
            f"{name} says that it is {found[1]} of pack {found[0]} with {found[2]} rows, and has {metadata.num_rows}."
        )
    return int(metadata.num_rows)
