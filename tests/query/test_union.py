"""Several roots answer as one store that holds all they have: copies, halves, packed here and loose there."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from project_plans import EDITS, NOW, PLANS, TIMES, S, pack, put_edits, seen, stored, writers_of
from store_maker import T0, MadeWriter

from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.edits import Edit
from tracker.storage.format_file import ensure_format
from tracker.storage.memory import MemoryStore
from tracker.storage.union_store import UnionStore

HAS = st.tuples(  # of a writer in a root
    st.sampled_from(["nothing", "loose", "packed", "later", "twice", "merged", "end"]),
    st.integers(0, 9),  # frames before the cut
)
ROOTS = st.lists(st.lists(HAS, min_size=4, max_size=4), min_size=2, max_size=3)


def put_first(writer: MadeWriter, has: str, cut: int) -> None:
    last = len(writer.frames) - 1
    match has:
        case "packed":
            writer.put(0, last)
        case "later" | "twice":
            writer.put(0, min(cut, last))


def put_rest(writer: MadeWriter, has: str, cut: int) -> None:
    last = len(writer.frames) - 1
    cut = min(cut, last)
    match has:
        case "loose":
            for seq in range(last + 1):
                writer.put(seq, seq)
        case "later" if cut < last:
            writer.put(max(cut - 1, 0), last)
        case "twice" if cut < last:
            writer.put(cut + 1, last)
        case "merged":
            writer.merge(0, cut)
            if cut < last:
                writer.put(cut + 1, last)


def spread(
    plan: list[tuple[Any, ...]], edits: list[tuple[int, list[Edit]]], has: list[list[tuple[str, int]]], copied: bool
) -> UnionStore:
    """The plan in several roots. `copied`: a further root is a copy of the first one's files after it was packed."""
    roots = [MemoryStore(uuid.uuid4().hex) for _ in has]
    made = [writer for writer, _ in writers_of(roots[0], plan)]
    put_edits(roots[0], edits[:1])
    copies = []
    for number, (root, modes) in enumerate(zip(roots, has, strict=True)):
        ensure_format(root)
        mine = [(replace(writer, store=root), *mode) for writer, mode in zip(made, modes, strict=False)]
        for one in mine:
            put_first(*one)
        pack(root)
        if copied and number == 0:
            copies.append(MemoryStore(uuid.uuid4().hex))
            for info in root.list(""):
                copies[0].put_if_absent(info.key, root.get(info.key))
        for one in mine:
            put_rest(*one)
        if any(mode == "twice" for _, mode, _ in mine):
            pack(root)
    for writer, *modes in zip(made, *has, strict=False):  # what is in no root from its beginning on
        ends = [cut for mode, cut in modes if mode == "end"]
        if all(mode in ("nothing", "end") for mode, _ in modes):
            last = len(writer.frames) - 1
            cut = min(ends[0], last) if ends else last
            replace(writer, store=roots[0]).put(0, cut)
            if cut < last:
                replace(writer, store=roots[-1]).put(cut, last)
    put_edits(roots[-1], edits[1:])
    return UnionStore([*copies, *roots])


def check(
    plan: list[tuple[Any, ...]],
    edits: list[tuple[int, list[Edit]]],
    has: list[list[tuple[str, int]]],
    copied: bool,
    as_of_s: int | None,
    tmp_path: Path,
) -> None:
    def answers(store: Any) -> dict[str, Any]:
        def opened(run_id: str | None) -> Snapshot:
            return open_project(
                store,
                "main",
                "p",
                cache=PartCache(tmp_path / "cache", 1 << 30),
                now_us=NOW,
                warn=pytest.fail,
                run_id=run_id,
                as_of_us=None if as_of_s is None else T0 + as_of_s * S,
            )

        return seen(opened)

    assert answers(spread(plan, edits, has, copied)) == answers(stored(plan, edits, "loose"))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLANS, edits=EDITS, has=ROOTS, copied=st.booleans(), as_of_s=TIMES)
@example(  # packed again after the root was copied: the copy lists the older one of the two packs too
    plan=[("r", [("log", "a", 0), ("config", "a", 1)], 0, True, None, "failed", 7)],
    edits=[],
    has=[[("twice", 0)], [("merged", 0)]],
    copied=True,
    as_of_s=None,
)
def test_several_roots_answer_as_one_store_that_holds_everything(
    plan: list[tuple[Any, ...]],
    edits: list[tuple[int, list[Edit]]],
    has: list[list[tuple[str, int]]],
    copied: bool,
    as_of_s: int | None,
    tmp_path: Path,
) -> None:
    check(plan, edits, has, copied, as_of_s, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLANS, edits=EDITS, has=ROOTS, copied=st.booleans(), as_of_s=TIMES)
def test_many_plans_answer_the_same_from_several_roots(
    plan: list[tuple[Any, ...]],
    edits: list[tuple[int, list[Edit]]],
    has: list[list[tuple[str, int]]],
    copied: bool,
    as_of_s: int | None,
    tmp_path: Path,
) -> None:
    check(plan, edits, has, copied, as_of_s, tmp_path)
