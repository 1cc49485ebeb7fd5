"""Files of events as streams: what goes in comes out, block by block, and damage is never read as data."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.storage import event_file
from tracker.storage.errors import CorruptData
from tracker.storage.event_file import read_blocks, write_event_file
from tracker.storage.events import POINT_KINDS, encode_cell, family_of
from tracker.storage.schema import PACK_SCHEMA, SCHEMA, PackFooter, PartFooter, write_events

PART = PartFooter(
    entity="e", project="p", run_id="r", writer_id="0" * 26, family="e", first=0, last=99, mark="0" * 16
)
PACK = PackFooter(entity="e", project="p", pack_id="0" * 26, family="h", writers=2)


def event(seq: int, kind: str, key: str | None, value: Any, **columns: Any) -> dict[str, Any]:
    t, v, i, s = encode_cell(value)
    plain = {"seq": seq, "hlc": 100 + seq, "ts": -seq, "kind": kind, "key": key, "t": int(t), "v": v, "i": i, "s": s}
    return dict.fromkeys(SCHEMA.names) | plain | columns


ROWS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["row", "history", "system", "console", "config", "attr"]),
        st.sampled_from(["a", "b", "ä"]),
        st.one_of(st.floats(allow_nan=False), st.text(max_size=40), st.none(), st.integers()),
    ),
    max_size=40,
)


@given(rows=ROWS, block=st.integers(1, 9), first=st.integers(0, 40), family=st.sampled_from("fhsc"))
@settings(deadline=None, max_examples=60)
def test_a_stream_gives_the_events_of_a_family_from_a_frame_on(rows, block, first, family):
    events = [event(seq, kind, None if kind == "row" else key, value) for seq, kind, key, value in rows]
    data = pa.py_buffer(write_events(pa.Table.from_pylist(events, schema=SCHEMA), PART))
    blocks = list(read_blocks(data, "x", block, families=family, first=first, owner=("r", "w")))
    assert all(0 < table.num_rows <= block for table in blocks)
    assert all(table.schema.names == PACK_SCHEMA.names for table in blocks)
    found = [row for table in blocks for row in table.to_pylist()]
    wanted = [
        {"run": "r", "writer": "w"} | one for one in events if family_of(one["kind"]) == family and one["seq"] >= first
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))


@given(
    keys=st.lists(st.sampled_from([f"key {n}" for n in range(9)]), max_size=60),
    sizes=st.lists(st.integers(0, 12), max_size=9),
)
@settings(deadline=None, max_examples=60)
def test_row_groups_are_full_and_have_only_their_own_words(keys, sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_file, "PACK_GROUP_ROWS", 8)
        events = [event(n, "history", key, float(n), run="r", writer="w") for n, key in enumerate(sorted(keys))]
        table = pa.Table.from_pylist(events, schema=PACK_SCHEMA)
        cuts, at = [], 0
        for size in [*sizes, len(keys)]:
            cuts.append(table.slice(at, size))
            at += size
        sink, seen = io.BytesIO(), []
        footer = write_event_file(sink, cuts, PACK, PACK_SCHEMA, on_group=lambda group: seen.append(group))
    assert (footer.rows, footer.hlc_min_us, footer.hlc_max_us) == (
        len(keys), 100 if keys else 0, 99 + len(keys) if keys else 0,
    )  # fmt: skip
    groups = [min(8, len(keys) - start) for start in range(0, len(keys), 8)]
    assert [group.num_rows for group in seen] == groups
    for group in seen:
        assert sorted(group["key"].chunk(0).dictionary.to_pylist()) == sorted(set(group["key"].to_pylist()))
    data = pa.py_buffer(sink.getvalue())
    assert pq.read_metadata(pa.BufferReader(data)).num_row_groups == len(groups)
    back = [row for block in read_blocks(data, "x", 5, families="h") for row in block.to_pylist()]
    assert back == table.to_pylist()


def test_row_groups_of_long_texts_are_closed_early(monkeypatch):
    """However long texts are, a row group and a block of it fit into memory."""
    monkeypatch.setattr(event_file, "_GROUP_BYTES_MAX", 1 << 20)
    events = [event(n, "console", "out", f"{n:03d}" + "x" * 100_000) for n in range(100)]
    sink, seen = io.BytesIO(), []
    write_event_file(
        sink, [pa.Table.from_pylist(events, schema=SCHEMA)], PART, SCHEMA, on_group=lambda group: seen.append(group)
    )
    assert sum(group.num_rows for group in seen) == 100
    assert max(group.nbytes for group in seen) < 1.3 * (1 << 20)
    monkeypatch.setattr(event_file, "_GROUP_BYTES_MAX", 64 * 100_000)
    blocks = list(read_blocks(pa.py_buffer(sink.getvalue()), "x", 64 * 1024))
    assert sum(block.num_rows for block in blocks) == 100
    assert max(block.num_rows for block in blocks) <= 64


def test_what_is_damaged_is_named(tmp_path: Path):
    events = [event(n, kind, "k", n / 7) for n, kind in enumerate(sorted([*POINT_KINDS, "config"] * 50))]
    data = write_events(pa.Table.from_pylist(events, schema=SCHEMA), PART)
    for end in range(0, len(data) - 1, 211):
        with pytest.raises(CorruptData, match="part 7"):
            list(read_blocks(pa.py_buffer(data[:end]), "part 7", 10))
    path = tmp_path / "gone"
    with pytest.raises(FileNotFoundError):
        list(read_blocks(path, "part 7", 10))
    path.write_bytes(data[:40] + bytes(20) + data[60:])
    with pytest.raises(CorruptData, match="part 7 is damaged"):
        list(read_blocks(path, "part 7", 10))
