"""What one writer says as it arrives, frame after frame: rows when they are closed, samples, lines, and a few facts.

Cells of a row that is not closed yet wait here, so that no frame has to be read a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.events import (
    CONSOLE,
    HISTORY,
    KIND_BRANCH,
    KIND_TOMBSTONE,
    KIND_WRITER,
    ROW,
    SYSTEM,
    Fact,
    Type,
    Value,
    decode_cell,
    split_path,
)
from tracker.storage.fold import WriterSpan

__all__ = ["EVENTS", "Arrived", "ClosedRow", "Line", "Sample", "WriterTail"]

EVENTS: Final = ("seq", "row", "hlc", "ts", "kind", "subject", "step", "key", "t", "v", "i", "s")  # columns of `take`

_DECIDING: Final = frozenset({KIND_BRANCH, KIND_TOMBSTONE, KIND_WRITER})  # which writers show, and the run's state
_OPEN: Final = "_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedRow:
    """A row of the history. `cells`: stored key to value."""

    writer_id: str
    hlc_us: int  # of its marker: rows of several writers come in this order
    wall_us: int
    step: int
    runtime_s: float
    cells: dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """System metrics that were taken together. `cells`: stored key to value."""

    writer_id: str
    hlc_us: int
    wall_us: int
    cells: dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that was printed, without its newline."""

    writer_id: str
    hlc_us: int
    wall_us: int
    stream: str
    label: str | None
    text: str


@dataclass(slots=True)
class Arrived:
    """What is new, each in the order of frames."""

    rows: list[ClosedRow] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.samples or self.lines)

    def add(self, other: Arrived) -> None:
        """What came after this, or from another writer."""
        self.rows += other.rows
        self.samples += other.samples
        self.lines += other.lines

    def sort(self) -> None:
        """By stamp; what one writer says stays in its order."""
        self.rows.sort(key=_place)
        self.samples.sort(key=_place)
        self.lines.sort(key=_place)


def _place(one: ClosedRow | Sample | Line) -> tuple[int, str]:
    return one.hlc_us, one.writer_id


