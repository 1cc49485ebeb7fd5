"""Files of derived records: only what is asked for is read, and damage is never read as data."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tracker.storage.derived import DERIVED_SCHEMA, Record, parse_derived_footer, read_derived, write_derived
from tracker.storage.errors import CorruptData
from tracker.storage.schema import SCHEMA, PackFooter, PartFooter, write_events

PART = PartFooter(
    entity="e", project="p", run_id="r", writer_id="0" * 26, family="r", first=0, last=99, mark="0" * 16
)


def records(what: str, count: int, **columns: Any) -> pa.Table:
    names = {"what": what, "run": "r", "writer": "w"}
    rows = [names | {name: values(n) for name, values in columns.items()} for n in range(count)]
    schema = pa.schema([field for field in DERIVED_SCHEMA if field.name in {*names, *columns}])
    return pa.Table.from_pylist(rows, schema=schema)


def file(footer: PartFooter | PackFooter = PART) -> bytes:
    mixed = pa.concat_tables([records(Record.OPEN, 3, seq=int), records(Record.SERIES, 2, seq=int)])
    tables = [records(Record.BUCKET, 5, width=lambda n: 1 << n, mean_v=float), mixed, records(Record.WRITER, 1)]
    return write_derived(tables, footer)


def test_records_come_back_with_null_where_nothing_was_said():
    table = read_derived(pa.BufferReader(file()), "r")
    assert table.schema.equals(DERIVED_SCHEMA)
    assert table["what"].to_pylist() == ["bucket"] * 5 + ["open"] * 3 + ["series"] * 2 + ["writer"]
    assert table["width"].to_pylist() == [1, 2, 4, 8, 16] + [None] * 6
    assert table["seq"].to_pylist() == [None] * 5 + [0, 1, 2, 0, 1, None]


def test_no_row_group_mixes_two_kinds_of_records():
    metadata = pq.read_metadata(pa.BufferReader(file()))
    stats = [metadata.row_group(n).column(0).statistics for n in range(metadata.num_row_groups)]
    assert [(one.min, one.max) for one in stats] == [(what, what) for what in ("bucket", "open", "series", "writer")]


@pytest.mark.parametrize("what", [[Record.OPEN], [Record.SERIES, Record.WRITER], [Record.FACT], []])
def test_only_the_kinds_asked_for_come(what):
    table = read_derived(pa.BufferReader(file()), "r", what=what, columns=["seq"])
    counts = {Record.OPEN: 3, Record.SERIES: 2, Record.WRITER: 1}
    assert table.column_names == ["seq"]
    assert table.num_rows == sum(counts.get(one, 0) for one in what)


def test_footers_of_sets_and_of_packs_are_told_apart():
    pack = PackFooter(entity="e", project="p", pack_id="0" * 26, family="r", writers=3)
    for footer in (PART, pack):
        found = parse_derived_footer(pq.read_metadata(pa.BufferReader(file(footer))), "r")
        assert type(found) is type(footer)
        assert found.rows == 11


def test_damage_and_foreign_files_are_named():
    data = file()
    for end in range(0, len(data) - 1, 97):
        with pytest.raises(CorruptData, match="r of x"):
            read_derived(pa.BufferReader(data[:end]), "r of x")
    events = write_events(SCHEMA.empty_table(), PART)
    with pytest.raises(CorruptData, match="lacks the columns what"):
        read_derived(pa.BufferReader(events), "r of x")
