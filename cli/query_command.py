"""`tracker query`: runs, their histories, or the answer to a SELECT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracker.cli.formats import Answer, format_named, table_records
from tracker.cli.output import check_output, write_answer
from tracker.cli.reading import Question, Reader, open_reader, open_readers, question, read_projects
from tracker.cli.runs_command import matching_records, matching_table
from tracker.cli.talk import say
from tracker.query.cells import Rows, concat_rows
from tracker.query.frames import to_arrow, to_dicts
from tracker.query.history import history_batches
from tracker.query.run_columns import column_name, flat_record
from tracker.query.runs import find_runs, visible_files
from tracker.query.snapshot import Snapshot
from tracker.query.sql_projects import SqlProjects
from tracker.query.user_sql import run_user_sql, views_named
from tracker.query.writer_columns import check_wanted, of_writers_like
from tracker.storage.errors import UsageError

__all__ = ["QueryOptions", "run_query"]

_TABLE_ROWS: Final = 100  # a table is for people; every other format has all rows
_TECHNICAL: Final = frozenset(
    {"entity", "project", "heartbeat_at", "host", "username", "commit", "summary._runtime", "summary._timestamp"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """What was asked on the command line."""

    url: Sequence[str] | None
    project: str | None
    entity: str | None
    filter_text: str | None
    order: str | None
    limit: int | None
    keys: list[str] | None
    history: bool
    samples: int | None
    rows: int | None
    sql: str | None
    sql_timeout_s: float
    sql_memory_bytes: int
    format_name: str | None
    output: Path | None
    ranks: list[str] | None = None
    hosts: list[str] | None = None


def run_query(options: QueryOptions) -> None:
    """Answer and print. Everything that can be refused without the store is refused first."""
    form = format_named(options.format_name, options.output)
    check_output(form, options.output)
    given = {
        "--samples": options.samples,
        "--rows": options.rows,
        "--rank": options.ranks,
        "--host": options.hosts,
    }
    of_history = [name for name, value in given.items() if value is not None]
    if options.sql is not None and (options.history or options.keys is not None or of_history):
        raise UsageError(
            "--sql says itself which rows and columns: "
            "leave out --history, --keys, --samples, --rows, --rank and --host."
        )
    if of_history and not options.history:
        raise UsageError(f"{of_history[0]} belongs to --history.")
    if options.keys is not None and not options.keys:
        raise UsageError("--keys names nothing. Write --keys loss,acc.")
    asked = question(options.filter_text, options.order, options.limit)
    if options.sql is not None:
        answer = _sql(options.sql, options, asked)
    else:
        with open_reader(options.url, options.project, options.entity) as reader:
            answer = _answer(reader, options, asked, by_record=form.by_record)
    if form.name == "table":
        answer = _for_people(answer, options)
    write_answer(answer, form, options.output)


def _answer(reader: Reader, options: QueryOptions, asked: Question, *, by_record: bool) -> Answer:
    if options.history:
        rows, run_ids = reader.read(lambda snapshot: _histories(snapshot, options, asked))
        names = [run_ids[n] for n in rows.run.tolist()]
        return Answer(lambda: _history_table(rows, names), lambda: _history_records(rows, names))
    if not by_record:
        table = reader.read(lambda snapshot: matching_table(snapshot, asked, options.keys))
        return Answer(lambda: table, lambda: table_records(table))
    records = reader.read(lambda snapshot: matching_records(snapshot, asked))
    found = records if options.keys is None else _selected(records, [column_name(name) for name in options.keys])
    return Answer(lambda: pa.Table.from_pylist(found), lambda: found)


def _sql(statement: str, options: QueryOptions, asked: Question) -> Answer:
    views_named(statement, dict.fromkeys(SqlProjects.NAMES))

    def answer(snapshots: list[Snapshot]) -> pa.Table:
        found = [find_runs(snapshot, asked.where, asked.order, limit=asked.limit) for snapshot in snapshots]
        views = SqlProjects([(snapshot, ids) for snapshot, (ids, _) in zip(snapshots, found, strict=True)], statement)
        limits: dict[str, Any] = {"timeout_s": options.sql_timeout_s, "memory_limit": options.sql_memory_bytes}
        return run_user_sql(statement, views, **limits)

    with open_readers(options.url, options.project, options.entity) as readers:
        table = read_projects(readers, answer)
    return Answer(lambda: table, lambda: table_records(table))


def _histories(snapshot: Snapshot, options: QueryOptions, asked: Question) -> tuple[Rows, list[str]]:
    run_ids, _ = find_runs(snapshot, asked.where, asked.order, limit=asked.limit)
    ranks, hosts = check_wanted("--rank", options.ranks), check_wanted("--host", options.hosts)
    files = [of_writers_like(run, ranks, hosts) for run in visible_files(snapshot, run_ids)]
    found: list[Rows] = []
    wanted = options.rows
    for rows in history_batches(files, snapshot.paths, keys=options.keys, samples=options.samples):
        found.append(rows if wanted is None else _first_rows(rows, wanted))
        if wanted is not None and (wanted := wanted - len(found[-1])) <= 0:
            break
    return concat_rows(found), run_ids


def _first_rows(rows: Rows, count: int) -> Rows:
    at = np.arange(min(count, len(rows)))
    return Rows(rows.run[at], {name: column.take(at) for name, column in rows.columns.items()})


def _history_table(rows: Rows, run_ids: list[str]) -> pa.Table:
    return to_arrow(rows).add_column(0, "run_id", pa.array(run_ids, pa.string()))


def _history_records(rows: Rows, run_ids: list[str]) -> Iterator[dict[str, Any]]:
    for run_id, row in zip(run_ids, to_dicts(rows), strict=True):
        yield {"run_id": run_id, **row}


def _selected(records: Sequence[dict[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    flat = [flat_record(record) for record in records]
    return [{name: row.get(name) for name in columns} for row in flat]


def _for_people(answer: Answer, options: QueryOptions) -> Answer:
    """A table that fits a screen: no empty columns, few technical ones, and the first rows with a word about the rest.

    What the call itself names (columns, number of runs or rows) is shown as named.
    """
    table = answer.table()
    if options.sql is None and options.keys is None:
        shown = [name for name in table.column_names if name not in _TECHNICAL and _says_something(table[name])]
        table = table.select(shown)
    bounds = [options.rows, options.samples] if options.history else [options.limit, options.sql]
    if table.num_rows > _TABLE_ROWS and not any(bound is not None for bound in bounds):
        option = "--rows" if options.history else "--limit"
        rest = f"For all: {option} {table.num_rows}, or --format csv."
        say(f"The first {_TABLE_ROWS} of {table.num_rows:,} rows. {rest}")
        table = table.slice(0, _TABLE_ROWS)
    return Answer(lambda: table, answer.records)


def _says_something(column: pa.ChunkedArray) -> bool:
    return any(value not in (None, []) for value in column.to_pylist())
