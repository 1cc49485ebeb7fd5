"""Which writers a pack holds, as its cover says: the records `writer` of `packs/<id>.cover.parquet`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from tracker.storage.derived import Record, read_derived
from tracker.storage.parquet_check import Source
from tracker.storage.port import Get

__all__ = ["PackWriter", "decode_writers", "pack_writers"]

_COLUMNS: Final = {
    "run": "run_id",
    "writer": "writer_id",
    "pack": "pack",
    "first_frame": "first_frame",
    "last_frame": "last_frame",
    "mark": "mark",
    "events": "events",
    "rows": "rows",
    "first_hlc": "first_hlc_us",
    "last_hlc": "last_hlc_us",
    "last_wall_us": "last_wall_us",
}


@dataclass(frozen=True, slots=True, order=True)
class PackWriter:
    """Frames first_frame..last_frame of one writer lie in the pack, `events` of them; None: it does not say."""

    run_id: str
    writer_id: str
    pack: str | None
    first_frame: int | None
    last_frame: int | None
    mark: str | None
    events: int | None
    rows: int | None  # closed ones
    first_hlc_us: int | None
    last_hlc_us: int | None
    last_wall_us: int | None


def pack_writers(store: Get, key: str) -> list[PackWriter]:
    """The writers of the pack whose cover is `key`.

    Raises:
        NotFound: there is no such cover.
        CorruptData, FormatTooNew: it is damaged or no cover.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    return decode_writers(store.get(key), key)


def decode_writers(source: Source, name: str) -> list[PackWriter]:
    """The records `writer` of a cover, a checkpoint or a rollup, in its order. Raises as `read_derived`."""
    opened: Any = pa.BufferReader(source) if isinstance(source, bytes) else source
    table = read_derived(opened, name, what=[Record.WRITER], columns=list(_COLUMNS))
    columns = {ours: table[theirs].to_pylist() for theirs, ours in _COLUMNS.items()}
    return [PackWriter(**dict(zip(columns, record, strict=True))) for record in zip(*columns.values(), strict=True)]
