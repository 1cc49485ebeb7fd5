"""The fold of facts: what many writers wrote about one run, to what holds now. The reference for every faster form.

Pure, and a maximum: facts in any order, or replayed, fold to the same state. Facts are ordered by their stamp
(generation, hlc, writer, seq); generations are ordered by when they were opened.

*Edits* are facts that somebody else wrote about the run (`tracker.storage.edits`). Each belongs to the newest
generation that had begun at its stamp, whoever else its writer edits and when. A *tombstone* hides every writer of
the run that had begun by its stamp, and with a writer the processes that it spawned; so what is synced late stays
hidden, and who begins later (a resumed session, a new generation) shows, without anything from before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tracker.storage.branches import Branch, rewinds_of
from tracker.storage.events import (
    DELETED,
    KIND_CARRIED,
    KIND_SUMMARY,
    KIND_TOMBSTONE,
    KIND_WRITER,
    TOMBSTONE_PATH,
    Fact,
    Value,
    encode_cell,
    join_path,
    split_path,
)
from tracker.storage.metric_rules import Carried
from tracker.storage.summary_fold import (
    SeriesPoints,
    carried_points,
    defined_summary,
    rules_of,
    without_dropped,
)

__all__ = [
    "JOINING",
    "SILENT_US",
    "Generation",
    "RunState",
    "Stamp",
    "Tombstone",
    "WriterSpan",
    "WriterState",
    "assign_generations",
    "deleted_writers",
    "edit_generations",
    "fold_facts",
    "fold_run",
    "fold_tombstone",
    "fold_writers",
    "run_state",
    "visible_writers",
]

SILENT_US: Final = 300 * 1_000_000  # a session that said nothing for so long is taken for dead
_SEVERITY: Final = ("finished", "preempted", "killed", "failed", "crashed")  # mildest first
JOINING: Final = "+"  # ends the id of a generation whose opener meant to join what there was, and saw nothing
_IMPLICIT: Final = ""  # the generation of writers that join where nobody opened one

Stamp = tuple[int, int, str, int]  # generation number, hlc, writer, seq


@dataclass(frozen=True, slots=True)
class WriterSpan:
    """When a writer's events happened, points included."""

    writer_id: str
    first_hlc_us: int
    last_wall_us: int  # greatest wall time: the writer was alive then


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterState:
    """What a writer says of itself. Only its own facts count: nobody else speaks for a writer."""

    writer_id: str
    generation: str | None = None  # the id that it opens, a ULID and maybe `JOINING`; None: it joins
    job: str | None = None
    rank: str | None = None
    parent: str | None = None  # the session's first writer, where this one is of a process that it spawned
    state: str | None = None
    started_at_us: int | None = None
    ended_at_us: int | None = None
    is_session: bool = False  # it said anything of itself; else it only edits (a process that changes a run's tags)
    first_us: int = 0  # hlc of its first event
    last_us: int = 0  # of its last event: hlc or wall time, the greater that is known
    wall_us: int = 0  # of its last event: wall time

    @property
    def ended(self) -> bool:
        return self.ended_at_us is not None or self.state in ("finished", "failed", "killed")


@dataclass(frozen=True, slots=True, order=True)
class Generation:
    """A life of a run: a plain `init` on an id that exists opens a new one. Newest is greatest."""

    first_us: int  # first event of whoever opened it
    id: str


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Hides writers that had begun at `hlc_us` or before, and those that it names (their clocks ran ahead)."""

    hlc_us: int
    writers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run as it stands. `live` has per kind the leaves, stored path to value."""

    state: str  # running, preempting, finished, failed, killed, preempted, crashed (a reader's judgement), pending
    created_at_us: int
    heartbeat_at_us: int
    duration_s: float
    live: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    visible: frozenset[str] = frozenset()  # writers that count
    generations: tuple[str, ...] = ()  # visible ones, oldest first; several overlap, which deserves a warning
    tracked: Mapping[str, Carried] = field(default_factory=dict)  # of summary keys that have parts: what they are of


