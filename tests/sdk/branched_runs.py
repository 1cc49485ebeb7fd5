"""Small runs to fork and rewind, and how they read."""

from __future__ import annotations

from typing import Any

import tracker
from tracker.apis.public import Api


def source(rows: int = 10, run_id: str = "a", **arguments: Any) -> None:
    """A run whose `loss` falls from 10 by one a row."""
    with tracker.init(project="p", id=run_id, **arguments) as run:
        for step in range(rows):
            run.log({"loss": 10 - step, "text": f"s{step}"})


def stored(run_id: str) -> Any:
    return Api().run(f"p/{run_id}")


def losses(run_id: str) -> list[tuple[int, int]]:
    return [(row["_step"], row["loss"]) for row in stored(run_id).scan_history(keys=["_step", "loss"])]
