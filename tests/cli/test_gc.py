"""`tracker gc`: only what was deleted long enough ago goes, nothing that somebody still sees, and never unasked."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Tracker
from store_maker import MadeWriter, made_run

from tracker.cli.gc_command import parse_duration
from tracker.storage.clock import HybridClock
from tracker.storage.edits import EditWriter, delete_edit
from tracker.storage.errors import UsageError
from tracker.storage.format_file import ensure_format
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store

DAY_S = 24 * 3600.0


@pytest.fixture
def url(local_url: str) -> str:
    """Runs a, b, c of main/p and one of main/q."""
    store = open_store(local_url)
    ensure_format(store)
    for name in "abc":
        made_run(store, name, [{"loss": 1.0}])
    made_run(store, "other", [{"x": 1}], project="q")
    return local_url


def delete(tracker: Tracker, url: str, *runs: str) -> None:
    assert tracker("runs", "delete", *runs, "--url", url, "--project", "main/p").code == 0


def of_json(done: Done) -> Any:
    assert done.code == 0, done.err
    return {f"{one['entity']}/{one['project']}": one for one in json.loads(done.out)}


def ids(runs: list[dict[str, Any]]) -> list[str]:
    return [run["id"] for run in runs]


def test_what_was_deleted_long_ago_goes_and_what_was_deleted_lately_stays(tracker: Tracker, url: str) -> None:
    delete(tracker, url, "a")
    fresh = of_json(tracker("gc", url, "--yes", "--json"))
    assert ids(fresh["main/p"]["within_grace"]) == ["a"]
    assert fresh["main/p"]["purged"] == []
    assert tracker("runs", "undelete", "a", "--url", url, "-p", "p").code == 0  # it is still there
    delete(tracker, url, "a", "b")
    dry = tracker("gc", url, "--grace", "0", "--dry-run")
    assert (dry.code, dry.err) == (0, "would purge 2 runs\n")
    assert [line.split()[:2] for line in dry.out.splitlines()[1:]] == [["main/p", "a"], ["main/p", "b"]]
    done = of_json(tracker("gc", url, "--grace", "0", "--yes", "--json"))
    assert ids(done["main/p"]["purged"]) == ["a", "b"]
    assert done["main/q"]["purged"] == []
    assert tracker("runs", "undelete", "a", "--url", url, "-p", "p").code == 3
    assert tracker("runs", "list", url, "-p", "p", "--format", "csv").out.count("\n") == 2
    again = tracker("gc", url, "--grace", "0", "--yes")
    assert (again.code, again.out, again.err) == (0, "", "no run is deleted: nothing to purge\n")


def test_the_store_and_who_deleted_both_have_to_say_that_it_is_long_ago(tracker: Tracker, url: str) -> None:
    """Neither a clock that is late nor files that were copied later lets anything go too soon."""
    path = delete_long_ago(url, "a", days=40)
    found = of_json(tracker("gc", url, "-p", "p", "--yes", "--json"))
    assert ids(found["main/p"]["within_grace"]) == ["a"]  # the store got it now
    age(path, days=31)
    found = of_json(tracker("gc", url, "-p", "p", "--yes", "--json"))
    assert ids(found["main/p"]["purged"]) == ["a"]


def delete_long_ago(url: str, run_id: str, days: float) -> Path:
    """By the clock of who does it. The file that says so."""
    then_us = time.time_ns() // 1000 - int(days * DAY_S * 1e6)
    writer = EditWriter(open_store(url), "main", "p", clock=HybridClock(), wall=lambda: then_us)
    writer.write(delete_edit(run_id))
    (path,) = Path(url, "main", "p", "things", "edits", writer.writer_id).iterdir()
    return path


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))


def test_a_run_that_was_restored_or_begun_anew_is_not_deleted(tracker: Tracker, url: str) -> None:
    delete(tracker, url, "a", "b")
    assert tracker("runs", "restore", "a", "--url", url, "-p", "p").code == 0
    anew = MadeWriter(open_store(url), RunRef("main", "p", "b"), 9, time.time_ns() // 1000 + 1_000_000)
    anew.begin().log({"new": 1}).end()
    done = of_json(tracker("gc", url, "-p", "p", "--grace", "0", "--yes", "--json"))
    assert done["main/p"]["purged"] == done["main/p"]["within_grace"] == []
    assert tracker("runs", "list", url, "-p", "p", "--format", "csv").out.count("\n") == 4


def test_a_run_in_which_others_began_stays_until_these_are_gone_too(tracker: Tracker, url: str) -> None:
    store = open_store(url)
    parent = MadeWriter(store, RunRef("main", "p", "parent"), 20).begin().log({"n": 0}).log({"n": 1}).end()
    child = MadeWriter(store, RunRef("main", "p", "child"), 21, parent.now_us)
    child.branch(parent, 1, {parent.id: 2}).log({"n": 2}).end()
    delete(tracker, url, "parent")
    kept = tracker("gc", url, "-p", "p", "--grace", "0", "--yes", "--json")
    assert of_json(kept)["main/p"]["needed"][0]["by"] == ["child"]
    assert of_json(kept)["main/p"]["purged"] == []
    assert "warning: main/p/parent stays: child began in it." in kept.err
    delete(tracker, url, "child")
    gone = of_json(tracker("gc", url, "-p", "p", "--grace", "0", "--yes", "--json"))
    assert ids(gone["main/p"]["purged"]) == ["parent", "child"]


def test_a_run_stays_as_long_as_one_that_began_in_it_can_be_restored(tracker: Tracker, url: str) -> None:
    store = open_store(url)
    parent = MadeWriter(store, RunRef("main", "p", "parent"), 20).begin().log({"n": 0}).end()
    MadeWriter(store, RunRef("main", "p", "child"), 21, parent.now_us).branch(parent, 0, {parent.id: 1}).end()
    age(delete_long_ago(url, "parent", days=40), days=40)
    delete(tracker, url, "child")
    found = of_json(tracker("gc", url, "-p", "p", "--yes", "--json"))["main/p"]
    assert (ids(found["needed"]), ids(found["within_grace"]), found["purged"]) == (["parent"], ["child"], [])


def test_nobody_is_purged_unasked(tracker: Tracker, url: str) -> None:
    delete(tracker, url, "a")
    done = tracker("gc", url, "--grace", "0")
    assert done.code == 2
    assert "This removes 1 deleted run for good. Add --yes" in done.err
    assert tracker("runs", "undelete", "a", "--url", url, "-p", "p").code == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30d", 30 * DAY_S), ("12h", 43200.0), ("90m", 5400.0), ("45s", 45.0), ("7", 7.0), ("1.5 D", 1.5 * DAY_S),
     ("2w", 14 * DAY_S), ("0", 0.0)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1d", "30 days", "1d12h", "nan"])
def test_what_is_no_duration_is_refused(tracker: Tracker, url: str, text: str) -> None:
    with pytest.raises(UsageError, match="is no duration"):
        parse_duration(text)
    if text:
        assert tracker("gc", url, f"--grace={text}").code == 2
