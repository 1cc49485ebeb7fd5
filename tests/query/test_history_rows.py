"""History is the same rows however the frames were cut into parts, merged, overlapped or spread over writers."""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from store_maker import T0, MadeWriter, made_run

from tracker.query.cells import concat_rows
from tracker.query.frames import to_dicts
from tracker.query.history import history_batches, scan_batches
from tracker.query.runs import visible_files
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef
from tracker.storage.port import Store
from tracker.storage.stores import open_store

NOW = T0 + 3600 * 1_000_000


def opened(store: Store, tmp_path: Path, run_id: str | None = None) -> Snapshot:
    cache = PartCache(tmp_path / "cache", 1 << 30)
    return open_project(store, "main", "p", cache=cache, now_us=NOW, warn=pytest.fail, run_id=run_id)


def rows_of(
    snapshot: Snapshot, run_id: str, keys: list[str] | None = None, samples: int | None = None, x_axis: str = "_step"
) -> list[dict[str, Any]]:
    files = visible_files(snapshot, [run_id])
    found = list(history_batches(files, snapshot.paths, keys=keys, samples=samples, x_axis=x_axis))
    return to_dicts(concat_rows(found))


def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in ("_runtime", "_timestamp")} for row in rows]


# -- a plain model: what the frames say, in a few lines that share no code with query/


Call = tuple[dict[str, Any], int | None, bool]  # data, step, commit


def expected(calls: list[Call]) -> list[dict[str, Any]]:
    rows: list[tuple[int, int, dict[str, Any]]] = []
    step, pending = 0, dict[str, Any]()
    for n, (data, at, commit) in enumerate(calls):
        step = step if at is None else at
        pending.update(data)
        if commit:
            rows.append((step, n, {"_step": step} | pending))
            step, pending = step + 1, {}
    return [row for _, _, row in sorted(rows, key=lambda row: row[:2])]


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.lists(st.integers(0, 3), max_size=2)
)
DATA = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3)


@st.composite
def calls(draw: st.DrawFn) -> list[Call]:
    found: list[Call] = []
    for data in draw(st.lists(DATA, min_size=1, max_size=12)):
        opens = not found or found[-1][2]
        step = draw(st.none() | st.integers(0, 6)) if opens else None
        found.append((data, step, draw(st.booleans() | st.just(True))))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=calls(), cuts=st.lists(st.tuples(st.integers(0, 13), st.integers(0, 13)), max_size=6), merged=st.booleans()
)
@example(calls=[({"a": 1}, None, False), ({"a": 2}, None, True)], cuts=[], merged=False)  # the greater seq wins
@example(calls=[({"a": 1}, 5, True), ({"a": 2}, 3, True)], cuts=[], merged=True)  # a late step is a row of its own
def test_rows_do_not_depend_on_how_frames_are_cut(
    calls: list[Call], cuts: list[tuple[int, int]], merged: bool, tmp_path: Path
) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin()
    for data, step, commit in calls:
        writer.log(data, step, commit=commit)
    last = len(writer.frames) - 1
    for first, until in [
        *((min(cut), max(cut)) for cut in cuts),
        *((n, min(n + 2, last)) for n in range(0, last + 1, 3)),
    ]:
        if until <= last:
            writer.put(first, until)
    if merged:
        writer.merge(0, last)
    snapshot = opened(store, tmp_path)
    want = expected(calls)
    assert bare(rows_of(snapshot, "r")) == want
    files = visible_files(snapshot, ["r"])[0]
    scanned = [row for rows in scan_batches(lambda: (files, snapshot.paths), keys=None) for row in to_dicts(rows)]
    assert bare(scanned) == want
    with_both = [{"_step": row["_step"], "a": row["a"], "b": row["b"]} for row in want if {"a", "b"} <= row.keys()]
    assert rows_of(snapshot, "r", ["a", "b"]) == with_both
    for low, high in ((1, 4), (0, 1)):
        scan = scan_batches(lambda: (files, snapshot.paths), keys=["a"], min_step=low, max_step=high)
        found = [row for rows in scan for row in to_dicts(rows)]
        assert found == [{"a": row["a"]} for row in want if "a" in row and low <= row["_step"] < high]


def test_the_type_of_every_value_survives(tmp_path: Path) -> None:
    values = [1, 1.0, True, None, "x", "1", math.inf, 2**64, [1, {"a": None}], {"_type": "image", "n": 1}, {}, -0.0]
    store = MemoryStore(uuid.uuid4().hex)
    made_run(store, "r", [{"a": value} for value in values])
    found = [row["a"] for row in rows_of(opened(store, tmp_path), "r", ["a"])]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]
    assert math.copysign(1, found[-1]) == -1