def fold_run(
    facts: Collection[Fact],
    last_points: Iterable[Fact],
    spans: Mapping[str, WriterSpan],
    now_us: int,
    edits: Collection[Fact] = (),
    series: Iterable[SeriesPoints] = (),
) -> RunState | None:
    """The state of one run at `now_us`, or None when nothing was written, or all of it is deleted.

    `facts`: all facts about this run (their subject) by its own writers, any order. `last_points`: the
    last committed value of each key as facts of kind `summary`, `_step`, `_timestamp` and `_runtime` among them.
    `spans`: of each writer; one that is missing is taken from its facts. `edits`: facts that others wrote about it.
    `series`: the points of the keys whose definition asks for more than the last value.
    """
    writers = fold_writers(facts, spans)
    tombstone = fold_tombstone((*facts, *edits))
    deleted = deleted_writers(writers, tombstone)
    shown = [writer for writer in writers if writer.writer_id not in deleted]
    if not shown:
        return None
    rewinds = rewinds_of(facts)
    generations = assign_generations(writers, rewinds)
    visible = visible_writers(shown, generations, rewinds)
    shown_generations = {generations[writer_id] for writer_id in visible}
    numbers = {generation: number for number, generation in enumerate(sorted(set(generations.values())))}
    placed = [(generations[fact.writer_id], fact) for fact in facts if fact.writer_id in visible]
    placed += [
        (generation, fact)
        for generation, fact in edit_generations(edits, generations.values())
        if generation in shown_generations and (tombstone is None or fact.hlc_us > tombstone.hlc_us)
    ]
    stamped = [
        ((numbers[generation], fact.hlc_us, fact.writer_id, fact.seq), fact)
        for generation, fact in placed
        if fact.kind not in (KIND_WRITER, KIND_TOMBSTONE)
    ]
    rules = rules_of(stamped)
    points = carried_points(stamped) + [
        ((numbers[generations[fact.writer_id]], fact.hlc_us, fact.writer_id, fact.seq), fact)
        for fact in last_points
        if fact.writer_id in visible
    ]
    points = without_dropped(points, rules)
    live = fold_facts([*stamped, *points])
    tracked: dict[str, Carried] = {}
    if rules:
        live[KIND_SUMMARY], tracked = defined_summary(
            live.get(KIND_SUMMARY, {}),
            rules,
            [one for one in stamped if one[1].kind == KIND_SUMMARY],
            [one for one in stamped if one[1].kind == KIND_CARRIED],
            points,
            [(numbers[generations[one.writer_id]], one) for one in series if one.writer_id in visible],
        )
    shown = [writer for writer in shown if writer.writer_id in visible]
    sessions = [writer for writer in shown if writer.is_session]
    started = [writer.started_at_us for writer in sessions if writer.started_at_us is not None]
    created_at_us = min(started, default=min(writer.first_us for writer in shown))
    heartbeat_at_us = max(writer.wall_us for writer in sessions or shown)
    return RunState(
        state=run_state(sessions, now_us),
        created_at_us=created_at_us,
        heartbeat_at_us=heartbeat_at_us,
        duration_s=_duration_s(live.get(KIND_SUMMARY, {}), heartbeat_at_us - created_at_us),
        live=live,
        visible=visible,
        generations=tuple(generation.id for generation in sorted(shown_generations)),
        tracked=tracked,
    )


def fold_tombstone(facts: Iterable[Fact]) -> Tombstone | None:
    """What of a run is deleted, or None: the greatest stamp (hlc, writer, seq) decides between delete and restore."""
    last: dict[str, tuple[tuple[int, str, int], Value]] = {}
    for fact in facts:
        if fact.kind == KIND_TOMBSTONE:
            stamp = (fact.hlc_us, fact.writer_id, fact.seq)
            if fact.path not in last or last[fact.path][0] < stamp:
                last[fact.path] = (stamp, fact.value)
    if TOMBSTONE_PATH not in last or last[TOMBSTONE_PATH][1] is DELETED:
        return None
    deciding = last.pop(TOMBSTONE_PATH)[0]
    start = f"{TOMBSTONE_PATH}."
    named = frozenset(
        path.removeprefix(start)
        for path, (stamp, value) in last.items()
        if path.startswith(start) and value is not DELETED and stamp >= deciding
    )
    return Tombstone(deciding[0], named)


def deleted_writers(writers: Iterable[WriterState], tombstone: Tombstone | None) -> frozenset[str]:
    """Those that `tombstone` hides: they had begun, are named, or were spawned by such a one."""
    if tombstone is None:
        return frozenset()
    writers = list(writers)
    begun = {writer.writer_id for writer in writers if writer.first_us <= tombstone.hlc_us}
    gone = begun | tombstone.writers
    return frozenset(writer.writer_id for writer in writers if {writer.writer_id, writer.parent} & gone)


