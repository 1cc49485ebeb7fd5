"""Following a run while it is written: each look at the store gives what is new, once, and reads nothing else.

A look is one listing of the run's own files, and the new files. Which frames of a writer are known is a number, since
writers number their frames without a hole; so it does not matter which files hold them by now: small ones, merged
ones or packs. Where the listing does not say it all (something was merged, packed or deleted in between) the run is
opened as for any other question, and asked for what follows the known frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from tracker.query.history_plan import PartsGone
from tracker.query.listing import Listing, list_project
from tracker.query.point_reader import read_points
from tracker.query.readable_parts import StartOver
from tracker.query.run_files import RunFiles, RunPart
from tracker.query.run_writers import edit_facts
from tracker.query.snapshot import Snapshot
from tracker.query.writer_tail import EVENTS, Arrived, Line, WriterTail
from tracker.storage.choose import choose_newer, missing_families
from tracker.storage.clock import wall_us
from tracker.storage.errors import CorruptData, FormatTooNew, NotFound
from tracker.storage.events import CONSOLE, HISTORY, KIND_TOMBSTONE, ROW, SYSTEM, Fact
from tracker.storage.fold import RunState, fold_run
from tracker.storage.names import RunRef, encode_name, parse_part_key, run_prefix
from tracker.storage.port import ObjectInfo
from tracker.storage.schema import read_events

__all__ = ["LIVE_STATES", "RunFollower", "RunGone"]

LIVE_STATES: Final = ("running", "preempting", "pending")

_ATTEMPTS_MAX: Final = 4
_CHECK_S: Final = 10.0  # how often to look for deletions and packs, which stand outside of the run's folder
_EARLY_S: Final = 3.0  # so much earlier where nothing is expected: that look takes longer


class RunGone(NotFound):
    """The run was deleted while it was followed."""


@dataclass(slots=True)
class RunFollower:
    """A run from a snapshot on. Not for several threads at once.

    `reopen` gives a snapshot that holds the run, or none of it where the run is no more.
    """

    snapshot: Snapshot
    run_id: str
    reopen: Callable[[], Snapshot]
    monotonic_s: Callable[[], float] = time.monotonic
    now_us: Callable[[], int] = wall_us
    state: RunState = field(init=False)  # as of the last look
    opened: int = 0  # how often the run had to be opened again
    _tails: dict[str, WriterTail] = field(init=False)
    _edits: list[Fact] = field(init=False)
    _loose: set[str] = field(init=False)  # writers with files of their own
    _listed: tuple[str, ...] | None = field(init=False, default=None)
    _beside: tuple[object, ...] | None = field(init=False, default=None)
    _check_at_s: float = field(init=False, default=0.0)
    _resting: bool = field(init=False, default=False)  # rows have just come: the next ones take a while

    def __post_init__(self) -> None:
        """Everything that the snapshot holds is known.

        Raises:
            RunGone: it does not hold the run, or the run is deleted.
        """
        self._tails = {}
        self._edits = []
        run = self._run_of(self.snapshot)
        for part in run.parts:
            self._know(part)
        self._loose = {part.writer_id for part in run.parts if not part.packed}
        self.state = self._fold()
        self._check_at_s = self.monotonic_s() + _CHECK_S

    @property
    def ended(self) -> bool:
        """Whether nobody writes the run any more, or all who did have been silent for five minutes."""
        return self.state.state not in LIVE_STATES

    @property
    def unfinished(self) -> list[Line]:
        """Lines that the run's processes had printed without their end, as far as they are known."""
        return [line for tail in self._shown() for line in tail.unfinished]

    def said(self, writer_id: str, name: str) -> object:
        """What a writer says of itself (`rank`, `host`), None where it says nothing."""
        return self._tails[writer_id].said(name)

    def leave_unfinished(self, lines: Iterable[Line]) -> None:
        """What the snapshot's streams end with."""
        for line in lines:
            self._tail(line.writer_id).leave(line)

    def look(self) -> Arrived:
        """What came since the last look, of writers that show, by time; `state` holds afterwards.

        Raises:
            RunGone: the run was deleted or purged.
            StorageUnavailable, CredentialsMissing: as the store; looking again is safe.
            CorruptData, FormatTooNew: a new file cannot be read, and stays so.
        """
        listed: tuple[str, ...] | None = None
        if self.monotonic_s() >= self._check_at_s - (_EARLY_S if self._resting else 0.0):
            listing = self._look_beside()
            runs = None if listing is None else listing.runs
        else:
            runs = self.snapshot.store.list(self._prefix)
        found: dict[str, Arrived] | None = None
        if runs is not None:
            listed = tuple(info.key for info in runs)
            found = {} if listed == self._listed else self._new_files(runs)
        if found is None:
            found = self._open_again()
        self._listed = listed
        self.state = self._fold()
        news = Arrived()
        for writer_id, arrived in found.items():
            if writer_id in self.state.visible:
                news.add(arrived)
        news.sort()
        self._resting = bool(news)
        return news

    def _look_beside(self) -> Listing | None:
        """What is listed now; None where edits or packs have changed, so that the run has to be opened again."""
        self._check_at_s = self.monotonic_s() + _CHECK_S
        snapshot = self.snapshot
        try:
            listing = list_project(snapshot.store, snapshot.entity, snapshot.project, self.run_id)
        except StartOver:
            return None
        beside = tuple(info.key for info in listing.edits), listing.manifest.number, listing.manifest.nonce
        nothing_beside = not listing.edits and listing.manifest.number < 0
        same = nothing_beside if self._beside is None else self._beside == beside
        self._beside = beside
        return listing if same else None

    def _new_files(self, listed: list[ObjectInfo]) -> dict[str, Arrived] | None:
        """By writer, from files that the known ones do not cover. None: the listing does not say it all."""
        objects = {name: info for info in listed if (name := parse_part_key(info.key)) is not None}
        segment = encode_name(self.run_id)
        loose = {name.writer_id for name in objects}
        picks = choose_newer(objects, {(segment, tail.writer_id): tail.next_seq for tail in self._tails.values()})
        if picks is None or self._loose - loose:  # files of a writer that are gone were packed or purged
            return None
        wanted = [(pick, part) for pick in picks for part in pick.families("fhsc")]
        paths = self.snapshot.cache.fetch(self.snapshot.store, [objects[part] for _, part in wanted])
        tables: dict[tuple[str, int], list[pa.Table]] = {}
        for (pick, part), path in zip(wanted, paths, strict=True):
            if path is None:
                return None
            try:
                footer, events = read_events(path, f"{self.snapshot.store.url}/{objects[part].key}")
            except (FileNotFoundError, CorruptData, FormatTooNew):
                return None  # opening the run says whether other files hold these frames
            if footer.run_id != self.run_id or missing_families(pick, footer.families):
                return None
            table = events.select(EVENTS)
            cut = pc.greater_equal(table["seq"], pick.first)
            tables.setdefault((part.writer_id, pick.last), []).append(table.filter(cut) if pick.is_cut else table)
        found: dict[str, Arrived] = {}
        for (writer_id, last), held in tables.items():
            events = pa.concat_tables(held)
            keys = [key for chunk in events["key"].chunks for key in chunk.dictionary.to_pylist()]
            tail = self._tail(writer_id)
            if events.num_rows:
                tail.see(pc.min(events["hlc"]).as_py(), pc.max(pc.add(events["hlc"], events["ts"])).as_py())
            arrived = tail.take(events.unify_dictionaries(), last, list(dict.fromkeys(keys)))
            found.setdefault(writer_id, Arrived()).add(arrived)
        self._loose = loose
        return found

    def _open_again(self) -> dict[str, Arrived]:
        """As `_new_files`, from the run as any reader sees it."""
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            self.opened += 1
            self.snapshot = self.reopen()
            run = self._run_of(self.snapshot)
            newer = [
                replace(part, first=max(part.first, self._tail(part.writer_id).next_seq), is_cut=True)
                for part in run.parts
                if part.last >= self._tail(part.writer_id).next_seq
            ]
            try:
                events = [self._events(part) for part in newer]
            except PartsGone:
                if attempt == _ATTEMPTS_MAX:
                    raise
                continue
            self._loose = {part.writer_id for part in run.parts if not part.packed}
            found: dict[str, Arrived] = {}
            for part, table in zip(newer, events, strict=True):
                self._see(part)
                arrived = self._tail(part.writer_id).take(table, part.last, list(part.keys))
                found.setdefault(part.writer_id, Arrived()).add(arrived)
            return found
        raise AssertionError("the last attempt returns or raises")

    def _events(self, part: RunPart) -> pa.Table:
        """The events of the part from its first frame on (EVENTS): all that a tail wants."""
        facts = part.records.facts
        facts = facts.filter(pc.greater_equal(facts["seq"], part.first))
        for name in ("row", "ts", "step"):
            facts = facts.append_column(name, pa.nulls(facts.num_rows, pa.int64()))
        tables = [facts.select(EVENTS)]
        for kind, held in ((HISTORY, part), (ROW, part), (SYSTEM, part.of_system()), (CONSOLE, part.of_console())):
            if held is None:
                continue
            columns = ", ".join(name for name in EVENTS if name != "subject")
            points = read_points([held], self.snapshot.paths, kind=kind, columns=columns)
            subject = pa.nulls(points.num_rows, pa.string())
            tables.append(points.append_column("subject", subject).select(EVENTS))
        schema = tables[0].schema
        return pa.concat_tables([table.cast(schema) for table in tables])

    def _know(self, part: RunPart) -> None:
        """A part of the first snapshot: nothing of it is new, but what it leaves open may be closed later."""
        tail = self._tail(part.writer_id)
        self._see(part)
        for fact in part.records.facts.to_pylist():
            tail.learn(fact)
        for cell in part.records.open.to_pylist():
            tail.open_cell(cell)
        tail.next_seq = max(tail.next_seq, part.last + 1)

    def _see(self, part: RunPart) -> None:
        alive_us = part.records.wall_max_us
        self._tail(part.writer_id).see(part.records.first_hlc_us or alive_us, alive_us)

    def _fold(self) -> RunState:
        facts = [fact for tail in self._tails.values() for fact in tail.facts]
        spans = {tail.writer_id: tail.span for tail in self._tails.values() if tail.span is not None}
        state = fold_run(facts, [], spans, self.now_us(), self._edits)
        if state is None:
            raise self._gone()
        return state

    def _run_of(self, snapshot: Snapshot) -> RunFiles:
        run = snapshot.runs.load([self.run_id]).get(self.run_id)
        if run is None:
            raise self._gone()
        self._edits = edit_facts(run, snapshot.edits, KIND_TOMBSTONE)
        return run

    def _gone(self) -> RunGone:
        return RunGone(f"Run {self.run_id} of {self.snapshot.entity}/{self.snapshot.project} was deleted.")

    def _tail(self, writer_id: str) -> WriterTail:
        return self._tails.setdefault(writer_id, WriterTail(self.run_id, writer_id))

    def _shown(self) -> list[WriterTail]:
        return [tail for tail in self._tails.values() if tail.writer_id in self.state.visible]

    @property
    def _prefix(self) -> str:
        return run_prefix(RunRef(self.snapshot.entity, self.snapshot.project, self.run_id))
