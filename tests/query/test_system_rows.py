"""System metrics as rows: by time, sampled, over writers, runs and files."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from store_maker import T0, MadeWriter, made_run

from tracker.query.frames import to_dicts
from tracker.query.runs import visible_files
from tracker.query.snapshot import open_project
from tracker.query.system_rows import system_batches
from tracker.storage.cache import PartCache
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef


def test_rows_of_many_runs_come_run_after_run_each_by_time(tmp_path: Path) -> None:
    store = MemoryStore(uuid.uuid4().hex)
    for number in range(3):
        writer = MadeWriter(store, RunRef("main", "p", f"r{number}"), number, T0).begin()
        for n in range(4):
            writer.system({"cpu": n, "gpu.0": 10 * number + n} if n else {"cpu": 0.5}).put()
        writer.end()
    beside = MadeWriter(store, RunRef("main", "p", "r1"), 9, T0 + 500_000, opens=False).begin()
    beside.system({"cpu": 7}).end()
    made_run(store, "none", [{"a": 1}])
    snapshot = open_project(
        store, "main", "p", cache=PartCache(tmp_path / "cache", 1 << 30), now_us=T0, warn=pytest.fail
    )
    ids = ["r2", "none", "r1", "r0"]
    batches = list(system_batches(visible_files(snapshot, ids), snapshot.paths, dict.fromkeys(ids, T0), samples=None))
    rows = [row for batch in batches for row in to_dicts(batch, ids)]
    assert [(row["run_id"], row["system.cpu"]) for row in rows] == [
        *(("r2", value) for value in (0.5, 1, 2, 3)),
        *(("r1", value) for value in (0.5, 7, 1, 2, 3)),
        *(("r0", value) for value in (0.5, 1, 2, 3)),
    ]
    assert [row.get("system.gpu.0") for row in rows[:4]] == [None, 21, 22, 23]
    assert rows[5]["_runtime"] == 2.5
    assert rows[5]["_wandb"] is True
    sampled = list(system_batches(visible_files(snapshot, ["r1"]), snapshot.paths, {"r1": T0}, samples=2))
    assert [row["system.cpu"] for batch in sampled for row in to_dicts(batch)] == [0.5, 3]
