"""The reference fold: one state whatever the order, and the rules of leaves, generations, sessions and states."""

from __future__ import annotations

import pytest
from event_logs import EventLog, event_logs
from hypothesis import given
from hypothesis import strategies as st

from tracker.storage.events import (
    DELETED,
    KIND_ATTR,
    KIND_CONFIG,
    KIND_SUMMARY,
    KIND_TOMBSTONE,
    KIND_WRITER,
    TOMBSTONE_PATH,
    Fact,
    Value,
)
from tracker.storage.fold import (
    SILENT_US,
    RunState,
    Tombstone,
    WriterSpan,
    WriterState,
    assign_generations,
    fold_run,
    fold_tombstone,
    run_state,
    visible_writers,
)

S = 1_000_000


def written(writer: str, hlc_us: int, *leaves: tuple[str, Value], kind: str = KIND_CONFIG, seq: int = 0) -> list[Fact]:
    """One frame."""
    return [
        Fact(kind=kind, subject="r", path=path, value=value, hlc_us=hlc_us, writer_id=writer, seq=seq)
        for path, value in leaves
    ]


def said(writer: str, hlc_us: int, **fields: Value) -> list[Fact]:
    return written(writer, hlc_us, *((f"{writer}.{name}", value) for name, value in fields.items()), kind=KIND_WRITER)


def folded(*frames: list[Fact], points: list[Fact] | None = None, now_us: int = 10**9) -> RunState:
    state = fold_run([fact for frame in frames for fact in frame], points or [], {}, now_us)
    assert state is not None
    return state


def config(*frames: list[Fact]) -> dict[str, Value]:
    return dict(folded(*frames).live.get(KIND_CONFIG, {}))


@given(log=event_logs(), data=st.data())
def test_facts_in_any_order_or_replayed_fold_to_the_same_state(log: EventLog, data: st.DataObject) -> None:
    once = fold_run(log.facts, log.points, log.spans, log.now_us, log.edits)
    replayed = data.draw(st.lists(st.sampled_from(log.facts))) if log.facts else []
    shuffled = data.draw(st.permutations([*log.facts, *replayed]))
    again = fold_run(shuffled, log.points[::-1], log.spans, log.now_us, [*log.edits[::-1], *log.edits])
    assert once == again


@given(log=event_logs())
def test_a_leaf_never_stands_beside_a_prefix_that_was_written_apart_from_it(log: EventLog) -> None:
    state = fold_run(log.facts, log.points, log.spans, log.now_us, log.edits)
    frames = {(f.kind, f.path, f.writer_id, f.seq) for f in (*log.facts, *log.points, *log.edits)}
    for kind, leaves in state.live.items() if state else ():
        for path in leaves:
            for longer in (other for other in leaves if other.startswith(f"{path}.")):
                both = [(w, n) for k, p, w, n in frames if (k, p) == (kind, path) and (kind, longer, w, n) in frames]
                assert both, "only one frame that holds both can make both live"


def test_nothing_written_is_no_run() -> None:
    assert fold_run([], [], {}, 0) is None


def test_the_greatest_stamp_wins_and_a_retraction_removes() -> None:
    assert config(written("a", 1, ("lr", 1)), written("a", 2, ("lr", 2)), written("b", 2, ("lr", 3))) == {"lr": 3}
    assert config(written("a", 2, ("lr", 2), seq=4), written("a", 2, ("lr", 3), seq=3)) == {"lr": 2}
    assert config(written("a", 1, ("lr", 1)), written("a", 2, ("lr", DELETED))) == {}


def test_a_dict_replaces_a_dict_and_a_value_a_dict() -> None:
    first = written("a", 1, ("m", DELETED), ("m.x", 1), ("m.y", 2))
    assert config(first) == {"m.x": 1, "m.y": 2}
    assert config(first, written("a", 2, ("m", DELETED), ("m.y", 3))) == {"m.y": 3}
    assert config(first, written("a", 2, ("m", 5))) == {"m": 5}
    assert config(written("a", 1, ("m", 5)), written("a", 2, ("m.x", 1))) == {"m.x": 1}
    assert config(first, written("a", 2, ("m.x", 7))) == {"m.x": 7, "m.y": 2}


