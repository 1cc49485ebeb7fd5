"""Plans of small projects with everything in them, the stores that they become, and all that readers say of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from store_maker import T0, MadeWriter

from tracker.query.frames import to_dicts
from tracker.query.history import history_batches
from tracker.query.key_report import key_report
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.runs import find_runs, load_runs, visible_files
from tracker.query.snapshot import Snapshot
from tracker.query.sql_views import SqlViews
from tracker.query.system_rows import last_system_metrics
from tracker.storage.clock import HybridClock
from tracker.storage.edits import Edit, EditWriter, delete_edit, restore_edit
from tracker.storage.events import DELETED
from tracker.storage.format_file import ensure_format
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project

__all__ = ["EDITS", "NOW", "PLANS", "TIMES", "S", "pack", "put_edits", "seen", "stored", "take_steps", "writers_of"]

S = 1_000_000
NOW = T0 + 100 * S
PATHS = st.sampled_from(["a", "a.b", "a.b.c", r"a\.b", "x", "_step", "_timestamp"])
VALUES = st.sampled_from([1, 2.5, float("nan"), "t", True, None, [1], DELETED])
STEPS = st.one_of(
    st.tuples(st.sampled_from(["config", "summary", "attr"]), PATHS, VALUES),
    st.tuples(st.just("log"), PATHS, st.integers(0, 3)),
    st.tuples(st.just("log"), PATHS, st.sampled_from(["s", 0.5, None, True])),
    st.tuples(st.just("open"), PATHS, st.integers(0, 3)),
    st.tuples(st.just("system"), st.just("gpu"), st.integers(0, 3)),
)
WRITERS = st.tuples(
    st.sampled_from(["r", "r", "q", "s"]),
    st.lists(STEPS, max_size=8),
    st.integers(0, 60),  # seconds after the first one
    st.booleans(),  # opens a generation
    st.sampled_from([None, "0", "1"]),
    st.sampled_from(["finished", "failed", "killed", None]),
    st.integers(0, 10),  # frames that are there when the project is packed for the first time
)
MADE_EDITS = (
    [("config", "r", "a", 7)],
    [("summary", "q", "x", 9)],
    delete_edit("r"),
    restore_edit("r"),
    delete_edit("s"),
)
EDITS = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(MADE_EDITS)), max_size=3)


def take_steps(writer: MadeWriter, steps: list[tuple[str, str, Any]], end: str | None) -> None:
    """What the session says, step by step, and how it ends (None: it does not say)."""
    for kind, path, value in steps:
        match kind:
            case "log" | "open":
                writer.log({path: value}, commit=kind == "log")
            case "system":
                writer.system({path: value})
            case _:
                writer.facts((kind, path, value))
    if end is not None:
        writer.facts(("writer", f"{writer.id}.state", end), ("writer", f"{writer.id}.ended_at", writer.now_us))


def writers_of(store: MemoryStore, plan: list[tuple[Any, ...]]) -> list[tuple[MadeWriter, int]]:
    made = []
    for n, (run_id, steps, after_s, opens, rank, end, early) in enumerate(plan):
        ref = RunRef("main", "p", run_id)
        writer = MadeWriter(store, ref, n, T0 + after_s * S + n, opens=opens, rank=rank).begin()
        take_steps(writer, steps, end)
        made.append((writer, min(early, len(writer.frames))))
    return made


def put_edits(store: Any, edits: list[tuple[int, list[Edit]]]) -> None:
    clock, now_us = HybridClock(wall=lambda: 0), 0
    editor = EditWriter(store, "main", "p", clock=clock, wall=lambda: now_us)
    for after_s, edit in sorted(edits, key=lambda one: one[0]):
        now_us = max(T0 + after_s * S, clock.last_us + 1)
        editor.write(edit)


def pack(store: Any) -> int:
    """How many writers were packed."""
    report = compact_project(store, "main", "p", now_us=NOW, quiet_s=0, finished_quiet_s=0, grace_s=0)
    return report.packed_writers


def stored(plan: list[tuple[Any, ...]], edits: list[tuple[int, list[Edit]]], form: str) -> MemoryStore:
    store = MemoryStore(uuid.uuid4().hex)
    ensure_format(store)
    made = writers_of(store, plan)
    put_edits(store, edits[:1])
    match form:
        case "loose":
            for writer, _ in made:
                for seq in range(len(writer.frames)):
                    writer.put(seq, seq)
        case "packed":
            for writer, _ in made:
                writer.put()
            assert pack(store) == len(made)
        case "later":  # some writers go on after they were packed
            for writer, early in made:
                if early:
                    writer.put(0, early - 1)
            pack(store)
            for writer, early in made:
                if early < len(writer.frames):
                    writer.put(max(early - 2, 0), len(writer.frames) - 1)
        case "twice":  # and are packed again
            for writer, early in made:
                if early:
                    writer.put(0, early - 1)
            pack(store)
            for writer, early in made:
                if early < len(writer.frames):
                    writer.put(early, len(writer.frames) - 1)
            pack(store)
        case "merged":  # sets with rollups
            for writer, early in made:
                last = len(writer.frames) - 1
                cut = min(early, last)
                writer.merge(0, cut)
                if cut < last:
                    writer.put(cut + 1, last)
    put_edits(store, edits[1:])
    return store


def seen(opened: Callable[[str | None], Snapshot]) -> dict[str, Any]:
    """Everything that the reading side answers."""
    snapshot = opened(None)
    ids, count = find_runs(snapshot, parse_filter({}), parse_order("+created_at"))
    assert count == len(ids)
    found: dict[str, Any] = {"ids": ids, "all": sorted(snapshot.runs), "count": len(snapshot.runs)}
    for where in ({"config.a": {"$gt": 0}}, {"summary_metrics.x": {"$exists": True}}, {"state": "finished"}):
        found[str(where)] = find_runs(snapshot, parse_filter(where), parse_order("-summary_metrics.a.b"))
    for record in load_runs(snapshot, ids):
        found[record.run_id] = {name: repr(getattr(record, name)) for name in record.__dataclass_fields__} | {
            "live": {kind: sorted(map(repr, leaves.items())) for kind, leaves in record.live.items() if leaves}
        }
    facts = SqlViews(snapshot, ids)["facts"].select(["run_id", "seq", "kind", "path", "type", "value", "text"])
    found["facts"] = sorted(map(repr, facts.to_pylist()))
    for run_id, files in zip(ids, visible_files(snapshot, ids), strict=True):
        batches = list(history_batches([files], snapshot.paths, keys=None, samples=None))
        found[f"history {run_id}"] = [repr(sorted(row.items())) for rows in batches for row in to_dicts(rows)]
        found[f"system {run_id}"] = last_system_metrics(files)
        report = key_report(files)
        found[f"keys {run_id}"] = repr(sorted((key, one["previousValue"]) for key, one in report["keys"].items()))
        found[f"last {run_id}"] = report["lastStep"]
        alone = opened(run_id)
        assert list(alone.runs) == [run_id]
        (record,) = load_runs(alone, [run_id])
        assert repr(record.summary) == found[run_id]["summary"]
        assert (repr(record.state), repr(record.config)) == (found[run_id]["state"], found[run_id]["config"])
    return found


PLANS = st.lists(WRITERS, min_size=1, max_size=4)
TIMES = st.none() | st.integers(1, 70)
