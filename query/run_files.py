"""The files of a run as a reader holds them: chosen, cut, and what is known of each without reading its points.

A part is a range of one writer's frames: one `e` file, one merged set, or what a pack holds of the writer. Nothing
else has these frames. Points are read from `info`, always with the filters that the part names: frames from `first`
on where `is_cut`, its run and writer where `packed`, events up to `upto_hlc_us`, `upto_step` and `upto_seq` where
these are given. Of a run that began as a branch some parts are another run's, and several runs may share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from tracker.storage.port import ObjectInfo

__all__ = ["CountedRecords", "Head", "KeyStats", "Mark", "Marks", "PartRecords", "RunFiles", "RunPart", "Series"]


@dataclass(frozen=True, slots=True)
class Marks:
    """Row markers by (step, hlc, row): which rows are closed, where they stand, and when they were closed."""

    row: np.ndarray
    step: np.ndarray
    hlc: np.ndarray
    wall_us: np.ndarray
    runtime_s: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True)
class Mark:
    """One row marker."""

    row: int
    step: int
    hlc: int
    ts: int  # wall time less hlc
    runtime_s: float


@dataclass(frozen=True, slots=True)
class Head:
    """The first row that a part closes: earlier parts may hold cells of it too."""

    row: int  # -1: it closes none
    keys: frozenset[str]  # of its cells in the part


@dataclass(frozen=True, slots=True)
class KeyStats:
    """One key of a part's history: what its cells are like. Cells of rows that are not closed may be counted too."""

    counts: tuple[int, ...]  # cells per type, indexed by Type
    rising: bool  # numbers never fall from one step to the next
    first_v: float
    last_v: float

    @property
    def types(self) -> int:
        """Bit n is set where a cell has type n."""
        return sum(1 << n for n, count in enumerate(self.counts) if count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The record of one history key of a part: committed points, each row once. See `tracker.storage.derived`."""

    count: int
    nan_count: int
    first_step: int
    last_step: int
    first_v: float | None
    last_v: float | None
    min_v: float | None
    max_v: float | None
    mean_v: float | None
    min_step: int | None
    max_step: int | None


class PartRecords(Protocol):
    """What is known of a part, loaded when it is asked for and kept in bounded memory.

    Tables have the columns `tracker.query.part_digest.CELLS`, or FACTS.
    """

    @property
    def facts(self) -> pa.Table:
        """The facts that it wrote (FACTS)."""

    @property
    def open(self) -> pa.Table:
        """The last cell of every key in rows that are not closed in this part (CELLS)."""

    @property
    def first_hlc_us(self) -> int | None:
        """Stamp of its first event; None where it has none."""

    @property
    def wall_max_us(self) -> int:
        """Greatest wall time of an event."""

    @property
    def keys(self) -> Mapping[str, KeyStats]:
        """History keys (stored form), in the order in which they were first logged."""

    @property
    def last(self) -> pa.Table:
        """The last committed cell of every history key (CELLS)."""

    @property
    def system(self) -> pa.Table:
        """The last point of every system key (CELLS, row null)."""

    def series(self, key: str, /) -> Series | None:
        """The record of a history key; None where there is none, as for `e` files."""

    def last_mark(self) -> Mark | None:
        """The marker that was written last; None without rows."""

    def marks(self) -> Marks:
        """The row markers. Read from the file when they are not in memory."""


@runtime_checkable
class CountedRecords(Protocol):
    """What else is known of a part that nothing was cut off: what its points are like.

    Tables have the columns `tracker.query.part_digest.FIGURES`.
    """

    @property
    def figures(self) -> pa.Table:
        """Of the committed points of every history key, as their rows end."""

    @property
    def open_figures(self) -> pa.Table:
        """Of the points in rows that are not closed in this part, per key and row: the last ones."""

    @property
    def head(self) -> Head | None:
        """None: it has to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPart:
    """Frames `first`..`last` of one writer."""

    info: ObjectInfo  # the file with its history: e, h, or the pack's h (of a set without history: its f)
    run_id: str
    writer_id: str
    first: int
    last: int
    is_cut: bool  # the file begins before `first`: only rows with seq >= first count
    packed: bool  # the file holds other runs and writers too: filter by `run` and `writer`
    events: int  # of its history; an upper bound
    rows: int  # closed rows
    step_first: int | None  # of closed rows; None where there are none
    step_last: int | None
    plain: bool  # as `tracker.storage.derived` says; False where nobody looked
    hlc_max_us: int  # no event is later
    upto_hlc_us: int | None  # later events do not count
    rollup: ObjectInfo | None  # the r file of its set or pack; of no use where the part is cut or `upto_hlc_us` counts
    system_info: ObjectInfo | None  # the file with its system metrics, None where it has none
    console_info: ObjectInfo | None = None  # the file that holds what it printed, if anything; None where nothing does
    records: PartRecords
    upto_step: int | None = None  # later rows do not count: they are not of this run
    upto_seq: int | None = None  # nor do later frames
    whole: RunPart | None = None  # where one of the two is given: the part of which this is the beginning

    @property
    def keys(self) -> Mapping[str, KeyStats]:
        """History keys (stored form), in the order in which they were first logged."""
        return self.records.keys

    def series(self, key: str) -> Series | None:
        """The record of a history key; None where there is none, as for `e` files."""
        return self.records.series(key)

    def marks(self) -> Marks:
        """The row markers that count. Read from the file when they are not in memory.

        Raises:
            PartsGone: the file is no more in the store. Open a new snapshot.
        """
        return self.records.marks()

    def of_system(self) -> RunPart | None:
        """The part whose `info` is the file with the system metrics; None where there are none."""
        return None if self.system_info is None else replace(self, info=self.system_info)


    def of_console(self) -> RunPart | None:
        """The part whose `info` is the file with console lines; None where there is none."""
        return None if self.console_info is None else replace(self, info=self.console_info)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """All parts of one run, ordered by writer and frame. Those that a branch inherits keep their own `run_id`."""

    entity: str
    project: str
    run_id: str
    parts: tuple[RunPart, ...]

    def of_writers(self, writers: frozenset[str]) -> RunFiles:
        """Only what these writers wrote."""
        kept = tuple(part for part in self.parts if part.writer_id in writers)
        return RunFiles(self.entity, self.project, self.run_id, kept)

    def history_keys(self) -> list[str]:
        """Stored history keys in the order in which they were first logged (writer by writer)."""
        return list(dict.fromkeys(key for part in self.parts for key in part.keys))
