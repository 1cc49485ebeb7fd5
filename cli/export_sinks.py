"""Tables as files, written while they are read: a file appears whole or not at all, and memory is that of a batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from tracker.cli.formats import csv_head, csv_lines, json_line
from tracker.storage.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TABLE_FORMATS", "write_records", "write_table"]

_GROUP_CELLS: Final = 4_000_000  # of a row group of Parquet
_GROUP_BYTES: Final = 64 << 20
_GROUP_ROWS_MAX: Final = 128 * 1024


def write_table(reader: pa.RecordBatchReader, path: Path, form: str) -> int:
    """`path` holds the rows of `reader`; how many these are. `form`: one of TABLE_FORMATS.

    Raises:
        UsageError: the file cannot be written. What the reader raises; then there is no file.
    """
    rows = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for batch in reader:
            rows += batch.num_rows
            yield batch

    with _whole_file(path) as sink:
        TABLE_FORMATS[form](reader.schema, counted(), sink)
    return rows


def write_records(records: Iterable[dict[str, Any]], path: Path) -> int:
    """`path` holds a line of JSON for each; how many these are. Raises as `write_table`."""
    count = 0
    with _whole_file(path) as sink:
        for record in records:
            sink.write(json_line(record))
            count += 1
    return count


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as sink:
            yield sink
        part.replace(path)
    except OSError as exc:
        raise UsageError(f"Cannot write {path}: {exc.strerror or exc}. Choose another --output.") from exc
    finally:
        part.unlink(missing_ok=True)


def _parquet(schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: BinaryIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    most = max(1, min(_GROUP_ROWS_MAX, _GROUP_CELLS // max(len(schema), 1)))
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        waiting, rows, size_bytes = list[pa.RecordBatch](), 0, 0
        for batch in batches:
            waiting.append(batch)
            rows += batch.num_rows
            size_bytes += batch.nbytes
            if rows >= most or size_bytes >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=most)
                waiting, rows, size_bytes = [], 0, 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=most)


def _arrow(schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: BinaryIO) -> None:
    import pyarrow as pa

    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _csv(schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: BinaryIO) -> None:
    import pyarrow as pa

    sink.write(csv_head(schema.names))
    for batch in batches:
        for text in csv_lines(pa.Table.from_batches([batch], schema)):
            sink.write(text)


TABLE_FORMATS: Final[dict[str, Callable[[pa.Schema, Iterator[pa.RecordBatch], BinaryIO], None]]] = {
    "parquet": _parquet,
    "arrow": _arrow,
    "csv": _csv,
}
