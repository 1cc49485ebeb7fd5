"""Events of TensorBoard writers as rows: one row for each global step of each log directory (TB-2)."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from typing import Any, Final

from tracker.sdk.tb_values import PrCurve

__all__ = ["Namespaces", "StepRows"]

_PATIENCE_S: Final = 5.0  # for a second directory


class StepRows:
    """Collects the values of one step after the other and hands over whole rows."""

    def __init__(self, log: Callable[[dict[str, Any]], None], draw: Callable[[str, dict[str, Any]], None]) -> None:
        """`log` takes a row. `draw` takes the name of a chart and how it is drawn, once for each."""
        self._log = log
        self._draw = draw
        self._open: dict[str, tuple[int, dict[str, Any]]] = {}  # by namespace
        self._drawn: set[str] = set()

    def add(self, namespace: str, step: int, wall_s: float, values: dict[str, Any]) -> None:
        """`values` by tag, of one event at `step`; `namespace` stands before the tags, "" before none.

        A row ends when the next step of its namespace begins. A tag that comes again within the step begins a new row.
        """
        if not values:
            return
        before = f"{namespace}/" if namespace else ""
        cells = {}
        for tag, value in values.items():
            key = f"{before}{tag}"
            if isinstance(value, PrCurve):
                self._chart(key, tag, value)
                key = f"{key}_table"
            cells[key] = value
        at, row = self._open.get(namespace, (step, {}))
        if at != step or not row.keys().isdisjoint(cells):
            self.end(namespace)
            row = {}
        row.update(cells)
        row[f"{before}global_step"] = step
        row["_timestamp"] = wall_s
        self._open[namespace] = (step, row)

    def end(self, namespace: str) -> None:
        """Hand over the row that is being filled."""
        _, row = self._open.pop(namespace, (0, {}))
        if row:
            self._log(row)

    def end_all(self) -> None:
        for namespace in list(self._open):
            self.end(namespace)

    def _chart(self, key: str, title: str, curve: PrCurve) -> None:
        if key not in self._drawn:
            self._drawn.add(key)
            self._draw(key, curve.chart(f"{key}_table", title))


class Namespaces:
    """What stands before the tags of each log directory: its path below what the directories have in common (TB-1).

    The root, unless it is given, is what the first two have in common; a directory that stays alone for `patience_s`
    is the root itself, and stays without a name.
    """

    def __init__(self, root: str = "", patience_s: float | None = None) -> None:
        self._root = _clean(root) if root else ""
        self._patience_s = _PATIENCE_S if patience_s is None else patience_s
        self._seen: dict[str, float] = {}  # directory to when it was first asked for
        self._names: dict[str, str] = {}

    def see(self, directory: str, now_s: float) -> None:
        """A log directory is there since `now_s`. All that are there should be seen before one is named."""
        self._seen.setdefault(_clean(directory), now_s)

    def name(self, directory: str, now_s: float, *, last: bool = False) -> str | None:
        """Of a log directory; None while that can not be told yet. `last`: there will be no others to wait for."""
        self.see(directory, now_s)
        directory = _clean(directory)
        if directory in self._names:
            return self._names[directory]
        if not self._root:
            if len(self._seen) > 1:
                self._root = _common(list(self._seen))
            elif last or now_s - self._seen[directory] >= self._patience_s:
                self._root = directory
            else:
                return None
        below = _below(directory, self._root)
        if below is None:  # beside the root, not in it
            below = _below(directory, _common([directory, self._root])) or directory.rpartition("/")[2]
        self._names[directory] = below
        return below


def _clean(directory: str) -> str:
    return directory.rstrip("/") if "://" in directory else os.path.abspath(directory)


def _common(directories: list[str]) -> str:
    """The deepest directory that holds them all, or is one of them."""
    parts = [directory.split("/") for directory in directories]
    shared = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return "/".join(shared)


def _below(directory: str, root: str) -> str | None:
    """The relative path, "" for the root itself, None for what is not in it."""
    if directory == root:
        return ""
    return directory[len(root) + 1 :] if directory.startswith(f"{root}/") else None
