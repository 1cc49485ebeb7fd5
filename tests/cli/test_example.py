"""The README's main job, in small: it trains for real, logs, and shows what `tracker query` answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import Tracker

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits.py"


def test_the_digits_example_logs_and_asks(tracker: Tracker, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--steps", "30", "--store", str(tmp_path / "store")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "9 runs of 30 steps" in done.stdout
    assert done.stdout.count("$ tracker query ") == 4

    runs = tracker("query", str(tmp_path / "store"), "--format", "jsonl").records()
    assert len(runs) == 9
    assert {run["state"] for run in runs} == {"finished"}
    assert {(run["config"]["learning_rate"], run["config"]["hidden"]) for run in runs} == {
        (rate, hidden) for rate in (0.0003, 0.003, 0.03) for hidden in (8, 32, 128)
    }
    best = max(runs, key=lambda run: run["summary"]["val/acc"])
    assert best["summary"]["val/acc"] > 0.8  # it learns: one of ten digits by chance would be 0.1
    rows = tracker("query", str(tmp_path / "store"), "--history", "--format", "jsonl").records()
    assert len(rows) == 9 * 30
    assert all("train/loss" in row for row in rows)
