"""Branches whose parents are packed, deleted, purged or written on; lives that were rewound; what a rewind leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from branch_world import NOW, S, World

from tracker.query.cells import concat_rows
from tracker.query.console_rows import console_lines
from tracker.query.frames import to_dicts
from tracker.query.history import history_batches, scan_batches
from tracker.query.key_report import key_report, last_step
from tracker.query.lives import life_files, lives_of
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.run_files import RunFiles
from tracker.query.runs import find_runs, stream_files, visible_files
from tracker.query.snapshot import Snapshot, open_project
from tracker.query.system_rows import last_system_metrics, system_batches
from tracker.storage import pack_loose
from tracker.storage.cache import PartCache
from tracker.storage.clock import HybridClock
from tracker.storage.edits import EditWriter, delete_edit
from tracker.storage.frames import Points, pack_value
from tracker.storage.purge import purge_runs
from tracker.storage.vacuum import vacuum_project


class Said(list[str]):
    """What a snapshot warned of."""


def opened(
    world: World, folder: Path, run_id: str | None = None, *, as_of_us: int | None = None
) -> tuple[Snapshot, Said]:
    said = Said()
    cache = PartCache(folder / "cache", 1 << 30)
    snapshot = open_project(
        world.store, "main", "p", cache=cache, now_us=NOW, warn=said.append, run_id=run_id, as_of_us=as_of_us
    )
    return snapshot, said


def shown(snapshot: Snapshot, files: RunFiles, keys: list[str] | None = None) -> list[tuple[Any, ...]]:
    rows = concat_rows(list(history_batches([files], snapshot.paths, keys=keys or ["a"], samples=None)))
    return [tuple(row.values()) for row in to_dicts(rows)]


def logged(world: World, life: Any, count: int, *, add: float = 0.0) -> None:
    writer = life.writers[0]
    for _ in range(count):
        world.log(life, writer, {"a": writer.step + add}, None, commit=True)
    writer.put()


def forked(step: int = 3) -> World:
    """run0 with steps 0..9, and run1 that forks it and logs two steps more, each half above."""
    world = World()
    parent = world.open_run()
    logged(world, parent, 10)
    logged(world, world.branch(parent, step, rewinds=False), 2, add=0.5)
    return world


FORK = [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 4.5), (5, 5.5)]


def test_a_fork_keeps_its_rows_whatever_its_parent_does(tmp_path: Path) -> None:
    """FORK-1: rows that come late, a merge across the pinned frame, packs; and the parent is unchanged."""
    world = forked()
    parent = world.lives[0].writers[0]
    world.log(world.lives[0], parent, {"a": -1.0}, 2, commit=True)  # a late step below the branch: pinned out
    world.log(world.lives[0], parent, {"a": 99.0}, 10, commit=True)
    parent.put()
    for change in (lambda: None, lambda: parent.merge(0, len(parent.frames) - 1), lambda: world._pack()):
        change()
        for run_id in (None, "run1"):
            snapshot, said = opened(world, tmp_path, run_id)
            (files,) = visible_files(snapshot, ["run1"])
            assert shown(snapshot, files) == FORK
            assert last_step(files) == 5
            assert key_report(files)["keys"]["a"]["previousValue"] == 5.5
            assert not said
        whole, _ = opened(world, tmp_path)
        (parent_files,) = visible_files(whole, ["run0"])
        assert len(shown(whole, parent_files)) == 12


def test_a_fork_of_a_fork_is_cut_at_the_lesser_step(tmp_path: Path) -> None:
    """FORK-1: a fork below the step at which its parent began sees only rows of the grandparent."""
    world = forked()
    child = world.lives[1]
    logged(world, world.branch(child, 1, rewinds=False), 1, add=0.25)
    logged(world, world.branch(child, 4, rewinds=False), 1, add=0.25)
    snapshot, said = opened(world, tmp_path)
    low, high = visible_files(snapshot, ["run2", "run3"])
    assert shown(snapshot, low) == [(0, 0.0), (1, 1.0), (2, 2.25)]
    assert shown(snapshot, high) == [*FORK[:5], (5, 5.25)]
    assert not said


def test_many_forks_of_one_parent_are_answered_together(tmp_path: Path) -> None:
    world = World()
    parent = world.open_run()
    logged(world, parent, 10)
    for step in range(8):
        logged(world, world.branch(parent, step, rewinds=False), 1, add=0.5)
    for change in (lambda: None, lambda: world._pack()):
        change()
        snapshot, _ = opened(world, tmp_path)
        ids = [f"run{n}" for n in range(9)]
        files = visible_files(snapshot, ids)
        rows = concat_rows(list(history_batches(files, snapshot.paths, keys=["a"], samples=None)))
        steps: dict[str, list[int]] = {}
        for row in to_dicts(rows, ids):
            steps.setdefault(row["run_id"], []).append(row["_step"])
        assert steps == {"run0": list(range(10))} | {f"run{n + 1}": list(range(n + 2)) for n in range(8)}


def test_a_rewound_life_is_hidden_and_stays_readable(tmp_path: Path) -> None:
    """REW-1: later rows disappear from queries; the old events stay, and can be asked for."""
    world = World()
    first = world.open_run()
    logged(world, first, 6)
    logged(world, world.branch(first, 2, rewinds=True), 2, add=0.5)
    logged(world, first, 1)  # the old process lives on: nobody sees it
    snapshot, _ = opened(world, tmp_path, "run0")
    (files,) = visible_files(snapshot, ["run0"])
    assert shown(snapshot, files) == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.5), (4, 4.5)]
    old, new = lives_of(snapshot, "run0")
    assert (old.shown, new.shown) == (False, True)
    assert old.branch is None
    assert new.branch is not None
    assert (new.branch.run_id, new.branch.step, new.branch.parent) == ("run0", 2, old.id)
    assert shown(snapshot, life_files(snapshot, "run0", old)) == [(n, float(n)) for n in range(7)]
    assert shown(snapshot, life_files(snapshot, "run0", new)) == shown(snapshot, files)


def test_rewound_twice_reads_through_both(tmp_path: Path) -> None:
    world = World()
    first = world.open_run()
    logged(world, first, 6)
    second = world.branch(first, 3, rewinds=True)
    logged(world, second, 3, add=0.5)
    logged(world, world.branch(second, 4, rewinds=True), 1, add=0.25)
    logged(world, world.branch(world.lives[-1], 1, rewinds=True), 1, add=0.125)
    snapshot, _ = opened(world, tmp_path)
    (files,) = visible_files(snapshot, ["run0"])
    assert shown(snapshot, files) == [(0, 0.0), (1, 1.0), (2, 2.125)]
    lives = lives_of(snapshot, "run0")
    assert [life.shown for life in lives] == [False, False, False, True]
    third = [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 4.5), (5, 5.25)]
    assert shown(snapshot, life_files(snapshot, "run0", lives[2])) == third


def test_system_metrics_and_lines_before_a_rewind_stay_and_those_of_a_parent_run_do_not_come(tmp_path: Path) -> None:
    """REW-1."""
    world = World()
    first = world.open_run()
    writer = first.writers[0]
    writer.system({"cpu": 1.0, "mem": 5.0})
    logged(world, first, 4)
    writer.system({"cpu": 2.0})
    writer.add(Points(writer._tick(), writer.now_us, "console", {"stdout": pack_value("before")})).put()
    world.now_us = writer.now_us
    second = world.branch(first, 1, rewinds=True)
    second.writers[0].system({"cpu": 3.0}).put()
    writer.system({"cpu": 99.0, "mem": 99.0}).put()  # the old process lives on
    world.branch(second, 1, rewinds=False).writers[0].system({"cpu": 4.0}).put()
    for change in (lambda: None, lambda: writer.merge(0, len(writer.frames) - 1), lambda: world._pack()):
        change()
        snapshot, _ = opened(world, tmp_path)
        rewound, fork = stream_files(snapshot, ["run0", "run1"])
        rows = [row for batch in system_batches([rewound], snapshot.paths, {}) for row in to_dicts(batch)]
        assert [row["system.cpu"] for row in rows] == [1.0, 2.0, 3.0]
        assert last_system_metrics(rewound) == {"system.cpu": 3.0, "system.mem": 5.0}
        assert last_system_metrics(fork) == {"system.cpu": 4.0}
        assert console_lines([rewound], snapshot.paths)["text"].to_pylist() == ["before"]
        assert console_lines([fork], snapshot.paths).num_rows == 0


def test_a_deleted_parent_still_shows_in_its_forks_and_a_purged_one_is_said_to_be_gone(tmp_path: Path) -> None:
    world = forked()
    clock = HybridClock(wall=lambda: 0)
    EditWriter(world.store, "main", "p", clock=clock, wall=lambda: world.now_us + 9 * S).write(delete_edit("run0"))
    snapshot, said = opened(world, tmp_path)
    assert find_runs(snapshot, parse_filter({}), parse_order("name"))[0] == ["run1"]
    (files,) = visible_files(snapshot, ["run1"])
    assert shown(snapshot, files) == FORK
    (text,) = said
    assert text.startswith("Run 'run1' began in run 'run0', which is deleted: its rows up to step 3 still show")
    purge_runs(world.store, "main", "p", ["run0"], now_us=NOW, grace_s=0)
    for run_id in (None, "run1"):
        snapshot, said = opened(world, tmp_path / str(run_id), run_id)
        (files,) = visible_files(snapshot, ["run1"])
        assert shown(snapshot, files) == FORK[4:]
    assert said == [] or "was purged" in said[0]  # said once a process


def test_packs_and_vacuum_keep_what_a_branch_pins(tmp_path: Path) -> None:
    """A rewound life shows nowhere, but its frames are pinned: no cleaning touches them."""
    world = World()
    first = world.open_run()
    logged(world, first, 6)
    logged(world, world.branch(first, 2, rewinds=True), 2, add=0.5)
    for writer in world.writers:
        writer.end()
    for _ in range(3):
        world._pack()
        vacuum_project(world.store, "main", "p", now_us=NOW, grace_s=0)
    snapshot, said = opened(world, tmp_path)
    (files,) = visible_files(snapshot, ["run0"])
    assert shown(snapshot, files) == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.5), (4, 4.5)]
    assert not said


def test_a_branch_as_of_a_time_is_what_it_was_then(tmp_path: Path) -> None:
    world = World()
    first = world.open_run()
    logged(world, first, 6)
    before_us = world.now_us
    second = world.branch(first, 2, rewinds=True)
    logged(world, second, 1, add=0.5)
    between_us = world.now_us
    logged(world, second, 2, add=0.5)
    for change in (lambda: None, lambda: world._pack()):
        change()
        for when, want in (
            (before_us, [(n, float(n)) for n in range(6)]),
            (between_us, [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.5)]),
        ):
            for run_id in (None, "run0"):
                snapshot, _ = opened(world, tmp_path, run_id, as_of_us=when)
                (files,) = visible_files(snapshot, ["run0"])
                assert shown(snapshot, files) == want


def test_a_row_that_stands_in_two_packs_is_read_in_the_order_of_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of packs may fall where clocks differ: the later cell of a row wins all the same."""
    world = World()
    life = world.open_run()
    writer = life.writers[0]
    numbers = iter(range(99, 0, -1))
    monkeypatch.setattr(pack_loose, "new_ulid", lambda *_: f"01{next(numbers):024d}")
    world.log(life, writer, {"a": 1.0}, None, commit=False)
    writer.put()
    world._pack()
    world.log(life, writer, {"a": 2.0}, None, commit=True)
    writer.put()
    world._pack()
    snapshot, _ = opened(world, tmp_path)
    (files,) = visible_files(snapshot, ["run0"])
    packs = [part.info.key for part in files.parts]
    assert len(packs) == 2
    assert packs != sorted(packs)
    assert shown(snapshot, files) == [(0, 2.0)]


