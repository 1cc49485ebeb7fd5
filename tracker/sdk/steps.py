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
    after: tuple[int, int, RowMark | None]  # step, next_row, pending


class Steps:
    """The current step, the row that is being filled, and what a call does to them (HIST-2..12).

    Row numbers count the rows of one writer and are never used twice. A step below the current one
    makes a row of its own, ended at once, and moves nothing.
    """

    __slots__ = ("next_row", "pending", "step")

    def __init__(self, step: int = 0) -> None:
        self.step = step
        self.next_row = 0  # the first number that is not in use
        self.pending: RowMark | None = None  # the row being filled, as it would end now; None while it has no cells

    def place(self, step: int | None, commit: bool | None, has_cells: bool, ts_us: int, runtime_s: float) -> Placement:
        """Where cells logged now belong. `commit` None means: unless a step is given.

        `ts_us`, `runtime_s`: time of the call; a row takes those of its last call.
        """
        commits = step is None if commit is None else bool(commit)
        at, next_row, pending = self.step, self.next_row, self.pending
        if step is not None and step < at:
            closes = [RowMark(next_row, step, ts_us, runtime_s)] if has_cells else []
            return Placement(next_row, step, closes, True, (at, next_row + len(closes), pending))
        closes = []
        if step is not None and step > at:
            if pending is not None:
                closes.append(pending)
                pending = None
            at = step
        row = next_row if pending is None else pending.row
        mark = RowMark(row, at, ts_us, runtime_s)
        if commits:
            closes.append(mark)
            return Placement(row, at, closes, False, (at + 1, max(next_row, row + 1), None))
        if has_cells:
            return Placement(row, at, closes, False, (at, max(next_row, row + 1), mark))
        return Placement(row, at, closes, False, (at, next_row, pending))

    def settle(self, placement: Placement) -> None:
        """The call was written: this is the state from now on."""
        self.step, self.next_row, self.pending = placement.after

    def end(self) -> RowMark | None:
        """The pending row's end, once; None when it has no cells (HIST-9)."""
        pending, self.pending = self.pending, None
        return pending
