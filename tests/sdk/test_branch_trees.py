"""Random trees of sessions that start, resume, fork and rewind runs, against a plain model of each run's rows."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.apis.public import Api

Row = tuple[int, dict[str, Any]]  # step, values


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "BASE_URL": str(tmp_path / "root"),
        "CONSOLE": "off",
        "SILENT": "true",
        "X_DISABLE_STATS": "true",
        "X_DISABLE_META": "true",
    }.items():
        monkeypatch.setenv(f"TRACKER_{name}", value)


def grow(seed: int, sessions: int) -> None:
    """Sessions of a project one after the other; after each one its run is read back."""
    dice = random.Random(seed)
    model: dict[str, list[Row]] = {}
    for _ in range(sessions):
        how = dice.choice(["start", "resume", "fork", "fork", "rewind"]) if model else "start"
        source = dice.choice(sorted(model)) if model else ""
        step = dice.randrange(len(model[source]) or 1) if how in ("fork", "rewind") and model[source] else -1
        name = source if how in ("resume", "rewind") else f"run{len(model)}"
        begun = {
            "start": {"id": name},
            "resume": {"id": name, "resume": dice.choice(["allow", "must"])},
            "fork": {"id": name, "fork_from": f"{source}?_step={step}"},
            "rewind": {"resume_from": f"{source}?_step={step}"},
        }[how]
        kept = {"start": [], "resume": model.get(source, []), "fork": [], "rewind": []}[how]
        if how in ("fork", "rewind"):
            kept = [row for row in model[source] if row[0] <= step]
        model[name] = list(kept)
        begin = (kept[-1][0] + 1) if how == "resume" and kept else step + 1 if how in ("fork", "rewind") else 0
        with tracker.init(project="p", config={how: step}, **begun) as run:
            assert run.starting_step == begin
            if how == "start":
                run.define_metric("x", summary="min,max,mean,last")
            for number in range(dice.randrange(4)):
                x = dice.choice([dice.random(), dice.randrange(9), float("nan")])
                values = {"x": x, f"k{dice.randrange(5)}": 1}
                run.log(values)
                model[name].append((begin + number, values))
            shown = plain(run.summary.as_dict())
        check(name, model[name], shown)
    for name, rows in model.items():
        assert history(name) == [text(row) for row in rows]


def check(name: str, rows: list[Row], shown: dict[str, Any]) -> None:
    stored = Api().run(f"p/{name}")
    assert history(name) == [text(row) for row in rows]
    last = {key: value for _, values in rows for key, value in values.items()}
    summary = plain(stored.summary_metrics)
    assert summary.keys() - {"_step", "_runtime", "_timestamp", "_wandb"} == last.keys()
    if not last:
        return
    assert summary["_step"] == rows[-1][0]
    figures = figures_of([values["x"] for _, values in rows])
    for found in (summary["x"], shown["x"]):
        assert found == pytest.approx(figures | {"last": last["x"]}, nan_ok=True)


def figures_of(values: list[float]) -> dict[str, float]:
    real = [value for value in values if not math.isnan(value)]
    return {
        "min": min(real, default=math.nan),
        "max": max(real, default=math.nan),
        "mean": sum(values) / len(values),
    }


def plain(tree: Any) -> Any:
    return {key: plain(value) for key, value in tree.items()} if hasattr(tree, "items") else tree


def history(name: str) -> list[str]:
    found = Api().run(f"p/{name}").scan_history()
    return [text((row.pop("_step"), row)) for row in found]


def text(row: Row) -> str:
    step, values = row
    return repr((step, sorted((key, value) for key, value in values.items() if not key.startswith("_"))))


def test_a_tree_of_sessions() -> None:
    """RES-5, REW-1, FORK-1: every run reads as one history, and its summary is that of this history."""
    grow(1, 9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 25))
def test_large_trees_of_sessions(seed: int) -> None:
    """RES-5, REW-1, FORK-1"""
    grow(seed, 25)
