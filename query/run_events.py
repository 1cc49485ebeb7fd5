"""What happened to a run, by time: who, when, what changed. From its facts alone; no point is read.

Also of a run that is deleted. Facts that were superseded are told, too: they are what happened.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.cells import MISSING
from tracker.query.diff_values import Change
from tracker.query.edit_authors import edit_authors
from tracker.query.event_kinds import EVENT_KINDS, FACT_EVENTS, text_of, writer_event
from tracker.query.instants import iso_micros
from tracker.query.known_values import KnownValues
from tracker.query.packed_records import is_packed, written_facts
from tracker.query.run_files import RunFiles
from tracker.query.run_writers import own_facts, writer_states
from tracker.query.snapshot import Snapshot
from tracker.storage.branches import rewinds_of
from tracker.storage.events import (
    DELETED,
    KIND_BRANCH,
    KIND_FILE,
    KIND_LOST,
    KIND_TOMBSTONE,
    KIND_WRITER,
    TOMBSTONE_PATH,
    decode_cell,
)
from tracker.storage.file_facts import FileFact
from tracker.storage.fold import SILENT_US, Generation, WriterState, assign_generations
from tracker.storage.stops import find_stops

__all__ = ["RunEvent", "run_events"]

_COLUMNS: Final = ("writer", "seq", "hlc", "kind", "key", "t", "v", "i", "s")
_ROWS_AT_ONCE: Final = 4096
_ORDER: Final = {kind: n for n, kind in enumerate(EVENT_KINDS)}  # of events of one frame
_UNSAID: Final = (None, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One frame's facts of one kind, or what follows from several."""

    time_us: int  # microseconds since the epoch UTC
    kind: str  # one of EVENT_KINDS; of facts of a newer release their own kind
    text: str  # in a few words
    by: str  # `run`: a process that writes it; `edit`: another one; `reader`: whoever reads concludes it
    writer: str  # id of who wrote it
    host: str | None = None
    user: str | None = None
    life: str = ""  # id of the life of the run that it belongs to
    changes: tuple[Change, ...] = ()  # a: before, b: afterwards; by path

    def to_dict(self) -> dict[str, Any]:
        """Its fields, `time` as ISO 8601; changes as `path`, `change` (set, changed, removed), `before`, `after`."""
        return {
            "time": iso_micros(self.time_us),
            "kind": self.kind,
            "text": self.text,
            "by": self.by,
            "user": self.user,
            "host": self.host,
            "writer": self.writer,
            "life": self.life,
            "changes": [_change(change) for change in self.changes],
        }


def _change(change: Change) -> dict[str, Any]:
    sides = {name: value for name, value in (("before", change.a), ("after", change.b)) if value is not MISSING}
    return {"path": change.path, "change": "set" if change.kind == "added" else change.kind, **sides}


