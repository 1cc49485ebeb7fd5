"""Writes small runs into any store as a writer would, without one: facts, rows, markers, one part a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tracker.storage.events import encode_cell, flatten, join_path
from tracker.storage.names import PartName, RunRef, encode_name, new_ulid, run_prefix
from tracker.storage.schema import SCHEMA, PartFooter, write_events
from tracker.storage.stores import open_store

EPOCH_US = 1_760_000_000_000_000  # 2025-10-09: long ago, so that a run without an end has crashed


@dataclass(frozen=True, slots=True)
class StoredRun:
    """Where the run's only part lies."""

    ref: RunRef
    key: str


def write_run(
    url: str,
    run_id: str,
    *,
    entity: str = "main",
    project: str = "digits",
    config: Mapping[str, Any] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    attrs: Mapping[str, Any] | None = None,
    system: Sequence[Mapping[str, Any]] = (),
    state: str = "finished",
    started_s: int = 0,
) -> StoredRun:
    """One run with one writer; `rows` are what `log` got at steps 0, 1, ...; `started_s` seconds after EPOCH_US."""
    start_us = EPOCH_US + started_s * 1_000_000
    writer = new_ulid(start_us, run_id.encode().rjust(10, b"\0")[-10:])
    events: list[dict[str, Any]] = []

    def add(seq: int, kind: str, key: str | None, value: Any, **more: Any) -> None:
        t, v, i, s = encode_cell(value)
        stamp = {"seq": seq, "hlc": start_us + seq * 1000, "ts": 0}
        events.append({"row": None, "step": None, "subject": None, **stamp, "kind": kind, "key": key,
                       "t": int(t), "v": v, "i": i, "s": s, **more})  # fmt: skip

    facts = {
        "generation": new_ulid(start_us),
        "job": None,
        "rank": None,
        "host": "node",
        "pid": 1,
        "started_at": start_us,
    }
    for name, value in facts.items():
        add(0, "writer", f"{writer}.{name}", value)
    for name, value in {"name": f"name of {run_id}", "tags": ["t"], "username": "ada", **(attrs or {})}.items():
        add(0, "attr", name, value)
    for path, value in flatten(dict(config or {})):
        add(0, "config", path, value)
    seq = 0
    for number, row in enumerate(rows):
        seq = number + 1
        for key, value in row.items():
            add(seq, "history", join_path((key,)), value, row=number, step=number)
        add(seq, "row", None, (number + 1) * 0.5, row=number, step=number)
    for point in system:
        seq += 1
        for key, value in point.items():
            add(seq, "system", key, value)
    seq += 1
    for name, value in {"state": state, "exit_code": 0 if state == "finished" else 1, "last_frame": seq}.items():
        add(seq, "writer", f"{writer}.{name}", value)

    ref = RunRef(entity, project, run_id)
    footer = PartFooter(entity=entity, project=project, run_id=run_id, writer_id=writer, family="e", first=0, last=seq,
                        mark=f"{seq:016x}", created_by="tests")  # fmt: skip
    part = PartName(encode_name(run_id), writer, "e", 0, seq, footer.mark)
    key = f"{run_prefix(ref)}{writer}/{part.file_name}"
    store = open_store(url)
    store.put_if_absent(key, write_events(pa.Table.from_pylist(events, SCHEMA), footer))
    store.close()
    return StoredRun(ref, key)


def write_three_runs(url: str) -> None:
    """Runs a, b, c of main/digits: accuracies 0.5, 0.9 and NaN; c failed; b also logs Z once."""
    losses = [1.0, 0.5, 0.25]
    write_run(
        url,
        "a",
        config={"lr": 0.1, "opt": {"name": "adam"}},
        rows=[{"loss": loss, "acc": 0.5} for loss in losses],
        system=[{"system.cpu": 12.5}],
    )
    write_run(
        url,
        "b",
        config={"lr": 0.01, "opt": {"name": "sgd"}},
        rows=[{"loss": 2.0, "acc": 0.1}, {"loss": 1.5, "acc": 0.9, "Z": 2}],
        attrs={"group": "g"},
        started_s=60,
    )
    write_run(
        url, "c", config={"lr": None, "layers": [64, 10]}, rows=[{"acc": float("nan")}], state="failed", started_s=120
    )
