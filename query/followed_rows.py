"""What arrives of a followed run as dicts, of the same form as those of `history`, `console` and their like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tracker.query.history_plan import RUNTIME, STEP, TIMESTAMP
from tracker.query.writer_columns import HOST, RANK, WRITER
from tracker.query.writer_tail import ClosedRow, Line, Sample
from tracker.storage.events import Value, path_text

__all__ = ["EPOCH", "RowForm", "line_dict", "sample_dict"]

Said = Callable[[str, str], object]  # (writer, name): what the writer says of itself, None where it says nothing

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ABSENT: Final = object()


class RowForm:
    """Rows of the history: with keys only those that have all of them, and nothing else."""

    def __init__(self, keys: Sequence[str] | None, known: Iterable[str], said: Said) -> None:
        """`known`: stored keys in the order in which they were first logged; new ones come behind them."""
        self._keys = None if keys is None else list(dict.fromkeys(keys))
        self._order = {key: n for n, key in enumerate(known)}
        self._said = said

    def as_dict(self, row: ClosedRow) -> dict[str, Any] | None:
        """None: it lacks a key."""
        cells = _named(row.cells)
        automatic = {STEP: row.step, RUNTIME: row.runtime_s, TIMESTAMP: row.wall_us / 1e6}
        if self._keys is None:
            for key in row.cells:
                self._order.setdefault(key, len(self._order))
            place = {path_text(key): self._order[key] for key in reversed(row.cells)}
            shown = sorted((name for name in cells if name not in automatic), key=place.__getitem__)
            values = {name: cells[name] for name in shown}
            return {
                STEP: row.step,
                **values,
                RUNTIME: row.runtime_s,
                TIMESTAMP: cells.get(TIMESTAMP, automatic[TIMESTAMP]),
            }
        found: dict[str, Any] = {}
        for name in self._keys:
            value = cells.get(name, row.cells.get(name, _ABSENT)) if name not in (STEP, RUNTIME) else _ABSENT
            value = automatic.get(name, _ABSENT) if value is _ABSENT else value
            value = self._of_writer(name, row.writer_id) if value is _ABSENT else value
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


def _named(cells: dict[str, Value]) -> dict[str, Value]:
    """By name. Of stored keys with one name the one with most literal dots counts (`stored_keys` ranks them so)."""
    best_first = sorted(cells, key=lambda key: (-key.count("\\."), key))
    return {path_text(key): cells[key] for key in reversed(best_first)}


def _system_name(key: str) -> str:
    name = path_text(key)
    return name if name.startswith("system.") else f"system.{name}"
