"""Merging of sorted streams: all rows once, in order, whatever the streams' sizes and however little fits in memory."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.storage import kway
from tracker.storage.events import POINT_KINDS, encode_cell
from tracker.storage.kway import PACK_ORDER, SET_ORDER, Source, merge_streams
from tracker.storage.schema import PACK_SCHEMA, SCHEMA

KINDS = ["row", "history", "system", "console", "config", "attr", "tomorrow"]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2)
)


@st.composite
def events(draw: st.DrawFn, packed: bool) -> dict[str, Any]:
    kind = draw(st.sampled_from(KINDS))
    t, v, i, s = encode_cell(draw(VALUES))
    cell = {"t": int(t), "v": v, "i": i, "s": s}
    in_row = kind in {"row", "history"}
    event = {
        "seq": draw(st.integers(0, 30)),
        "row": draw(st.integers(0, 5)) if in_row else None,
        "hlc": draw(st.integers(1, 2**50)),
        "ts": draw(st.integers(-5, 5)),
        "kind": kind,
        "subject": draw(st.none() | st.sampled_from(["a", "b"])),
        "step": draw(st.integers(-3, 4) | st.sampled_from([-(2**63), 2**63 - 1])) if in_row else None,
        "key": None if kind == "row" else draw(st.sampled_from(["loss", "acc", "ä", "日本", "a.b", ""])),
    } | cell
    if packed:
        event |= {"run": draw(st.sampled_from(["r1", "r2", "é"])), "writer": draw(st.sampled_from(["w1", "w2"]))}
    return event


def place(event: dict[str, Any], order: tuple[str, ...]) -> tuple[Any, ...]:
    """Where a row belongs, by the words of the docstring."""

    def one(name: str) -> tuple[Any, ...]:
        value = event[name]
        if name == "kind":
            return (value in POINT_KINDS, value)
        return (value is None, value if value is not None else 0 if name in {"step", "seq", "row"} else "")

    return tuple(one(name) for name in order)


def stream(rows: list[dict[str, Any]], schema: pa.Schema, sizes: list[int]) -> Source:
    """`rows` in blocks of the sizes drawn, each block with a dictionary of its own."""

    def blocks(_: int) -> Iterator[pa.Table]:
        at = 0
        for size in [*sizes, len(rows)]:
            yield pa.Table.from_pylist(rows[at : at + size], schema=schema)
            at += size

    return Source(blocks, len(rows))


def shown(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(map(repr, rows))


def check(sources: list[list[dict[str, Any]]], packed: bool, sizes: list[int], memory_bytes: int, tmp: Path) -> None:
    order, schema = (PACK_ORDER, PACK_SCHEMA) if packed else (SET_ORDER, SCHEMA)
    ordered = [sorted(rows, key=lambda event: place(event, order)) for rows in sources]
    streams = [stream(rows, schema, sizes) for rows in ordered]
    tables = list(merge_streams(streams, order, memory_bytes=memory_bytes, spill=tmp))
    merged = [row for table in tables for row in table.to_pylist()]
    places = [place(row, order) for row in merged]
    assert places == sorted(places)
    complete = [dict.fromkeys(schema.names) | row for rows in sources for row in rows]
    assert shown(merged) == shown([{name: row[name] for name in schema.names} for row in complete])
    assert all(table.schema.equals(schema) for table in tables)
    assert all(column.num_chunks == 1 for table in tables for column in table.columns)
    assert not list(tmp.iterdir())


@given(
    sources=st.lists(st.lists(events(packed=False), max_size=25), max_size=5),
    sizes=st.lists(st.integers(0, 7), max_size=6),
)
@settings(max_examples=80, deadline=None)
def test_a_set_comes_out_whole_and_in_order(tmp_path_factory, sources, sizes):
    check(sources, False, sizes, 1 << 20, tmp_path_factory.mktemp("spill"))


@given(
    sources=st.lists(st.lists(events(packed=True), max_size=12), max_size=9),
    sizes=st.lists(st.integers(0, 7), max_size=3),
    memory_bytes=st.sampled_from([1, 1 << 20]),
)
@settings(max_examples=80, deadline=None)
def test_a_pack_comes_out_whole_and_in_order_through_spilled_files_too(tmp_path_factory, sources, sizes, memory_bytes):
    check(sources, True, sizes, memory_bytes, tmp_path_factory.mktemp("spill"))


def test_streams_are_read_no_further_than_needed_and_in_blocks_that_fit():
    asked: list[int] = []
    taken = [0] * 8

    def source(number: int) -> Source:
        def blocks(rows: int) -> Iterator[pa.Table]:
            asked.append(rows)
            for start in range(0, 20_000, rows):
                taken[number] += 1
                seqs = range(number * 20_000 + start, number * 20_000 + min(start + rows, 20_000))
                plain = {"hlc": 1, "ts": 0, "kind": "history", "t": 0, "key": "a"}
                yield pa.Table.from_pylist([{"seq": n, "step": n} | plain for n in seqs], schema=SCHEMA)

        return Source(blocks, 20_000)

    merged = merge_streams([source(number) for number in range(8)], memory_bytes=2 << 20)
    first = next(merged)
    assert set(asked) == {kway.rows_a_block(8, 2 << 20)}
    assert asked[0] * 8 * 100 <= 2 << 20
    assert taken == [1] * 8
    assert first["seq"].to_pylist() == list(range(asked[0]))
    rest = [seq for table in merged for seq in table["seq"].to_pylist()]
    assert rest == list(range(asked[0], 160_000))


def test_merging_in_a_training_process_imports_no_pandas(tmp_path):
    """It would cost 30 MB and a stall; pyarrow imports it for the least of conveniences."""
    if importlib.util.find_spec("pandas") is None:
        pytest.skip("pandas is not installed")
    script = """
import sys
sys.path[:0] = sys.argv[2:]
import pathlib, sys
from test_shipper import *
from tracker.storage import merge as merge_module
merge_module._SMALL_EVENTS = 10
directory = pathlib.Path(sys.argv[1])
spool, store = make_spool(directory), memory()
wal, shipper = WalWriter(spool.path), make_shipper(spool, store, grace_s=0.0)
before = "pandas" in sys.modules
for number in range(40):
    wal.append(row(number, a=number / 2, b="x", c=(1 << 64) - 1))
    ship_all(shipper)
    shipper.merge()
assert any("/r-" in info.key for info in store.list(""))
assert shipper.sweep()
assert before or "pandas" not in sys.modules
print(before)
"""
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-c", script, str(tmp_path), str(here), str(here.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
