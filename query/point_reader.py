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

_NO_LIMIT: Final = 2**63 - 1
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

    Frames before a part's cut, events later than it counts, and rows and frames beyond its limits are left out.
    Events of one file come in its order, those of one writer in the order of its parts. Several parts may read the
    same events, each up to its own limits.

    Raises:
        PartsGone: start over with a fresh listing.
        KeyboardInterrupt: at once, while DuckDB works.
    """
    groups: defaultdict[tuple[bool, str, int | None], list[int]] = defaultdict(list)
    for n, part in enumerate(parts):
        groups[part.whole is not None, part.info.key if part.packed else "", part.upto_hlc_us].append(n)
    tables = []
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], not group[0][1], group[0][1]))
    for (_, pack, upto), numbers in ordered:
        members = [parts[n] for n in numbers]
        found = _read(members, paths, bool(pack), upto, kind, columns, where, dict(params or {}))
        at = np.asarray(numbers)[found["part"].to_numpy()]
        tables.append(found.set_column(found.schema.get_field_index("part"), "part", pa.array(at)))
    names = tables[0].column_names
    joined = pa.concat_tables([table.select(names) for table in tables]).combine_chunks()
    if len(tables) > 1 and not _in_turn(parts, [numbers for _, numbers in ordered]):
        order = np.argsort(joined["part"].to_numpy(), kind="stable")
        joined = joined.take(pa.array(order)).combine_chunks()
    return joined


def _in_turn(parts: Sequence[RunPart], groups: Sequence[Sequence[int]]) -> bool:
    """Whether each writer's parts come in their order when the groups are read one after the other.

    They do not where a later pack has a lesser name, or where limits put an earlier part into a later group.
    """
    turn = {n: at for at, numbers in enumerate(groups) for n in numbers}
    last: dict[tuple[str, str], int] = {}
    for n, part in enumerate(parts):
        owner = part.run_id, part.writer_id
        if turn[n] < last.get(owner, 0):
            return False
        last[owner] = turn[n]
    return True


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
    readers, several = _readers(parts)  # of each source the parts that read it
    files = paths(parts[:1] if packed else [parts[found[0]] for found in readers])
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
    steps = [part.upto_step for part in parts if part.upto_step is not None]
    if len(steps) == len(parts):
        tests.append("step <= $upto_step")
        params["upto_step"] = max(steps)
    head = "run, writer" if packed else "file_index::INTEGER AS part"
    cut = any(part.is_cut or part.upto_seq is not None for part in parts)
    seq, step = ", seq AS cut_seq" if cut else "", ", step AS cut_step" if steps else ""
    statement = f"SELECT {head}, {columns}{seq}{step} FROM read_parquet($paths) WHERE {' AND '.join(tests)}"
    table = _fetch(statement, params, parts, files)
    if packed:
        number = _numbers(table, [parts[found[0]] for found in readers])
        table = table.drop_columns(["run", "writer"]).append_column("part", pa.array(number))
        table = table if (number >= 0).all() else table.filter(pa.array(number >= 0))
    if several:
        table = _for_each(table, readers)
    if cut or steps:
        table = _within(table, parts)
    return table


def _readers(parts: Sequence[RunPart]) -> tuple[list[list[int]], bool]:
    """Of each writer in each file the parts that read it (several runs may have begun in it); whether any are more."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for n, part in enumerate(parts):
        found.setdefault((part.info.key, part.run_id, part.writer_id), []).append(n)
    return list(found.values()), len(found) < len(parts)


def _for_each(table: pa.Table, readers: Sequence[Sequence[int]]) -> pa.Table:
    """The events once for each part that reads them: `part` was the number of what is read, and is that of the part."""
    source = table["part"].to_numpy()
    places, numbers = [], []
    for turn in range(max(len(found) for found in readers)):
        of_source = np.array([found[turn] if turn < len(found) else -1 for found in readers])
        number = of_source[source]
        at = np.flatnonzero(number >= 0)
        places.append(at)
        numbers.append(number[at])
    column = table.schema.get_field_index("part")
    return table.take(pa.array(np.concatenate(places))).set_column(column, "part", pa.array(np.concatenate(numbers)))


def _within(table: pa.Table, parts: Sequence[RunPart]) -> pa.Table:
    """Without what is outside of the parts' limits, and without the columns that say so."""
    part = table["part"].to_numpy()
    kept = np.ones(len(part), bool)
    if "cut_seq" in table.column_names:
        seq = table["cut_seq"].to_numpy()
        kept &= seq >= np.array([one.first if one.is_cut else 0 for one in parts])[part]
        kept &= seq <= np.array([_NO_LIMIT if one.upto_seq is None else one.upto_seq for one in parts])[part]
    if "cut_step" in table.column_names:
        limit = np.array([_NO_LIMIT if one.upto_step is None else one.upto_step for one in parts])[part]
        column = table["cut_step"]
        kept &= (column.fill_null(-_NO_LIMIT) if column.null_count else column).to_numpy() <= limit
    names = [name for name in table.column_names if name not in ("cut_seq", "cut_step")]
    return table.select(names).filter(pa.array(kept))


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
