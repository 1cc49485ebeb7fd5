"""`tracker runs update`, and `undelete`: what becomes of runs, and what stays."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from conftest import Tracker
from store_maker import made_run

from tracker.apis.public import Api
from tracker.apis.public.runs_changes import Changes, change_runs
from tracker.errors import UsageError


@pytest.fixture
def url(local_url: str) -> str:
    """Runs a, b, c of main/p."""
    for n, name in enumerate("abc"):
        made_run(
            local_url,
            name,
            [{"acc": 0.1 * n}],
            config={"lr": 0.1, "opt": {"name": "adam", "beta": 0.9}, "dotted.key": 1},
            attrs={"tags": ["t", name], "group": "g"},
        )
    return local_url


def run(url: str, name: str) -> Any:
    return Api({"base_url": url}).run(f"p/{name}")


def test_fields_tags_config_and_summary_change_together(tracker: Tracker, url: str) -> None:
    done = tracker(
        "runs", "update", "a", "--url", url,
        "--name", "new name", "--notes", "said", "--group", "", "--job-type", "train",
        "--tag", "x", "--tag", "t", "--untag", "a",
        "--config", "lr=0.5", "--config", "opt.name=sgd", "-c", "dotted.key=2",
        "-c", 'new={"deep": [1, null]}', "-c", "text=not json", "--summary", "acc=0.9", "--summary", "best.epoch=7",
        "--unset", "config.opt.beta",
    )  # fmt: skip
    assert done.code == 0, done.err
    changed = run(url, "a")
    assert (changed.name, changed.notes, changed.group, changed.job_type) == ("new name", "said", None, "train")
    assert changed.tags == ["t", "x"]
    assert changed.config == {
        "lr": 0.5, "opt": {"name": "sgd"}, "dotted.key": 2, "new": {"deep": [1, None]}, "text": "not json",
    }  # fmt: skip
    assert changed.summary["acc"] == 0.9
    assert changed.summary_metrics["best"] == {"epoch": 7}
    assert "a  config.lr: 0.1 -> 0.5" in done.out.splitlines()
    assert "a  group: g -> nothing" in done.out.splitlines()
    assert done.err == "changed 1 run of main/p\n"
    untouched = run(url, "b")
    assert (untouched.tags, untouched.config["lr"]) == (["t", "b"], 0.1)


def test_many_runs_change_by_filter_and_a_dry_run_changes_nothing(tracker: Tracker, url: str) -> None:
    ask = ["runs", "update", "--url", url, "--filter", '{"tags": {"$in": ["a", "b"]}}', "--tag", "a", "--json"]
    dry = tracker(*ask, "--dry-run")
    assert json.loads(dry.out) == {
        "entity": "main",
        "project": "p",
        "dry_run": True,
        "runs": [{"id": "b", "changes": {"tags": {"before": ["t", "b"], "after": ["t", "b", "a"]}}}],
        "unchanged": ["a"],
    }
    assert dry.err == "would change 1 run of main/p; 1 run had it already\n"
    assert run(url, "b").tags == ["t", "b"]
    assert tracker(*ask).err == "changed 1 run of main/p; 1 run had it already\n"
    assert [run(url, name).tags for name in "abc"] == [["t", "a"], ["t", "b", "a"], ["t", "c"]]
    assert tracker(*ask).err == "changed 0 runs of main/p; 2 runs had it already\n"
    none = tracker("runs", "update", "--url", url, "--filter", '{"tags": "z"}', "--tag", "y")
    assert (none.code, none.err) == (0, "No run of main/p matches the filter.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a"], "There is nothing to change"),
        (["--tag", "x"], "one of the two"),
        (["a", "--filter", "{}", "--tag", "x"], "one of the two"),
        (["a", "--config", "lr"], "is no KEY=VALUE"),
        (["a", "--config", "=1"], "is no KEY=VALUE"),
        (["a", "--tag", "x", "--untag", "x"], "to be added and removed"),
        (["a", "--tag", ""], "is empty"),
        (["a", "--unset", "notes"], "config.<path> or summary.<path>"),
        (["a", "--unset", "config"], "config.<path> or summary.<path>"),
    ],
)
def test_a_call_that_is_wrong_changes_nothing(tracker: Tracker, url: str, arguments: list[str], said: str) -> None:
    done = tracker("runs", "update", *arguments, "--url", url)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""


def test_one_run_that_is_not_there_stops_all(tracker: Tracker, url: str) -> None:
    for more in ([], ["--dry-run"]):
        done = tracker("runs", "update", "a", "none", "--url", url, "--tag", "x", *more)
        assert done.code == 3
        assert 'There is no run "none" in main/p.' in done.err
    assert run(url, "a").tags == ["t", "a"]


def test_fields_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="'state' cannot be changed"):
        Changes(fields={"state": "finished"})


def test_two_who_tag_the_same_runs_at_once_lose_nothing(url: str) -> None:
    """Tags are one list in the store: who wrote it without having seen the other's joins both."""
    both = threading.Barrier(2)

    def tag(name: str) -> None:
        client = Api({"base_url": url}).client
        first = True

        def read() -> Any:
            nonlocal first
            snapshot = client.snapshot("main", "p")
            if first:
                first = False
                both.wait(30)  # both have seen the runs before either writes
            return snapshot

        change_runs(["a", "b"], Changes(add_tags=[name], config={name: 1}), read)

    threads = [threading.Thread(target=tag, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for name in ("a", "b"):
        found = run(url, name)
        assert set(found.tags) == {"t", name, "one", "two"}
        assert {"one", "two"} <= set(found.config)


def test_undelete_shows_a_run_again(tracker: Tracker, url: str) -> None:
    assert tracker("runs", "delete", "a", "--url", url).code == 0
    assert tracker("runs", "list", url, "--format", "csv").out.count("\n") == 3
    dry = tracker("runs", "undelete", "a", "--url", url, "--dry-run")
    assert (dry.code, dry.out) == (0, "a\n")
    assert tracker("runs", "list", url, "--format", "csv").out.count("\n") == 3
    done = tracker("runs", "undelete", "a", "--url", url, "--json")
    assert json.loads(done.out) == {"entity": "main", "project": "p", "runs": ["a"], "dry_run": False}
    assert tracker("runs", "list", url, "--format", "csv").out.count("\n") == 4
    assert tracker("runs", "undelete", "none", "--url", url).code == 3