def test_a_literal_dot_is_no_nesting() -> None:
    assert config(written("a", 1, ("m\\.x", 1)), written("a", 2, ("m", 2))) == {"m\\.x": 1, "m": 2}


def test_kinds_do_not_touch_each_other() -> None:
    state = folded(written("a", 1, ("m.x", 1)), written("a", 2, ("m", 2), kind=KIND_ATTR))
    assert state.live == {KIND_CONFIG: {"m.x": 1}, KIND_ATTR: {"m": 2}}


def test_a_later_point_beats_an_explicit_summary_and_the_other_way_round() -> None:
    explicit = written("a", 5, ("acc", 0.9), kind=KIND_SUMMARY)
    before, after = (written("a", hlc, ("acc", 0.1), kind=KIND_SUMMARY) for hlc in (4, 6))
    assert folded(explicit, points=before).live[KIND_SUMMARY] == {"acc": 0.9}
    assert folded(explicit, points=after).live[KIND_SUMMARY] == {"acc": 0.1}


def test_a_new_generation_hides_what_had_ended_before_it() -> None:
    old = said("a", 1, generation="g1", started_at=1) + written("a", 2, ("lr", 1), ("old", 1))
    new = said("b", 9, generation="g2", started_at=9) + written("b", 10, ("lr", 2))
    state = folded(old, new)
    assert state.live[KIND_CONFIG] == {"lr": 2}
    assert (state.visible, state.generations, state.created_at_us) == ({"b"}, ("g2",), 9)


def test_generations_that_overlap_both_show_and_the_newer_one_wins() -> None:
    """The older generation's later stamp does not count: generation comes first."""
    old = said("a", 1, generation="g1", started_at=1) + written("a", 20, ("lr", 1), ("old", 1))
    new = said("b", 9, generation="g2", started_at=9) + written("b", 10, ("lr", 2))
    state = folded(old, new)
    assert state.live[KIND_CONFIG] == {"lr": 2, "old": 1}
    assert state.generations == ("g1", "g2")


def test_the_newest_generation_is_the_one_opened_last_whatever_its_name() -> None:
    old = said("a", 1, generation="zz") + written("a", 2, ("lr", 1))
    assert folded(old, said("b", 9, generation="aa") + written("b", 10, ("lr", 2))).generations == ("aa",)


def writer(writer_id: str, first_us: int, last_us: int, **fields: Value) -> WriterState:
    return WriterState(
        writer_id=writer_id, first_us=first_us, last_us=last_us, wall_us=last_us, is_session=True, **fields
    )


@pytest.mark.parametrize(
    ("joiner", "expected"),
    [
        pytest.param({"job": "j1"}, "g1", id="an opener of its own job, though a newer generation had begun"),
        pytest.param({"job": "other"}, "g2", id="the newest that had begun when it wrote last"),
        pytest.param({"last_us": 15}, "g1", id="a newer one had not begun yet"),
        pytest.param({"last_us": 5}, "g1", id="nobody had begun: the oldest"),
    ],
)
def test_a_joiner_finds_its_generation(joiner: dict[str, Value], expected: str) -> None:
    openers = [writer("a", 10, 11, generation="g1", job="j1"), writer("b", 20, 21, generation="g2", job="j2")]
    joins = writer("c", 1, **({"last_us": 30} | joiner))
    assert assign_generations([*openers, joins])["c"].id == expected


def test_one_allocation_that_launches_a_job_twice_keeps_the_launches_apart():
    """A joiner that had ended before the second launch began belongs to the first, though both have one job name."""
    openers = [writer("a", 10, 19, generation="g1", job="j"), writer("b", 30, 39, generation="g2", job="j")]
    early, late = writer("c", 11, 18, job="j"), writer("d", 29, 38, job="j")
    before_all = writer("e", 1, 5, job="j")
    found = assign_generations([*openers, early, late, before_all])
    assert {name: generation.id for name, generation in found.items()} == {
        "a": "g1", "b": "g2", "c": "g1", "d": "g2", "e": "g1",
    }  # fmt: skip


