"""`Run.follow`: rows of a run in another process, while it logs them."""

from __future__ import annotations

import contextlib
import math
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from run_view import run_script
from store_maker import T0, MadeWriter, made_run

import tracker
from tracker.apis.public.failures import NoSuchRun
from tracker.errors import CommError, UsageError
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store

FLUSH_S = 0.5
ENV = {"TRACKER_FLUSH_MIN_S": str(FLUSH_S), "TRACKER_FLUSH_MAX_S": str(FLUSH_S), "TRACKER_SILENT": "true"}
LATE_S = 2.0  # more than is promised: these machines are busy. benchmarks/bench_tail.py measures the promise itself

LIVE = """
import os, time
run = tracker.init(id="live")
run.log({"n": -1, "at": 0.0})
run.flush()
print("ready", flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
for n in range(ROWS):
    run.log({"n": n, "at": time.time(), "a": {"b": [n]}})
    time.sleep(0.05)
run.finish(exit_code=CODE)
"""


def live_run(folder: Path, rows: int, code: int = 0, **env: str) -> Any:
    process = run_script(
        LIVE.replace("ROWS", str(rows)).replace("CODE", str(code)), folder, env=ENV | env, wait=False
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("place", ["local", "s3"])
def test_rows_come_soon_after_they_were_logged_each_once(
    tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    """A row shows at most one flush interval and a second after it was logged."""
    root = str(tmp_path / "root") if place == "local" else request.getfixturevalue("s3_url")
    process = live_run(tmp_path, 20, TRACKER_BASE_URL=root)
    try:
        run = tracker.Api({"base_url": root}).run("p/live")
        assert run.state == "running"
        rows, late = [], []
        for row in run.follow(last=1):
            late.append(time.time() - row["at"])
            rows.append(row)
            (tmp_path / "go").touch()
    finally:
        process.kill()
        process.communicate()
    assert [row["n"] for row in rows] == list(range(-1, 20))
    del late[0]
    assert statistics.median(late) < FLUSH_S + 1
    assert max(late) < FLUSH_S + 1 + LATE_S
    assert run.state == "finished"
    assert rows == list(run.scan_history())


def test_a_session_that_goes_on_with_the_run_is_followed_too(tmp_path: Path) -> None:
    """Another writer, in another process: its rows come as well, and those before do not come again."""
    first = run_script("run = tracker.init(id='r')\nrun.log({'n': 0})\nrun.flush()\nimport os\nos._exit(1)", tmp_path)
    assert first.returncode == 1
    run = tracker.Api({"base_url": str(tmp_path / "root")}).run("p/r")
    found: list[dict[str, Any]] = []
    follower = threading.Thread(target=lambda: found.extend(run.follow(keys=["n", "_step"], last=1)))
    follower.start()
    code = "run = tracker.init(id='r', resume='must')\nfor n in range(1, 4):\n    run.log({'n': n})"
    run_script(code, tmp_path, env=ENV)
    follower.join(30)
    assert not follower.is_alive()
    assert found == [{"n": n, "_step": n} for n in range(4)]
    assert run.state == "finished"


def test_a_run_that_has_ended_gives_its_last_rows_and_ends(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    made_run(root, "r", [{"loss": 1.0 / (n + 1), "val": n} if n % 2 else {"loss": math.inf} for n in range(10)])
    run = tracker.Api({"base_url": root}).run("p/r")
    assert list(run.follow()) == []
    assert list(run.follow(last=3)) == list(run.scan_history())[-3:]
    assert list(run.follow(last=None)) == list(run.scan_history())
    assert list(run.follow(["val", "_step"], last=2)) == [{"val": 7, "_step": 7}, {"val": 9, "_step": 9}]
    assert list(run.follow(["nothing"], last=2)) == []


def test_system_metrics_and_lines_are_followed_as_streams(tmp_path: Path) -> None:
    code = """
    import time
    run = tracker.init(id="live")
    run.log({"n": 0})
    print("first", flush=True)
    run.flush()
    time.sleep(1.5)
    print("second", flush=True)
    """
    env = ENV | {"TRACKER_CONSOLE": "wrap"}
    process = run_script(code, tmp_path, env=env, wait=False)
    assert process.stdout is not None
    process.stdout.readline()
    run = until_there(tmp_path)
    lines = list(run.follow(last=10, stream="console"))
    process.communicate(timeout=30)
    assert lines == run.console()
    assert [line["text"] for line in lines][:2] == ["first", "second"]
    assert list(run.follow(last=None, stream="system")) == run.history(stream="system", pandas=False, samples=None)


def until_there(folder: Path) -> Any:
    for _ in range(100):
        with contextlib.suppress(CommError):
            return tracker.Api({"base_url": str(folder / "root")}).run("p/live")
        time.sleep(0.1)
    raise AssertionError("the run did not begin")


def test_what_cannot_be_followed_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "root")
    made_run(root, "r", [{"a": 1}])
    run = tracker.Api({"base_url": root}).run("p/r")
    for wrong in ({"last": -1}, {"last": 1.5}, {"every_s": 0}, {"stream": "events"}):
        with pytest.raises(UsageError):
            run.follow(**wrong)
    assert list(run.follow("a")) == []  # HQ-1: an error line, and nothing
    assert "keys must be a list of names" in capsys.readouterr().err
    past = tracker.Api({"base_url": root}, as_of=T0 / 1e6 + 3600).run("p/r")
    with pytest.raises(UsageError, match="shows the past"):
        past.follow()


def test_a_run_that_is_deleted_while_it_is_followed_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.query.follow._CHECK_S", 0.0)
    root = str(tmp_path / "root")
    made_run(root, "r", [{"a": 1}, {"a": 2}], state="running", start_us=time.time_ns() // 1000 - 10_000_000)
    run = tracker.Api({"base_url": root}).run("p/r")
    rows = run.follow(last=1)
    assert next(rows)["a"] == 2
    tracker.Api({"base_url": root}).run("p/r").delete()
    with pytest.raises(NoSuchRun, match="could not find run main/p/r: it was deleted while it was followed"):
        next(rows)


def test_a_run_that_is_written_to_one_of_several_roots_is_followed(tmp_path: Path) -> None:
    """A session began it in one root, another goes on with it in another one; each row comes once."""
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    now_us = time.time_ns() // 1000
    ref = RunRef("main", "p", "r")
    for place in (here, there):
        MadeWriter(open_store(place), ref, 1, now_us - 60_000_000).begin().log({"n": 0}).end()
    second = MadeWriter(open_store(there), ref, 2, now_us - 30_000_000, opens=False, step=1).begin().put()
    run = tracker.Api(roots=[here, there]).run("p/r")
    rows = run.follow(keys=["n"], last=None, every_s=0.05)
    assert next(rows) == {"n": 0}
    second.log({"n": 1}).put()
    assert next(rows) == {"n": 1}
    second.store = open_store(here)  # what was logged offline is synced to the other one
    second.log({"n": 2}).put()
    assert next(rows) == {"n": 2}
    second.end()
    assert list(rows) == []
    assert run.state == "finished"
