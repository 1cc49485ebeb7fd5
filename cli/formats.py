"""The forms that an answer can leave in, one interface for all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from tracker.storage.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "FORMATS",
    "Answer",
    "Format",
    "csv_head",
    "csv_lines",
    "format_named",
    "json_line",
    "plain",
    "table_records",
]


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows, as a table of typed columns or as records with only each row's own keys; each made when asked for."""

    table: Callable[[], pa.Table]
    records: Callable[[], Iterable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    suffixes: tuple[str, ...]
    binary: bool  # never sent to a terminal
    by_record: bool  # a record has its own keys and exact values; else columns that all rows share
    write: Callable[[Answer, BinaryIO], None]


def format_named(name: str | None, output: Path | None) -> Format:
    """The format that was asked for, else the one that the output file's suffix means, else a table.

    Raises:
        UsageError: an unknown format.
    """
    if name is not None:
        if name not in FORMATS:
            raise UsageError(f'Unknown format "{name}". Known: {", ".join(FORMATS)}.')
        return FORMATS[name]
    if output is not None:
        for known in FORMATS.values():
            if output.suffix.lower() in known.suffixes:
                return known
    return FORMATS["table"]


def table_records(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as dicts, null included."""
    records: list[dict[str, Any]] = _in_microseconds(table).to_pylist()
    return records


def _in_microseconds(table: pa.Table) -> pa.Table:
    """Python's times end there."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            kind = pa.timestamp("us", field.type.tz)
            table = table.set_column(at, field.name, table.column(at).cast(kind, safe=False))
    return table


_CSV_ROWS: Final = 1024  # written at once: whoever stops reading is noticed soon


def plain(value: Any) -> Any:
    """A form that every JSON reader takes: NaN and infinities as "NaN", "Infinity", "-Infinity"; times ISO 8601."""
    match value:
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case datetime() if value.tzinfo is None:
            return value.isoformat()
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case None | bool() | int() | float() | str():
            return value
        case Decimal():  # DuckDB's sums of integers
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.hex()
        case _:
            return str(value)  # durations and the like


def _json_text(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, separators=(", ", ": "))


def _write_json(answer: Answer, sink: BinaryIO) -> None:
    first = True
    sink.write(b"[")
    for record in answer.records():
        sink.write(("\n  " if first else ",\n  ").encode() + _encode(_json_text(record)))
        first = False
    sink.write(b"]\n" if first else b"\n]\n")


def _write_jsonl(answer: Answer, sink: BinaryIO) -> None:
    for record in answer.records():
        sink.write(json_line(record))


def json_line(record: dict[str, Any]) -> bytes:
    """A line of JSON, with `plain` values."""
    return _encode(_json_text(record)) + b"\n"


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # lone surrogates: JSON's own escapes hold them
        return json.dumps(json.loads(text), ensure_ascii=True).encode()


def _write_csv(answer: Answer, sink: BinaryIO) -> None:
    table = answer.table()
    sink.write(csv_head(table.column_names))
    for text in csv_lines(table):
        sink.write(text)


def csv_head(names: Sequence[str]) -> bytes:
    """The first line: the names of the columns."""
    return f"{','.join(map(_csv_name, names))}\n".encode()


def csv_lines(table: pa.Table) -> Iterator[bytes]:
    """The rows, several lines at a time. Quotes stand only where they are needed; an empty text is `""`, and null is
    nothing at all.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not table.num_columns:
        return
    comma = pa.scalar(",", pa.large_string())
    null = "" if table.num_columns > 1 else '""'  # a line must not be empty
    for batch in _flat(table).to_batches(max_chunksize=_CSV_ROWS):
        columns = [_csv_column(column) for column in batch.columns]
        lines = pc.binary_join_element_wise(*columns, comma, null_handling="replace", null_replacement=null)
        yield "\n".join([*lines.to_pylist(), ""]).encode()


def _csv_name(name: str) -> str:
    needs_quotes = not name or any(char in name for char in ',"\r\n')
    return '"' + name.replace('"', '""') + '"' if needs_quotes else name


def _csv_column(column: pa.Array) -> pa.Array:
    """Values as they stand between two commas, null where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = column.cast(pa.large_string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return texts
    needs_quotes = pc.or_(pc.match_substring_regex(texts, '[,"\r\n]'), pc.equal(texts, ""))
    if not pc.any(needs_quotes, min_count=0).as_py():
        return texts
    quote, nothing = (pa.scalar(text, pa.large_string()) for text in ('"', ""))
    doubled = pc.replace_substring(texts, '"', '""')
    return pc.if_else(needs_quotes, pc.binary_join_element_wise(quote, doubled, quote, nothing), texts)


def _flat(table: pa.Table) -> pa.Table:
    """Columns that CSV can hold: lists, structs and the like as JSON text, times as ISO 8601."""
    import pyarrow as pa
    from pyarrow import types

    plain_kinds = (
        types.is_integer,
        types.is_floating,
        types.is_decimal,
        types.is_boolean,
        types.is_string,
        types.is_large_string,
    )
    table = _in_microseconds(table)
    columns = []
    for column in table.columns:
        if not any(is_kind(column.type) for is_kind in plain_kinds):
            texts = [None if value is None else _cell_text(value) for value in column.to_pylist()]
            columns.append(pa.array(texts, pa.string()))
        else:
            columns.append(column)
    return pa.table(columns, names=table.column_names)


def _cell_text(value: Any) -> str:
    shown = plain(value)
    return shown if isinstance(shown, str) else _json_text(shown)


def _write_parquet(answer: Answer, sink: BinaryIO) -> None:
    import pyarrow.parquet as pq

    pq.write_table(answer.table(), sink, compression="zstd")


def _write_arrow(answer: Answer, sink: BinaryIO) -> None:
    import pyarrow as pa

    table = answer.table()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _write_table(answer: Answer, sink: BinaryIO) -> None:
    from tracker.cli.text_table import text_table

    for line in text_table(answer.table()):
        sink.write(f"{line}\n".encode("utf-8", "backslashreplace"))


FORMATS: Final = {
    form.name: form
    for form in (
        Format("table", (".txt",), False, False, _write_table),
        Format("json", (".json",), False, True, _write_json),
        Format("jsonl", (".jsonl", ".ndjson"), False, True, _write_jsonl),
        Format("csv", (".csv",), False, False, _write_csv),
        Format("parquet", (".parquet",), True, False, _write_parquet),
        Format("arrow", (".arrow", ".arrows"), True, False, _write_arrow),
    )
}
