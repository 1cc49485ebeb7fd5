"""Forks, rewinds and ranks as the public Api and the command show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, MadeWriter

from tracker.apis.public import Api, Run
from tracker.errors import CommError, Error
from tracker.storage.format_file import ensure_format
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project
from tracker.storage.stores import open_store

S = 1_000_000


@pytest.fixture(params=["loose", "packed"])
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Run a with two ranks and steps 0..3, rewound to step 1; run b forked of its first life at step 2."""
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    store = open_store(url)
    ensure_format(store)
    first = MadeWriter(store, RunRef("main", "p", "a"), 0, T0, rank="0").begin({"name": "a"}, {"lr": 1})
    first.facts(("writer", f"{first.id}.host", "node1"))
    other = MadeWriter(store, RunRef("main", "p", "a"), 1, T0 + 3 * S // 2, opens=False, rank="1").begin()
    for value in range(4):
        first.log({"loss": float(value)})
        other.log({"loss": 10.0 + value})
    first.system({"cpu": 1.0})
    first.end()
    other.end()
    pinned = {writer.id: len(writer.frames) - 1 for writer in (first, other)}
    again = MadeWriter(store, RunRef("main", "p", "a"), 2, T0 + 60 * S, rank="0").branch(first, 1, pinned)
    again.log({"loss": 5.0}, 2).system({"cpu": 2.0}).end()
    fork = MadeWriter(store, RunRef("main", "p", "b"), 3, T0 + 70 * S).branch(first, 2, pinned)
    fork.log({"loss": 7.0}, 3).end()
    if request.param == "packed":
        compact_project(store, "main", "p", now_us=T0 + 10**12, quiet_s=0, finished_quiet_s=0, grace_s=0)
    return url


@pytest.fixture
def a(root: str) -> Run:
    return Api().run("p/a")


def points(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row[key] for key in ("_step", "loss")) for row in rows]


def asked(run: Run, **which: Any) -> list[tuple[Any, ...]]:
    return points(run.history(keys=["loss"], pandas=False, **which))


def test_the_public_run_says_where_it_began(a: Run) -> None:
    """FORK-2: `branch_point {run_id, step}` in the internal config section; the config itself has no such key."""
    fork = Api().run("p/b")
    assert fork.rawconfig["_wandb"]["branch_point"] == {"run_id": "a", "step": 2}
    assert a.rawconfig["_wandb"]["branch_point"] == {"run_id": "a", "step": 1}
    assert "_wandb" not in fork.config
    assert Run(a.client, "main", "p", "a").lives()[0]["branch_point"] is None


def test_history_reads_through_a_branch(a: Run) -> None:
    """FORK-1, REW-1."""
    assert asked(a) == [(0, 0.0), (0, 10.0), (1, 1.0), (1, 11.0), (2, 5.0)]
    fork = Api().run("p/b")
    assert asked(fork) == [(0, 0.0), (0, 10.0), (1, 1.0), (1, 11.0), (2, 2.0), (2, 12.0), (3, 7.0)]
    assert fork.lastHistoryStep == 3
    assert fork.history_keys["keys"]["loss"]["typeCounts"] == [{"type": "number", "count": 7}]
    assert [row["loss"] for row in fork.scan_history(min_step=2)] == [2.0, 12.0, 7.0]
    table = fork.scan_history(keys=["_step", "loss"]).arrow_reader().read_all()
    assert table["loss"].to_pylist() == [0.0, 10.0, 1.0, 11.0, 2.0, 12.0, 7.0]
    (bucket,) = fork.buckets(["loss"], buckets=1)
    assert (bucket["count"], bucket["min"], bucket["max"]) == (7, 0.0, 12.0)
    several = Api().runs("p", order="+created_at").histories(keys=["loss"], samples=None)
    assert points([row for row in several if row["run_id"] == "b"]) == asked(fork)


def test_what_a_rewind_hid_can_be_asked_for(a: Run) -> None:
    """REW-1: the event log keeps the old events, readable through an explicit option."""
    old, new = a.lives()
    assert (old["shown"], new["shown"]) == (False, True)
    assert new["branch_point"] == {"run_id": "a", "step": 1}
    assert len(old["writers"]) == 2
    assert asked(a, life=old["id"]) == [(n, tens + n) for n in range(4) for tens in (0.0, 10.0)]
    assert asked(a, life=new["id"]) == asked(a)
    assert [row["loss"] for row in a.scan_history(keys=["loss"], life=old["id"], min_step=3)] == [3.0, 13.0]
    assert a.buckets(["loss"], buckets=1, life=old["id"])[0]["count"] == 8
    with pytest.raises(Error, match="has no life 'x'"):
        a.history(life="x")


def test_system_metrics_before_a_rewind_stay(a: Run) -> None:
    """REW-1."""
    rows = a.history(stream="system", pandas=False)
    assert [row["system.cpu"] for row in rows] == [1.0, 2.0]
    assert a.system_metrics == {"system.cpu": 2.0}
    assert Api().run("p/b").system_metrics == {}


def test_rows_are_chosen_by_rank_and_host(a: Run) -> None:
    assert asked(a, rank=0) == [(0, 0.0), (1, 1.0), (2, 5.0)]
    assert asked(a, rank="1") == [(0, 10.0), (1, 11.0)]
    assert asked(a, rank=[0, 1]) == asked(a)
    assert asked(a, host="node1") == [(0, 0.0), (1, 1.0)]
    assert asked(a, rank=7) == []
    assert [row["loss"] for row in a.scan_history(keys=["loss"], rank=1)] == [10.0, 11.0]
    assert a.buckets(["loss"], buckets=1, rank=1)[0]["count"] == 2
    rows = a.history(keys=["loss", "_rank", "_host"], pandas=False)
    assert [(row["_rank"], row["_host"]) for row in rows] == [
        (0, "node1"), (1, None), (0, "node1"), (1, None), (0, None)
    ]  # fmt: skip
    frame = Api().runs("p", {"name": "a"}).histories(keys=["loss", "_rank"], rank=1, format="polars")
    assert frame["_rank"].to_list() == [1, 1]
    reader = Api().runs("p", {"name": "a"}).histories(keys=["loss", "_rank", "_writer"], format="arrow_reader")
    assert reader.read_all()["_rank"].to_pylist() == [0, 1, 0, 1, 0]
    for wrong in (1.5, True, [None]):
        with pytest.raises((Error, CommError), match="rank must be"):
            a.history(rank=wrong)
