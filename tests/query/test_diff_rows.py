"""Rows of two runs side by side, and what is counted of them, against plain dicts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_maker import T0, MadeWriter, made_run

from tracker.query.align_rows import aligned_rows
from tracker.query.cells import ABSENT, MISSING, Column, Rows
from tracker.query.diff_metrics import MetricDiff, align_columns, metric_diffs
from tracker.query.diff_side import DiffSide
from tracker.query.diff_values import Change, Tolerance, leaf_changes, same_value
from tracker.query.frames import to_dicts
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.errors import UsageError
from tracker.storage.events import encode_cell
from tracker.storage.format_file import ensure_format
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project
from tracker.storage.stores import open_store

values = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, math.nan, math.inf, -math.inf, 2**53 + 1, float(2**53), 2**70]),
    st.booleans(),
    st.sampled_from(["x", "1", "", None]),
    st.sampled_from([[1, 2], {"_type": "image-file", "sha256": "ab"}]),
)
rows = st.lists(
    st.tuples(st.integers(0, 6), st.dictionaries(st.sampled_from(["a", "b", "c.d"]), values)), max_size=12
).map(lambda found: sorted(found, key=lambda row: row[0]))


def side_by_side(a: list[Any], b: list[Any]) -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
    """The outer join in plain lines: the n-th row of a step stands beside the other's n-th row of that step."""
    placed: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for side, found in enumerate((a, b)):
        seen: dict[int, int] = {}
        for step, cells in found:
            turn = seen[step] = seen.get(step, -1) + 1
            placed.setdefault((step, turn), [{}, {}])[side] = cells
    return [(step, *cells) for (step, _), cells in sorted(placed.items())]  # type: ignore[misc]


def stored(folder: Path, name: str, logged: list[Any], pieces: int = 1) -> DiffSide:
    """The rows as a run of a store, read back by the path that a diff takes."""
    store = open_store(str(folder))
    writer = MadeWriter(store, RunRef("main", "p", name), len(name), T0).begin({"name": name})
    for n, (step, cells) in enumerate(logged):
        writer.log(cells, step)
        if n % 4 == 3 and pieces > 1:
            writer.put()
    writer.end()
    return side_of(str(folder), name)


def side_of(url: str, run_id: str) -> DiffSide:
    def snapshot() -> Snapshot:
        cache = PartCache(Path(url) / "cache")
        return open_project(open_store(url), "main", "p", cache=cache, now_us=T0 + 10**9, warn=pytest.fail)

    return DiffSide(snapshot, run_id)


def batches(found: list[Any], size: int) -> Iterator[Rows]:
    """As `scan_batches` gives them: all rows of a step in one batch."""
    start = 0
    while start < len(found):
        end = start + size
        while end < len(found) and found[end][0] == found[end - 1][0]:
            end += 1
        some = found[start:end]
        columns = {"_step": Column.of_ints(np.array([step for step, _ in some]))}
        for name in ("a", "b"):
            cells = np.array([float(row.get(name, math.nan)) for _, row in some])
            column = Column.of_floats(cells)
            column.t[[name not in row for _, row in some]] = ABSENT
            columns[name] = column
        yield Rows(np.zeros(len(some), np.int64), columns)
        start = end


numbers = st.lists(
    st.tuples(st.integers(0, 8), st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 5))), max_size=20
).map(lambda found: sorted(found, key=lambda row: row[0]))