def run_events(
    snapshot: Snapshot,
    run_id: str,
    kinds: Collection[str],
    since_us: int | None = None,
    until_us: int | None = None,
) -> Iterator[RunEvent]:
    """Events of these kinds with since <= time < until, oldest first, made while they are consumed.

    The snapshot holds the run, or its project. What is read before the first one: the facts, as arrays.

    Raises:
        PartsGone, StartOver: start over with a fresh snapshot.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    run = snapshot.runs.load([run_id])[run_id]
    states = writer_states(run)
    lives = assign_generations(states.values(), rewinds_of(own_facts(run, KIND_BRANCH)))
    facts = _facts(snapshot, run, kinds, until_us)
    people = _People(snapshot, facts, states, lives)
    streams = [_of_frames(facts, people, run_id), iter(_of_writers(snapshot, run, states, people, kinds))]
    for event in heapq.merge(*streams, key=_place):
        if until_us is not None and event.time_us >= until_us:
            return
        wanted = event.kind in kinds or event.kind not in EVENT_KINDS
        if wanted and (since_us is None or event.time_us >= since_us):
            yield event


def _place(event: RunEvent) -> tuple[int, str, int]:
    return event.time_us, event.writer, _ORDER.get(event.kind, len(_ORDER))


def _facts(snapshot: Snapshot, run: RunFiles, kinds: Collection[str], until_us: int | None) -> pa.Table:
    """All facts about the run that these kinds need, with `edit`: whether another process wrote it; by stamp."""
    tables = [written_facts(snapshot.runs.packed, run.parts)]
    for part in run.parts:
        if not is_packed(part):
            found = part.records.facts
            tables.append(found.append_column("writer", pa.repeat(part.writer_id, found.num_rows)))
    own = [_about(table, run.run_id).select(_COLUMNS) for table in tables]
    edits = snapshot.edits.filter(pc.equal(snapshot.edits["run"], run.run_id)).select(_COLUMNS)
    schema = edits.schema
    joined = pa.concat_tables([*(table.cast(schema) for table in own), edits])
    count = joined.num_rows - edits.num_rows
    joined = joined.append_column("edit", pa.array([False] * count + [True] * edits.num_rows, pa.bool_()))
    unwanted = [kind for kind, event in FACT_EVENTS.items() if _is_unwanted(kind, event, kinds)]
    mask = pc.invert(pc.is_in(joined["kind"], value_set=pa.array(unwanted, pa.string())))
    if "heartbeat" not in kinds:
        beats = pc.and_(pc.equal(joined["kind"], KIND_WRITER), pc.ends_with(joined["key"], ".heartbeat"))
        mask = pc.and_(mask, pc.invert(beats))
    if until_us is not None:
        mask = pc.and_(mask, pc.less(joined["hlc"], until_us))
    joined = joined.filter(mask)
    order = [(name, "ascending") for name in ("hlc", "writer", "seq", "kind", "key")]
    return joined.take(pc.sort_indices(joined, sort_keys=order)).combine_chunks()


def _is_unwanted(kind: str, event: str, kinds: Collection[str]) -> bool:
    """Facts of writers are always needed: they say who somebody is."""
    if kind == KIND_WRITER:
        return False
    return event not in kinds and not (kind == KIND_TOMBSTONE and "restored" in kinds)


def _about(table: pa.Table, run_id: str) -> pa.Table:
    subject = table["subject"]
    return table.filter(pc.or_(pc.is_null(subject), pc.fill_null(pc.equal(subject, run_id), False)))


class _People:
    """Who the writers are, and to which life of the run what they write belongs."""

    def __init__(
        self,
        snapshot: Snapshot,
        facts: pa.Table,
        states: Mapping[str, WriterState],
        lives: Mapping[str, Generation],
    ) -> None:
        self.lives = lives
        self._known = sorted(set(lives.values()))
        self._said: dict[str, dict[str, Any]] = {writer_id: {} for writer_id in states}
        own = facts.filter(pc.and_(pc.equal(facts["kind"], KIND_WRITER), pc.invert(facts["edit"])))
        for row in own.select(["writer", "key", "t", "v", "i", "s"]).to_pylist():
            writer_id, _, field = row["key"].partition(".")
            if writer_id == row["writer"] and field in ("host", "user"):
                self._said.setdefault(writer_id, {})[field] = decode_cell(row["t"], row["v"], row["i"], row["s"])
        editors = facts.filter(facts["edit"])["writer"].unique().to_pylist()
        self._said |= edit_authors(snapshot, [writer for writer in editors if writer])

    def who(self, writer_id: str) -> dict[str, str | None]:
        """`host` and `user`, None where nobody told."""
        said = self._said.get(writer_id, {})
        return {name: None if said.get(name) in _UNSAID else str(said[name]) for name in ("host", "user")}

    def life(self, writer_id: str, hlc_us: int, edit: bool) -> str:
        """The id of the life: of an edit the newest that had begun by then."""
        if not edit:
            return self.lives[writer_id].id if writer_id in self.lives else ""
        if not self._known:
            return ""
        begun = bisect_right(self._known, hlc_us, key=lambda life: life.first_us)
        return self._known[max(begun - 1, 0)].id


def _of_frames(facts: pa.Table, people: _People, run_id: str) -> Iterator[RunEvent]:
    known: dict[tuple[str, str], KnownValues] = {}
    for (writer_id, _, edit), frame in groupby(_rows(facts), key=lambda row: (row["writer"], row["seq"], row["edit"])):
        rows = list(frame)
        hlc_us = rows[0]["hlc"]
        life = people.life(writer_id, hlc_us, edit)
        common = {
            "time_us": hlc_us,
            "by": "edit" if edit else "run",
            "writer": writer_id,
            "life": life,
            **people.who(writer_id),
        }
        events = []
        for kind, found in groupby(rows, key=lambda row: row["kind"]):
            said = {row["key"]: decode_cell(row["t"], row["v"], row["i"], row["s"]) for row in found}
            event = _of_kind(kind, said, writer_id, known.setdefault((life, kind), KnownValues()))
            if event is not None:
                name, changes = event
                text = text_of(name, changes, run_id)
                events.append(RunEvent(kind=name, text=text, changes=tuple(changes), **common))
        yield from sorted(events, key=_place)


def _of_kind(kind: str, said: dict[str, Any], writer_id: str, known: KnownValues) -> tuple[str, list[Change]] | None:
    """The event that facts of one kind of a frame make, with what they set; None where nothing changes."""
    if kind == KIND_WRITER:
        start = f"{writer_id}."
        fields = {path.removeprefix(start): value for path, value in said.items() if path.startswith(start)}
        changes = [Change(path, MISSING, value) for path, value in fields.items() if value is not None]
        return (writer_event(fields), changes) if changes else None
    if kind == KIND_TOMBSTONE:
        if TOMBSTONE_PATH not in said:
            return None
        return "restored" if said[TOMBSTONE_PATH] is DELETED else "deleted", []
    if kind == KIND_LOST:
        return "lost", []
    if kind == KIND_FILE:
        said = {path: _file(path, value) for path, value in said.items()}
    changes = known.apply(said)
    name = FACT_EVENTS.get(kind, kind)
    return (name, changes) if changes and name else None


def _file(path: str, value: Any) -> Any:
    """Of a file its hash and size, not its contents."""
    fact = None if value is DELETED else FileFact.parse(path, value)
    return value if fact is None else {"sha256": fact.sha256, "size": fact.size}


def _rows(facts: pa.Table) -> Iterator[dict[str, Any]]:
    for start in range(0, facts.num_rows, _ROWS_AT_ONCE):
        yield from facts.slice(start, _ROWS_AT_ONCE).to_pylist()


def _of_writers(
    snapshot: Snapshot, run: RunFiles, states: Mapping[str, WriterState], people: _People, kinds: Collection[str]
) -> list[RunEvent]:
    """What no frame of facts says: who fell silent, who was asked to stop, how many rows there are."""
    events = []

    def add(kind: str, text: str, time_us: int, writer_id: str, **more: Any) -> None:
        who = people.who(writer_id) | more
        life = people.life(writer_id, time_us, False)
        events.append(
            RunEvent(time_us=time_us, kind=kind, text=text, by="reader", writer=writer_id, life=life, **who)
        )

    if "silent" in kinds:
        for state in states.values():
            if state.is_session and not state.ended and state.wall_us <= snapshot.now_us - SILENT_US:
                last_us = max(state.wall_us, state.last_us)
                add("silent", "was not heard of any more: taken for dead", last_us, state.writer_id)
    if "stop" in kinds:
        stops = find_stops(snapshot.store, snapshot.entity, snapshot.project, sorted(states))
        for writer_id, (by, at_us) in stops.items():
            add("stop", f"was asked to stop by {by}", at_us or states[writer_id].last_us, writer_id)
    if "rows" in kinds:
        for part in run.parts:
            if part.rows:
                steps = f"steps {part.step_first} to {part.step_last}"
                add("rows", f"logged {part.rows} rows, {steps}", part.hlc_max_us, part.writer_id)
    return sorted(events, key=_place)
