"""Parts as Parquet: nothing lost, the same bytes each time, and damage never read as data."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.events import POINT_KINDS, decode_cell, encode_cell
from tracker.storage.schema import FORMAT_VERSION, SCHEMA, PartFooter, empty_events, read_events, write_events

FOOTER = PartFooter(
    entity="Team Größe",
    project="p",
    run_id="r/1",
    writer_id="01hzzzzzzzzzzzzzzzzzzzzzzz",
    family="e",
    first=0,
    last=99,
    mark="0123456789abcdef",
    created_by="tracker test",
)


def event(**columns: Any) -> dict[str, Any]:
    plain = {"seq": 0, "hlc": 1_700_000_000_000_000, "ts": 0, "kind": "history", "t": 0, "key": "loss", "v": 0.5}
    return dict.fromkeys(SCHEMA.names) | plain | columns


def table(*events: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(events), schema=SCHEMA)


def mixed(rows: int = 50) -> pa.Table:
    facts = [event(seq=n, kind="config", key=f"a.{n}", t=3, v=None, s=f"text {n}") for n in range(rows)]
    points = [event(seq=n, row=n, step=n, v=float(n)) for n in range(rows)]
    return table(*[one for pair in zip(points, facts, strict=True) for one in pair])


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(exclude_categories=[])),
    st.lists(st.integers() | st.floats(allow_nan=False), max_size=3),
)  # fmt: skip


@given(values=st.lists(VALUES, max_size=30))
def test_values_come_back_from_a_file(values: list[Any]) -> None:
    cells = [dict(zip("tvis", encode_cell(value), strict=True)) for value in values]
    events = [event(seq=n, key=f"k{n % 3}") | cell for n, cell in enumerate(cells)]
    _, back = read_events(io.BytesIO(write_events(table(*events), FOOTER)), "part")
    rows = sorted(back.to_pylist(), key=lambda row: row["seq"])
    found = [decode_cell(row["t"], row["v"], row["i"], row["s"]) for row in rows]
    assert [_exact(value) for value in found] == [_exact(value) for value in values]


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return type(value), value


NUMBERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
NAMES = st.text(max_size=8)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "row": st.none() | NUMBERS,
                "hlc": st.integers(0, 2**52),
                "ts": st.integers(-(2**52), 2**52),
                "kind": st.sampled_from(["row", "history", "system", "console", "config", "attr", "tomorrow"]),
                "subject": st.none() | NAMES,
                "step": st.none() | NUMBERS,
                "key": st.none() | NAMES,
                "t": st.integers(0, 127),
                "v": st.none() | st.floats(allow_nan=False),
                "i": st.none() | NUMBERS,
                "s": st.none() | st.text(),
            }
        ),
        max_size=40,
    )
)
def test_every_column_comes_back_facts_before_points(rows: list[dict[str, Any]]) -> None:
    rows = [{"seq": seq} | row for seq, row in enumerate(rows)]
    data = write_events(table(*rows), FOOTER)
    footer, back = read_events(io.BytesIO(data), "part")
    assert sorted(back.to_pylist(), key=lambda row: row["seq"]) == rows
    is_point = [kind in POINT_KINDS for kind in back["kind"].to_pylist()]
    assert is_point == sorted(is_point)
    assert back.schema.equals(SCHEMA)
    greatest = max([row["hlc"] + row["ts"] for row in rows] + [0])
    stamps = [row["hlc"] for row in rows] or [0]
    extent = {"ts_max_us": greatest, "hlc_min_us": min(stamps), "hlc_max_us": max(stamps)}
    assert footer == replace(FOOTER, rows=len(rows), **extent)
    _, facts = read_events(io.BytesIO(data), "part", facts_only=True)
    assert facts.equals(back.slice(0, is_point.count(False)))


def test_the_same_events_give_the_same_bytes() -> None:
    """A retry after a crash has the same name; so it must have the same content."""
    first = write_events(mixed(), FOOTER)
    plain = SCHEMA
    for index, field in enumerate(SCHEMA):
        if pa.types.is_dictionary(field.type):
            plain = plain.set(index, field.with_type(pa.string()))
    assert write_events(mixed().cast(plain), FOOTER) == first
    assert write_events(pa.concat_tables([mixed().slice(0, 7), mixed().slice(7)]), FOOTER) == first


def test_facts_are_read_without_the_points(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(write_events(mixed(), FOOTER))
    assert pq.ParquetFile(path).metadata.num_row_groups == 2
    footer, facts = read_events(path, "part", facts_only=True)
    assert set(facts["kind"].to_pylist()) == {"config"}
    assert footer.rows == 100


def test_an_empty_part_is_a_part() -> None:
    footer, events = read_events(io.BytesIO(write_events(empty_events(), FOOTER)), "part")
    assert (footer.rows, footer.ts_max_us, events.num_rows) == (0, 0, 0)


def test_a_part_that_is_cut_anywhere_is_corrupt() -> None:
    data = write_events(mixed(), FOOTER)
    for end in range(0, len(data) - 1, 37):
        with pytest.raises(CorruptData, match="part 7 is damaged"):
            read_events(io.BytesIO(data[:end]), "part 7")


WHOLE = write_events(mixed(200), FOOTER)
WHOLE_EVENTS = read_events(io.BytesIO(WHOLE), "part")


def _dictionary_headers(data: bytes) -> set[int]:
    """Offsets of the bytes that head a dictionary page."""
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    chunks = [
        metadata.row_group(group).column(SCHEMA.get_field_index(name))
        for group in range(metadata.num_row_groups)
        for name in ("kind", "subject", "key")
    ]
    return {chunk.dictionary_page_offset + offset for chunk in chunks for offset in range(20)}


DICTIONARY_HEADERS = _dictionary_headers(WHOLE)


@given(at=st.integers(0, len(WHOLE) - 1), flip=st.integers(1, 255))
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_flipped_byte_is_seen(at: int, flip: int) -> None:
    """By page checksums, the count of events or the format itself; never as another kind of error.

    Parquet has no checksum over the header of a page; a flip there is not always seen in a dictionary's.
    """
    damaged = bytearray(WHOLE)
    damaged[at] ^= flip
    try:
        _, events = read_events(io.BytesIO(bytes(damaged)), "part")
    except (CorruptData, FormatTooNew):
        return
    assert at in DICTIONARY_HEADERS or events.equals(WHOLE_EVENTS[1])


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_what_is_not_parquet_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptData, match="damaged or not a whole Parquet file"):
        read_events(io.BytesIO(data), "part")


def test_a_missing_file_is_not_corrupt(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_events(tmp_path / "gone.parquet", "part")


def rewritten(metadata: dict[str, str | None], events: pa.Table | None = None) -> io.BytesIO:
    """A part with other footer fields (None takes one away) or other columns."""
    events = mixed() if events is None else events
    footer = replace(FOOTER, rows=events.num_rows)
    fields = {key.decode(): value.decode() for key, value in footer.to_metadata().items()} | {
        f"tracker.{name}": value for name, value in metadata.items()
    }
    known = {name: value for name, value in fields.items() if value is not None}
    sink = io.BytesIO()
    pq.write_table(events.replace_schema_metadata(known), sink)
    sink.seek(0)
    return sink


def test_parquet_of_somebody_else_is_named() -> None:
    sink = io.BytesIO()
    pq.write_table(mixed(), sink)
    with pytest.raises(CorruptData, match="not written by tracker"):
        read_events(sink, "part")


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(FormatTooNew, match=f"format {FORMAT_VERSION + 1}.*pip install -U tracker"):
        read_events(rewritten({"format": str(FORMAT_VERSION + 1)}), "part")


@pytest.mark.parametrize(
    "metadata", [{"run_id": None}, {"first": None}, {"last": "x"}, {"rows": None}, {"mark": None}, {"format": "one"}]
)
def test_an_incomplete_footer_is_corrupt(metadata: dict[str, str | None]) -> None:
    with pytest.raises(CorruptData):
        read_events(rewritten(metadata), "part")


def test_a_count_that_is_not_the_files_is_corrupt() -> None:
    with pytest.raises(CorruptData, match="100 events instead of 99"):
        read_events(rewritten({"rows": "99"}), "part")


def test_fields_of_a_later_release_are_ignored() -> None:
    """A later release may say more in the footer and add columns, without a new format number."""
    more = mixed().append_column("later", pa.array(range(100)))
    footer, events = read_events(rewritten({"later": "x"}, more), "part")
    assert footer.run_id == "r/1"
    assert events.schema.equals(SCHEMA)


def test_missing_or_changed_columns_are_named() -> None:
    with pytest.raises(CorruptData, match="lacks the columns hlc, v"):
        read_events(rewritten({}, mixed().drop_columns(["hlc", "v"])), "part")
    changed = mixed().set_column(SCHEMA.get_field_index("v"), "v", pa.array(["x"] * 100))
    with pytest.raises(CorruptData, match="columns v"):
        read_events(rewritten({}, changed), "part")
