"""`tracker projects` and `tracker login`: what a root holds, and which one it is."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from conftest import Tracker
from store_maker import T0, MadeWriter, made_run

from tracker.base_url import resolve_base_url
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store


@pytest.fixture
def url(local_url: str) -> str:
    """main/a with two runs, one of them running; main/b with one, deleted; team/c with one."""
    made_run(local_url, "r1", [{"x": 1}], project="a")
    begun_us = time.time_ns() // 1000 - 60_000_000
    MadeWriter(open_store(local_url), RunRef("main", "a", "r2"), 1, begun_us).begin().log({"x": 2}).put()
    made_run(local_url, "r1", project="b", state="failed")
    made_run(local_url, "r1", project="c", entity="team", start_us=T0 + 3_600_000_000)
    return local_url


def test_projects_show_how_many_runs_they_have_and_when_one_was_last_heard_of(tracker: Tracker, url: str) -> None:
    assert tracker("runs", "delete", "r1", "--url", url, "-p", "main/b").code == 0
    done = tracker("projects", url, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert [(one["entity"], one["project"], one["runs"], one["running"]) for one in found] == [
        ("main", "a", 2, 1), ("main", "b", 0, 0), ("team", "c", 1, 0),
    ]  # fmt: skip
    assert found[1]["last_activity"] is None
    assert found[2]["last_activity"] == "2026-09-21T15:13:22Z"
    lines = tracker("projects", url, "--entity", "team").out.splitlines()
    assert lines[0].split() == ["entity", "project", "runs", "running", "last", "activity"]
    assert lines[1:] == ["team    c           1        0  2026-09-21 15:13:22"]


def test_names_alone_open_nothing_and_sizes_are_listed(
    tracker: Tracker, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracker.cli.reading.open_project", pytest.fail)
    names = tracker("projects", url, "--names").out.splitlines()
    assert names == ["entity  project", "main    a", "main    b", "team    c"]
    sizes = json.loads(tracker("projects", url, "--names", "--size", "--json").out)
    assert {tuple(one) for one in sizes} == {("entity", "project", "size_bytes")}
    held = sum(path.stat().st_size for path in Path(url, "team").rglob("*") if path.is_file())
    assert sizes[-1]["size_bytes"] == held


def test_a_root_without_projects_says_so(tracker: Tracker, url: str) -> None:
    done = tracker("projects", url, "--entity", "nobody")
    assert (done.code, done.out) == (0, "")
    assert "There are no projects in" in done.err
    assert tracker("projects", f"{url}-none").code == 3


def test_login_remembers_a_root_that_it_has_tried(tracker: Tracker, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    done = tracker("login", str(root))
    assert (done.code, done.out) == (0, f"{root}\n")
    assert "can be written to and read from" in done.err
    assert resolve_base_url() == str(root)
    assert not [path for path in root.rglob("*") if path.is_file()]
    now = tracker("login")
    assert (now.code, now.out) == (0, f"{root}\n")
    assert "This is where runs go" in now.err


def test_login_does_not_remember_a_root_that_fails(tracker: Tracker, tmp_path: Path) -> None:
    before = resolve_base_url()
    (tmp_path / "file").write_text("no folder")
    done = tracker("login", str(tmp_path / "file"))
    assert done.code != 0
    assert done.out == ""
    assert resolve_base_url() == before
    web = tracker("login", "https://example.com")
    assert (web.code, web.out) == (2, "")
    assert tracker("login", str(tmp_path / "file"), "--no-verify").code == 0
    assert resolve_base_url() == str(tmp_path / "file")


def test_a_key_is_read_from_stdin_and_kept_for_its_root(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, clean_environment: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("AKIA123:secret-text\n"))
    done = tracker("login", "s3://bucket/prefix", "--key", "-", "--no-verify")
    assert (done.code, done.out) == (0, "s3://bucket/prefix\n")
    assert "secret-text" not in done.out + done.err
    kept = [path for path in Path(clean_environment, ".config").rglob("*") if path.is_file()]
    holding = [path for path in kept if "secret-text" in path.read_text()]
    assert [path.stat().st_mode & 0o077 for path in holding] == [0]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    empty = tracker("login", "s3://bucket/prefix", "--key", "-", "--no-verify")
    assert (empty.code, "There is no key on stdin" in empty.err) == (2, True)
