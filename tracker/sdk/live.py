"""The last value of every key as this process knows it: what `run.summary` shows while the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tracker.sdk.metrics import Metrics
from tracker.storage.events import split_path, unflatten
from tracker.storage.frames import RowMark
from tracker.storage.metric_rules import Carried, MetricRule

__all__ = ["KEYS_MAX", "LiveValues"]

KEYS_MAX: Final = 100_000  # keys remembered; the store keeps all of them

_AUTOMATIC: Final = ("_step", "_timestamp", "_runtime")  # in the order of a mark's fields below


class LiveValues:
    """Stored path to plain value. A newer leaf replaces leaves on a prefix or an extension of its path (SUM-9).

    `fast` holds the keys that may be written with `last.update` alone: their stored path is the key
    itself, no other path lies below it, and no definition speaks of them. `known`: these, and those for which
    a definition makes the only difference.
    """

    __slots__ = ("_by_hand", "_explicit_at", "_inner", "_warn", "fast", "known", "last", "mark", "metrics", "time_row")

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.last: dict[str, Any] = {}
        self.fast: set[str] = set()
        self.known: set[str] = set()
        self.metrics = Metrics()
        self._by_hand: set[str] = set()  # paths in `last` that were set by hand
        self.mark: RowMark | None = None  # the row ended last
        self.time_row: int | None = None  # the row in which a `_timestamp` was logged last
        self._inner: set[str] = set()  # proper prefixes of paths in `last`
        self._explicit_at: dict[str, RowMark | None] = {}  # automatic key set by hand: the mark it has beaten
        self._warn: Callable[[str], None] | None = warn

    def log(self, cells: dict[str, Any]) -> None:
        """Cells were logged, after everything put before."""
        if self._by_hand:
            kept = [key for key in cells if key in self._by_hand and self.metrics.plan(key).drops]
            cells = {key: value for key, value in cells.items() if key not in kept}
            self._by_hand.difference_update(cells)
        self.put(cells)

    def define(self, rule: MetricRule) -> dict[str, Carried]:
        """`rule` holds from now on; answers as `Metrics.define`."""
        begun = self.metrics.define(rule, self.last, self._by_hand)
        self.fast.difference_update([key for key in self.fast if self.metrics.plan(key)])
        return begun

    def restore(self, rules: Iterable[MetricRule], carried: Mapping[str, Carried]) -> None:
        """What was defined, and what the keys came to, in an earlier session or where the run branched off."""
        self.put({key: one.last for key, one in carried.items()})  # first: step metrics go on with their last values
        by_hand = {key for key, one in carried.items() if one.figures is None}
        for rule in rules:
            self.metrics.define(rule, self.last, by_hand)
        for key, one in carried.items():
            self.metrics.restore(key, one)
            if one.figures is None and key in self.last and self.metrics.plan(key):
                self._by_hand.add(key)

    def definitions(self) -> tuple[list[MetricRule], dict[str, Carried]]:
        """What is defined, and the last values of step metrics: for a copy in another process."""
        steps = {rule.step_metric for rule in self.metrics.rules} & self.last.keys()
        return list(self.metrics.rules), {key: Carried(self.last[key]) for key in sorted(map(str, steps))}

    def put(self, cells: dict[str, Any]) -> None:
        """These are the newest values."""
        for path, value in cells.items():
            if path not in self.last and not self._admit(path):
                continue
            self._clear(path)
            self.last[path] = value

    def learn(self, keys: Iterable[str]) -> None:
        """These keys are stored under their own name, as plain values: `fast` from now on, where nothing hinders."""
        for key in keys:
            if key in self.last and not (key in self._inner or key in self._by_hand or key in _AUTOMATIC):
                self.known.add(key)
                if not (self.metrics.active and self.metrics.plan(key)):
                    self.fast.add(key)

    def replace(self, path: str, leaves: list[tuple[str, Any]]) -> None:
        """An explicit write: `path` holds exactly these leaves; none of them takes it back."""
        self._clear(path)
        self.last.pop(path, None)
        self.put(dict(leaves))
        if self.metrics.active:
            self.metrics.forget(path)
        written = {path, *(below for below, _ in leaves)}
        self.fast -= written  # so that the next value of them is seen as logged
        self.known -= written
        self._by_hand |= written & self.last.keys()
        for key in _AUTOMATIC:
            if path == key:
                self._explicit_at[key] = self.mark

    def tree(self) -> dict[str, Any]:
        """Nested dicts of fresh lists and dicts: changing them changes nothing here."""
        tree = unflatten(self._leaves())
        mark = self.mark
        if mark is not None:
            for key, value in zip(_AUTOMATIC, (mark.step, mark.ts_us / 1e6, mark.runtime_s), strict=True):
                if key == "_timestamp" and self.time_row == mark.row:
                    continue  # it was logged in that row (HIST-14)
                if key not in tree or self._explicit_at.get(key) is not mark:
                    tree[key] = value
            tree["_wandb"] = {"runtime": int(mark.runtime_s)}
        return tree

    def _leaves(self) -> list[tuple[str, Any]]:
        values = [(path, _copied(value)) for path, value in list(self.last.items())]
        if not self.metrics.active:
            return values
        leaves = []
        for path, value in values:
            if path not in self._by_hand and (self.metrics.plan(path).drops or self.metrics.waits(path)):
                continue
            parts = None if path in self._by_hand else self.metrics.parts(path, value)
            leaves += [(path, value)] if parts is None else [(f"{path}.{part}", one) for part, one in parts.items()]
        return leaves

    def _admit(self, path: str) -> bool:
        if len(self.last) >= KEYS_MAX:
            if self._warn is not None:
                self._warn(
                    f"More than {KEYS_MAX:,} different keys were logged: run.summary shows the first ones only. "
                    f"All are stored."
                )
                self._warn = None
            return False
        if "." in path:
            segments = split_path(path)
            inner = {path[:end] for end in _segment_ends(path)} if len(segments) > 1 else set()
            self._inner |= inner
            self.fast -= inner
            self.known -= inner
        return True

    def _clear(self, path: str) -> None:
        """Drop leaves on proper prefixes and extensions of `path`."""
        if "." in path:
            for end in _segment_ends(path):
                self.last.pop(path[:end], None)
        if path in self._inner:
            below = path + "."
            for other in list(self.last):  # a copy: other threads and signal handlers put values meanwhile
                if other.startswith(below):
                    self.last.pop(other, None)


def _segment_ends(path: str) -> list[int]:
    """Positions of the dots that separate segments: `a.b\\.c.d` has them at 1 and 6."""
    ends, at = [], 0
    while at < len(path):
        if path[at] == "\\":
            at += 1
        elif path[at] == ".":
            ends.append(at)
        at += 1
    return ends


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value
