"""What arrives of a followed run as dicts, of the same form as those of `history`, `console` and their like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tracker.query.history_plan import RUNTIME, STEP, TIMESTAMP
from tracker.query.writer_columns import HOST, RANK, WRITER
from tracker.query.writer_tail import ClosedRow, Line, Sample
from tracker.storage.events import path_text

__all__ = ["EPOCH", "RowForm", "line_dict", "sample_dict"]

Said = Callable[[str, str], object]  # (writer, name): what the writer says of itself, None where it says nothing

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ABSENT: Final = object()


class RowForm:
    """Rows of the history: with keys only those that have all of them, and nothing else."""

    def __init__(self, keys: Sequence[str] | None, known: Iterable[str], said: Said) -> None:
        """`known`: stored keys in the order in which they were first logged; new ones come behind them."""
        self._keys = None if keys is None else list(dict.fromkeys(keys))
        self._meant: dict[str, list[str]] = {name: [] for name in self._keys or ()}  # name to stored keys, best first
        self._names: dict[str, str] = {}  # stored key to name
        self._order: dict[str, int] = {}
        self._said = said
        self._learn(known)

    def as_dict(self, row: ClosedRow) -> dict[str, Any] | None:
        """None: it lacks a key."""
        if not row.cells.keys() <= self._names.keys():
            self._learn(row.cells)
        return self._whole(row) if self._keys is None else self._chosen(row, self._keys)

    def _learn(self, keys: Iterable[str]) -> None:
        for key in keys:
            if key in self._names:
                continue
            self._order[key] = len(self._order)
            name = self._names[key] = path_text(key)
            for asked in {name, key} & self._meant.keys():
                self._meant[asked] = sorted([*self._meant[asked], key], key=_rank)

    def _whole(self, row: ClosedRow) -> dict[str, Any]:
        names = self._names
        cells = {names[key]: row.cells[key] for key in sorted(row.cells, key=self._order.__getitem__)}
        if len(cells) < len(row.cells):  # of several keys with one name the best one counts
            cells |= {names[key]: row.cells[key] for key in sorted(row.cells, key=_rank, reverse=True)}
        for name in (STEP, RUNTIME):
            cells.pop(name, None)
        stamp = cells.pop(TIMESTAMP, row.wall_us / 1e6)
        return {STEP: row.step, **cells, RUNTIME: row.runtime_s, TIMESTAMP: stamp}

    def _chosen(self, row: ClosedRow, keys: Sequence[str]) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        for name in keys:
            if name == STEP:
                value: Any = row.step
            elif name == RUNTIME:
                value = row.runtime_s
            else:
                value = next((row.cells[key] for key in self._meant[name] if key in row.cells), _ABSENT)
            if value is _ABSENT:
                value = row.wall_us / 1e6 if name == TIMESTAMP else self._of_writer(name, row.writer_id)
            if value is _ABSENT:
                return None
            found[name] = value
        return found

    def _of_writer(self, name: str, writer_id: str) -> Any:
        """Who logged the row, for those of the names that ask for it."""
        match name:
            case str() if name == WRITER:
                return writer_id
            case str() if name in (RANK, HOST):
                said = self._said(writer_id, name.removeprefix("_"))
                return int(said) if name == RANK and isinstance(said, str) and said.isdecimal() else said
            case _:
                return _ABSENT


def sample_dict(sample: Sample, started_us: int) -> dict[str, Any]:
    """One row of system metrics. `started_us`: when the run began."""
    cells = {_system_name(key): value for key, value in sample.cells.items()}
    runtime_s = (sample.wall_us - min(started_us, sample.wall_us)) / 1e6
    return dict(sorted(cells.items())) | {RUNTIME: runtime_s, TIMESTAMP: sample.wall_us / 1e6, "_wandb": True}


def line_dict(line: Line) -> dict[str, Any]:
    """One line of the console: `writer, time, stream, label, text`."""
    return {
        "writer": line.writer_id,
        "time": EPOCH + timedelta(microseconds=line.wall_us),
        "stream": line.stream,
        "label": line.label,
        "text": line.text,
    }


def _rank(key: str) -> tuple[int, str]:
    """Of stored keys with one name the best comes first: with most literal dots, as `stored_keys` ranks them."""
    return -key.count("\\."), key


def _system_name(key: str) -> str:
    name = path_text(key)
    return name if name.startswith("system.") else f"system.{name}"