def test_joiners_whom_nobody_opened_a_generation_share_one() -> None:
    """Ranks above 0 arrive before rank 0: none may hide another."""
    ranks = [writer("a", 1, 2), writer("b", 5, 6), writer("c", 9, 9)]
    generations = assign_generations(ranks)
    assert len(set(generations.values())) == 1
    assert visible_writers(ranks, generations) == {"a", "b", "c"}


def test_sessions_that_meant_to_join_and_saw_nothing_hide_nobody() -> None:
    """RES-2. Each ended before the next began, and none had the others' rows; a plain opener began before them, too."""
    alone = [writer("a", 1, 2, generation="g1+"), writer("b", 5, 6, generation="g2+"), writer("c", 9, 9)]
    generations = assign_generations(alone)
    assert {generation.id for generation in generations.values()} == {"g1+"}
    assert visible_writers(alone, generations) == {"a", "b", "c"}
    opener = writer("o", 4, 20, generation="g0")
    assert {name: g.id for name, g in assign_generations([*alone, opener]).items()} == {
        "a": "g1+", "b": "g0", "c": "g0", "o": "g0",
    }  # fmt: skip


def test_a_plain_opener_hides_what_had_meant_to_join_and_ended() -> None:
    writers = [writer("a", 1, 2, generation="g1+"), writer("b", 5, 6, generation="g2")]
    generations = assign_generations(writers)
    assert visible_writers(writers, generations) == {"b"}


def test_eight_ranks_of_one_job_are_one_run() -> None:
    """Started a few seconds apart, joiners even before the opener: one generation, nothing hidden, running."""
    frames = [said("w0", 30 * S, generation="g1", job="j", rank="0", started_at=30 * S, state="running")]
    frames += [
        said(f"w{n}", n * S, generation=None, job="j", rank=str(n), started_at=n * S, state="running")
        for n in range(1, 8)
    ]
    state = folded(*frames, now_us=40 * S)
    assert (len(state.visible), state.generations, state.state) == (8, ("g1",), "running")
    assert state.created_at_us == S


NOW = 10_000 * S
ALIVE, SILENT = NOW - SILENT_US + 1, NOW - SILENT_US


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        ([], "pending"),
        ([("running", ALIVE, None)], "running"),
        ([("running", SILENT, None)], "crashed"),
        ([("preempting", ALIVE, None)], "preempting"),
        ([("preempting", SILENT, None)], "preempted"),
        ([("preempting", ALIVE, ALIVE)], "preempted"),
        ([("finished", ALIVE, None)], "finished"),
        ([("failed", SILENT, SILENT)], "failed"),
        ([("killed", ALIVE, ALIVE)], "killed"),
        ([("finished", ALIVE, ALIVE), ("running", ALIVE, None)], "running"),
        ([("failed", ALIVE, ALIVE), ("running", ALIVE, None)], "running"),
        ([("running", ALIVE, None), ("preempting", ALIVE, None)], "preempting"),
        ([("finished", ALIVE, ALIVE), ("running", SILENT, None)], "crashed"),
        ([("finished", ALIVE, ALIVE), ("failed", ALIVE, ALIVE), ("killed", ALIVE, ALIVE)], "failed"),
        ([("finished", ALIVE, ALIVE), ("killed", ALIVE, ALIVE)], "killed"),
        ([("finished", ALIVE, ALIVE), ("preempting", SILENT, None)], "preempted"),
    ],
)
def test_the_state_of_a_run_over_its_ranks(sessions: list[tuple[str, int, int | None]], expected: str) -> None:
    states = [
        writer(f"w{n}", 1, last_us, rank=str(n), state=state, ended_at_us=ended)
        for n, (state, last_us, ended) in enumerate(sessions)
    ]
    assert run_state(states, NOW) == expected


def test_a_resumed_session_replaces_the_one_that_crashed() -> None:
    crashed = writer("a", 1, 5, state="running", rank="0")
    resumed = writer("b", 6, 9, state="finished", ended_at_us=9, rank="0")
    assert run_state([crashed, resumed], NOW) == "finished"
    assert run_state([crashed, writer("b", 5, 9, state="finished", rank="0")], NOW) == "crashed", "it had not ended"
    assert run_state([crashed, writer("b", 6, 9, state="finished", rank="1")], NOW) == "crashed", "another rank"


