"""The collection of runs: laziness, length, indexing, filters, order. Rules RUNS-1..8; FILT and ORD end to end."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, made_run

from tracker.apis.public import Api, Runs
from tracker.errors import Error
from tracker.storage.local import LocalStore


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """r0 .. r6, a minute apart."""
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    for n in range(7):
        made_run(url, f"r{n}", [{"acc": n / 10}], config={"n": n}, start_us=T0 + n * 60_000_000)
    return url


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is listed while the test runs."""
    seen: list[str] = []
    original = LocalStore.list
    monkeypatch.setattr(LocalStore, "list", lambda self, prefix: (seen.append(prefix), original(self, prefix))[1])
    return seen


def ids(runs: Any) -> list[str]:
    return [run.id for run in runs]


def test_nothing_is_fetched_before_it_is_needed(root: str, listings: list[str]) -> None:
    """RUNS-1, RUNS-3."""
    runs = Api().runs("p")
    assert (runs.length, runs.more, listings) == (None, True, [])
    assert len(runs) == 7
    assert runs.length == 7
    assert runs.objects == []
    assert listings.count("main/p/runs/") == 1


def test_positions_from_both_ends_and_slices(root: str) -> None:
    """RUNS-4."""
    runs = Api().runs("p", per_page=2)
    assert runs[2].id == "r2"
    assert len(runs.objects) == 4
    assert runs[-1].id == "r6"
    assert ids(runs[1:3]) == ["r1", "r2"]
    assert ids(runs[5:]) == ["r5", "r6"]
    assert ids(runs[::-3]) == ["r6", "r3", "r0"]
    assert ids(runs[:-5]) == ["r0", "r1"]
    assert runs[9:] == []
    assert isinstance(runs[1:3], list)
    for beyond in (7, -8):
        with pytest.raises(IndexError):
            _ = runs[beyond]
    assert runs[2] is runs[2]


def test_each_loop_starts_anew_and_next_goes_on(root: str) -> None:
    """RUNS-5."""
    runs = Api().runs("p", per_page=3)
    assert ids(runs) == ids(runs) == [f"r{n}" for n in range(7)]
    for run in runs:
        if run.id == "r1":
            break
    assert next(runs).id == "r2"
    assert runs.next().id == "r3"
    assert [(a.id, b.id) for a in runs[:2] for b in runs[:2]] == [
        ("r0", "r0"),
        ("r0", "r1"),
        ("r1", "r0"),
        ("r1", "r1"),
    ]
    for _ in runs:
        pass
    with pytest.raises(StopIteration):
        next(runs)


@pytest.mark.parametrize("per_page", [1, 2, 7, 1000])
def test_the_page_size_never_changes_the_result(root: str, per_page: int) -> None:
    """RUNS-5."""
    runs = Api().runs("p", per_page=per_page, order="-config.n")
    assert ids(runs) == [f"r{n}" for n in reversed(range(7))]
    assert not runs.more
    assert runs.cursor == "r0"
    assert len(runs.convert_objects()) == (7 - 1) % per_page + 1
    assert runs.variables["cursor"] == "r0"


def test_an_empty_match_is_no_error_and_an_unknown_project_is(root: str) -> None:
    """RUNS-6."""
    runs = Api().runs("p", filters={"state": "killed"})
    assert len(runs) == 0
    assert list(runs) == []
    with pytest.raises(IndexError):
        _ = runs[0]
    unknown = Api().runs("main/none")
    for use in (len, list, lambda found: found[0], next):
        with pytest.raises(ValueError, match="could not find project main/none") as caught:
            use(unknown)
        assert isinstance(caught.value, Error)


def test_runs_without_a_sweep_have_none(root: str) -> None:
    """RUNS-7."""
    assert Api().runs("p", include_sweeps=True)[0].sweep is None


def test_repr(root: str) -> None:
    """RUNS-8."""
    assert repr(Api().runs("p")) == "<Runs main/p>"


def test_the_order(root: str) -> None:
    """ORD-1, ORD-2, ORD-3."""
    assert ids(Api().runs("p", order="-created_at")[:2]) == ["r6", "r5"]
    assert ids(Api().runs("p", order="summary_metrics.acc")[:2]) == ["r0", "r1"]
    assert ids(Api().runs("p", order="-config.n.value")[:2]) == ["r6", "r5"]
    with pytest.raises(ValueError, match="Unknown field"):
        Api().runs("p", order="-nonsense")


def test_a_bad_filter_is_refused_when_the_collection_is_made(root: str, listings: list[str]) -> None:
    """FILT-2, FILT-15."""
    with pytest.raises(ValueError, match=r"\$all"):
        Api().runs("p", filters={"tags": {"$all": ["a"]}})
    with pytest.raises(TypeError):
        Api().runs("p", filters={"config.n": {1, 2}})
    with pytest.raises(TypeError):
        Api().runs("p", filters={"config.n": object()})
    assert listings == []


