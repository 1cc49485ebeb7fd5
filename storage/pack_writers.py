"""Which writers a pack holds, as its cover says: the records `writer` of `packs/<id>.cover.parquet`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.storage.derived import DERIVED_SCHEMA, Record
from tracker.storage.errors import CorruptData
from tracker.storage.port import Get, LocalPath

__all__ = ["PackWriter", "decode_cover", "pack_writers"]

_COLUMNS = ["what", "run", "writer", "first_frame", "last_frame", "mark", "events", "rows", "last_hlc"]


@dataclass(frozen=True, slots=True)
class PackWriter:
    """Frames first_frame..last_frame of one writer lie in the pack, `events` of them."""

    run_id: str
    writer_id: str
    first_frame: int
    last_frame: int
    mark: str
    events: int
    rows: int
    last_hlc_us: int


class _Readable(Get, LocalPath, Protocol):
    pass


def pack_writers(store: _Readable, key: str) -> list[PackWriter]:
    """The writers of the pack whose cover is `key`.

    Raises:
        NotFound: there is no such cover.
        CorruptData: it is damaged or no cover.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    return decode_cover(store.get(key), key)


def decode_cover(source: bytes | Path, name: str) -> list[PackWriter]:
    """The same of a cover's bytes, or of a local file."""
    reader = pa.BufferReader(source) if isinstance(source, bytes) else source
    try:
        with pq.ParquetFile(reader, page_checksum_verification=True) as file:
            table = file.read(columns=_COLUMNS, use_threads=False)
    except (pa.ArrowException, OSError, EOFError, LookupError, ValueError) as exc:
        if isinstance(exc, FileNotFoundError):
            raise
        raise CorruptData(f"{name} is damaged or no cover ({exc}). Keep the file and report it.") from exc
    wanted = pa.schema([DERIVED_SCHEMA.field(name) for name in _COLUMNS])
    if table.column_names != wanted.names:
        raise CorruptData(f"{name} lacks columns of a cover. Keep the file and report it.")
    return [
        PackWriter(
            run_id=record["run"],
            writer_id=record["writer"],
            first_frame=record["first_frame"] or 0,
            last_frame=-1 if record["last_frame"] is None else record["last_frame"],
            mark=record["mark"] or "",
            events=record["events"] or 0,
            rows=record["rows"] or 0,
            last_hlc_us=record["last_hlc"] or 0,
        )
        for record in table.to_pylist()
        if record["what"] == Record.WRITER
    ]
