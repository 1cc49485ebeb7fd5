"""Writers of packs as of a time in the middle of what they wrote: digested from their events, as loose files are.

At any time only those are that wrote before and after it; all others are known from the checkpoints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.connection import connection
from tracker.query.digest_records import DigestRecords
from tracker.query.packed import Extent, Packed, sql_text
from tracker.query.packed_records import PackedBatch
from tracker.query.part_digest import EventsToDigest, digest_events
from tracker.query.readable_parts import StartOver
from tracker.query.run_files import Marks, RunPart, Series
from tracker.storage.errors import CorruptData, NotFound
from tracker.storage.schema import SCHEMA, PartFooter

__all__ = ["parts_as_of"]

_FAMILIES: Final = "fhs"  # console lines are not part of any answer here


@dataclass(frozen=True, slots=True)
class _CutRecords(DigestRecords):
    """With markers, since the pack holds other writers' too."""

    found: Marks

    def series(self, _key: str, /) -> Series | None:
        """None: records are of all that the pack holds."""
        return None

    def marks(self) -> Marks:
        return self.found


def parts_as_of(packed: Packed, as_of_us: int) -> list[RunPart]:
    """The parts of `packed.cut`: what those writers had written at `as_of_us`.

    Raises:
        StartOver: a pack is gone. CorruptData: one is damaged.
    """
    of_pack: defaultdict[str, list[Extent]] = defaultdict(list)
    for extent in packed.cut:
        of_pack[extent.pack].append(extent)
    batch = PackedBatch(packed, list(packed.cut))
    parts = []
    for pack_id, extents in of_pack.items():
        events = _events(packed, pack_id, extents, as_of_us)
        for extent in extents:
            mine = events.get((extent.run, extent.writer))
            if mine is not None:
                parts.append(_part(packed, batch, extent, mine, as_of_us))
    return parts


def _part(packed: Packed, batch: PackedBatch, extent: Extent, events: pa.Table, as_of_us: int) -> RunPart:
    footer = PartFooter(
        entity=packed.entity,
        project=packed.project,
        run_id=extent.run,
        writer_id=extent.writer,
        family="e",
        first=extent.first_frame,
        last=extent.last_frame,
        mark="",
        ts_max_us=pc.max(pc.add(events["hlc"], events["ts"])).as_py(),
    )
    place = Path(packed.store.url, extent.pack, extent.run, extent.writer)  # names the markers in memory
    (digest,) = digest_events([EventsToDigest(place, footer, events, extent.first_frame, as_of_us)])
    order = {key: n for n, key in enumerate(batch.keys(extent))}
    keys = sorted(digest.keys, key=lambda key: order.get(key, len(order)))
    digest = replace(digest, keys={key: digest.keys[key] for key in keys})
    history = packed.pack_file(extent.pack, "h") or packed.pack_file(extent.pack, "f")
    if history is None:
        raise StartOver(NotFound(f"Pack {extent.pack} stands in a checkpoint, but not in the manifest."))
    return RunPart(
        info=history,
        run_id=extent.run,
        writer_id=extent.writer,
        first=extent.first_frame,
        last=extent.last_frame,
        is_cut=False,
        packed=True,
        events=digest.events,
        rows=digest.rows,
        step_first=digest.step_first,
        step_last=digest.step_last,
        plain=digest.plain,
        hlc_max_us=extent.last_hlc,
        upto_hlc_us=as_of_us,
        rollup=None,
        system_info=packed.pack_file(extent.pack, "s") if digest.system.num_rows else None,
        console_info=packed.pack_file(extent.pack, "c"),
        records=_CutRecords(digest, digest.marks()),
    )


def _events(packed: Packed, pack_id: str, extents: Sequence[Extent], as_of_us: int) -> dict[tuple[str, str], pa.Table]:
    """(run, writer) to its events (SCHEMA) up to the time."""
    infos = [info for family in _FAMILIES if (info := packed.pack_file(pack_id, family)) is not None]
    tables = []
    for info, path in zip(infos, packed.cache.fetch(packed.store, infos), strict=True):
        gone = StartOver(NotFound(f"{info.shown_in(packed.store.url)} stands in the manifest, but is not there."))
        if path is None:
            raise gone
        statement = f"""SELECT run, writer, {", ".join(SCHEMA.names)} FROM read_parquet({sql_text(path)})
            WHERE hlc <= ? AND list_contains(?::VARCHAR[], run) AND list_contains(?::VARCHAR[], writer)"""
        runs, writers = (sorted({getattr(one, name) for one in extents}) for name in ("run", "writer"))
        try:
            tables.append(connection().sql(statement, params=[as_of_us, runs, writers]).to_arrow_table())
        except duckdb.IOException as exc:
            raise gone from exc
        except duckdb.Error as exc:
            raise CorruptData(f"{info.key} is damaged ({exc}). Keep the file and report it.") from exc
    return dict(_by_writer(pa.concat_tables(tables))) if tables else {}


def _by_writer(events: pa.Table) -> Iterator[tuple[tuple[str, str], pa.Table]]:
    if not events.num_rows:
        return
    events = events.combine_chunks()
    owners = [events[name].combine_chunks().dictionary_encode() for name in ("run", "writer")]
    codes = [owner.indices.to_numpy(zero_copy_only=False) for owner in owners]
    order = np.lexsort((codes[1], codes[0]))
    run, writer = (column[order] for column in codes)
    starts = np.flatnonzero(np.concatenate(([True], (run[1:] != run[:-1]) | (writer[1:] != writer[:-1]))))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        mine = events.take(pa.array(np.sort(order[start:end]))).select(SCHEMA.names)
        owner = owners[0].dictionary[int(run[start])].as_py(), owners[1].dictionary[int(writer[start])].as_py()
        yield owner, _as_written(mine)


def _as_written(events: pa.Table) -> pa.Table:
    columns = [
        events[field.name].combine_chunks().dictionary_encode().cast(field.type)
        if pa.types.is_dictionary(field.type)
        else events[field.name].combine_chunks().cast(field.type)
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)
