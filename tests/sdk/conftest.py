"""Fixtures for the SDK: a working directory of the test's own, and runs on a writer in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_writer import FakeWriter

import tracker
from tracker.sdk import session, term

Start = Callable[..., tuple[tracker.Run, FakeWriter]]

_LAUNCHERS = ("RANK", "SLURM_", "OMPI_", "PMIX_", "PMI_", "MV2_", "JSM_", "FLUX_", "TORCHELASTIC_", "MASTER_")


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The test runs in an empty directory, belongs to no job, and leaves no run behind."""
    for name in list(os.environ):
        if name.startswith(_LAUNCHERS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    tracker.teardown()
    if session.current.run is not None:
        session.unbind()
    term.configure(silent=False, quiet=False)


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[FakeWriter]:
    """Runs write into these, oldest first, and to no disk."""
    monkeypatch.setattr(FakeWriter, "opened", [])
    monkeypatch.setattr("tracker.sdk.recorder.RunWriter", FakeWriter)
    return FakeWriter.opened


@pytest.fixture
def start(writers: list[FakeWriter]) -> Start:
    """`start(**init arguments)` gives a run and its writer."""

    def begin(**arguments: Any) -> tuple[tracker.Run, FakeWriter]:
        run = tracker.init(**({"project": "p"} | arguments))
        return run, writers[-1]

    return begin
