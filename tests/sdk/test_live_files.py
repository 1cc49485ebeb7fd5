"""Which live files are due, by a clock of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracker.sdk.file_names import file_name, is_ignored
from tracker.sdk.live_files import STATS_MAX, LiveFiles, stamp_of
from tracker.storage.files_below import files_below


def change(path: Path, text: str, at_s: float) -> None:
    path.write_text(text)
    os.utime(path, (at_s, at_s))


def test_a_changed_file_is_due_when_it_rests(tmp_path: Path) -> None:
    """SAVE-2: and not more often than every ten seconds."""
    path = tmp_path / "a"
    change(path, "1", 1)
    live = LiveFiles()
    live.add("a", path)
    stamp = stamp_of(path)
    assert stamp is not None
    live.sent("a", stamp, now_s=0.0)
    assert live.due(20.0) == []
    change(path, "22", 2)
    assert live.due(22.0) == [], "it may be in the middle of being written"
    change(path, "333", 3)
    assert live.due(24.0) == []
    assert live.due(26.0) == [("a", path)]
    live.sent("a", stamp_of(path) or (0, 0, 0), now_s=26.0)
    change(path, "4444", 4)
    assert [bool(live.due(now_s)) for now_s in (28.0, 30.0, 34.0, 36.0, 38.0)] == [False, False, False, True, True]


def test_a_file_that_never_rests_is_due_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "a"
    live = LiveFiles()
    live.add("a", path)
    due = []
    for second in range(0, 80, 2):
        change(path, str(second), second + 1)
        if live.due(float(second)):
            due.append(second)
            live.sent("a", stamp_of(path) or (0, 0, 0), float(second))
    assert due == [30, 62]


def test_large_files_are_due_less_often(tmp_path: Path) -> None:
    """A gigabyte every 200 seconds."""
    path = tmp_path / "a"
    live = LiveFiles()
    live.add("a", path)
    live.sent("a", (1, 10**9, 1), now_s=0.0)
    change(path, "new", 5)
    assert live.due(100.0) == []
    assert live.due(150.0) == []
    assert live.due(201.0) == [("a", path)]


def test_a_round_looks_at_some_files_and_all_have_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr("tracker.sdk.live_files.stamp_of", lambda path: looked.append(path.name))
    live = LiveFiles()
    for number in range(2 * STATS_MAX + 1):
        live.add(str(number), tmp_path / str(number))
    for _ in range(3):
        before = len(looked)
        live.due(0.0)
        assert 0 < len(looked) - before <= STATS_MAX
    assert sorted(looked, key=int) == [str(number) for number in range(2 * STATS_MAX + 1)]


def test_a_missing_file_is_due_once_it_is_there(tmp_path: Path) -> None:
    live = LiveFiles()
    live.add("a", tmp_path / "a")
    assert live.due(0.0) == []
    change(tmp_path / "a", "1", 1)
    assert live.due(2.0) == []
    assert live.due(4.0) == [("a", tmp_path / "a")]
    live.forget("a")
    assert live.due(6.0) == []
    assert not live


def test_names_of_files() -> None:
    """Relative, POSIX, below the run; what is no UTF-8 is escaped."""
    assert file_name("a//b/./c.txt") == "a/b/c.txt"
    assert file_name("a\udcff") == "a\\udcff"
    for name in ("", ".", "/a", "../a", "a/../../b"):
        with pytest.raises(ValueError, match="no name"):
            file_name(name)


def test_ignore_globs_match_whole_names() -> None:
    """ENV-9."""
    assert is_ignored("a/b.ckpt", ("*.ckpt",))
    assert is_ignored("logs/x", ("logs/*",))
    assert not is_ignored("a.ckpt.txt", ("*.ckpt",))
    assert not is_ignored("A.CKPT", ("*.ckpt",))


def test_files_below_a_directory_go_through_links_but_in_no_circle(tmp_path: Path) -> None:
    (tmp_path / "run" / "deep").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("x")
    (tmp_path / "run" / "deep" / "y").write_text("y")
    (tmp_path / "run" / "link").symlink_to(tmp_path / "data")
    (tmp_path / "run" / "circle").symlink_to(tmp_path / "run")
    (tmp_path / "run" / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "run" / "pipe")
    assert sorted(name for name, _ in files_below(tmp_path / "run")) == ["deep/y", "link/x"]