def fold_writers(facts: Iterable[Fact], spans: Mapping[str, WriterSpan]) -> list[WriterState]:
    """Every writer that wrote a fact or has a span, by id."""
    said: dict[str, dict[str, tuple[int, int, Value]]] = {writer_id: {} for writer_id in spans}
    stamps: dict[str, list[int]] = {}
    for fact in facts:
        own = said.setdefault(fact.writer_id, {})
        stamps.setdefault(fact.writer_id, []).append(fact.hlc_us)
        if fact.kind == KIND_WRITER and fact.path.startswith(f"{fact.writer_id}."):
            name = fact.path[len(fact.writer_id) + 1 :]
            if name not in own or own[name][:2] < (fact.hlc_us, fact.seq):
                own[name] = (fact.hlc_us, fact.seq, None if fact.value is DELETED else fact.value)
    writers = []
    for writer_id, fields in sorted(said.items()):
        known = stamps.get(writer_id, [])
        span = spans.get(writer_id) or WriterSpan(writer_id, min(known), max(known))
        writers.append(
            WriterState(
                writer_id=writer_id,
                generation=_text(fields, "generation"),
                job=_text(fields, "job"),
                rank=_text(fields, "rank"),
                parent=_text(fields, "parent"),
                state=_text(fields, "state"),
                started_at_us=_whole(fields, "started_at"),
                ended_at_us=_whole(fields, "ended_at"),
                is_session=bool(fields),
                first_us=min([span.first_hlc_us, *known]),
                last_us=max([span.last_wall_us, *known]),
                wall_us=span.last_wall_us,
            )
        )
    return writers


def assign_generations(
    writers: Iterable[WriterState], rewinds: Mapping[str, Branch] | None = None
) -> dict[str, Generation]:
    """The generation of each writer: an opener's own, or the first of these that a joiner finds.

    Where its id ends in `JOINING`, the opener meant to go on with the run and found none: it belongs to the newest of
    the others that had begun when it began (they wrote to the run at the same time); where there was none, to the
    first of its like. A joiner looks among those with an opener of its job, if there are any, else among all, for the
    newest that had begun when it wrote last, else the oldest (one allocation may launch a job several times). Where
    nobody opened any: one implicit generation for all.

    `rewinds`: as `rewinds_of` tells. Whoever wrote in the life that was rewound stays in it, though it writes on.
    """
    writers = list(writers)
    openers = [writer for writer in writers if writer.generation is not None]
    first: dict[str, int] = {}
    for writer in openers:
        name = writer.generation or ""
        first[name] = min(first.get(name, writer.first_us), writer.first_us)
    opened = _opened(first)
    implicit = Generation(min((writer.first_us for writer in writers), default=0), _IMPLICIT)
    pinned: dict[str, Generation] = {}  # writer to the first life that was begun without it
    for opener in openers:
        branch = (rewinds or {}).get(opener.writer_id)
        if branch is not None and branch.generation == opener.generation:
            for writer_id in branch.writers:
                pinned[writer_id] = min(opened[branch.generation], pinned.get(writer_id, opened[branch.generation]))

    def joined(writer: WriterState) -> Generation:
        if writer.generation is not None:
            return opened[writer.generation]
        before = pinned.get(writer.writer_id)
        same_job = [opened[o.generation or ""] for o in openers if writer.job is not None and o.job == writer.job]
        for found in (same_job, list(opened.values())):
            candidates = [generation for generation in found if before is None or generation < before]
            begun = [generation for generation in candidates if generation.first_us <= writer.last_us]
            if candidates:
                return max(begun, default=min(candidates))
        return implicit

    return {writer.writer_id: joined(writer) for writer in writers}


def _opened(first: Mapping[str, int]) -> dict[str, Generation]:
    """The generation that each id leads to. `first`: the first event of whoever opened it."""
    known = {name: Generation(first_us, name) for name, first_us in first.items()}
    firm = sorted(one for one in known.values() if not one.id.endswith(JOINING))
    meant = sorted(one for one in known.values() if one.id.endswith(JOINING))
    for one in meant:
        begun = bisect_right(firm, one.first_us, key=lambda generation: generation.first_us)
        known[one.id] = firm[begun - 1] if begun else meant[0]
    return known


def edit_generations(edits: Iterable[Fact], generations: Iterable[Generation]) -> Iterator[tuple[Generation, Fact]]:
    """Each edit with its generation: the newest of `generations` that had begun at its stamp, else the oldest."""
    known = sorted(set(generations))
    for fact in edits:
        begun = bisect_right(known, fact.hlc_us, key=lambda generation: generation.first_us)
        yield known[max(begun - 1, 0)], fact


