"""What a file of events may not say, even where every byte of it is whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.parquet_check import check_parquet
from tracker.storage.part_check import check_part
from tracker.storage.schema import SCHEMA, PartFooter

T0 = 1_790_000_000_000_000
FOOTER = PartFooter(
    entity="main", project="p", run_id="r", writer_id="w" * 26, family="e", first=0, last=9, mark="0" * 16
)


def event(kind: str, key: str | None, seq: int, **more: Any) -> dict[str, Any]:
    row = {"row": seq, "step": seq} if kind in ("history", "row") else {"row": None, "step": None}
    plain = {"subject": None, "t": 0, "v": 1.0, "i": None, "s": None}
    return {"seq": seq, "hlc": T0 + seq, "ts": 0, "kind": kind, "key": key, **row, **plain, **more}


FACTS = [event("attr", "name", 0, t=3, v=None, s="a"), event("config", "lr", 0)]
POINTS = [*(event("history", "loss", n) for n in range(1, 5)), *(event("row", None, n) for n in range(1, 5))]


def file_of(*groups: list[dict[str, Any]], **footer: Any) -> bytes:
    """A part with these row groups, as they are, and a footer that fits unless told otherwise."""
    events = [event for group in groups for event in group]
    last = max(one["hlc"] + one["ts"] for one in events)
    filled = replace(FOOTER, **{"rows": len(events), "ts_max_us": last} | footer)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, write_page_checksum=True, store_schema=False) as writer:
        for group in groups:
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))
        writer.add_key_value_metadata(filled.to_metadata())
    return sink.getvalue()


def complaints(*groups: list[dict[str, Any]], **footer: Any) -> list[str]:
    return list(check_part(file_of(*groups, **footer), "k").complaints)


def test_a_plain_file_has_nothing_odd() -> None:
    found = check_part(file_of(FACTS, POINTS), "k")
    assert (found.complaints, found.footer.rows, found.hlc_max_us) == ((), 10, T0 + 4)


ODD: dict[str, tuple[Callable[[], list[str]], str]] = {
    "points in another order": (lambda: complaints(FACTS, POINTS[::-1]), "its events are not in order"),
    "row groups in another order": (lambda: complaints(FACTS, POINTS[4:], POINTS[:4]), "row groups are not in order"),
    "points before facts": (lambda: complaints(POINTS, FACTS), "row groups are not in order"),
    "facts and points together": (lambda: complaints([*FACTS, *POINTS]), "mixes facts and points"),
    "a kind of another family": (lambda: complaints(FACTS, family="h"), "family h holds events of kind attr, config"),
    "a point without a row": (lambda: complaints([event("history", "x", 1, row=None)]), "history have no row"),
    "a fact without a path": (lambda: complaints([event("config", None, 1)]), "config have no key"),
    "a number without a value": (lambda: complaints([event("config", "x", 1, v=None)]), "FLOAT have column v empty"),
    "a text with a number": (lambda: complaints([event("config", "x", 1, t=3)]), "STRING have column v filled"),
    "an unknown type": (lambda: complaints([event("config", "x", 1, t=77)]), "the type 77"),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_this_version_would_not_write_is_told(odd: str) -> None:
    made, text = ODD[odd]
    assert any(text in one for one in made()), made()


@pytest.mark.parametrize(
    ("footer", "text"),
    [
        ({"rows": 11}, "holds 10 events, its footer says 11"),
        ({"last": 3}, r"holds frames 0\.\.4, its footer says 0\.\.3"),
        ({"first": 1}, r"holds frames 0\.\.4, its footer says 1\.\.9"),
        ({"ts_max_us": T0 + 5}, "ts_max_us is"),
        ({"hlc_min_us": T0 + 1}, "hlc_min_us is"),
        ({"hlc_max_us": T0 + 1}, "hlc_max_us is"),
    ],
)
def test_a_footer_that_says_otherwise_than_the_events_is_damage(footer: dict[str, Any], text: str) -> None:
    with pytest.raises(CorruptData, match=text):
        check_part(file_of(FACTS, POINTS, **footer), "k")


def test_a_newer_format_is_no_damage() -> None:
    with pytest.raises(FormatTooNew):
        check_part(file_of(FACTS, format=99), "k")


def test_other_columns_are_damage() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), sink)
    with pytest.raises(CorruptData, match="has the columns x"):
        check_parquet(sink.getvalue(), "k", SCHEMA)
    nullable = pa.schema([field.with_nullable(True) for field in SCHEMA])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(FACTS, nullable), sink, write_page_checksum=True)
    with pytest.raises(CorruptData, match="column seq may be null"):
        check_parquet(sink.getvalue(), "k", SCHEMA)


def test_bytes_between_columns_and_footer_are_damage() -> None:
    data = file_of(FACTS, POINTS)
    footer_at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    with pytest.raises(CorruptData, match="its columns end at byte"):
        check_parquet(data[:footer_at] + b"junk" + data[footer_at:], "k", SCHEMA)


def test_a_page_without_a_checksum_is_told() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(FACTS, SCHEMA), sink)
    with pytest.raises(CorruptData, match="without a checksum"):
        check_parquet(sink.getvalue(), "k", SCHEMA)
