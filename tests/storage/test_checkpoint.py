"""Checkpoints hold the last fact of each path, and lose nothing when they are merged or rewritten without a pack."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from pack_world import DAY_US, FakeStore, compact
from store_maker import T0, made_run

from tracker.storage.checkpoint import (
    CHECKPOINT_COLUMNS,
    LastFacts,
    encode_checkpoint,
    merge_checkpoints,
)
from tracker.storage.derived import DERIVED_SCHEMA, Record
from tracker.storage.format_file import ensure_format
from tracker.storage.manifest import newest_manifest
from tracker.storage.names import pack_key
from tracker.storage.packs import packed_frames, read_checkpoints
from tracker.storage.schema import PACK_SCHEMA, PackFooter

FOOTER = PackFooter(entity="main", project="p", pack_id="0" * 26, family="k", writers=1)


def fact(run: str, writer: str, seq: int, key: str, subject: str | None, value: float) -> dict[str, object]:
    return {
        "run": run, "writer": writer, "seq": seq, "row": None, "hlc": 10 + seq, "ts": 0, "kind": "config",
        "subject": subject, "step": None, "key": key, "t": 0, "v": value, "i": None, "s": None,
    }  # fmt: skip


facts = st.lists(
    st.builds(
        fact,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["w1", "w2"]),
        st.integers(0, 20),
        st.sampled_from(["lr", "opt"]),
        st.sampled_from([None, "x", "y"]),
        st.floats(allow_nan=False),
    ),
    unique_by=lambda one: (one["run"], one["writer"], one["seq"], one["key"], one["subject"]),
)


@settings(deadline=None)
@given(rows=facts, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_the_last_fact_of_each_path_is_kept_however_the_rows_are_cut(rows, cuts):
    rows.sort(key=lambda one: (one["kind"], one["key"], one["run"], one["writer"], one["seq"]))
    table = pa.Table.from_pylist(rows, PACK_SCHEMA)
    last = LastFacts()
    ends = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, end in itertools.pairwise(ends):
        last.add(table.slice(start, end - start).unify_dictionaries().combine_chunks())
    expected = {}
    for one in sorted(rows, key=lambda one: one["seq"]):
        expected[one["run"], one["writer"], one["subject"], one["key"]] = (one["seq"], one["v"])
    found = last.records("pack1").to_pylist()
    assert {
        (one["run"], one["writer"], one["subject"], one["key"]): (one["seq"], one["v"]) for one in found
    } == expected
    assert len(found) == len(expected)
    assert {one["pack"] for one in found} <= {"pack1"}
    order = [(one["key"], one["run"], one["writer"]) for one in found]
    assert order == sorted(order)


def streams(given_records: Mapping[str, pa.Table]) -> dict[str, list[pa.Table]]:
    return {what: [table] for what, table in given_records.items()}


def records(pack: str, runs: list[str]) -> Mapping[str, pa.Table]:
    """One record of each kind for each run."""
    found = {}
    for what, columns in CHECKPOINT_COLUMNS.items():
        schema = pa.schema([DERIVED_SCHEMA.field(name) for name in columns])
        rows = [
            {"what": what, "run": run, "writer": f"w-{run}", "pack": pack, "kind": "k", "key": "x", "first_frame": 0,
             "last_frame": len(run), "mark": "m"}
            for run in runs
        ]  # fmt: skip
        found[what] = pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows], schema)
    return found


def test_a_checkpoint_is_rewritten_without_a_pack_and_stays_sorted(tmp_path):
    for name, given_records in {"one": records("p1", ["a", "c", "e"]), "two": records("p2", ["b", "f"])}.items():
        (tmp_path / name).write_bytes(encode_checkpoint(streams(given_records), FOOTER))
    paths = [tmp_path / "one", tmp_path / "two"]
    merged = merge_checkpoints(paths, (), [records("p3", ["d"])], ["one", "two"])
    (tmp_path / "three").write_bytes(encode_checkpoint(merged, FOOTER))
    for table in read_checkpoints([tmp_path / "three"]).values():
        assert table["run"].to_pylist() == ["a", "b", "c", "d", "e", "f"]
    left = merge_checkpoints([tmp_path / "three"], {"p1", "p3"}, (), ["three"])
    (tmp_path / "four").write_bytes(encode_checkpoint(left, FOOTER))
    for table in read_checkpoints([tmp_path / "four"]).values():
        assert table["run"].to_pylist() == ["b", "f"]
        assert set(table["pack"].to_pylist()) == {"p2"}
    metadata = pq.read_metadata(tmp_path / "three")
    for group in range(metadata.num_row_groups):
        stats = metadata.row_group(group).column(0).statistics
        assert stats.min == stats.max  # no row group mixes kinds of records
    found = read_checkpoints(paths)
    assert sorted(found[Record.FACT]["run"].to_pylist()) == ["a", "b", "c", "e", "f"]
    assert packed_frames(found[Record.WRITER]) == {(run, f"w-{run}"): 1 for run in "abcef"}


def test_large_checkpoints_keep_only_the_words_of_each_row_group():
    count = 100_000
    names = pa.array([f"run{n:07d}" for n in range(count)])
    columns = {name: pa.nulls(count, DERIVED_SCHEMA.field(name).type) for name in CHECKPOINT_COLUMNS[Record.FACT]}
    columns |= {
        "what": pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([Record.FACT])),
        "run": pa.DictionaryArray.from_arrays(pa.array(np.arange(count, dtype=np.int32)), names),
        "writer": pa.DictionaryArray.from_arrays(pa.array(np.arange(count, dtype=np.int32)), names),
    }
    schema = pa.schema([DERIVED_SCHEMA.field(name) for name in CHECKPOINT_COLUMNS[Record.FACT]])
    given_records = dict(records("p", [])) | {Record.FACT: pa.table(columns, schema=schema)}
    assert len(encode_checkpoint(streams(given_records), FOOTER)) < 1_500_000


def test_the_checkpoint_of_a_project_says_what_the_runs_say(tmp_path):
    store = FakeStore()
    ensure_format(store)
    store.now_us = T0
    writer = made_run(store, "r", [{"loss": 2.0, "acc": 1}, {"loss": 1.0}], config={"lr": 0.1, "opt": "adam"})
    store.now_us += 2 * DAY_US
    compact(store)
    manifest = newest_manifest(store, "main", "p")
    (checkpoint,) = manifest.checkpoints
    (tmp_path / "k").write_bytes(store.get(pack_key("main", "p", checkpoint.id, "k")))
    found = read_checkpoints([tmp_path / "k"])
    config = {one["key"]: one["v"] or one["s"] for one in found[Record.FACT].to_pylist() if one["kind"] == "config"}
    assert config == {"lr": 0.1, "opt": "adam"}
    (session,) = found[Record.WRITER].to_pylist()
    assert (session["state"], session["first_frame"], session["last_frame"]) == ("finished", 0, writer.shipped - 1)
    assert (session["rows"], session["plain"], session["pack"]) == (2, True, manifest.packs[0].id)
    series = {one["key"]: one for one in found[Record.SERIES].to_pylist() if one["kind"] == "history"}
    assert (series["loss"]["v"], series["loss"]["min_v"], series["loss"]["count"]) == (1.0, 1.0, 2)
    assert [key for key, one in sorted(series.items(), key=lambda item: item[1]["place"])] == ["loss", "acc"]
    assert manifest.packs[0].hlc_max_us == checkpoint.hlc_max_us == session["last_hlc"]
