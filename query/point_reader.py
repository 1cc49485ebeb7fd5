"""Events of one kind out of local part files, by DuckDB. Never anything but local paths is handed to it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from tracker.query.connection import connection
from tracker.query.history_plan import PartsGone, Paths
from tracker.query.interrupts import interruptible
from tracker.query.run_files import RunPart

__all__ = ["read_points"]

_LISTED_MAX: Final = 64  # more words than this are looked up in a list, which no statistics can prune


def read_points(
    parts: Sequence[RunPart],
    paths: Paths,
    *,
    kind: str,
    columns: str,
    where: str = "",
    params: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Events of `parts` as SQL `columns` of them, and `part`, the number of the part; one chunk a column.

    Frames before a part's cut and events later than it counts are left out. Events of one file come in its order,
    those of packs before those of a writer's own files.

    Raises:
        PartsGone: start over with a fresh listing.
        KeyboardInterrupt: at once, while DuckDB works.
    """
    groups: defaultdict[tuple[str, int | None], list[int]] = defaultdict(list)
    for n, part in enumerate(parts):
        groups[part.info.key if part.packed else "", part.upto_hlc_us].append(n)
    tables = []
    for (pack, upto), numbers in sorted(groups.items(), key=lambda group: (not group[0][0], group[0][0])):
        members = [parts[n] for n in numbers]
        found = _read(members, paths, bool(pack), upto, kind, columns, where, dict(params or {}))
        at = np.asarray(numbers)[found["part"].to_numpy()]
        tables.append(found.set_column(found.schema.get_field_index("part"), "part", pa.array(at)))
    names = tables[0].column_names
    return pa.concat_tables([table.select(names) for table in tables]).combine_chunks()


def _read(
    parts: list[RunPart],
    paths: Paths,
    packed: bool,
    upto_hlc_us: int | None,
    kind: str,
    columns: str,
    where: str,
    params: dict[str, Any],
) -> pa.Table:
    files = paths(parts[:1] if packed else parts)
    params |= {"paths": [str(path) for path in files], "kind": kind}
    tests = ["kind = $kind", *([where] if where else [])]
    if upto_hlc_us is not None:
        tests.append("hlc <= $upto")
        params["upto"] = upto_hlc_us
    if packed:
        runs = sorted({part.run_id for part in parts})
        if len(runs) <= _LISTED_MAX:
            params |= {f"run{n}": run for n, run in enumerate(runs)}
            tests.append(f"run IN ({', '.join(f'$run{n}' for n in range(len(runs)))})")
        else:
            params["runs"] = runs
            tests.append("list_contains($runs, run)")
    head = "run, writer" if packed else "file_index::INTEGER AS part"
    cut = any(part.is_cut for part in parts)
    seq = ", seq AS cut_seq" if cut else ""
    statement = f"SELECT {head}, {columns}{seq} FROM read_parquet($paths) WHERE {' AND '.join(tests)}"
    table = _fetch(statement, params, parts, files)
    if packed:
        number = _numbers(table, parts)
        table = table.drop_columns(["run", "writer"]).append_column("part", pa.array(number))
        table = table if (number >= 0).all() else table.filter(pa.array(number >= 0))
    if cut:
        firsts = np.array([part.first if part.is_cut else 0 for part in parts])
        kept = table["cut_seq"].to_numpy() >= firsts[table["part"].to_numpy()]
        table = table.drop_columns(["cut_seq"]).filter(pa.array(kept))
    return table


def _fetch(statement: str, params: dict[str, Any], parts: list[RunPart], files: list[Path]) -> pa.Table:
    con = connection()
    try:
        return interruptible(con, lambda: con.sql(statement, params=params).to_arrow_table())
    except duckdb.IOException as exc:
        gone = [part.info.key for part, path in zip(parts, files, strict=False) if not os.path.exists(path)]
        if not gone:
            raise
        raise PartsGone(f"{gone[0]} was deleted while it was read. Try again.") from exc


def _numbers(table: pa.Table, parts: list[RunPart]) -> np.ndarray:
    """The part of each event, -1 where its run has other writers in the pack that nobody asked for."""
    wanted: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for n, part in enumerate(parts):
        wanted[part.run_id][part.writer_id] = n
    (runs, run), (writers, writer) = _words(table["run"]), _words(table["writer"])
    pair = run.astype(np.int64) * max(len(writers), 1) + writer
    pairs, which = np.unique(pair, return_inverse=True)
    found = [
        wanted.get(runs[code // len(writers)], {}).get(writers[code % len(writers)], -1) for code in pairs.tolist()
    ]
    return np.array(found, np.int64)[which] if found else np.empty(0, np.int64)


def _words(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    array = column.combine_chunks().dictionary_encode()
    return array.dictionary.to_pylist(), array.indices.to_numpy(zero_copy_only=False)