def test_ranks_and_hosts_say_who_logged_a_row(tmp_path: Path) -> None:
    from tracker.query.writer_columns import of_writers_like

    world = World()
    life = world.open_run()
    world.join(life)
    first, second = life.writers
    second.facts(("writer", f"{second.id}.host", "node2"))
    for value in range(3):
        world.log(life, first, {"a": float(value)}, None, commit=True)
        world.log(life, second, {"a": 10.0 + value}, None, commit=True)
    for writer in life.writers:
        writer.put()
    logged(world, world.branch(life, 1, rewinds=False), 1)
    for change in (lambda: None, lambda: world._pack()):
        change()
        snapshot, _ = opened(world, tmp_path)
        files, fork = visible_files(snapshot, ["run0", "run1"])
        rows = shown(snapshot, files, ["a", "_rank", "_host", "_writer"])
        assert {row[1:] for row in rows} == {
            (float(n), None, None, first.id) for n in range(3)
        } | {(10.0 + n, 1, "node2", second.id) for n in range(3)}
        assert [row[1:] for row in shown(snapshot, fork, ["a", "_rank"])] == [
            (0.0, None), (10.0, 1), (1.0, None), (11.0, 1), (2.0, None)
        ]  # fmt: skip
        assert [row[1] for row in shown(snapshot, of_writers_like(files, {"1"}, None))] == [10.0, 11.0, 12.0]
        assert [row[1] for row in shown(snapshot, of_writers_like(fork, None, {"node2"}))] == [10.0, 11.0]
        assert of_writers_like(files, {"7"}, None).parts == ()


def test_a_scan_of_a_fork_goes_on_while_its_parents_files_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of the fork alone looks up its parent anew, too."""
    monkeypatch.setattr("tracker.query.history._SCAN_ROWS", 3)
    world = World()
    parent = world.open_run()
    writer = parent.writers[0]
    for _ in range(12):
        world.log(parent, writer, {"a": float(writer.step)}, None, commit=True)
        writer.put()
    logged(world, world.branch(parent, 9, rewinds=False), 2, add=0.5)

    def reopen() -> tuple[RunFiles, Any]:
        snapshot, _ = opened(world, tmp_path, "run1")
        return visible_files(snapshot, ["run1"])[0], snapshot.paths

    found: list[float] = []
    for n, rows in enumerate(scan_batches(reopen, keys=["a"])):
        found += [row["a"] for row in to_dicts(rows)]
        if n == 1:
            last = len(writer.frames) - 1
            single = [writer.key(seq, seq) for seq in range(1, last + 1)]
            writer.merge(0, last)
            world.store.delete([*single, writer.key(0, 0)])
            shutil.rmtree(tmp_path / "cache")  # nothing local either
    assert found == [*map(float, range(10)), 10.5, 11.5]
