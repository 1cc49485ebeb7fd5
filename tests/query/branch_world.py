"""Random trees of runs that fork and rewind, and what each of their lives shows: a plain model beside made writers."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from store_maker import T0, MadeWriter

from tracker.storage.format_file import ensure_format
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project

__all__ = ["FORMS", "NOW", "Life", "World", "make_world", "operations"]

S = 1_000_000
NOW = T0 + 10_000 * S
FORMS = ("loose", "whole", "merged", "packed", "later", "twice")

KEYS = ("a", "b", "c.d")
VALUES = st.floats(-4, 4, width=16) | st.sampled_from([1, 2.5, float("nan"), "t", None])


@dataclass
class Cell:
    seq: int
    value: Any


@dataclass
class Row:
    """One row of one writer: closed in the frame `seq`, None while it is open."""

    writer: str
    number: int
    step: int
    seq: int | None = None
    hlc: int = 0
    cells: dict[str, list[Cell]] = field(default_factory=dict)


@dataclass
class Life:
    """A life of a run, and where it began."""

    run_id: str
    writers: list[MadeWriter] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    parent: Life | None = None
    step: int = 0
    pinned: dict[str, int] = field(default_factory=dict)

    def shown(self) -> list[tuple[Row, dict[str, Any]]]:
        """Rows with their values, in order: what it inherits, and its own."""
        found = [(row, values_of(row, None)) for row in self.rows if row.seq is not None]
        life, step = self, self.step
        while life.parent is not None:
            step = min(step, life.step)
            for row in life.parent.rows:
                last = life.pinned.get(row.writer, -1)
                if row.seq is not None and row.seq <= last and row.step <= step:
                    found.append((row, values_of(row, last)))
            life = life.parent
        return sorted(found, key=lambda one: (one[0].step, one[0].hlc, one[0].writer, one[0].number))

    def as_rows(self) -> list[str]:
        """As text, so that NaN equals itself and 1 differs from 1.0."""
        return [repr(sorted({"_step": row.step, **values}.items())) for row, values in self.shown()]


def values_of(row: Row, last: int | None) -> dict[str, Any]:
    known = {key: [cell for cell in cells if last is None or cell.seq <= last] for key, cells in row.cells.items()}
    return {key: cells[-1].value for key, cells in known.items() if cells}


class World:
    """Runs that are written by and by. `newest` has the life of each run that shows."""

    def __init__(self) -> None:
        self.store = MemoryStore(uuid.uuid4().hex)
        ensure_format(self.store)
        self.lives: list[Life] = []
        self.newest: dict[str, Life] = {}
        self.now_us = T0
        self._open: dict[str, Row] = {}

    @property
    def writers(self) -> list[MadeWriter]:
        return [writer for life in self.lives for writer in life.writers]

    def begin(self, life: Life, *, joins: bool = False, rank: str | None = None) -> MadeWriter:
        self.now_us += 5 * S
        number = len(self.writers)
        writer = MadeWriter(
            self.store, RunRef("main", "p", life.run_id), number, self.now_us, opens=not joins, rank=rank
        )
        life.writers.append(writer)
        return writer

    def open_run(self) -> Life:
        life = Life(f"run{len(self.newest)}")
        self.begin(life).begin().put()
        self._add(life)
        return life

    def branch(self, parent: Life, step: int, *, rewinds: bool) -> Life:
        """A fork of `parent`, or its rewind, where it is the newest life of its run."""
        run_id = parent.run_id if rewinds else f"run{len(self.newest)}"
        life = Life(run_id, parent=parent, step=step)
        life.pinned = {writer.id: writer.shipped - 1 for writer in parent.writers if writer.shipped}
        writer = self.begin(life)
        writer.branch(parent.writers[0], step, life.pinned).put()
        writer.step = step + 1
        self._add(life)
        return life

    def _add(self, life: Life) -> None:
        self.lives.append(life)
        self.newest[life.run_id] = life

    def join(self, life: Life) -> None:
        """Another writer of the life: a rank, or who resumes it."""
        writer = self.begin(life, joins=True, rank=str(len(life.writers)))
        writer.begin().put()
        writer.step = life.writers[0].step

    def log(self, life: Life, writer: MadeWriter, data: dict[str, Any], step: int | None, *, commit: bool) -> None:
        self.now_us += S
        writer.now_us = max(writer.now_us, self.now_us)
        row = self._open.get(writer.id)
        if row is None:
            row = self._open[writer.id] = Row(writer.id, writer.row, writer.step if step is None else step)
            life.rows.append(row)
        else:
            step = None
        seq = len(writer.frames)
        for key, value in data.items():
            row.cells.setdefault(key, []).append(Cell(seq, value))
        writer.log(data, step, commit=commit)
        if commit:
            row.seq, row.hlc = seq, writer.frames[-1].hlc_us
            del self._open[writer.id]
        self.now_us = max(self.now_us, writer.now_us)

    def store_as(self, form: str, early: Sequence[int]) -> None:
        """All that is not in the store yet, and in which files all of it stands."""
        for n, writer in enumerate(self.writers):
            last = len(writer.frames) - 1
            cut = early[n % len(early)] % (last + 1)
            match form:
                case "loose":
                    writer.put()
                case "whole":
                    writer.put(0, last)
                case "merged":
                    writer.put(0, cut)
                    writer.put(cut + 1, last)
                    writer.merge(0, last)
                case "packed":
                    writer.put()
                case _:
                    writer.put(0, cut)
        if form in ("packed", "later", "twice"):
            self._pack()
        if form in ("later", "twice"):
            for writer in self.writers:
                writer.put()
        if form == "twice":
            self._pack()

    def _pack(self) -> None:
        compact_project(self.store, "main", "p", now_us=NOW, quiet_s=0, finished_quiet_s=0, grace_s=0)


Operation = tuple[Any, ...]


@st.composite
def operations(draw: st.DrawFn) -> list[Operation]:
    found: list[Operation] = [("open",)]
    for _ in range(draw(st.integers(3, 14))):
        which = draw(st.integers(0, 99))  # which life, which of its writers
        match draw(st.integers(0, 9)):
            case 0:
                found.append(("open",))
            case 1 | 2:
                found.append(("fork", which, draw(st.integers(-1, 9))))
            case 3:
                found.append(("rewind", which, draw(st.integers(-1, 9))))
            case 4:
                found.append(("join", which))
            case 5:
                found.append(("put", which))
            case _:
                keys = draw(st.sampled_from([KEYS[:1], KEYS[:2], KEYS]))
                wild = draw(st.integers(0, 3)) == 0
                rows = []
                for _ in range(draw(st.integers(1, 8))):
                    data = {key: draw(VALUES if wild else st.floats(-4, 4, width=16)) for key in keys}
                    step = draw(st.none() | st.integers(0, 9)) if wild else None
                    rows.append((data, step, not (wild and draw(st.integers(0, 2)) == 0)))
                found.append(("log", which, rows))
    return found


def make_world(plan: Sequence[Operation]) -> World:
    world = World()
    for kind, *rest in plan:
        if kind == "open":
            world.open_run()
            continue
        life = world.lives[rest[0] % len(world.lives)]
        match kind:
            case "fork":
                world.branch(life, rest[1], rewinds=False)
            case "rewind":
                world.branch(world.newest[life.run_id], rest[1], rewinds=True)
            case "join" if life is world.newest[life.run_id]:
                world.join(life)
            case "put":
                life.writers[rest[0] % len(life.writers)].put()
            case "log":
                writer = life.writers[rest[0] % len(life.writers)]
                for data, step, commit in rest[1]:
                    world.log(life, writer, data, step, commit=commit)
    return world