def test_times_are_filtered(root: str) -> None:
    """FILT-13."""
    after = datetime.fromtimestamp(T0 / 1e6 + 5 * 60, UTC)
    assert ids(Api().runs("p", filters={"created_at": {"$gte": after}})) == ["r5", "r6"]
    assert ids(Api().runs("p", filters={"createdAt": {"$gt": after.isoformat()}})) == ["r6"]
    assert len(Api().runs("p", filters={"created_at": {"$lt": "2026-09"}})) == 0


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The four documents of section 6."""
    url = str(tmp_path / "examples")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    made = {
        "r1": ("finished", ["a", "b"], {"lr": 0.1, "n": 1, "opt": "adam", "m": {"d": 3}}, {"acc": 0.5}),
        "r2": ("failed", ["b"], {"lr": 0.01, "n": 1.0, "opt": "sgd"}, {"acc": 0.9}),
        "r3": ("running", None, {"lr": None, "n": True, "opt": "Adam"}, {}),
        "r4": ("crashed", None, {"n": "1", "opt": "adamw", "m": {"d": [1, 3]}}, {"acc": float("nan")}),
    }
    from tracker.storage.clock import wall_us

    for n, (name, (state, tags, config, summary)) in enumerate(made.items()):
        start = wall_us() - 10_000_000 if state == "running" else T0 + n
        attrs = {"tags": tags} if tags is not None else {}
        made_run(url, name, [summary], config=config, attrs=attrs, state=state, start_us=start)
    return url


FX = [
    ({}, "r1 r2 r3 r4"),
    ({"config.lr": 0.1}, "r1"),
    ({"config.lr": None}, "r3 r4"),
    ({"config.lr": {"$exists": False}}, "r4"),
    ({"config.lr": {"$exists": True}}, "r1 r2 r3"),
    ({"config.lr": {"$ne": 0.1}}, "r2 r3 r4"),
    ({"config.lr": {"$ne": None}}, "r1 r2"),
    ({"config.lr": {"$lt": 0.05}}, "r2"),
    ({"config.lr": {"$gte": 0.01, "$lt": 0.1}}, "r2"),
    ({"config.lr": {"$in": [0.1, None]}}, "r1 r3 r4"),
    ({"config.lr": {"$nin": [0.1]}}, "r2 r3 r4"),
    ({"config.lr": {"$nin": [None]}}, "r1 r2"),
    ({"config.n": 1}, "r1 r2"),
    ({"config.n": True}, "r3"),
    ({"config.n": "1"}, "r4"),
    ({"config.n": {"$gt": 0}}, "r1 r2"),
    ({"config.n": {"$regex": "1"}}, "r4"),
    ({"tags": "b"}, "r1 r2"),
    ({"tags": {"$in": ["a"]}}, "r1"),
    ({"tags": {"$ne": "a"}}, "r2 r3 r4"),
    ({"tags": {"$nin": ["b"]}}, "r3 r4"),
    ({"tags": None}, "r3 r4"),
    ({"config.opt": {"$regex": "adam"}}, "r1 r4"),
    ({"config.opt": {"$regex": "^adam$"}}, "r1"),
    ({"config.opt": {"$regex": "(?i)^adam"}}, "r1 r3 r4"),
    ({"config.m.d": 3}, "r1 r4"),
    ({"config.m.d": {"$gt": 2}}, "r1 r4"),
    ({"config.m": {"$exists": True}}, "r1 r4"),
    ({"$or": [{"state": "failed"}, {"config.lr": 0.1}]}, "r1 r2"),
    ({"$nor": [{"state": "failed"}, {"config.lr": 0.1}]}, "r3 r4"),
    ({"$and": [{"tags": "b"}, {"state": {"$ne": "failed"}}]}, "r1"),
    ({"summary_metrics.acc": {"$gt": 0.6}}, "r2"),
    ({"summary_metrics.acc": {"$lte": 0.9}}, "r1 r2"),
    ({"summary_metrics.acc": {"$ne": 0.5}}, "r2 r3 r4"),
    ({"config.lr": {"$not": {"$gt": 0.05}}}, "r2 r3 r4"),
    ({"state": {"$in": ["finished", "failed"]}}, "r1 r2"),
    ({"config.lr.value": 0.1}, "r1"),
]


def test_the_worked_filter_examples(examples: str) -> None:
    """FX-1 to FX-37."""
    api = Api()
    found = {n: " ".join(sorted(ids(api.runs("p", filters=document)))) for n, (document, _) in enumerate(FX, start=1)}
    assert found == {n: wanted for n, (_, wanted) in enumerate(FX, start=1)}


def test_the_worked_order_examples(examples: str) -> None:
    """FX-39, FX-40: missing and NaN last, the rest of them by creation."""
    assert ids(Api().runs("p", order="+summary_metrics.acc")) == ["r1", "r2", "r4", "r3"]
    assert ids(Api().runs("p", order="-summary_metrics.acc")) == ["r2", "r1", "r4", "r3"]


def test_a_collection_reads_the_store_as_it_was_at_its_first_fetch(root: str) -> None:
    """API-7: pages that are loaded later belong to the same picture."""
    runs = Api().runs("p", per_page=2)
    assert runs[0].id == "r0"
    made_run(root, "r00", start_us=T0 - 1)
    assert ids(runs) == [f"r{n}" for n in range(7)]
    assert isinstance(Api().runs("p"), Runs)
    assert Api().runs("p")[0].id == "r00"