def visible_writers(
    writers: Iterable[WriterState],
    generations: Mapping[str, Generation],
    rewinds: Mapping[str, Branch] | None = None,
) -> frozenset[str]:
    """Of `writers` those of their newest generation, and of older ones that had not ended when it began.

    Lives before one that is a rewind (`rewinds`: as `rewinds_of` tells) never show, whether they ended or not.
    """
    last: dict[Generation, int] = {}
    rewound: list[Generation] = []
    for writer in (writers := list(writers)):
        generation = generations[writer.writer_id]
        last[generation] = max(last.get(generation, writer.last_us), writer.last_us)
        branch = (rewinds or {}).get(writer.writer_id)
        if branch is not None and branch.generation == writer.generation:
            rewound.append(generation)
    newest, oldest = max(last), max(rewound, default=min(last))
    shown = {
        generation
        for generation, last_us in last.items()
        if generation == newest or (last_us >= newest.first_us and generation >= oldest)
    }
    return frozenset(writer.writer_id for writer in writers if generations[writer.writer_id] in shown)


def fold_facts(stamped: Iterable[tuple[Stamp, Fact]]) -> dict[str, dict[str, Value]]:
    """Live leaves per kind. Per path the greatest stamp wins; a leaf dies when a proper prefix or extension of its
    path was written later, be it a value or a retraction.
    """
    winners: dict[tuple[str, str], tuple[Stamp, Fact]] = {}
    for stamp, fact in stamped:
        seen = winners.get((fact.kind, fact.path))
        if seen is None or seen[0] < stamp:
            winners[fact.kind, fact.path] = (stamp, fact)
    newest_below: dict[tuple[str, str], Stamp] = {}
    for (kind, path), (stamp, _) in winners.items():
        for prefix in _prefixes(path):
            newest_below[kind, prefix] = max(newest_below.get((kind, prefix), stamp), stamp)
    live: dict[str, dict[str, Value]] = {}
    for (kind, path), (stamp, fact) in winners.items():
        others = [winners[kind, prefix][0] for prefix in _prefixes(path) if (kind, prefix) in winners]
        others += [newest_below[kind, path]] if (kind, path) in newest_below else []
        if fact.value is not DELETED and all(other <= stamp for other in others):
            live.setdefault(kind, {})[path] = fact.value
    return live


def run_state(sessions: Iterable[WriterState], now_us: int) -> str:
    """The state of a run from its visible sessions: running while any lives, else the worst end; without any: pending.

    A session counts no more once another of the same rank began after its last event (it was resumed). Outside of a
    job there is one process, which speaks for the run as rank 0 does.
    """
    sessions = list(sessions)
    begun: dict[str, int] = {}
    for session in sessions:
        rank = _rank(session)
        begun[rank] = max(begun.get(rank, session.first_us), session.first_us)
    states = {_session_state(session, now_us) for session in sessions if begun[_rank(session)] <= session.last_us}
    for alive in ("preempting", "running"):
        if alive in states:
            return alive
    return max(states, key=_SEVERITY.index, default="pending")


def _rank(session: WriterState) -> str:
    return "0" if session.rank is None else session.rank


def _session_state(session: WriterState, now_us: int) -> str:
    preempting = session.state == "preempting"
    if session.ended:
        return "preempted" if preempting else session.state if session.state in _SEVERITY else "finished"
    if session.wall_us > now_us - SILENT_US:
        return "preempting" if preempting else "running"
    return "preempted" if preempting else "crashed"


def _duration_s(summary: Mapping[str, Value], span_us: int) -> float:
    runtime = summary.get("_runtime")
    if isinstance(runtime, (int, float)) and not isinstance(runtime, bool):
        return encode_cell(runtime)[1] or 0.0  # of an integer beyond all doubles: infinity
    return span_us / 1_000_000


def _prefixes(path: str) -> list[str]:
    segments = split_path(path) if "." in path else ()
    return [join_path(segments[:end]) for end in range(1, len(segments))]


def _text(fields: Mapping[str, tuple[int, int, Value]], name: str) -> str | None:
    value = fields[name][2] if name in fields else None
    return value if isinstance(value, str) else None


def _whole(fields: Mapping[str, tuple[int, int, Value]], name: str) -> int | None:
    value = fields[name][2] if name in fields else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
