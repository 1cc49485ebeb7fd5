"""Ctrl-C ends a reading at once, and leaves nothing that the next one waits for."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from packed_runs import MadeRuns
from store_maker import T0, MadeWriter

from tracker.query.history import history_batches, scan_batches
from tracker.query.point_reader import read_points
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef

_ENDLESS = "(SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b) > 0"


@pytest.fixture
def made(tmp_path: Path) -> MadeRuns:
    return MadeRuns(tmp_path)


def writer(rows: int) -> MadeWriter:
    found = MadeWriter(MemoryStore("interrupts"), RunRef("main", "p", "r"), 1, T0).begin()
    for value in range(rows):
        found.log({"a": float(value)})
    return found


@pytest.fixture(autouse=True)
def heard_interrupts() -> Iterator[None]:
    """Python leaves SIGINT ignored where its parent did, as shells do for what they start in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_after(delay_s: float) -> threading.Timer:
    timer = threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def test_a_query_that_would_run_for_hours_ends_at_once(made: MadeRuns) -> None:
    (run,) = made.loose([writer(5)])
    timer = interrupt_after(0.5)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read_points(run.parts, made.paths, kind="history", columns="seq", where=_ENDLESS)
    timer.join()
    assert time.monotonic() - begun < 10
    (rows,) = history_batches([run], made.paths, keys=["a"])
    assert len(rows) == 5


def test_a_scan_that_is_left_in_the_middle_holds_no_file(made: MadeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.query.history._SMALL_EVENTS", 0)
    monkeypatch.setattr("tracker.query.history._SCAN_ROWS", 10)
    (run,) = made.loose([writer(100)])
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    scan = scan_batches(lambda: (run, made.paths), keys=None)
    assert len(next(scan)) <= 10
    scan.close()
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after <= before
