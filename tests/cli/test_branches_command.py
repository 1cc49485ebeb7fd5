"""`tracker query` over runs of several processes that were rewound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Tracker
from store_maker import T0, MadeWriter

from tracker.storage.format_file import ensure_format
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project
from tracker.storage.stores import open_store


@pytest.fixture(params=["loose", "packed"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Two ranks log steps 0..2; the run is rewound to step 0, and one of them logs step 1 anew."""
    url = str(tmp_path / "store")
    store = open_store(url)
    ensure_format(store)
    ref = RunRef("main", "p", "a")
    first = MadeWriter(store, ref, 0, T0, rank="0").begin({"name": "a"})
    other = MadeWriter(store, ref, 1, T0 + 500_000, opens=False, rank="1").begin()
    for value in range(3):
        first.log({"loss": float(value)})
        other.log({"loss": 10.0 + value})
    first.system({"cpu": 1.0}).end()
    other.end()
    pinned = {writer.id: len(writer.frames) - 1 for writer in (first, other)}
    again = MadeWriter(store, ref, 2, T0 + 60_000_000, rank="0").branch(first, 0, pinned)
    again.log({"loss": 5.0}, 1).system({"cpu": 2.0}).end()
    if request.param == "packed":
        compact_project(store, "main", "p", now_us=T0 + 10**12, quiet_s=0, finished_quiet_s=0, grace_s=0)
    return url


def test_histories_and_sql_tell_ranks_apart_and_read_through_a_rewind(root: str, tracker: Tracker) -> None:
    """REW-1."""

    def answer(*arguments: str) -> list[dict[str, Any]]:
        done = tracker("query", root, "-p", "p", "--format", "jsonl", *arguments)
        assert done.code == 0, done.err
        return [json.loads(line) for line in done.out.splitlines()]

    rows = answer("--history", "--keys", "loss,_rank")
    assert [(row["loss"], row["_rank"]) for row in rows] == [(0.0, 0), (10.0, 1), (5.0, 0)]
    assert [row["loss"] for row in answer("--history", "--keys", "loss", "--rank", "1,2")] == [10.0]
    assert answer("--history", "--keys", "loss", "--host", "nowhere") == []
    sql = "SELECT _rank, count(*) AS n FROM history GROUP BY ALL ORDER BY _rank"
    assert answer("--sql", sql) == [{"_rank": 0, "n": 2}, {"_rank": 1, "n": 1}]
    assert answer("--sql", "SELECT value FROM system ORDER BY time") == [{"value": 1.0}, {"value": 2.0}]
    (row, *_) = answer("--sql", "SELECT * FROM history")
    assert "_rank" not in row


def test_ranks_belong_to_histories(root: str, tracker: Tracker) -> None:
    done = tracker("query", root, "-p", "p", "--rank", "0")
    assert done.code != 0
    assert "--rank belongs to --history" in done.err


def test_a_purge_names_the_runs_that_will_lack_rows(root: str, tracker: Tracker) -> None:
    """FORK-1: rows of a fork are those of its parent; whoever removes these for good is told whom it hits."""
    store = open_store(root)
    before = {"run": "a", "generation": "", "step": 1, "writers": {}}
    for number, (run_id, parent) in enumerate((("b", "a"), ("c", "b"), ("d", "x")), start=5):
        writer = MadeWriter(store, RunRef("main", "p", run_id), number, T0 + number * 60_000_000)
        writer.begin({"name": run_id}, extra=[("branch", writer.id, before | {"run": parent})]).end()
    done = tracker("runs", "delete", "a", "--url", root, "-p", "p", "--purge", "--dry-run", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["forks"] == ["b", "c"]
    assert "2 runs began in these by a fork and will lack the rows: b, c" in done.err
