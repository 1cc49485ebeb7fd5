"""A project as of a time is what a store would show that had received nothing later: loose, merged and packed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from project_plans import take_steps
from store_maker import T0, MadeWriter

from tracker.query.frames import to_dicts
from tracker.query.history import history_batches
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.runs import find_runs, load_runs, visible_files
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.clock import HybridClock, wall_us
from tracker.storage.edits import Edit, EditWriter, delete_edit, restore_edit
from tracker.storage.events import DELETED
from tracker.storage.format_file import ensure_format
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project

S = 1_000_000
FAR = T0 + 10_000 * S

STEPS = st.one_of(
    st.tuples(st.sampled_from(["config", "summary", "attr"]), st.sampled_from(["a", "a.b", "x"]), st.integers(0, 3)),
    st.tuples(st.just("config"), st.just("a"), st.just(DELETED)),
    st.tuples(st.just("log"), st.sampled_from(["x", "y"]), st.integers(0, 3)),
    st.tuples(st.just("open"), st.sampled_from(["x", "y"]), st.integers(0, 3)),
    st.tuples(st.just("system"), st.just("gpu"), st.integers(0, 3)),
)
WRITERS = st.tuples(
    st.sampled_from(["r", "r", "q"]),
    st.lists(STEPS, max_size=6),
    st.integers(0, 20),  # seconds after the first one
    st.booleans(),  # opens a generation
    st.sampled_from(["finished", "failed", None]),
)
EDITS = st.tuples(
    st.integers(0, 30),  # seconds after the first writer
    st.sampled_from(
        [
            [("config", "r", "a", 7)],
            [("summary", "r", "x", 9), ("attr", "q", "tags", ["t"])],
            delete_edit("r"),
            restore_edit("r"),
            delete_edit("q"),
        ]
    ),
)


def writers_of(store: MemoryStore, plan: list[tuple[Any, ...]]) -> list[MadeWriter]:
    """Frames, not yet stored."""
    made = []
    for n, (run_id, steps, after_s, opens, end) in enumerate(plan):
        writer = MadeWriter(store, RunRef("main", "p", run_id), n, T0 + after_s * S + n, opens=opens).begin()
        take_steps(writer, steps, end)
        made.append(writer)
    return made


def put_edits(store: MemoryStore, edits: list[tuple[int, list[Edit]]], until_us: int) -> None:
    clock = HybridClock(wall=lambda: 0)
    now_us = 0
    editor = EditWriter(store, "main", "p", clock=clock, wall=lambda: now_us)
    for after_s, edit in sorted(edits, key=lambda one: one[0]):
        now_us = max(T0 + after_s * S, clock.last_us + 1)
        if now_us <= until_us:
            editor.write(edit)


def put_small(writer: MadeWriter, last: int) -> None:
    for seq in range(last + 1):
        writer.put(seq, seq)


def put_merged(writer: MadeWriter, last: int) -> None:
    half = last // 2
    writer.merge(0, half)
    if half < last:
        writer.put(half + 1, last)


def put_whole(writer: MadeWriter, last: int) -> None:
    writer.put(0, last)


def compact(store: MemoryStore) -> None:
    """Everything into packs, and the loose files away."""
    ensure_format(store)
    for _ in range(2):
        compact_project(store, "main", "p", now_us=wall_us(), quiet_s=0, finished_quiet_s=0, grace_s=0)
    assert any("/packs/" in info.key for info in store.list(""))
    assert not any("/runs/" in info.key for info in store.list(""))


def seen(snapshot: Snapshot) -> dict[str, Any]:
    """Everything that the reading side answers."""
    ids, count = find_runs(snapshot, parse_filter({}), parse_order("+created_at"))
    assert count == len(ids)
    found: dict[str, Any] = {"ids": ids}
    for record in load_runs(snapshot, ids):
        fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
        found[record.run_id] = fields
    files = visible_files(snapshot, ids)
    batches = list(history_batches(files, snapshot.paths, keys=None, samples=None))
    found["history"] = [row for rows in batches for row in to_dicts(rows, ids)]
    alone = [load_runs(opened, [run_id]) for run_id in ids if (opened := ALONE[0](run_id))]
    found["alone"] = [record.live for records in alone for record in records]
    return found


PHASES = [phase for phase in Phase if phase is not Phase.shrink]  # a failure is short enough as it is
ALONE: list[Callable[[str], Snapshot]] = []


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("put", [put_small, put_merged, put_whole])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=PHASES)
@given(
    plan=st.lists(WRITERS, min_size=1, max_size=4), edits=st.lists(EDITS, max_size=4), at_s=st.floats(0, 32, width=32)
)
def test_as_of_is_what_a_store_shows_that_received_nothing_later(
    put: Callable[[MadeWriter, int], None],
    packed: bool,
    plan: list[tuple[Any, ...]],
    edits: list[tuple[int, list[Edit]]],
    at_s: float,
    tmp_path: Path,
) -> None:
    at_us = T0 + int(at_s * S)
    whole, cut = MemoryStore(uuid.uuid4().hex), MemoryStore(uuid.uuid4().hex)
    for store, until_us in ((whole, FAR), (cut, at_us)):
        for writer in writers_of(store, plan):
            frames = [n for n, frame in enumerate(writer.frames) if frame.hlc_us <= until_us]
            if frames and store is whole:
                put(writer, frames[-1])
            elif frames:
                put_whole(writer, frames[-1])
        put_edits(store, edits, until_us)
    if packed:
        compact(whole)

    def opened(store: MemoryStore, **options: Any) -> Snapshot:
        cache = PartCache(tmp_path / "cache", 1 << 30)
        return open_project(store, "main", "p", cache=cache, warn=pytest.fail, **options)

    answers = []
    for store, options in ((whole, {"as_of_us": at_us, "now_us": FAR}), (cut, {"now_us": at_us})):
        ALONE[:] = [lambda run_id, store=store, options=options: opened(store, run_id=run_id, **options)]
        answers.append(seen(opened(store, **options)))
    assert answers[0] == answers[1]
