"""A project that was made and has no runs: the commands answer with nothing, and not with an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Tracker
from store_maker import made_run

from tracker.storage.stores import open_store
from tracker.storage.things import ThingWriter


@pytest.fixture
def url(tmp_path: Path) -> str:
    place = str(tmp_path / "store")
    ThingWriter(open_store(place), "main", "empty", "project", "empty").write([("created_at", 1)])
    return place


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs", "list", "URL", "--format", "jsonl"),
        ("query", "URL", "--format", "jsonl"),
        ("query", "URL", "--history", "--format", "jsonl"),
        ("query", "URL", "--sql", "SELECT * FROM runs", "--format", "jsonl"),
        ("query", "URL", "--project", "main/*", "--sql", "SELECT * FROM history", "--format", "jsonl"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_there_is_nothing_to_show(tracker: Tracker, url: str, arguments: tuple[str, ...]) -> None:
    done = tracker(*[url if word == "URL" else word for word in arguments])
    assert (done.code, done.out) == (0, ""), done.err


def test_it_does_not_stop_a_question_to_all_projects(tracker: Tracker, url: str) -> None:
    made_run(url, "r", [{"a": 1}])
    done = tracker("query", url, "--project", "*", "--sql", "SELECT count(*) AS n FROM runs", "--format", "jsonl")
    assert done.records() == [{"n": 1}]
    assert [one["project"] for one in json.loads(tracker("projects", url, "--json").out)] == ["empty", "p"]


def test_a_run_of_it_is_still_not_there(tracker: Tracker, url: str) -> None:
    done = tracker("runs", "show", "nope", url)
    assert done.code == 3
    assert 'There is no run "nope"' in done.err
