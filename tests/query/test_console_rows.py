"""Console lines as rows: split, in order, over writers, runs, merged files and packs; searched; in SQL."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, MadeWriter, made_run

from tracker.query.console_rows import check_console, console_lines
from tracker.query.runs import visible_files
from tracker.query.snapshot import Snapshot, open_project
from tracker.query.sql_views import SqlViews
from tracker.query.user_sql import run_user_sql
from tracker.storage.cache import PartCache
from tracker.storage.errors import UsageError
from tracker.storage.format_file import ensure_format
from tracker.storage.frames import Points
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project


def opened(store: MemoryStore, tmp_path: Path) -> Snapshot:
    cache = PartCache(tmp_path / "cache", 1 << 30)
    return open_project(store, "main", "p", cache=cache, now_us=T0, warn=pytest.fail)


def printing(store: MemoryStore, run_id: str = "r", number: int = 0, **more: Any) -> MadeWriter:
    return MadeWriter(store, RunRef("main", "p", run_id), number, T0, **more).begin()


def say(writer: MadeWriter, **cells: str) -> None:
    writer.add(Points(writer._tick(), writer.now_us, "console", dict(cells)))


def texts(snapshot: Snapshot, *run_ids: str, **asked: Any) -> list[str]:
    found = console_lines(visible_files(snapshot, run_ids or ("r",)), snapshot.paths, **asked)
    return found["text"].to_pylist()


def test_blocks_become_lines_in_the_order_of_printing(tmp_path: Path) -> None:
    """CON-1"""
    store = MemoryStore(uuid.uuid4().hex)
    writer = printing(store)
    say(writer, stdout="one\ntwo\n")
    say(writer, stderr="warn")
    writer.put()
    say(writer, stdout="ünï 😀")
    writer.end()
    made_run(store, "silent", [{"a": 1}])
    snapshot = opened(store, tmp_path)
    assert texts(snapshot) == ["one", "two", "", "warn", "ünï 😀"]
    assert texts(snapshot, "silent") == []
    found = console_lines(visible_files(snapshot, ["r"]), snapshot.paths)
    assert found["stream"].to_pylist() == ["stdout"] * 3 + ["stderr", "stdout"]
    assert set(found["writer"].to_pylist()) == {writer.id}
    assert found["label"].null_count == 5
    assert found["time"].to_pylist() == sorted(found["time"].to_pylist())


def test_lines_are_searched_exactly(tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    writer = printing(store)
    say(writer, stdout="loss 1\nacc 1\nloss 2")
    say(writer, stderr="loss is NaN\n%_ [x]")
    say(writer, stdout="nothing")
    writer.end()
    snapshot = opened(store, tmp_path)
    assert texts(snapshot, contains="loss") == ["loss 1", "loss 2", "loss is NaN"]
    assert texts(snapshot, contains="loss", stream="stderr") == ["loss is NaN"]
    assert texts(snapshot, contains="%_ [") == ["%_ [x]"]
    assert texts(snapshot, contains="Loss") == []


def test_an_unfinished_line_shows_until_its_stream_goes_on(tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    writer = printing(store)
    say(writer, stderr_open="10%")
    say(writer, stderr_open="50%")
    say(writer, stdout="beside")
    writer.put()
    assert texts(opened(store, tmp_path)) == ["50%", "beside"]
    assert texts(opened(store, tmp_path), contains="10%") == []
    say(writer, stderr="100%")
    writer.end()
    assert texts(opened(store, tmp_path)) == ["beside", "100%"]
    assert texts(opened(store, tmp_path), contains="50%") == []


def test_writers_with_labels_stand_side_by_side(tmp_path: Path) -> None:
    """SET-6: each line tells whose it is."""
    store = MemoryStore(uuid.uuid4().hex)
    first, second = printing(store), printing(store, number=1, opens=False)
    for n in range(3):
        first.add(Points(T0 + 20_000_000 + 2 * n, T0 + 20_000_000, "console", {"stdout.a": f"a{n}"}))
        second.add(Points(T0 + 20_000_001 + 2 * n, T0 + 20_000_000, "console", {"stdout.node\\.1": f"b{n}"}))
    first.end()
    second.end()
    snapshot = opened(store, tmp_path)
    found = console_lines(visible_files(snapshot, ["r"]), snapshot.paths)
    assert found["text"].to_pylist() == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert found["label"].to_pylist() == ["a", "node.1"] * 3


def test_merged_files_and_packs_answer_as_loose_ones_do(tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    for run_id in ("r", "s"):
        writer = printing(store, run_id)
        for n in range(6):
            say(writer, stdout=f"{run_id} {n}\nmore")
            writer.put()
        writer.end()
        if run_id == "r":
            writer.merge(0, 3)
    loose = opened(store, tmp_path)
    expected = [text for n in range(6) for text in (f"r {n}", "more")]
    assert texts(loose) == expected
    both = texts(loose, "s", "r", contains=" 4")
    assert both == ["s 4", "r 4"]
    ensure_format(store)
    compact_project(store, "main", "p", now_us=T0 + 10**12, quiet_s=0, finished_quiet_s=0, grace_s=0)
    packed = opened(store, tmp_path)
    assert packed.runs.packed.run_ids() == ["r", "s"]
    assert texts(packed) == expected
    assert texts(packed, "s", "r", contains=" 4") == both


def test_sql_sees_the_lines(tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    writer = printing(store)
    say(writer, stderr="CUDA out of memory\nbye")
    writer.end()
    views = SqlViews(opened(store, tmp_path), ["r"])
    answer = run_user_sql("SELECT run_id, stream, text FROM console WHERE text LIKE '%memory%'", views)
    assert answer.to_pylist() == [{"run_id": "r", "stream": "stderr", "text": "CUDA out of memory"}]


@pytest.mark.parametrize("asked", [(5, None, None), (None, "out", None), (None, None, -1), (None, None, True)])
def test_a_question_that_is_none_is_refused(asked: tuple[Any, Any, Any]) -> None:
    with pytest.raises(UsageError):
        check_console(*asked)