@pytest.mark.parametrize(("before", "after"), [(None, "0"), ("0", None)])
def test_rank_0_of_a_job_and_a_process_outside_of_jobs_speak_for_the_run_alike(
    before: str | None, after: str | None
) -> None:
    """A run that was made by hand and then run by a job, or that a job began and a notebook went on with."""
    silent = writer("a", 1, 5, state="running", rank=before)
    resumed = writer("b", 6, 9, state="finished", ended_at_us=9, rank=after)
    assert run_state([silent, resumed], NOW) == "finished"
    assert run_state([silent, writer("b", 6, 9, state="finished", rank="1")], NOW) == "crashed"


def test_who_only_edits_is_no_session() -> None:
    """A process that changes tags later neither revives the run nor moves its heartbeat."""
    run = said("a", 1, generation="g1", started_at=1, state="finished", ended_at=4)
    state = folded(run, written("edit", NOW, ("tags", ["x"]), kind=KIND_ATTR), now_us=NOW)
    assert (state.state, state.heartbeat_at_us) == ("finished", 1)
    assert state.live[KIND_ATTR] == {"tags": ["x"]}


def test_only_a_writer_speaks_for_itself() -> None:
    run = said("a", 1, generation="g1", started_at=1, state="finished", ended_at=1)
    assert folded(run, written("b", 2, ("a.state", "failed"), kind=KIND_WRITER)).state == "finished"


def test_times_and_duration() -> None:
    run = said("a", 3 * S, generation="g1", started_at=2 * S, state="running")
    spans = {"a": WriterSpan("a", 3 * S, 8 * S)}
    state = fold_run(run, [], spans, NOW)
    assert state is not None
    assert (state.created_at_us, state.heartbeat_at_us, state.duration_s) == (2 * S, 8 * S, 6.0)
    measured = fold_run(run, written("a", 9 * S, ("_runtime", 4.5), kind=KIND_SUMMARY), spans, NOW)
    assert measured is not None
    assert measured.duration_s == 4.5


def deleted(writer: str, hlc_us: int, *named: str, seq: int = 0) -> list[Fact]:
    paths = [TOMBSTONE_PATH, *(f"{TOMBSTONE_PATH}.{name}" for name in named)]
    return written(writer, hlc_us, *((path, True) for path in paths), kind=KIND_TOMBSTONE, seq=seq)


def restored(writer: str, hlc_us: int, seq: int = 0) -> list[Fact]:
    return written(writer, hlc_us, (TOMBSTONE_PATH, DELETED), kind=KIND_TOMBSTONE, seq=seq)


def edited(frames: list[list[Fact]], *edits: list[Fact], now_us: int = 10**9) -> RunState | None:
    facts = [fact for frame in frames for fact in frame]
    return fold_run(facts, [], {}, now_us, [fact for edit in edits for fact in edit])


LIFE = [said("a", 1, generation="g1", started_at=1, state="running"), written("a", 2, ("lr", 1), ("old", 1))]


def test_an_edit_counts_like_any_fact_but_is_no_session_and_no_sign_of_life() -> None:
    state = edited(LIFE, written("e", 50, ("tags", ["x"]), kind=KIND_ATTR), written("e", 51, ("lr", 5), seq=1))
    assert state is not None
    assert state.live == {KIND_CONFIG: {"lr": 5, "old": 1}, KIND_ATTR: {"tags": ["x"]}}
    assert (state.visible, state.heartbeat_at_us, state.created_at_us) == ({"a"}, 2, 1)


def test_edits_without_a_run_are_no_run() -> None:
    assert edited([], written("e", 1, ("lr", 1))) is None


def test_an_edit_belongs_to_the_generation_that_was_newest_when_it_was_made() -> None:
    """One process edits for years: what it said of the first life does not follow the run into its second."""
    anew = [said("b", 20, generation="g2", started_at=20), written("b", 21, ("lr", 2))]
    edits = written("e", 10, ("lr", 5), ("note", "first life")), written("e", 30, ("seen", True), seq=1)
    state = edited([*LIFE, *anew], *edits)
    assert state is not None
    assert state.live == {KIND_CONFIG: {"lr": 2, "seen": True}}


