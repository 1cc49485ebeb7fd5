"""A run long enough for stored buckets and several row groups: as its writer left it, merged, and packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from store_maker import T0, MadeWriter

from tracker.apis.public import Api, Run
from tracker.query import buckets, history
from tracker.storage.format_file import ensure_format
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project
from tracker.storage.stores import open_store

STEPS = 20_000
SPIKE = 12_345


def value(n: int) -> float:
    return 1000.0 if n == SPIKE else float(np.float32(np.sin(n / 50)))


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same run three times; the last rows of the first two are in a file of their own."""
    found = {}
    for form in ("loose", "merged", "packed"):
        url = str(tmp_path_factory.mktemp(form) / "store")
        store = open_store(url)
        ensure_format(store)
        writer = MadeWriter(store, RunRef("main", "p", "r"), 1, T0).begin({"name": "r"})
        for n in range(STEPS):
            writer.log({"x": value(n), "n": n} if n % 10 else {"x": value(n)})
        if form == "loose":
            writer.put(0, 9_000).put(9_001, STEPS // 2)
        else:
            writer.merge(0, STEPS - 50)
            writer.shipped = STEPS - 49
        writer.end()
        if form == "packed":
            quiet = {"quiet_s": 0, "finished_quiet_s": 0, "grace_s": 0}
            compact_project(store, "main", "p", now_us=T0 + 10**12, **quiet)
            assert store.list("main/p/packs/")
        found[form] = url
    return found


@pytest.fixture(params=["loose", "merged", "packed"])
def run(request: pytest.FixtureRequest, roots: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TRACKER_BASE_URL", roots[request.param])
    return Api().run("p/r")


def test_scans_and_samples_are_the_same_however_the_run_lies(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_SCAN_ROWS", 1500)
    rows = list(run.scan_history(keys=["_step", "x"]))
    assert rows == [{"_step": n, "x": value(n)} for n in range(STEPS)]
    whole = list(run.scan_history(min_step=SPIKE - 5, max_step=SPIKE + 2))
    assert [row.get("n") for row in whole] == [n if n % 10 else None for n in range(SPIKE - 5, SPIKE + 2)]
    assert run.scan_history().arrow_reader().read_all()["n"].null_count == STEPS // 10
    sampled = run.history(keys=["n"], samples=7, pandas=False)
    logged = [n for n in range(STEPS) if n % 10]
    assert [row["n"] for row in sampled] == [logged[int(i * (len(logged) - 1) / 6 + 0.5)] for i in range(7)]


def expected(first: int, end: int, width: int) -> list[dict[str, Any]]:
    rows = []
    for start in range(first // width * width, end, width):
        steps = range(max(start, first), min(start + width, end))
        held = [value(n) for n in steps]
        rows.append(
            {
                "step": start,
                "count": len(held),
                "first": held[0],
                "last": held[-1],
                "min": min(held),
                "max": max(held),
                "max_step": steps[held.index(max(held))],
            }
        )
    return rows


@pytest.mark.parametrize(("first", "end", "width"), [(None, None, 64), (3, 19_997, 64), (12_000, 12_500, 1)])
def test_a_chart_misses_nothing(run: Run, first: int | None, end: int | None, width: int) -> None:
    rows = run.buckets(["x"], min_step=first, max_step=end)
    want = expected(first or 0, end or STEPS, width)
    assert {row["width"] for row in rows} == {width}
    assert [{name: row[name] for name in want[0]} for row in rows] == want
    means = [np.mean([value(n) for n in range(row["first_step"], row["last_step"] + 1)]) for row in rows]
    assert np.allclose([row["mean"] for row in rows], means)
    assert SPIKE in [row["max_step"] for row in rows if row["max"] == 1000.0]


def test_a_chart_of_packed_runs_reads_no_points(roots: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_BASE_URL", roots["packed"])
    asked: list[Any] = []
    monkeypatch.setattr(buckets, "open_series", asked.append)
    monkeypatch.setattr(buckets, "history_batches", lambda runs, *_, **__: asked.extend(runs) or [])
    assert sum(row["count"] for row in Api().run("p/r").buckets(["x"])) == STEPS
    assert sum(row["count"] for row in Api().runs("p").buckets(["x"], buckets=10)) == STEPS
    assert asked == []
