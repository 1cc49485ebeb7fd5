"""The views that user SQL sees, over chosen runs of a snapshot. Each is loaded when it is named.

runs     one row a run: the columns of `tracker.query.runs_table`
history  one row a logged row: run_id, _step, _runtime, _timestamp, one column a metric, and where the statement names
         them _rank, _host and _writer, which say who logged it
system   one row a system metric at a time: run_id, time, key, value, text
console  one row a printed line: run_id, writer, time, stream, label, text
facts    one row a fact as it was written, superseded ones too: run_id, writer, seq, time, kind, subject, path,
         type, value, int_value, text
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracker.query.cells import concat_rows
from tracker.query.console_rows import CONSOLE_COLUMNS, console_lines
from tracker.query.fold_input import fold_input
from tracker.query.frames import to_arrow
from tracker.query.history import history_batches
from tracker.query.packed_records import is_packed, written_facts
from tracker.query.point_reader import read_points
from tracker.query.run_files import RunFiles
from tracker.query.runs import stream_files, visible_files
from tracker.query.runs_table import runs_table
from tracker.query.snapshot import Snapshot
from tracker.query.writer_columns import WRITER_COLUMNS
from tracker.storage.events import SYSTEM, Type, path_text

__all__ = ["VIEW_COLUMNS", "SqlViews"]

_TIME: Final = pa.timestamp("us", "UTC")
_HISTORY: Final = {"run_id": pa.string(), "_step": pa.int64(), "_runtime": pa.float64(), "_timestamp": pa.float64()}
_SYSTEM: Final = {
    "run_id": pa.string(),
    "time": _TIME,
    "key": pa.string(),
    "value": pa.float64(),
    "text": pa.string(),
}
_FACTS: Final = {
    "run_id": pa.string(),
    "writer": pa.string(),
    "seq": pa.int64(),
    "time": _TIME,
    "kind": pa.string(),
    "subject": pa.string(),
    "path": pa.string(),
    "type": pa.string(),
    "value": pa.float64(),
    "int_value": pa.int64(),
    "text": pa.string(),
}
VIEW_COLUMNS: Final[Mapping[str, Mapping[str, pa.DataType]]] = {
    "console": CONSOLE_COLUMNS,
    "facts": _FACTS,
    "history": _HISTORY,
    "system": _SYSTEM,
}


class SqlViews(Mapping[str, pa.Table]):
    """The views of these runs, in this order. Nothing is read before a view is asked for."""

    NAMES: Final = ("console", "facts", "history", "runs", "system")

    def __init__(self, snapshot: Snapshot, run_ids: Sequence[str], statement: str = "") -> None:
        """`statement`: what will be asked. Columns that say who logged a row are made where it names them."""
        self._snapshot = snapshot
        self._extra = [name for name in WRITER_COLUMNS if name in statement]
        self._run_ids = list(run_ids)
        self._load: dict[str, Callable[[], pa.Table]] = {
            "console": self._console,
            "facts": self._facts,
            "history": self._history,
            "runs": self._runs,
            "system": self._system,
        }

    def __getitem__(self, name: str) -> pa.Table:
        return self._load[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.NAMES)

    def __len__(self) -> int:
        return len(self.NAMES)

    def _files(self) -> list[RunFiles]:
        return visible_files(self._snapshot, self._run_ids)

    def _streams(self) -> list[RunFiles]:
        return stream_files(self._snapshot, self._run_ids)

    def _runs(self) -> pa.Table:
        return runs_table(self._snapshot, self._run_ids)

    def _history(self) -> pa.Table:
        asked: dict[str, Any] = {"keys": None, "samples": None, "extra": self._extra}
        rows = concat_rows(list(history_batches(self._files(), self._snapshot.paths, **asked)))
        table = to_arrow(rows, self._run_ids)
        for name, kind in reversed(_HISTORY.items()):
            column = table[name] if name in table.column_names else pa.nulls(table.num_rows, kind)
            table = table.drop_columns([name] if name in table.column_names else []).add_column(0, name, column)
        return table

    def _system(self) -> pa.Table:
        parts = [
            (run.run_id, found)
            for run in self._streams()
            for part in run.parts
            if (found := part.of_system()) is not None
        ]
        if not parts:
            return pa.schema(list(_SYSTEM.items())).empty_table()
        columns = "hlc + ts AS wall, key, v, s"
        points = read_points([part for _, part in parts], self._snapshot.paths, kind=SYSTEM, columns=columns)
        part = points["part"].to_numpy()
        order = np.argsort(part, kind="stable")  # run after run
        points = points.take(pa.array(order))
        return pa.table(
            {
                "run_id": pa.array([run_id for run_id, _ in parts], pa.string()).take(pa.array(part[order])),
                "time": points["wall"].cast(_TIME),
                "key": pa.array([path_text(key) for key in points["key"].to_pylist()], pa.string()),
                "value": points["v"],
                "text": points["s"].cast(pa.string()),
            },
            schema=pa.schema(list(_SYSTEM.items())),
        )

    def _console(self) -> pa.Table:
        return console_lines(self._streams(), self._snapshot.paths)

    def _facts(self) -> pa.Table:
        runs = self._snapshot.runs
        files = list(runs.load(self._run_ids).values())
        packed = written_facts(runs.packed, [part for run in files for part in run.parts])
        loose = [replace(run, parts=tuple(part for part in run.parts if not is_packed(part))) for run in files]
        found = pa.concat_tables([packed, fold_input(loose, self._snapshot.paths).events]).combine_chunks()
        names = np.array([kind.name.lower() for kind in Type])
        columns: dict[str, Any] = {
            "run_id": found["run"],
            "writer": found["writer"],
            "seq": found["seq"],
            "time": found["hlc"].cast(_TIME),
            "kind": found["kind"],
            "subject": found["subject"],
            "path": found["key"],
            "type": pa.array(names[found["t"].to_numpy()], pa.string()),
            "value": found["v"],
            "int_value": found["i"],
            "text": found["s"],
        }
        return pa.table(columns, schema=pa.schema(list(_FACTS.items())))
