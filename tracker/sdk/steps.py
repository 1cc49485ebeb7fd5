"""Where a `log` call's cells go: which row, which step, and which rows end with it. No clock, no I/O."""

from __future__ import annotations

from typing import NamedTuple

from tracker.storage.frames import RowMark

__all__ = ["Placement", "Steps"]


class Placement(NamedTuple):
    """The decision for one call; nothing has changed until `Steps.settle` takes it."""

    row: int
    step: int
    closes: list[RowMark]  # rows that this call ends, in order
    late: bool  # the step lies below the current one
    after: tuple[int, int, int, RowMark | None]  # step, row, next_row, pending


class Steps:
    """The current step, the row that is being filled, and what a call does to them (HIST-2..12).

    Row numbers count the rows of one writer and are never used twice. A step below the current one
    makes a row of its own, ended at once, and moves nothing.
    """

    __slots__ = ("next_row", "pending", "row", "step")

    def __init__(self, step: int = 0) -> None:
        self.step = step
        self.row = 0
        self.next_row = 1
        self.pending: RowMark | None = None  # how the current row would end now; None while it has no cells

    def place(self, step: int | None, commit: bool | None, has_cells: bool, ts_us: int, runtime_s: float) -> Placement:
        """Where cells logged now belong. `commit` None means: unless a step is given.

        `ts_us`, `runtime_s`: time of the call; a row takes those of its last call.
        """
        commits = step is None if commit is None else bool(commit)
        at, row, next_row, pending = self.step, self.row, self.next_row, self.pending
        if step is not None and step < at:
            closes = [RowMark(next_row, step, ts_us, runtime_s)] if has_cells else []
            return Placement(next_row, step, closes, True, (at, row, next_row + bool(has_cells), pending))
        closes = []
        if step is not None and step > at:
            if pending is not None:
                closes.append(pending)
                row, next_row, pending = next_row, next_row + 1, None
            at = step
        mark = RowMark(row, at, ts_us, runtime_s)
        if commits:
            closes.append(mark)
            return Placement(row, at, closes, False, (at + 1, next_row, next_row + 1, None))
        return Placement(row, at, closes, False, (at, row, next_row, mark if has_cells else pending))

    def settle(self, placement: Placement) -> None:
        """The call was written: this is the state from now on."""
        self.step, self.row, self.next_row, self.pending = placement.after

    def end(self) -> RowMark | None:
        """The pending row's end, once; None when it has no cells (HIST-9)."""
        pending = self.pending
        if pending is not None:
            self.pending = None
            self.row, self.next_row = self.next_row, self.next_row + 1
        return pending
