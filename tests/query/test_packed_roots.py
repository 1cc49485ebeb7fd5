"""Which extents of several roots' packs count, and how what does not count is kept out of the relations."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_store import packed_project
from store_maker import T0, MadeWriter

from tracker.query.connection import connection
from tracker.query.listing import list_project
from tracker.query.order import parse_order
from tracker.query.packed import WRITERS
from tracker.query.packed_roots import PackSource, distinct_packs, join_writers, scan_sql
from tracker.query.parse_filter import parse_filter
from tracker.query.runs import find_runs
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.format_file import ensure_format
from tracker.storage.manifest import Checkpoint, Manifest, Pack, PurgedRun, publish_manifest
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project
from tracker.storage.union_store import UnionStore

NOW = T0 + 400 * 86_400_000_000
MARKED = WRITERS.append(pa.field("mark", pa.string()))


def source(number: int, packs: Sequence[str]) -> PackSource:
    listed = [Pack(id=one, families={"f": 1}, writers=1, events=1, hlc_max_us=1, since=0) for one in packs]
    kept = [Checkpoint(id=f"k-{one}", size_bytes=1, packs=(one,), hlc_max_us=1) for one in packs]
    manifest = Manifest(number=number, nonce=str(number), packs=tuple(listed), checkpoints=tuple(kept))
    return PackSource(MemoryStore(f"root{number}"), manifest)


def extent(run: str, writer: str, pack: str, first: int, last: int, mark: str = "") -> dict[str, Any]:
    numbers = dict.fromkeys(("events", "rows", "first_hlc", "last_hlc", "last_wall_us"), 1)
    said = {"run": run, "writer": writer, "pack": pack, "first_frame": first, "last_frame": last, "plain": True}
    return numbers | said | {"is_session": True, "state": None, "mark": mark or f"{writer}{last}"}


def table(*extents: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(extents), MARKED)


def counted(joined: Any) -> list[tuple[str, str, int, int]]:
    names = ("writer", "pack", "first_frame", "last_frame")
    return [tuple(row[name] for name in names) for row in joined.counted.to_pylist()]


def test_of_each_writer_the_root_counts_whose_packs_reach_furthest() -> None:
    sources = [source(0, ["a"]), source(1, ["b", "c"])]
    mine = table(extent("r", "u", "a", 0, 5), extent("r", "v", "a", 0, 9), extent("s", "w", "a", 0, 1))
    theirs = table(extent("r", "u", "b", 0, 3), extent("r", "u", "c", 4, 7), extent("r", "v", "b", 0, 9))
    joined = join_writers(sources, [mine, theirs])
    assert counted(joined) == [("u", "b", 0, 3), ("u", "c", 4, 7), ("v", "a", 0, 9), ("w", "a", 0, 1)]
    assert joined.held.num_rows == 6, "both packs are still needed"
    assert [one.url for one in joined.stores_of("r")] == ["memory://root0", "memory://root1"]
    assert [one.url for one in joined.stores_of("s")] == ["memory://root0"]


def test_packs_of_which_nothing_counts_are_not_read() -> None:
    sources = [source(0, ["a"]), source(1, ["b", "c"])]
    mine, theirs = table(extent("r", "u", "a", 0, 5)), table(extent("r", "u", "b", 0, 5), extent("s", "w", "c", 0, 1))
    joined = join_writers(sources, [mine, theirs])
    assert counted(joined) == [("u", "a", 0, 5), ("w", "c", 0, 1)]
    assert joined.held.num_rows == 2
    assert [[one.id for one in kept.checkpoints.checkpoints] for kept in joined.sources] == [["k-a"], ["k-c"]]


def test_a_pack_that_two_roots_list_counts_for_both_and_is_read_once() -> None:
    sources = distinct_packs([source(0, ["a"]), source(1, ["a", "b"])])
    assert [one.without for one in sources] == [frozenset(), {"a"}]
    joined = join_writers(sources, [table(extent("r", "u", "a", 0, 5)), table(extent("r", "u", "b", 6, 8))])
    assert counted(joined) == [("u", "a", 0, 5), ("u", "b", 6, 8)]
    assert len(joined.stores_of("r")) == 2


def test_copies_that_differ_are_told() -> None:
    sources = [source(0, ["a"]), source(1, ["b"])]
    joined = join_writers(sources, [table(extent("r", "u", "a", 0, 5, "x")), table(extent("r", "u", "b", 0, 5, "y"))])
    assert counted(joined) == [("u", "a", 0, 5)]
    (text,) = joined.warnings
    assert "root0 and memory://root1 tell two histories" in text


@settings(max_examples=30, deadline=None)
@given(
    ends=st.lists(
        st.dictionaries(st.sampled_from("uvw"), st.lists(st.integers(0, 3), min_size=1, max_size=3)),
        min_size=2,
        max_size=3,
    )
)
def test_every_frame_of_a_writer_counts_once(ends: list[dict[str, list[int]]]) -> None:
    """`ends`: of each root and writer how many frames more each of its packs has."""
    sources, tables = [], []
    for number, root in enumerate(ends):
        rows = []
        for writer, lengths in root.items():
            begin = 0
            for pack, more in enumerate(lengths):
                rows.append(extent("r", writer, f"{number}-{pack}", begin, begin + more))
                begin += more + 1
        sources.append(source(number, [f"{number}-{pack}" for pack in range(3)]))
        tables.append(table(*rows))
    joined = join_writers(distinct_packs(sources), tables)
    for writer in "uvw":
        frames = [
            frame for one, _, first, last in counted(joined) if one == writer for frame in range(first, last + 1)
        ]
        reach = max((sum(more + 1 for more in root[writer]) for root in ends if writer in root), default=0)
        assert frames == list(range(reach))


def test_records_of_packs_that_do_not_count_are_left_out(tmp_path: Path) -> None:
    paths = []
    for name, packs in (("it's", ["a", "b"]), ("other", ["b", "c"])):
        paths.append(tmp_path / f"{name}.parquet")
        connection().sql(f"SELECT unnest({packs}) AS pack").write_parquet(str(paths[-1]))
    for without, found in (([[], []], "abbc"), ([[], ["b"]], "abc"), ([["a"], ["b", "c"]], "b"), ([["b"], []], "abc")):
        scan = scan_sql(list(zip(paths, without, strict=True)))
        rows = connection().execute(f"SELECT pack FROM {scan} ORDER BY pack").fetchall()
        assert "".join(pack for (pack,) in rows) == found


@pytest.fixture
def roots() -> list[MemoryStore]:
    found = [MemoryStore(uuid.uuid4().hex) for _ in range(2)]
    for root in found:
        ensure_format(root)
    return found


def opened(store: Any, tmp_path: Path) -> Snapshot:
    return open_project(store, "main", "p", cache=PartCache(tmp_path, 1 << 30), now_us=NOW, warn=pytest.fail)


def ids(snapshot: Snapshot) -> list[str]:
    return find_runs(snapshot, parse_filter({}), parse_order("+created_at"))[0]


def test_many_runs_that_both_roots_packed_are_not_folded_one_by_one(roots: list[MemoryStore], tmp_path: Path) -> None:
    for number, root in enumerate(roots):
        packed_project(root, 500, packs=1 + 2 * number)
    snapshot = opened(UnionStore(roots), tmp_path)
    assert not snapshot.runs.packed.partly_hidden()
    assert ids(snapshot) == ids(opened(roots[0], tmp_path))
    assert snapshot.runs.packed.held.num_rows == 500


def test_a_new_manifest_of_any_root_is_another_joined_one(roots: list[MemoryStore]) -> None:
    """Two roots have manifests of the same numbers."""
    union = UnionStore(roots)
    seen = [list_project(union, "main", "p").manifest]
    for root in (*roots, *roots):
        held = list_project(root, "main", "p").manifest
        assert publish_manifest(root, "main", "p", replace(held, number=held.number + 1, nonce=uuid.uuid4().hex))
        seen.append(list_project(union, "main", "p").manifest)
    assert [one.number for one in seen] == [-1, 0, 0, 1, 1]
    assert len({(one.number, one.nonce) for one in seen}) == 5


def test_purges_of_several_roots_are_one_up_to_the_latest_time(roots: list[MemoryStore]) -> None:
    purges = [PurgedRun(run_id="r", hlc_us=5, writers=("u", "v")), PurgedRun(run_id="r", hlc_us=9, writers=("w",))]
    for root, purge in zip(roots, purges, strict=True):
        assert publish_manifest(root, "main", "p", Manifest(number=0, nonce="n", purged=(purge,)))
    (joined,) = list_project(UnionStore(roots), "main", "p").manifest.purged
    assert (joined.hlc_us, joined.writers) == (9, ("u", "v", "w"))


def test_loose_frames_of_one_root_go_on_behind_the_packs_of_another(roots: list[MemoryStore], tmp_path: Path) -> None:
    writer = MadeWriter(roots[0], RunRef("main", "p", "r"), 1, T0).begin().log({"x": 1}).put()
    compact_project(roots[0], "main", "p", now_us=NOW, quiet_s=0, finished_quiet_s=0, grace_s=0)
    writer.store = roots[1]
    writer.log({"x": 2}).end()
    snapshot = opened(UnionStore(roots), tmp_path)
    assert [(part.first, part.last, part.packed) for part in snapshot.runs["r"].parts] == [(0, 1, True), (2, 3, False)]
    assert [root.url for root in snapshot.homes.of("r")] == [root.url for root in roots]
    assert [root.url for root in snapshot.homes.of("nobody")] == [roots[0].url]
