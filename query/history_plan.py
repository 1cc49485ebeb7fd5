"""Which columns an answer about history has, and how cells that lie in order become these columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tracker.query.cells import Column, Rows
from tracker.query.run_files import RunFiles, RunPart
from tracker.query.sampling import sample_groups
from tracker.query.series_cells import SeriesCells, find_cells
from tracker.query.series_file import SeriesFile
from tracker.query.writer_columns import WRITER_COLUMNS, writer_column
from tracker.storage.errors import NotFound
from tracker.storage.events import path_text

__all__ = [
    "RUNTIME",
    "STEP",
    "TIMESTAMP",
    "PartsGone",
    "Paths",
    "Plan",
    "assemble",
    "finish",
    "make_plan",
    "open_series",
    "stored_keys",
]

STEP: Final = "_step"
RUNTIME: Final = "_runtime"
TIMESTAMP: Final = "_timestamp"
_AUTOMATIC: Final = (STEP, RUNTIME, TIMESTAMP)

Paths = Callable[[Sequence[RunPart]], list[Path]]


class PartsGone(NotFound):
    """A part that was listed is gone: somebody merged and deleted it meanwhile. List again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The columns of an answer for some runs."""

    whole: bool  # every row and every key, instead of rows that have all of `names`
    names: tuple[str, ...]  # columns in order
    meant: dict[str, list[str]]  # name to the stored keys that it means, best first; automatic ones only if stored too
    of_writers: frozenset[str] = frozenset()  # names of columns that say who logged a row; they stand in every row

    @property
    def keys(self) -> list[str]:
        """All stored keys, each once."""
        return list(dict.fromkeys(key for found in self.meant.values() for key in found))

    @property
    def is_empty(self) -> bool:
        """No row can have all names."""
        given = self.of_writers.union(_AUTOMATIC)
        return not self.whole and any(not self.meant.get(name) and name not in given for name in self.names)

    @property
    def needs_markers(self) -> bool:
        """Whether rows can only be told by their markers; else the cells of any one name do."""
        return self.whole or not self.axis_key or RUNTIME in self.names or TIMESTAMP in self.names

    @property
    def axis_key(self) -> str | None:
        """A stored key that every row of the answer has."""
        for name in self.names:
            found = self.meant.get(name, ())
            if len(found) == 1 and name not in _AUTOMATIC:
                return found[0]
        return None


def make_plan(runs: Sequence[RunFiles], shown: Sequence[str] | None, extra: Sequence[str] = ()) -> Plan:
    """`shown`: names of the columns, None for all that these runs have, with `extra` ones (of writers) behind them."""
    if shown is None:
        names = list(dict.fromkeys(path_text(key) for run in runs for key in run.history_keys()))
        names = [STEP, *(name for name in names if name not in _AUTOMATIC), RUNTIME, TIMESTAMP]
        names += [name for name in extra if name not in names]
    else:
        names = list(shown)
    meant = {
        name: [key for key in stored_keys(runs, name) if any(key in part.keys for run in runs for part in run.parts)]
        for name in names
        if name not in (STEP, RUNTIME)
    }
    of_writers = frozenset(name for name in WRITER_COLUMNS if name in meant and not meant[name])
    meant = {name: found for name, found in meant.items() if name not in of_writers}
    return Plan(shown is None, tuple(names), meant, of_writers)


def stored_keys(runs: Sequence[RunFiles], name: str) -> list[str]:
    """Stored keys that `name` means in `runs`, best first: as written with its backslashes, literal dots, nested."""
    if "." not in name and "\\" not in name:
        return [name]
    known: set[str] = set()
    for run in runs:
        for part in run.parts:
            known.update(part.keys)
    found = [key for key in known if key == name or path_text(key) == name]
    return sorted(found, key=lambda key: (key != name or "\\" not in name, -key.count("\\."), key))


def assemble(
    plan: Plan, parts: Sequence[RunPart], axis: SeriesCells, cells_of: Callable[[str], SeriesCells | None]
) -> dict[str, Column]:
    """One column a name, one cell per cell of `axis`, which are markers (with hlc, ts, v) where the plan needs them.

    `parts`: what the numbers of parts in `axis` mean.
    """
    columns: dict[str, Column] = {}
    for name in plan.names:
        column = _automatic(axis, name) if name in (STEP, RUNTIME) else None
        if name in plan.of_writers:
            column = writer_column(name, parts, axis.part)
        for key in plan.meant.get(name, ()):
            cells = cells_of(key)
            if cells is not None:
                found = cells.column(None if cells is axis else find_cells(axis, cells))
                column = found if column is None else column.or_else(found)
        if name == TIMESTAMP:
            column = _automatic(axis, name) if column is None else column.or_else(_automatic(axis, name))
        columns[name] = Column.empty(len(axis)) if column is None else column
    return columns


def _automatic(axis: SeriesCells, name: str) -> Column:
    if name == STEP:
        return Column.of_ints(axis.step)
    assert axis.extra is not None
    assert axis.v is not None
    return Column.of_floats(axis.v if name == RUNTIME else (axis.extra["hlc"] + axis.extra["ts"]) / 1e6)


def finish(plan: Plan, run: np.ndarray, columns: dict[str, Column], samples: int | None) -> Rows:
    """The rows that count, at most `samples` of each run. `run`: the run of every row, ascending."""
    if plan.whole:
        picked = sample_groups(run, samples)
        if len(picked) < len(run):
            run, columns = run[picked], {name: column.take(picked) for name, column in columns.items()}
        return Rows(run, columns)
    qualified = np.logical_and.reduce([column.present for column in columns.values()])
    found = np.flatnonzero(qualified)
    picked = found[sample_groups(run[found], samples)]
    if len(picked) == len(run):
        return Rows(run, columns)
    return Rows(run[picked], {name: column.take(picked) for name, column in columns.items()})


def open_series(paths: Paths, part: RunPart) -> SeriesFile:
    """The part's file, open. Raises PartsGone where it was deleted meanwhile."""
    (path,) = paths([part])
    try:
        return SeriesFile(path, packed=part.packed)
    except FileNotFoundError as exc:
        raise PartsGone(f"{part.info.key} was deleted while it was read. Try again.") from exc