@settings(deadline=None)
@given(a=numbers, b=numbers, sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_windows_of_any_size_make_the_outer_join(a: list[Any], b: list[Any], sizes: tuple[int, int]) -> None:
    joined = []
    for window in aligned_rows(batches(a, sizes[0]), batches(b, sizes[1])):
        columns = [window.pair(name) for name in ("a", "b")]
        for n, step in enumerate(window.step.tolist()):
            cells = [
                {
                    name: pair[side].v[n]
                    for name, pair in zip(("a", "b"), columns, strict=True)
                    if pair[side].t[n] != ABSENT
                }
                for side in (0, 1)
            ]
            joined.append((step, *cells))
    assert joined == side_by_side(a, b)


@settings(deadline=None, max_examples=10)
@given(a=rows, b=rows)
def test_what_is_counted_and_shown_is_what_the_dicts_say(
    tmp_path_factory: pytest.TempPathFactory, a: list[Any], b: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    sides = [stored(folder, name, found, pieces=2) for name, found in (("left", a), ("right-one", b))]
    joined = side_by_side(a, b)

    def both() -> Any:
        return tuple(side.rows(None) for side in sides)

    expected = {}
    for key in sorted({key for found in (a, b) for _, cells in found for key in cells}):
        one = expected[key] = MetricDiff(key)
        for step, left, right in joined:
            x, y = left.get(key, MISSING), right.get(key, MISSING)
            one.a_count += x is not MISSING
            one.b_count += y is not MISSING
            one.a_only += y is MISSING and x is not MISSING
            one.b_only += x is MISSING and y is not MISSING
            differs = x is not MISSING and y is not MISSING and not same_value(x, y)
            one.differing += differs
            if one.first_step is None and (differs or (x is MISSING) != (y is MISSING)):
                one.first_step, one.first_a, one.first_b = step, x, y
    found = {one.key: one for one in metric_diffs(both, keys=None)}
    assert list(found) == list(expected)
    for key, one in expected.items():
        for field in ("a_count", "b_count", "a_only", "b_only", "differing", "first_step"):
            assert getattr(found[key], field) == getattr(one, field), (key, field)
        assert repr(found[key].first_a) == repr(one.first_a)
        assert repr(found[key].first_b) == repr(one.first_b)
    shown = [row for batch in align_columns(both, None) for row in to_dicts(batch)]
    wanted = [
        {"_step": step}
        | {f"a.{key}": value for key, value in left.items()}
        | {f"b.{key}": value for key, value in right.items()}
        for step, left, right in joined
        if left or right
    ]
    without = [{key: value for key, value in row.items() if not key.startswith("difference.")} for row in shown]
    assert [sorted(map(repr, row.items())) for row in without] == [sorted(map(repr, row.items())) for row in wanted]


def column_of(found: list[Any]) -> Column:
    cells = [(ABSENT, None, None, None) if value is MISSING else encode_cell(value) for value in found]
    t, v, i, s = zip(*cells, strict=True) if cells else ((),) * 4
    numbers = np.array([math.nan if number is None else number for number in v], float)
    return Column(np.array(t, np.int8), numbers, pa.array(i, pa.int64()), pa.array(s, pa.string()))


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(*[st.one_of(st.just(MISSING), values)] * 2), max_size=30),
    tolerance=st.sampled_from([Tolerance(), Tolerance(relative=0.6), Tolerance(absolute=0.5)]),
    cut=st.integers(0, 30),
)
def test_columns_are_compared_as_values_are(pairs: list[Any], tolerance: Tolerance, cut: int) -> None:
    """In one piece or two, exact integers and mixed types too."""
    one = MetricDiff("k")
    for part, start in ((pairs[:cut], 0), (pairs[cut:], cut)):
        a, b = (column_of([pair[side] for pair in part]) for side in (0, 1))
        one.add(np.arange(start, start + len(part)), a, b, tolerance)
    both = [(x, y) for x, y in pairs if x is not MISSING and y is not MISSING]
    parting = [
        n
        for n, (x, y) in enumerate(pairs)
        if (x is MISSING) != (y is MISSING) or (x is not MISSING and not same_value(x, y, tolerance))
    ]
    assert one.differing == sum(not same_value(x, y, tolerance) for x, y in both)
    assert one.first_step == (parting[0] if parting else None)
    assert one.equal is (not parting)
    assert one.a_count - one.a_only == one.b_count - one.b_only == len(both)


