"""`log`: one call becomes one frame in the writer's log. The hot path of the whole product.

For a dict of plain values under known keys: one lock, one set test of the keys, one of the types,
one write, one dict update. All else takes the slower way through values.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from operator import index
from threading import RLock
from time import monotonic, time_ns
from typing import Any, Final, Protocol

from tracker.sdk.facts import FactRow
from tracker.sdk.live import KEYS_MAX, LiveValues
from tracker.sdk.media import MediaPlace, Stage
from tracker.sdk.steps import Placement, Steps
from tracker.sdk.traces import Traces
from tracker.sdk.values import PLAIN, history_value
from tracker.storage.events import INT64_MAX, INT64_MIN, flatten
from tracker.storage.frames import RowMark, pack_value
from tracker.storage.metric_rules import MetricRule, carried_facts, rule_fact

__all__ = ["FrameLog", "HistoryLog"]

_IGNORED: Final = ("", "_step", "_runtime")  # HIST-14, HIST-16
_UNPACKED: Final = (TypeError, OverflowError, UnicodeEncodeError)  # the encoder met a value that needs pack_value


class FrameLog(Protocol):
    """What `HistoryLog` needs of a RunWriter. True: the frame is in the kernel; False: it was refused, and counted."""

    lock: RLock

    def log_locked(self, ts_us: int, row: int, step: int, cells: dict[str, Any], closes: list[RowMark]) -> bool: ...

    def write_facts(self, facts: list[FactRow], ts_us: int | None = None) -> bool: ...


class HistoryLog:
    """The rows of one writer. Safe for any number of threads; rows keep call order (HIST-20).

    A call from a signal handler that interrupts another call waits until that one is done.
    """

    __slots__ = (
        "_busy",
        "_deferred",
        "_fast",
        "_known",
        "_last",
        "_metrics",
        "_origin_s",
        "_trace_at",
        "_warn",
        "_warned_ignored",
        "_warned_late",
        "_write",
        "_writer",
        "ignores_steps",
        "live",
        "lock",
        "stage",
        "steps",
        "traces",
    )

    def __init__(
        self,
        writer: FrameLog,
        live: LiveValues,
        steps: Steps,
        warn: Callable[[str], None],
        origin_s: float,
        traces: Traces | None = None,
    ) -> None:
        """`origin_s`: the monotonic clock at the start of the run; `_runtime` counts from it."""
        self.lock = writer.lock  # one for both: a call of `log` pays for one
        self.live = live
        self.steps = steps
        self.traces = Traces() if traces is None else traces
        self.stage: Stage | None = None  # keeps the bytes of media
        self._writer = writer
        self._write = writer.log_locked
        self._fast = live.fast
        self._known = live.known
        self._last = live.last
        self._metrics = live.metrics
        self._metrics.leave_row()  # it is another writer's
        self._origin_s = origin_s
        self._warn = warn
        self._warned_late = self._warned_ignored = False
        self.ignores_steps = False  # while TensorBoard is synced (HIST-21)
        self._trace_at = 0  # the next row that `traces` looks at
        self._busy = False
        self._deferred: deque[Callable[[], None]] = deque()

    def log(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        """Raises ValueError for what is no mapping of str (HIST-1), TypeError for a value with no form (VAL-2)."""
        with self.lock:
            if self._busy:
                self.defer(partial(self.log, dict(data), step, commit))
                return
            self._busy = True
            try:
                if type(data) is dict and self._fast.issuperset(data) and PLAIN.issuperset(map(type, data.values())):
                    cells = wire = data
                else:
                    cells, wire = self._prepared(data, step, commit)
                ts_us = time_ns() // 1000
                runtime_s = monotonic() - self._origin_s
                if step is None and (commit is None or commit is True):
                    steps = self.steps
                    at = steps.step
                    if steps.pending is None:
                        row = steps.next_row
                        steps.next_row = row + 1
                    else:
                        row = steps.pending.row
                        steps.pending = None
                        if self._metrics.active:
                            cells, wire = self._completed(cells, wire)
                    steps.step = at + 1
                    mark = RowMark(row, at, ts_us, runtime_s)
                    try:
                        self._write(ts_us, row, at, wire, [mark])
                    except _UNPACKED:
                        self._write(ts_us, row, at, _packed(cells), [mark])
                    self.live.mark = mark
                    if row >= self._trace_at:
                        self._trace_at = self.traces.look(self._last, row)
                else:
                    cells = self._log_placed(cells, wire, step, commit, ts_us, runtime_s)
                if cells is data:
                    self._last.update(cells)
                else:
                    self._remember(cells, data)
            finally:
                self._busy = False
                if self._deferred:
                    self._run_deferred()

    def log_apart(self, data: Mapping[str, Any]) -> None:
        """A row of its own at the current step, for what works beside the training: it never joins the pending row."""
        with self.lock:
            pending = self.steps.pending
            if self._busy or pending is None:
                self.log(data, None, True)
                return
            self._busy = True
            try:
                cells = _cells_of(data, self._media_place(None))
                if self._metrics.active:
                    cells = {**cells, **self._metrics.row_alone(cells)}
                ts_us = time_ns() // 1000
                mark = RowMark(self.steps.next_row, pending.step, ts_us, monotonic() - self._origin_s)
                self.steps.next_row += 1
                self._write(ts_us, mark.row, mark.step, _packed(cells), [mark])
                self.live.mark = mark
                self._remember(cells, data)
            finally:
                self._busy = False
                if self._deferred:
                    self._run_deferred()

    def write_facts(self, facts: list[FactRow]) -> None:
        """Append facts as one frame, in order with the calls of `log`."""
        with self.lock:
            if self._busy:
                self.defer(partial(self.write_facts, facts))
                return
            self._busy = True
            try:
                self._writer.write_facts(facts)
            finally:
                self._busy = False
                if self._deferred:
                    self._run_deferred()

    def define(self, rule: MetricRule, *, overwrite: bool) -> None:
        """`rule` holds from now on, together with what was said of its name before unless it is to `overwrite` that."""
        with self.lock:
            if self._busy:
                self.defer(partial(self.define, rule, overwrite=overwrite))
                return
            older = self._metrics.rules.get(rule.name)
            whole = rule if older is None or overwrite else rule.over(older)
            if whole == older:
                return
            begun = self.live.define(whole)
            facts = [rule_fact(whole)]
            for key, carried in begun.items():
                facts += carried_facts(key, carried)
            self._writer.write_facts(facts)

    def end(self) -> None:
        """Write the end of the pending row (HIST-9)."""
        with self.lock:
            mark = self.steps.end()
            if mark is not None:
                self._close(mark, self._metrics.close_row())

    def is_busy_here(self) -> bool:
        """Whether this thread is inside `log` right now, that is: whether a signal handler is asking."""
        if not self.lock.acquire(blocking=False):
            return False
        try:
            return self._busy
        finally:
            self.lock.release()

    def defer(self, call: Callable[[], None]) -> None:
        """Run `call` as soon as the `log` that this thread is inside of is done."""
        self._deferred.append(call)

    def _media_place(self, step: int | None) -> MediaPlace | None:
        return None if self.stage is None else MediaPlace(self.stage, self.steps.step if step is None else step)

    def _prepared(self, data: Any, step: Any, commit: bool | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The cells of a call and their packed form; with step metrics where they make a row of their own."""
        metrics = self._metrics
        if not metrics.active:
            cells = _cells_of(data, self._media_place(step))
            return cells, _packed(cells)
        if type(data) is dict and self._known.issuperset(data) and PLAIN.issuperset(map(type, data.values())):
            cells = wire = dict(data)
        else:
            cells = _cells_of(data, self._media_place(step))
            wire = _packed(cells)
        if step is None and (commit is None or commit is True) and self.steps.pending is None:
            return self._completed(cells, wire)
        return cells, wire

    def _completed(self, cells: dict[str, Any], wire: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Cells with which a row is closed, and what else it wants of step metrics (MET-6)."""
        self._metrics.note(cells)
        missing = self._metrics.close_row()
        if not missing:
            return cells, wire
        return {**cells, **missing}, {**wire, **_packed(missing)}

    def _log_placed(
        self, cells: dict[str, Any], wire: dict[str, Any], step: Any, commit: bool | None, ts_us: int, runtime_s: float
    ) -> dict[str, Any]:
        """Write the cells where step and commit say; answers them with what was added."""
        if step is not None and self.ignores_steps:
            self._say_ignored()
            step = None
        if step is not None:
            step = index(step)
            if not INT64_MIN <= step < INT64_MAX:
                raise ValueError(f"step={step} does not fit into 64 bits.")
        placed = self.steps.place(step, commit, bool(wire), ts_us, runtime_s)
        if placed.late:
            self._say_late(placed.step)
        self.steps.settle(placed)
        closes = placed.closes
        if self._metrics.active:
            missing, closes = self._wanted(placed, cells)
            if missing:
                cells, wire = {**cells, **missing}, {**wire, **_packed(missing)}
        if not wire and not closes:
            return cells
        try:
            self._write(ts_us, placed.row, placed.step, wire, closes)
        except _UNPACKED:
            self._write(ts_us, placed.row, placed.step, _packed(cells), closes)
        if closes:
            self.live.mark = closes[-1]
            if closes[-1].row + 1 >= self._trace_at:
                self._trace_at = self.traces.look(self._last, closes[-1].row + 1)
        return cells

    def _say_ignored(self) -> None:
        if not self._warned_ignored:
            self._warned_ignored = True
            self._warn(
                "log(step=...) has no effect while TensorBoard is synced, which has steps of its own; "
                "log the step as a value instead, such as 'global_step' (said once)"
            )

    def _wanted(self, placed: Placement, cells: dict[str, Any]) -> tuple[dict[str, Any], list[RowMark]]:
        """What the call's row wants of step metrics, if it ends with the call; and the rows left to be closed.

        A row that ends before this one and wants some is closed by a frame of its own.
        """
        metrics, closes = self._metrics, placed.closes
        if placed.late:
            return metrics.row_alone(cells), closes
        if closes and closes[0].row != placed.row:
            missing = metrics.close_row()
            if missing:
                self._close(closes[0], missing)
                closes = closes[1:]
        metrics.note(cells)
        ends = bool(closes) and closes[-1].row == placed.row
        return metrics.close_row() if ends else {}, closes

    def _close(self, mark: RowMark, cells: dict[str, Any]) -> None:
        """End a row with these cells."""
        self._write(mark.ts_us, mark.row, mark.step, _packed(cells), [mark])
        self.live.mark = mark
        if cells:
            self.live.log(cells)

    def _say_late(self, step: int) -> None:
        if not self._warned_late:
            self._warned_late = True
            self._warn(
                f"step {step} lies below the current step {self.steps.step}; its values are kept as a row of their own "
                f"(said once; further late steps are kept the same way)"
            )

    def _remember(self, cells: dict[str, Any], data: Mapping[str, Any]) -> None:
        if self._metrics.active and self._known.issuperset(cells):
            self._last.update(cells)
            return
        self.live.log(cells)
        if "_timestamp" in cells:
            mark = self.steps.pending or self.live.mark
            self.live.time_row = mark.row if mark is not None else None
        if len(self._known) < KEYS_MAX:
            self.live.learn(key for key in cells if key in data and "." not in key and "\\" not in key)

    def _run_deferred(self) -> None:
        while self._deferred:
            self._deferred.popleft()()


def _cells_of(data: Any, place: MediaPlace | None) -> dict[str, Any]:
    """Stored key (escaped path) to plain value; nested dicts are flattened, `{}` contributes nothing."""
    if not isinstance(data, Mapping):
        raise ValueError(f"log needs a dict of values, got {type(data).__name__}: {data!r:.80}")
    tree: dict[str, Any] = {}
    for key, value in data.items():
        if not isinstance(key, str):
            raise ValueError(f"Keys of log must be strings, got {type(key).__name__}: {key!r:.80}")
        if key not in _IGNORED:
            tree[_encodable(key)] = history_value(value, key, place=place)
    return {_encodable(path): value for path, value in flatten(tree) if value != {}}


def _encodable(key: str) -> str:
    """The key without lone surrogates, which UTF-8 can not hold."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return key.encode("utf-8", "backslashreplace").decode()
    return str.__str__(key)


def _packed(cells: dict[str, Any]) -> dict[str, Any]:
    return {key: pack_value(value) for key, value in cells.items()}
