"""Compaction on its own: only where there is enough to do, never twice the same work, and never in a run's way."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_maker import made_run

from tracker.storage import tidy as tidy_module
from tracker.storage.manifest import newest_manifest
from tracker.storage.stores import open_store
from tracker.storage.tidy import WRITERS_MIN, main, start_tidying, tidy


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def make_runs(root: Path, count: int, *, age_s: float = 3600.0) -> None:
    for number in range(count):
        made_run(str(root), f"r{number}", [{"loss": number / 3}])
    then = time.time() - age_s
    for path in root.rglob("runs/**/*.parquet"):
        os.utime(path, (then, then))


def packed(root: Path) -> int:
    return sum(pack.writers for pack in newest_manifest(open_store(str(root)), "main", "p").packs)


@pytest.fixture
def allowed(root):
    from tracker.storage.format_file import ensure_format

    ensure_format(open_store(str(root)))


@pytest.mark.usefixtures("allowed")
def test_a_project_with_enough_finished_runs_is_packed(root):
    make_runs(root, WRITERS_MIN)
    assert tidy(str(root), "main", "p")
    assert packed(root) == WRITERS_MIN


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(("count", "age_s"), [(WRITERS_MIN - 1, 3600.0), (WRITERS_MIN, 1.0)])
def test_few_runs_or_fresh_ones_are_left_alone(root, count, age_s):
    make_runs(root, count, age_s=age_s)
    assert not tidy(str(root), "main", "p")
    assert packed(root) == 0


@pytest.mark.usefixtures("allowed")
def test_it_stops_when_its_time_is_over_and_leaves_everything_readable(root):
    make_runs(root, WRITERS_MIN)
    before = sorted(info.key for info in open_store(str(root)).list("main/p/runs/"))
    assert not tidy(str(root), "main", "p", time_s=0.0)
    assert packed(root) == 0
    assert sorted(info.key for info in open_store(str(root)).list("main/p/runs/")) == before


@pytest.mark.usefixtures("allowed")
def test_the_process_packs_and_tells_nobody(root, tmp_path):
    make_runs(root, WRITERS_MIN)
    (tmp_path / "tracker").mkdir()  # a folder of the user's must not be taken for ours
    (tmp_path / "tracker" / "__init__.py").write_text("raise SystemExit(7)")
    script = (
        f"import random, sys; random.uniform = lambda a, b: 0.0; from tracker.storage.tidy import main; "
        f"sys.exit(main([{str(root)!r}, 'main', 'p']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert packed(root) == WRITERS_MIN


def test_a_root_that_is_gone_is_no_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)
    monkeypatch.setattr(os, "nice", lambda by: by)
    monkeypatch.setattr(tidy_module.signal, "alarm", lambda seconds: 0)
    assert main([str(tmp_path / "nowhere"), "main", "p"]) == 1


def test_starting_it_returns_at_once_and_collects_the_ones_before(root, monkeypatch):
    spawned = []

    def spawn(path, command, environ, *, file_actions, setsid):
        spawned.append(command)
        return os.posix_spawnp("true", ["true"], dict(environ))

    real = os.posix_spawn
    monkeypatch.setattr(tidy_module.os, "posix_spawn", spawn)
    assert start_tidying(str(root), "main", "p", one_in=1)
    assert spawned[-1][1:] == ["-P", "-m", "tracker.storage.tidy", str(root), "main", "p"]
    deadline = time.monotonic() + 10
    while tidy_module._started and time.monotonic() < deadline:
        monkeypatch.setattr(tidy_module.random, "randrange", lambda _: 1)
        assert not start_tidying(str(root), "main", "p")
        time.sleep(0.01)
    assert tidy_module._started == []
    assert os.posix_spawn is not real  # the patch was in place


def test_few_runs_start_it_and_none_in_memory(root, monkeypatch):
    monkeypatch.setattr(tidy_module.os, "posix_spawn", lambda *_, **__: pytest.fail("started"))
    assert not start_tidying("memory://x", "main", "p", one_in=1)
    monkeypatch.setattr(tidy_module.random, "randrange", lambda one_in: one_in - 1)
    assert not start_tidying(str(root), "main", "p")


def test_where_no_process_can_be_started_the_run_ends_all_the_same(root, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(tidy_module.os, "posix_spawn", refuse)
    assert not start_tidying(str(root), "main", "p", one_in=1)
