"""Series taken as they lie in files give the rows that markers and sorting give: any writers, cuts, packs, windows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from packed_runs import MadeRuns
from store_maker import T0, MadeWriter

from tracker.query import history
from tracker.query.cells import concat_rows
from tracker.query.frames import to_dicts
from tracker.query.history import history_batches, scan_batches
from tracker.query.plain_parts import plain_parts
from tracker.query.run_files import RunFiles
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # shrinking takes minutes and gains little: cases are small
Calls = list[tuple[dict[str, Any], int | None, bool]]  # data, step, commit

VALUES = st.floats() | st.sampled_from([0.5, 1, 2**70, True, None, "text", [1, 2]])
FLOATS = st.floats(width=32)


@st.composite
def logged(draw: st.DrawFn) -> Calls:
    """Mostly simple rows, now and then whatever is allowed."""
    wild = draw(st.integers(0, 3)) == 0
    keys = draw(st.sampled_from([["a"], ["a", "b"], ["a", "b", "c.d"], ["a", "x", "b"]]))
    values = draw(st.sampled_from([FLOATS, FLOATS, VALUES]))
    found: Calls = []
    for _ in range(draw(st.integers(0, 14))):
        whole = draw(st.integers(0, 3)) > 0
        names = keys if whole else draw(st.lists(st.sampled_from(keys), unique=True))
        data = {name: draw(values) for name in names}
        opens = not found or found[-1][2]  # a row stands where it was begun
        step = draw(st.none() | st.integers(0, 9)) if wild and opens else None
        found.append((data, step, not (wild and draw(st.integers(0, 3)) == 0)))
    return found


@st.composite
def writers_of(draw: st.DrawFn) -> list[MadeWriter]:
    made = []
    for run in range(draw(st.integers(1, 3))):
        step = 0
        for n in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            number = 10 * run + n
            ref = RunRef("main", "p", f"run{run}")
            writer = MadeWriter(MemoryStore(uuid.uuid4().hex), ref, number, T0 + number).begin()
            writer.step = draw(st.sampled_from([step, step, 0]))  # resumed, or beside the others
            for data, at, commit in draw(logged()):
                writer.log(data, at, commit=commit)
            step = writer.step
            made.append(writer)
    return draw(st.permutations(made))


def shown(batches: Iterator[Any]) -> list[str]:
    """Rows as text, so that NaN equals itself and 1 differs from 1.0 and True."""
    found = list(batches)
    ids = [str(number) for number in range(10)]
    return [repr(row) for row in to_dicts(concat_rows(found), ids)]


def in_windows(runs: Sequence[RunFiles], made: MadeRuns, **asked: Any) -> list[str]:
    """With every part worth reading by series, and hardly anything held at once."""
    with patch.object(history, "_SMALL_EVENTS", 0), patch.object(history, "_BATCH_CELLS", 12):
        return shown(history_batches(runs, made.paths, **asked))


def at_once(runs: Sequence[RunFiles], made: MadeRuns, **asked: Any) -> list[str]:
    with patch.object(history, "_SMALL_EVENTS", 0):
        return shown(history_batches(runs, made.paths, **asked))


def generally(runs: Sequence[RunFiles], made: MadeRuns, **asked: Any) -> list[str]:
    with patch.object(history, "_worth_it", lambda run: None):
        return shown(history_batches(runs, made.paths, **asked))


QUESTIONS: list[dict[str, Any]] = [
    {"keys": None, "samples": None},
    {"keys": None, "samples": 3},
    {"keys": ["a"], "samples": None},
    {"keys": ["a"], "samples": 4},
    {"keys": ["a", "b"], "samples": 2},
    {"keys": ["b", "a", "_runtime"], "samples": None, "x_axis": "_timestamp"},
    {"keys": ["c.d", "_step"], "samples": 1, "x_axis": "a"},
    {"keys": ["none"], "samples": None},
    {"keys": ["_step"], "samples": 3},
]


def scanned(runs: Sequence[RunFiles], made: MadeRuns, keys: list[str] | None, low: Any, high: Any) -> list[list[str]]:
    def rows_of(run: RunFiles) -> list[str]:
        found = scan_batches(lambda: (run, made.paths), keys=keys, min_step=low, max_step=high)
        return [repr(row) for rows in found for row in to_dicts(rows)]

    return [rows_of(run) for run in runs]


def check_every_way(reference: list[RunFiles], plain: MadeRuns, runs: list[RunFiles], made: MadeRuns) -> None:
    """`runs` answer every question as `reference` does in the general way."""
    for asked in QUESTIONS:
        want = generally(reference, plain, **asked)
        assert generally(runs, made, **asked) == want
        assert at_once(runs, made, **asked) == want
        assert in_windows(runs, made, **asked) == want
    for keys, low, high in ((None, None, None), (["b"], 2, 6), (["a", "_timestamp"], None, 3)):
        with patch.object(history, "_worth_it", lambda run: None):
            want_scan = scanned(reference, plain, keys, low, high)
        for small, rows in ((0, 2), (0, 1000), (32_000, 2), (32_000, 1000)):
            with patch.object(history, "_SMALL_EVENTS", small), patch.object(history, "_SCAN_ROWS", rows):
                assert scanned(runs, made, keys, low, high) == want_scan


def check_all(writers: list[MadeWriter], cuts: list[int], until: int | None, early: int, at: int, folder: Any) -> None:
    made = MadeRuns(folder("files"))
    reference = made.loose(writers)
    for runs in (made.loose(writers, cuts), made.packed(writers, until)):
        check_every_way(reference, made, runs, made)
    hidden = [run.of_writers(frozenset([run.parts[0].writer_id])) for run in reference]
    packed = [run.of_writers(frozenset([run.parts[0].writer_id])) for run in made.packed(writers)]
    check_every_way(hidden, made, packed, made)
    overlapping = MadeRuns(folder("overlapping"), early=early)
    check_every_way(reference, made, overlapping.loose(writers, cuts), overlapping)
    upto_us = T0 + at * 1_000_000 + 500_000
    before = MadeRuns(folder("before"))
    begun = [frozen for writer in writers if (frozen := frozen_at(writer, upto_us)).frames]
    past = MadeRuns(folder("past"), upto_us=upto_us)
    ids = {writer.id for writer in begun}
    for runs in (past.loose(writers, cuts), past.packed(writers, until)):
        known = [run.of_writers(frozenset(ids)) for run in runs]
        check_every_way(before.loose(begun), before, [run for run in known if run.parts], past)


def frozen_at(writer: MadeWriter, upto_us: int) -> MadeWriter:
    """What the writer had said by then."""
    return replace(writer, frames=[frame for frame in writer.frames if frame.hlc_us <= upto_us])


CASES = {
    "writers": writers_of(),
    "cuts": st.lists(st.integers(1, 14), max_size=3),
    "until": st.none() | st.integers(1, 10),
    "early": st.integers(1, 4),
    "at": st.integers(1, 16),
}
FAST = {"deadline": None, "phases": PHASES, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=6, **FAST)
@given(**CASES)
def test_every_way_gives_the_same_rows(
    writers: list[MadeWriter],
    cuts: list[int],
    until: int | None,
    early: int,
    at: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    check_all(writers, cuts, until, early, at, tmp_path_factory.mktemp)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=100, **FAST)
@given(**CASES)
def test_every_way_gives_the_same_rows_at_length(
    writers: list[MadeWriter],
    cuts: list[int],
    until: int | None,
    early: int,
    at: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    check_all(writers, cuts, until, early, at, tmp_path_factory.mktemp)


def test_simple_rows_are_never_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that resume each other, packed and loose, take the short way."""
    made = MadeRuns(tmp_path)
    writers = []
    for number, first in enumerate((0, 8)):
        writer = MadeWriter(MemoryStore("simple"), RunRef("main", "p", "r"), number, T0 + number).begin()
        writer.step = first
        for value in range(8):
            writer.log({"a": float(value)})
        writers.append(writer)
    monkeypatch.setattr(history, "_SMALL_EVENTS", 0)
    monkeypatch.setattr(history, "sorted_batch", None)
    monkeypatch.setattr(history, "sorted_windows", None)
    monkeypatch.setattr(history, "sorted_between", None)
    for runs in (made.loose(writers, [4]), made.packed(writers), made.packed(writers, 5)):
        assert plain_parts(runs[0]) is not None
        (rows,) = history_batches(runs, made.paths, keys=["a"], samples=None)
        assert [row["_step"] for row in to_dicts(rows)] == list(range(16))
        assert len(scanned(runs, made, None, None, None)[0]) == 16


def test_a_window_is_cut_where_steps_are_far_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics say little of a part with one step at a million: no batch is large all the same."""
    made = MadeRuns(tmp_path)
    writer = MadeWriter(MemoryStore("far"), RunRef("main", "p", "r"), 1, T0).begin()
    for value in range(40):
        writer.log({"a": value})
    writer.log({"a": 40}, 1_000_000).log({"a": -1}, 3)
    (run,) = made.loose([writer])
    monkeypatch.setattr(history, "_SCAN_ROWS", 5)
    batches = list(scan_batches(lambda: (run, made.paths), keys=["a"]))
    assert max(len(rows) for rows in batches) <= 10
    found = [row["a"] for rows in batches for row in to_dicts(rows)]
    assert found == [0, 1, 2, 3, -1, *range(4, 41)]
