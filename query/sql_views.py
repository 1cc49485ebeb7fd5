"""The views that user SQL sees, over chosen runs of a snapshot. Each is loaded when it is named.

runs     one row a run: the columns of `tracker.query.runs_table`
history  one row a logged row: run_id, _step, _runtime, _timestamp, and one column a metric
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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tracker.query.cells import concat_rows
from tracker.query.console_rows import CONSOLE_COLUMNS, console_lines
from tracker.query.fold_input import fold_input
from tracker.query.frames import to_arrow
from tracker.query.history import history_batches
from tracker.query.packed_records import is_packed, written_facts
from tracker.query.run_files import RunFiles, RunPart
from tracker.query.runs import load_runs, stream_files, visible_files
from tracker.query.runs_table import runs_table
from tracker.query.snapshot import Snapshot
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

    def __init__(self, snapshot: Snapshot, run_ids: Sequence[str]) -> None:
        self._snapshot = snapshot
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
        return runs_table([record.as_dict() for record in load_runs(self._snapshot, self._run_ids)])

    def _history(self) -> pa.Table:
        rows = concat_rows(list(history_batches(self._files(), self._snapshot.paths, keys=None, samples=None)))
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
        paths = self._snapshot.paths([part for _, part in parts])
        tables = [_points(run_id, part, path) for (run_id, part), path in zip(parts, paths, strict=True)]
        return pa.concat_tables([pa.schema(list(_SYSTEM.items())).empty_table(), *tables])

    def _console(self) -> pa.Table:
        return console_lines(self._streams(), self._snapshot.paths)

    def _facts(self) -> pa.Table:
        runs = self._snapshot.runs
        files = list(runs.load(self._run_ids).values())
        packed = written_facts(runs.packed, [part for run in files for part in run.parts])
        loose = [replace(run, parts=tuple(part for part in run.parts if not is_packed(part))) for run in files]
        found = pa.concat_tables([packed, fold_input(loose).events]).combine_chunks()
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


def _points(run_id: str, part: RunPart, path: object) -> pa.Table:
    """System points of one part, frames before its cut left out."""
    columns = ["seq", "hlc", "ts", "key", "v", "s"]
    found = pq.read_table(path, columns=columns, filters=[("kind", "==", SYSTEM), ("seq", ">=", part.first)])
    keys = [path_text(key) for key in found["key"].to_pylist()]
    return pa.table(
        {
            "run_id": pa.repeat(run_id, found.num_rows),
            "time": pc.add(found["hlc"], found["ts"]).cast(_TIME),
            "key": pa.array(keys, pa.string()),
            "value": found["v"],
            "text": found["s"].cast(pa.string()),
        },
        schema=pa.schema(list(_SYSTEM.items())),
    )
