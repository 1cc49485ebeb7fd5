"""`tracker runs list` and `tracker runs show`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracker.cli.formats import Answer, format_named, plain, table_records
from tracker.cli.output import check_output, write_answer
from tracker.cli.reading import Question, open_reader, question
from tracker.cli.text_table import cell_text
from tracker.query.run_columns import RUN_COLUMNS, flat_record
from tracker.query.runs import RunRecord, find_runs, load_runs
from tracker.query.runs_table import runs_table
from tracker.query.snapshot import Snapshot
from tracker.storage.errors import NotFound, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["list_runs", "matching_records", "matching_table", "ordered_record", "show_run"]

_LISTED: Final = ("id", "name", "state", "created_at", "duration", "group", "job_type", "tags")


def list_runs(
    url: Sequence[str] | None,
    project: str | None,
    entity: str | None,
    filter_text: str | None,
    order: str | None,
    limit: int | None,
    format_name: str | None,
    output: Path | None,
) -> None:
    """Print the matching runs without their config and summary."""
    form = format_named(format_name, output)
    check_output(form, output)
    asked = question(filter_text, order, limit)
    with open_reader(url, project, entity) as reader:
        table = reader.read(lambda snapshot: matching_table(snapshot, asked, _LISTED))
    write_answer(Answer(lambda: table, lambda: table_records(table)), form, output)


def show_run(
    run: str, url: Sequence[str] | None, project: str | None, entity: str | None, format_name: str | None
) -> None:
    """Print one run: its fields, then config, then summary."""
    if format_name not in (None, "table", "json"):
        raise UsageError(f'Unknown format "{format_name}". Known: table, json.')
    *above, run_id = run.strip("/").split("/")
    if len(above) > 2 or not run_id:
        raise UsageError(f'"{run}" is no run. Give its id, project/id or entity/project/id.')
    if above:
        project = above[-1]
        entity = above[0] if len(above) == 2 else entity
    with open_reader(url, project, entity, run_id=run_id) as reader:
        found = reader.read(lambda snapshot: load_runs(snapshot, [run_id]))
    if not found:
        raise NotFound(f'Run "{run_id}" is deleted. See: tracker log, tracker runs restore')
    shown = ordered_record(found[0])
    print(json.dumps(plain(shown), indent=2, ensure_ascii=False) if format_name == "json" else _lines(shown))


def matching_table(snapshot: Snapshot, asked: Question, columns: Sequence[str] | None) -> pa.Table:
    """The matching runs in order, as `tracker.query.runs_table` shows them."""
    run_ids, _ = find_runs(snapshot, asked.where, asked.order, limit=asked.limit)
    return runs_table(snapshot, run_ids, columns)


def matching_records(snapshot: Snapshot, asked: Question) -> list[dict[str, Any]]:
    """The matching runs in order, with the values that they have themselves: fields, `config` and `summary`."""
    run_ids, _ = find_runs(snapshot, asked.where, asked.order, limit=asked.limit)
    return [ordered_record(record) for record in load_runs(snapshot, run_ids)]


def ordered_record(record: RunRecord) -> dict[str, Any]:
    """The fields in the order of RUN_COLUMNS, then config and summary."""
    shown = record.as_dict()
    return {name: shown[name] for name in (*RUN_COLUMNS, "config", "summary")}


def _lines(record: Mapping[str, Any]) -> str:
    flat = flat_record(record)
    shown = [name for name, value in flat.items() if name not in RUN_COLUMNS or value not in (None, [])]
    width = max(map(len, shown))
    return "\n".join(f"{name:{width}}  {cell_text(flat[name])}".rstrip() for name in shown)
