"""Every format says the same rows, and loses no more than it must."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tracker.cli.formats import FORMATS, Answer, format_named, plain, table_records
from tracker.cli.text_table import cell_text, text_table
from tracker.storage.errors import UsageError

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
TABLE = pa.table(
    {
        "id": ["a", "b,c", None],
        "acc": [0.5, math.nan, math.inf],
        "big": pa.array([2**53 + 1, None, -1], pa.int64()),
        "ok": [True, False, None],
        "tags": [["x", "y"], [], None],
        "created_at": pa.array([WHEN, None, None], pa.timestamp("us", "UTC")),
    }
)
RECORDS: list[dict[str, Any]] = [
    {"id": "a", "acc": 0.5, "big": 2**53 + 1, "config": {"lr": 0.1, "list": [1, math.nan]}, "created_at": WHEN},
    {"id": "b,c", "acc": math.nan, "none": None},
    {"acc": math.inf, "text": 'quote " \n \N{GREEK SMALL LETTER ALPHA}', "huge": 2**70},
]
ANSWER = Answer(lambda: TABLE, lambda: RECORDS)
EMPTY = Answer(lambda: TABLE.schema.empty_table(), list)


def written(name: str, answer: Answer = ANSWER) -> bytes:
    sink = io.BytesIO()
    FORMATS[name].write(answer, sink)
    return sink.getvalue()


def strict(text: str) -> Any:
    """JSON without the NaN that only Python reads."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_json_is_one_list_and_jsonl_one_record_a_line() -> None:
    records = strict(written("json").decode())
    assert records == [strict(line) for line in written("jsonl").decode().splitlines()]
    assert records[0] == {
        "id": "a",
        "acc": 0.5,
        "big": 2**53 + 1,
        "config": {"lr": 0.1, "list": [1, "NaN"]},
        "created_at": "2026-01-02T03:04:05.000678Z",
    }
    assert records[1] == {"id": "b,c", "acc": "NaN", "none": None}
    assert records[2]["acc"] == "Infinity"
    assert records[2]["huge"] == 2**70
    assert strict(written("json", EMPTY).decode()) == []
    assert written("jsonl", EMPTY) == b""


def test_text_that_is_no_utf8_leaves_as_an_escape() -> None:
    answer = Answer(lambda: TABLE, lambda: [{"id": "\ud800"}])
    assert strict(written("jsonl", answer).decode()) == {"id": "\ud800"}


def test_csv_quotes_only_what_needs_it_and_tells_empty_from_null() -> None:
    texts = ["plain", "with space", "a,b", 'say "hi"', "two\nlines", "", None, "ü"]
    table = pa.table({"text": texts, 'odd,"name"': list(range(8)), "x": [0.5, None] * 4})
    out = written("csv", Answer(lambda: table, list)).decode()
    assert out == (
        'text,"odd,""name""",x\nplain,0,0.5\nwith space,1,\n"a,b",2,0.5\n"say ""hi""",3,\n"two\nlines",4,0.5\n'
        '"",5,\n,6,0.5\nü,7,\n'
    )
    assert [row[0] for row in csv.reader(io.StringIO(out))][1:] == [text or "" for text in texts]
    alone = pa.table({"x": [None, "a"]})
    assert written("csv", Answer(lambda: alone, list)) == b'x\n""\na\n'


def test_csv_has_a_header_and_json_in_cells_that_are_lists() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv").decode())))
    assert [row["id"] for row in rows] == ["a", "b,c", ""]
    assert [float(row["acc"]) for row in rows[::2]] == [0.5, math.inf]
    assert math.isnan(float(rows[1]["acc"]))
    assert rows[0]["big"] == str(2**53 + 1)
    assert json.loads(rows[0]["tags"]) == ["x", "y"]
    assert rows[0]["created_at"] == "2026-01-02T03:04:05.000678Z"
    assert written("csv", EMPTY).decode().strip().replace('"', "") == ",".join(TABLE.column_names)


def test_parquet_and_arrow_keep_types_and_values() -> None:
    assert pq.read_table(io.BytesIO(written("parquet"))).schema.equals(TABLE.schema)
    arrow = pa.ipc.open_stream(written("arrow")).read_all()
    assert arrow.schema.equals(TABLE.schema)
    for found in (arrow, pq.read_table(io.BytesIO(written("parquet")))):
        assert str(found.to_pylist()) == str(TABLE.to_pylist())


def test_a_table_without_a_terminal_is_whole_and_aligned() -> None:
    wide = pa.table({f"column_{n}": [f"value {n}"] for n in range(200)})
    header, row = text_table(wide)
    assert header.split() == wide.column_names
    assert header.index("column_199") == row.index("value 199")
    lines = written("table").decode().splitlines()
    assert len(lines) == 4
    assert lines[1].split() == ["a", "0.5", "9007199254740993", "true", '["x",', '"y"]', "2026-01-02", "03:04:05"]


def test_cells_are_short_and_never_speak_to_the_terminal() -> None:
    assert cell_text(0.123456789) == "0.123457"
    assert cell_text(1e-9) == "1e-09"
    assert cell_text(math.nan) == "NaN"
    assert cell_text(None) == ""
    assert cell_text("\x1b[31mred\n\x07") == "\\x1b[31mred\\n\\x07"
    assert cell_text("x" * 100) == "x" * 59 + "…"
    assert cell_text("[bold]markup[/bold]") == "[bold]markup[/bold]"
    assert cell_text(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01 00:00:00"


def test_rich_markup_in_data_is_data() -> None:
    assert list(text_table(pa.table({"id": ["[bold]a[/bold] [/]"]}))) == ["id", "[bold]a[/bold] [/]"]


def test_wide_characters_take_two_places() -> None:
    table = pa.table({"name": ["\N{CJK UNIFIED IDEOGRAPH-6F22}" * 3, "abc"], "n": [1, 22]})
    assert list(text_table(table)) == ["name     n", "\N{CJK UNIFIED IDEOGRAPH-6F22}" * 3 + "   1", "abc     22"]


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        (None, None, "table"),
        (None, "a.csv", "csv"),
        (None, "a.PARQUET", "parquet"),
        (None, "a.ndjson", "jsonl"),
        (None, "a.unknown", "table"),
        ("json", "a.csv", "json"),
    ],
)
def test_the_format_is_the_one_asked_for_or_the_suffix(name: str | None, output: str | None, expected: str) -> None:
    assert format_named(name, None if output is None else Path(output)).name == expected


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r'"xml".*table, json, jsonl, csv, parquet, arrow'):
        format_named("xml", None)


def test_plain_leaves_nothing_that_json_cannot_say() -> None:
    assert plain({1: (1, -math.inf), "when": WHEN.date()}) == {"1": [1, "-Infinity"], "when": "2026-01-02"}
    assert plain(timedelta(seconds=1)) == "0:00:01"
    assert plain(Decimal("3")) == 3
    assert isinstance(plain(Decimal("3")), int)
    assert plain(Decimal("1.5")) == 1.5
    assert plain(b"\x00\xff") == "00ff"


def test_nanoseconds_are_cut_where_python_ends() -> None:
    table = pa.table({"t": pa.array([1_577_836_800_123_456_789], pa.timestamp("ns", "UTC"))})
    answer = Answer(lambda: table, lambda: table_records(table))
    assert strict(written("json", answer).decode()) == [{"t": "2020-01-01T00:00:00.123456Z"}]
    assert written("csv", answer).decode().splitlines()[1] == "2020-01-01T00:00:00.123456Z"