def test_nan_comes_back_as_nan(tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    made_run(store, "r", [{"a": math.nan}, {"b": 1}])
    found = rows_of(opened(store, tmp_path), "r")
    assert math.isnan(found[0]["a"])
    assert "a" not in found[1]


def test_a_cell_that_waits_for_its_marker_in_a_later_part_shows_only_then(tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin().log({"a": 1}, commit=False).put()
    assert rows_of(opened(store, tmp_path), "r") == []
    writer.log({"b": 2}).put()
    assert bare(rows_of(opened(store, tmp_path), "r")) == [{"_step": 0, "a": 1, "b": 2}]


def test_rows_of_several_writers_are_told_apart_and_sorted_by_step(tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    ref = RunRef("main", "p", "r")
    first = MadeWriter(store, ref, 1, rank="0").begin()
    second = MadeWriter(store, ref, 2, start_us=T0 + 500_000, opens=False, rank="1").begin()
    for value in range(3):
        first.log({"a": value})
        second.log({"a": 10 + value})
    first.end()
    second.end()
    assert [(row["_step"], row["a"]) for row in rows_of(opened(store, tmp_path), "r")] == [
        (0, 0),
        (0, 10),
        (1, 1),
        (1, 11),
        (2, 2),
        (2, 12),
    ]


def test_a_run_that_was_started_anew_shows_only_its_new_rows(tmp_path: Path) -> None:
    """RES-4: a plain init on an existing id hides the earlier history."""
    store = MemoryStore(uuid.uuid4().hex)
    made_run(store, "r", [{"a": 1}, {"a": 2}])
    writer = MadeWriter(store, RunRef("main", "p", "r"), 7, start_us=T0 + 600_000_000).begin()
    writer.log({"a": 3}).end()
    assert bare(rows_of(opened(store, tmp_path), "r")) == [{"_step": 0, "a": 3}]


def test_keys_come_in_the_order_in_which_they_were_first_logged(tmp_path: Path) -> None:
    """HQ-6: merged files are sorted by key, their dictionaries are not."""
    store = MemoryStore(uuid.uuid4().hex)
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin()
    writer.log({"z": 1, "m": 1, "a": 1}).log({"k": 1, "z": 1}).put()
    writer.log({"b": 1}).end()
    order = ["_step", "z", "m", "a", "k", "b", "_runtime", "_timestamp"]

    def columns() -> list[str]:
        snapshot = opened(store, tmp_path)
        return list(
            concat_rows(list(history_batches(visible_files(snapshot, ["r"]), snapshot.paths, keys=None))).columns
        )

    assert columns() == order
    writer.merge(0, len(writer.frames) - 1)
    assert columns() == order


def test_a_literal_dot_wins_over_the_nested_path(tmp_path: Path) -> None:
    """EX-11, HIST-17."""
    store = MemoryStore(uuid.uuid4().hex)
    made_run(store, "r", [{"a": {"b": 1, "c": {"d": 2}}, "a.b": 7}, {"a": {"b": 5}}, {"a.b": 6}])
    snapshot = opened(store, tmp_path)
    assert bare(rows_of(snapshot, "r")) == [
        {"_step": 0, "a.b": 7, "a.c.d": 2},
        {"_step": 1, "a.b": 5},
        {"_step": 2, "a.b": 6},
    ]
    assert [row["a.b"] for row in rows_of(snapshot, "r", ["a.b"])] == [7, 5, 6]
    assert [row["a\\.b"] for row in rows_of(snapshot, "r", ["a\\.b"])] == [7, 6]


def test_automatic_keys_yield_to_the_users_timestamp_only(tmp_path: Path) -> None:
    """HIST-13, HIST-14."""
    store = MemoryStore(uuid.uuid4().hex)
    made_run(store, "r", [{"a": 1}, {"a": 2, "_timestamp": 5.0, "_my": 1}])
    first, second = rows_of(opened(store, tmp_path), "r")
    assert first == {"_step": 0, "a": 1, "_runtime": 2.0, "_timestamp": T0 / 1e6 + 2}
    assert second["_timestamp"] == 5.0
    assert second["_my"] == 1
    assert second["_runtime"] == 3.0


def test_the_x_axis_is_required_like_a_key(tmp_path: Path) -> None:
    """HQ-3, HQ-5."""
    store = MemoryStore(uuid.uuid4().hex)
    made_run(store, "r", [{"x": 3, "a": 1}, {"a": 2}, {"x": 1, "a": 3}])
    found = rows_of(opened(store, tmp_path), "r", ["a"], x_axis="x")
    assert [list(row.items()) for row in found] == [[("x", 3), ("a", 1)], [("x", 1), ("a", 3)]]
    assert rows_of(opened(store, tmp_path), "r", ["a", "none"]) == []


def test_a_scan_goes_on_over_files_that_are_merged_and_deleted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracker.query.history._SCAN_ROWS", 3)
    store = open_store(str(tmp_path / "store"))
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin()
    for value in range(10):
        writer.log({"a": value}).put()

    def reopen() -> tuple[Any, Any]:
        snapshot = opened(store, tmp_path, "r")
        return visible_files(snapshot, ["r"])[0], snapshot.paths

    found = []
    for n, rows in enumerate(scan_batches(reopen, keys=["a"])):
        found += [row["a"] for row in to_dicts(rows)]
        if n == 1:
            writer.merge(0, len(writer.frames) - 1)
            for seq in range(len(writer.frames)):
                store.delete([writer.key(seq, seq)])
            store.delete([writer.key(0, 1)])
    assert found == list(range(10))


def test_rows_whose_predecessors_a_full_disk_refused_are_there(tmp_path: Path) -> None:
    """Refused calls take row numbers too, so that these run ahead of the frames (tests/crash/test_disk_trouble.py)."""
    store = open_store(str(tmp_path / "root"))
    writer = MadeWriter(store, RunRef("main", "p", "r")).begin()
    for row in (0, 1, 2, 60, 61):
        writer.log({"a": row}, row, row=row)
    writer.put()
    snapshot = opened(store, tmp_path)
    (files,) = visible_files(snapshot, ["r"])
    assert [row["a"] for row in rows_of(snapshot, "r")] == [0, 1, 2, 60, 61]
    windows = [to_dicts(rows) for rows in scan_batches(lambda: (files, snapshot.paths), keys=None)]
    assert [row["a"] for window in windows for row in window] == [0, 1, 2, 60, 61]