@dataclass(slots=True)
class WriterTail:
    """Frames below `next_seq` are known."""

    run_id: str
    writer_id: str
    next_seq: int = 0
    span: WriterSpan | None = None
    _facts: dict[tuple[str, str], Fact] = field(default_factory=dict)  # the newest of each path
    _open: dict[int, dict[str, tuple[int, Value]]] = field(default_factory=dict)  # row to key to (frame, value)
    _unfinished: dict[tuple[str, str | None], Line] = field(default_factory=dict)  # per stream and label

    @property
    def facts(self) -> Iterable[Fact]:
        """Those that say which writers show and what state the run is in."""
        return self._facts.values()

    @property
    def unfinished(self) -> Iterable[Line]:
        """The last line of each stream, where the process has not ended it."""
        return self._unfinished.values()

    def said(self, name: str) -> Value:
        """What the writer says of itself: `rank`, `host`, ...; None where it says nothing."""
        fact = self._facts.get((KIND_WRITER, f"{self.writer_id}.{name}"))
        return fact.value if fact is not None and isinstance(fact.value, (str, int)) else None

    def take(self, events: pa.Table, upto: int, keys: Sequence[str]) -> Arrived:
        """The events (EVENTS) of frames `next_seq` to `upto`, all of them, in any order, are known from now on.

        `keys`: the keys in the order in which the writer first logged them.
        """
        arrived = Arrived()
        if events.num_rows:
            for row in _each(events, _DECIDING):
                self.learn(row)
            for row_number, seq, key, value in _cells(_of_kinds(events, (HISTORY,)), keys):
                self._put(row_number, seq, key, value)
            arrived.rows = [self._close(mark) for mark in _each(events, (ROW,))]
            arrived.samples = list(self._samples(_each(events, (SYSTEM,))))
            for point in _each(events, (CONSOLE,)):
                arrived.lines += self._lines(point)
        self.next_seq = max(self.next_seq, upto + 1)
        return arrived

    def learn(self, row: dict[str, Any]) -> None:
        """A fact: seq, hlc, kind, subject, key and the value columns. One about something else is passed over."""
        if row["kind"] not in _DECIDING or row["subject"] not in (None, self.run_id):
            return
        known = self._facts.get((row["kind"], row["key"]))
        if known is None or (known.hlc_us, known.seq) < (row["hlc"], row["seq"]):
            self._facts[row["kind"], row["key"]] = Fact(
                kind=row["kind"],
                subject=self.run_id,
                path=row["key"],
                value=decode_cell(row["t"], row["v"], row["i"], row["s"]),
                hlc_us=row["hlc"],
                writer_id=self.writer_id,
                seq=row["seq"],
            )

    def open_cell(self, cell: dict[str, Any]) -> None:
        """A cell of a row that is not closed yet: seq, row, key and the value columns."""
        value = decode_cell(cell["t"], cell["v"], cell["i"], cell["s"])
        self._put(cell["row"], cell["seq"], cell["key"], value)

    def leave(self, line: Line) -> None:
        """The line with which its stream ends so far."""
        self._unfinished[line.stream, line.label] = line

    def see(self, first_hlc_us: int, last_wall_us: int) -> None:
        """It was heard of at these times: the stamp of its first event, and the greatest wall time."""
        if self.span is not None:
            first_hlc_us = min(first_hlc_us, self.span.first_hlc_us)
            last_wall_us = max(last_wall_us, self.span.last_wall_us)
        self.span = WriterSpan(self.writer_id, first_hlc_us, last_wall_us)

    def _put(self, row: int, seq: int, key: str, value: Value) -> None:
        cells = self._open.get(row)
        if cells is None:
            cells = self._open[row] = {}
        known = cells.get(key)
        if known is None or known[0] <= seq:
            cells[key] = seq, value

    def _close(self, mark: dict[str, Any]) -> ClosedRow:
        cells = self._open.pop(mark["row"], {})
        for row in [row for row in self._open if row < mark["row"]]:  # nobody closes them any more
            del self._open[row]
        return ClosedRow(
            writer_id=self.writer_id,
            hlc_us=mark["hlc"],
            wall_us=mark["hlc"] + mark["ts"],
            step=mark["step"],
            runtime_s=mark["v"],
            cells={key: value for key, (_, value) in cells.items()},
        )

    def _samples(self, points: Iterable[dict[str, Any]]) -> Iterator[Sample]:
        """One sample is one frame."""
        frames: dict[int, list[dict[str, Any]]] = {}
        for point in points:
            frames.setdefault(point["seq"], []).append(point)
        for held in frames.values():
            yield Sample(
                writer_id=self.writer_id,
                hlc_us=held[0]["hlc"],
                wall_us=held[0]["hlc"] + held[0]["ts"],
                cells={point["key"]: decode_cell(*(point[name] for name in "tvis")) for point in held},
            )

    def _lines(self, point: dict[str, Any]) -> Iterator[Line]:
        """Finished lines. An unfinished one waits: it comes again, longer, changed or finished."""
        name, *label = split_path(point["key"])
        stream = name.removesuffix(_OPEN)
        owner = stream, label[0] if label else None

        def line(text: str) -> Line:
            return Line(
                writer_id=self.writer_id,
                hlc_us=point["hlc"],
                wall_us=point["hlc"] + point["ts"],
                stream=owner[0],
                label=owner[1],
                text=text,
            )

        self._unfinished.pop(owner, None)
        if name == stream:
            yield from (line(text) for text in (point["s"] or "").split("\n"))
        else:
            self._unfinished[owner] = line(point["s"] or "")


def _each(events: pa.Table, kinds: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The events of these kinds, by frame; those of one frame as they stand in their file."""
    wanted = _of_kinds(events, kinds)
    if wanted.num_rows:
        yield from wanted.sort_by("seq").to_pylist()


def _of_kinds(events: pa.Table, kinds: Iterable[str]) -> pa.Table:
    return events.filter(pc.is_in(events["kind"].cast(pa.string()), value_set=pa.array(list(kinds), pa.string())))


def _cells(cells: pa.Table, keys: Sequence[str]) -> Iterator[tuple[int, int, str, Value]]:
    """(row, frame, key, value) of each cell, by frame; those of one frame in the order of `keys`."""
    if not cells.num_rows:
        return iter(())
    place = pc.index_in(cells["key"].cast(pa.string()), value_set=pa.array(keys, pa.string()))
    cells = cells.append_column("place", place).sort_by([("seq", "ascending"), ("place", "ascending")])
    key = [keys[n] for n in cells["place"].to_pylist()]
    values = cells["v"].to_pylist()
    others = np.flatnonzero(cells["t"].to_numpy() != Type.FLOAT)
    if len(others):
        columns = (cells[name].take(pa.array(others)).to_pylist() for name in "tvis")
        for at, *cell in zip(others.tolist(), *columns, strict=True):
            values[at] = decode_cell(*cell)
    return zip(cells["row"].to_pylist(), cells["seq"].to_pylist(), key, values, strict=True)