def test_an_edit_before_all_generations_belongs_to_the_oldest() -> None:
    state = edited(LIFE, written("e", 0, ("note", "clock behind")))
    assert state is not None
    assert state.live[KIND_CONFIG]["note"] == "clock behind"


def test_a_tombstone_hides_the_run_until_it_is_restored() -> None:
    edits = deleted("e", 10), written("f", 11, ("note", "into the dark"))
    assert edited(LIFE, *edits) is None
    state = edited(LIFE, *edits, restored("g", 12))
    assert state is not None
    assert state.live == {KIND_CONFIG: {"lr": 1, "old": 1, "note": "into the dark"}}
    assert edited(LIFE, *edits, restored("g", 12), deleted("e", 13, seq=1)) is None


def test_a_deleted_run_that_goes_on_writing_stays_deleted() -> None:
    later = written("a", 500, ("lr", 9)), said("a", 501, heartbeat=501)
    assert edited([*LIFE, *later], deleted("e", 10)) is None


def test_a_new_generation_after_a_tombstone_shows_alone() -> None:
    anew = [said("b", 20, generation="g2", started_at=20), written("b", 21, ("lr", 2))]
    state = edited([*LIFE, *anew], written("e", 9, ("old", 7)), deleted("e", 10, seq=1))
    assert state is not None
    assert (state.visible, state.generations, state.live) == ({"b"}, ("g2",), {KIND_CONFIG: {"lr": 2}})


def test_a_session_resumed_after_a_tombstone_is_a_life_of_its_own() -> None:
    resumed = [said("b", 20, generation=None, started_at=20, state="running"), written("b", 21, ("lr", 3))]
    state = edited([*LIFE, *resumed], deleted("e", 10))
    assert state is not None
    assert (state.visible, state.live, state.created_at_us) == ({"b"}, {KIND_CONFIG: {"lr": 3}}, 20)
    assert edited([*LIFE, *resumed], deleted("e", 10), deleted("e", 22, seq=1)) is None
    restored_too = edited([*LIFE, *resumed], deleted("e", 10), restored("e", 22, seq=1))
    assert restored_too is not None
    assert restored_too.live == {KIND_CONFIG: {"lr": 3, "old": 1}}


def test_what_is_synced_late_does_not_bring_back_half_of_a_deleted_run() -> None:
    """Ranks, and even whoever opened the generation, may arrive after the tombstone: they had begun before it."""
    ranks = [said("c", 3, generation=None, rank="1", started_at=3), written("c", 90, ("seen", 1))]
    assert edited(ranks, deleted("e", 10)) is None
    assert edited([*ranks, *LIFE], deleted("e", 10)) is None


def test_a_process_that_a_deleted_session_spawned_later_stays_hidden() -> None:
    """A data loader forked in the next epoch joins with a writer of its own."""
    child = [said("c", 40, generation=None, parent="a", started_at=40), written("c", 41, ("seen", 1))]
    assert edited([*LIFE, *child], deleted("e", 10)) is None
    assert edited([*LIFE, *child]) is not None


def test_a_tombstone_names_writers_whose_clocks_run_ahead() -> None:
    far = 10**15
    ahead = [said("a", far, generation="g1", started_at=far), written("a", far + 1, ("lr", 1))]
    assert edited(ahead, deleted("e", 10)) is not None
    assert edited(ahead, deleted("e", 10, "a")) is None
    resumed = said("b", 20, generation=None, started_at=20)
    state = edited([*ahead, resumed], deleted("e", 10, "a"))
    assert state is not None
    assert state.visible == {"b"}
    assert edited(ahead, deleted("e", 10, "a"), restored("e", 11, seq=1)) is not None


def test_the_greater_stamp_decides_between_delete_and_restore() -> None:
    both = deleted("e", 10) + restored("f", 10)
    assert fold_tombstone(both) is None
    assert fold_tombstone(deleted("f", 10) + restored("e", 10)) == Tombstone(10)
    assert fold_tombstone(deleted("e", 10, "a") + restored("e", 11) + deleted("e", 12, "b", seq=2)) == Tombstone(
        12, frozenset({"b"})
    )
    assert fold_tombstone(LIFE[1]) is None