def test_figures_of_numbers_and_tolerances(tmp_path: Path) -> None:
    a = [(n, {"loss": 1.0 / (n + 1), "n": n, "flag": True}) for n in range(5)]
    b = [(n, {"loss": 1.0 / (n + 1) + (0.01 if n == 3 else 0.0), "n": n, "flag": n != 2}) for n in range(6)]
    sides = [stored(tmp_path, name, found) for name, found in (("left", a), ("right-one", b))]

    def both() -> Any:
        return tuple(side.rows(None) for side in sides)

    found = {one.key: one for one in metric_diffs(both, keys=None)}
    loss = found["loss"]
    assert (loss.differing, loss.a_only, loss.b_only, loss.first_step) == (1, 0, 1, 3)
    assert (loss.first_a, loss.first_b) == (0.25, 0.26)
    assert loss.max_difference == pytest.approx(0.01)
    assert loss.mean_difference == pytest.approx(0.01 / 5)
    assert (found["n"].differing, found["n"].max_difference) == (0, 0.0)
    assert (found["flag"].first_step, found["flag"].max_difference) == (2, None), "booleans are no numbers"
    close = metric_diffs(both, keys=["loss"], tolerance=Tolerance(absolute=0.02))
    assert [(one.key, one.differing, one.first_step) for one in close] == [("loss", 0, 5)]
    assert [one.key for one in metric_diffs(both, keys=None, ignore=["metrics.l*"])] == ["flag", "n"]


def test_packed_runs_are_compared_as_loose_ones_are(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    store = open_store(url)
    ensure_format(store)
    for name, shift in (("a", 0.0), ("b", 0.5)):
        made_run(store, name, [{"loss": n + shift * (n > 20), "text": "x"} for n in range(40)])

    def found() -> list[dict[str, Any]]:
        sides = [side_of(url, name) for name in ("a", "b")]
        return [one.to_dict() for one in metric_diffs(lambda: tuple(side.rows(None) for side in sides), keys=None)]  # type: ignore[arg-type,return-value]

    loose = found()
    compact_project(store, "main", "p", now_us=T0 + 10**12, quiet_s=0, finished_quiet_s=0, grace_s=0)
    assert found() == loose
    assert [(one["key"], one["differing"], one["first_step"]) for one in loose] == [("loss", 19, 21), ("text", 0, None)]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (math.nan, math.nan, True),
        ("1", 1, False),
        (None, None, True),
        ([1, {"x": 2}], [1.0, {"x": 2}], True),
        ([1], [1, 2], False),
        (2**53 + 1, float(2**53), False),
        (2**70, 2**70 + 1, False),
        (math.inf, math.inf, True),
    ],
)
def test_values_are_the_same_as_filters_have_it(a: Any, b: Any, same: bool) -> None:
    """As FILT-10, only that NaN is itself."""
    assert same_value(a, b) is same
    assert same_value(b, a) is same


def test_tolerances_hold_for_floats_anywhere_and_not_for_integers() -> None:
    loose = Tolerance(relative=0.1)
    assert same_value([1.0, {"x": 2.0}], [1.05, {"x": 2.1}], loose)
    assert not same_value(10, 11, loose)
    assert not same_value(1.0, math.inf, loose)
    assert not same_value(2**2000, 1.0, loose)
    with pytest.raises(UsageError, match="rtol"):
        Tolerance(relative=-1.0)
    with pytest.raises(UsageError, match="atol"):
        Tolerance(absolute=math.nan)


def test_leaves_are_compared_by_path() -> None:
    a = {"lr": 0.1, "opt": "adam", "x.y": 1, "x\\.y": 2}
    b = {"lr": 0.1, "opt.name": "adam", "x.y": 1, "x\\.y": 3}
    changes = leaf_changes(a, b, section="config")
    assert changes == [Change("opt", "adam", MISSING), Change("opt.name", MISSING, "adam"), Change("x.y", 2, 3)]
    assert [one.kind for one in changes] == ["removed", "added", "changed"]
    assert [one.path for one in leaf_changes(a, b, section="config", ignore=["config.opt*"])] == ["x.y"]
    assert leaf_changes(a, b, section="config", ignore=["config"]) == []
