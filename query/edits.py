"""Edits of a project as one table: what processes wrote about runs that they did not write themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.fact_files import FACTS, read_fact_files
from tracker.storage.cache import PartCache
from tracker.storage.choose import Divergence
from tracker.storage.events import KIND_TOMBSTONE, TOMBSTONE_PATH, Type, join_path
from tracker.storage.manifest import PurgedRun
from tracker.storage.names import PartName, parse_edit_key
from tracker.storage.port import ObjectInfo, Store

__all__ = ["EDITS", "Edits", "edits_table", "purge_edits", "read_edits"]

EDITS: Final = pa.schema(
    [
        pa.field("run", pa.string()),  # id of the run that the edit is about
        pa.field("writer", pa.string()),
        *list(FACTS)[1:],
    ]
)


@dataclass(frozen=True, slots=True)
class Edits:
    """Edits of all listed files, each frame once (EDITS), and what had to be left out."""

    table: pa.Table
    bad: Mapping[PartName, Exception]
    divergences: tuple[Divergence, ...]


def read_edits(
    store: Store,
    cache: PartCache,
    listed: Sequence[ObjectInfo],
    packed: Mapping[tuple[str, str], int] | None = None,
) -> Edits:
    """What the files below `things/edits/` say, apart from the frames that packs hold (`packed`: see `choose_files`).

    A file that cannot be read is left out and stands in `bad`; where smaller files hold its frames they are taken.

    Raises:
        StartOver: frames are missing below an existing file, or a listed file is gone.
    """
    objects = {name: info for info in listed if (name := parse_edit_key(info.key)) is not None}
    files = read_fact_files(store, cache, objects, packed, what="edits")
    pieces = ((part.writer_id, facts) for part, facts in files.pieces)
    return Edits(edits_table(pieces), files.bad, files.divergences)


def edits_table(pieces: Iterable[tuple[str, pa.Table]]) -> pa.Table:
    """(writer, its facts) as one table (EDITS). Facts need the columns `subject`, seq, hlc, kind, key, t, v, i, s."""
    tables = []
    for writer_id, facts in pieces:
        about = facts.filter(pc.is_valid(facts["subject"]))
        columns = {name: about[name] for name in EDITS.names[2:]}
        owners = {"run": about["subject"], "writer": pa.repeat(writer_id, about.num_rows)}
        tables.append(pa.table(owners | columns).cast(EDITS))
    return pa.concat_tables(tables).combine_chunks() if tables else pa.Table.from_batches([], EDITS)


def purge_edits(purged: Iterable[PurgedRun]) -> pa.Table:
    """Each purged run as the tombstone that it leaves (EDITS): it names the writers whose files nobody reads, so that
    what a process writes that one of them spawned does not bring back half of the run.
    """
    rows = [
        {"run": one.run_id, "writer": "", "seq": 0, "hlc": one.hlc_us, "kind": KIND_TOMBSTONE, "key": join_path(path)}
        | {"t": int(Type.BOOL), "v": 1.0, "i": 1, "s": None}
        for one in purged
        for path in ((TOMBSTONE_PATH,), *((TOMBSTONE_PATH, writer_id) for writer_id in one.writers))
    ]
    return pa.Table.from_pylist(rows, EDITS)
