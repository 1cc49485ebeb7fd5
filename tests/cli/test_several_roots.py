"""Several places on one command line answer as one; SQL over several projects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Tracker
from store_maker import T0, made_run

S = 60_000_000


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """The first has a and both, the second b and both, and both.q."""
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    for n, (url, run_id) in enumerate([(here, "a"), (there, "b"), (here, "both")]):
        made_run(url, run_id, [{"loss": float(n)}], config={"n": n}, start_us=T0 + n * S)
    made_run(there, "both", [{"loss": 2.0}], config={"n": 2}, start_us=T0 + 2 * S)
    for url in (here, there):
        made_run(url, "x", [{"loss": 9.0}], project="q")
    return [here, there]


def test_runs_and_histories_of_several_places(tracker: Tracker, places: list[str]) -> None:
    done = tracker("query", *places, "--project", "p", "--format", "jsonl")
    assert (done.code, done.err) == (0, "")
    assert [run["id"] for run in done.records()] == ["a", "b", "both"]
    listed = tracker("runs", "list", *places, "-p", "p", "--filter", '{"config.n": {"$gt": 0}}', "--format", "jsonl")
    assert [run["id"] for run in listed.records()] == ["b", "both"]
    rows = tracker("query", *places, "-p", "p", "--history", "--keys", "loss", "--format", "jsonl").records()
    assert [(row["run_id"], row["loss"]) for row in rows] == [("a", 0.0), ("b", 1.0), ("both", 2.0)]
    shown = tracker("runs", "show", "p/b", *places, "--format", "json")
    assert json.loads(shown.out)["config"] == {"n": 1}


def test_projects_of_several_places_stand_once(tracker: Tracker, places: list[str]) -> None:
    done = tracker("projects", *places, "--json")
    assert [(row["project"], row["runs"]) for row in json.loads(done.out)] == [("p", 3), ("q", 1)]


def test_a_place_that_is_not_there_is_an_error_that_names_it(tracker: Tracker, places: list[str]) -> None:
    for command in (["query"], ["runs", "list"], ["projects"]):
        done = tracker(*command, *places, f"{places[0]}-elsewhere")
        assert (done.code, done.out) == (2, "")
        assert f"{places[0]}-elsewhere, one of the 3" in done.err


def test_sql_over_the_projects_of_several_places(tracker: Tracker, places: list[str]) -> None:
    statement = "SELECT project, run_id, loss FROM history ORDER BY ALL"
    for project in ("p,q", "*", "main/*", "*/*", "q,p,q"):
        done = tracker("query", *places, "--project", project, "--sql", statement, "--format", "jsonl")
        found = [(row["project"], row["run_id"]) for row in done.records()]
        assert found == [("p", "a"), ("p", "b"), ("p", "both"), ("q", "x")], done.err
    alone = tracker("query", *places, "-p", "q", "--sql", statement, "--format", "csv")
    assert alone.out.splitlines() == ["project,run_id,loss", "q,x,9"]


def test_a_pattern_that_nothing_fits(tracker: Tracker, places: list[str]) -> None:
    done = tracker("query", *places, "--project", "z*", "--sql", "SELECT 1")
    assert done.code == 3
    assert "is like z*" in done.err
    missing = tracker("query", *places, "--project", "p,nothing", "--sql", "SELECT count(*) FROM runs")
    assert missing.code == 3
    assert "no project main/nothing" in missing.err
