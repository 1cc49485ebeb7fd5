"""`tracker sync --tensorboard` imports event files as a run (TB-2)."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from conftest import Tracker

pytest.importorskip("tensorboard")


def test_event_files_become_a_run(tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():  # of the library itself
        warnings.simplefilter("ignore")
        from tensorboardX import SummaryWriter
    board = SummaryWriter(str(tmp_path / "logs" / "train"))
    board.add_scalar("loss", 0.5, 3)
    board.close()
    monkeypatch.chdir(tmp_path)
    root = str(tmp_path / "root")
    done = tracker("sync", "logs", "--tensorboard", "--to", root, "-p", "boards", "-e", "me", "--id", "imported")
    assert (done.code, done.out) == (0, "me/boards/imported\n")
    found = tracker("query", root, "--project", "me/boards", "--history", "--format", "jsonl").records()
    assert [(row["train/loss"], row["train/global_step"]) for row in found] == [(0.5, 3)]


def test_a_directory_without_event_files_is_refused(tracker: Tracker, tmp_path: Path) -> None:
    done = tracker("sync", str(tmp_path), "--tensorboard", "--to", str(tmp_path / "root"))
    assert done.code != 0
    assert "no event files" in done.err
