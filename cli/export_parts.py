"""What an export consists of: tables that are read while they are written, and the contents of files.

Where parts are merged and deleted meanwhile, reading goes on with what replaces them; no row comes twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from tracker.apis.public.histories import going_rows, stream_rows
from tracker.cli.runs_command import ordered_record
from tracker.cli.talk import warn
from tracker.query.frames import to_dicts
from tracker.query.history import PartsGone
from tracker.query.run_file_rows import RunFileRow, run_file_rows
from tracker.query.runs import load_runs
from tracker.query.runs_table import runs_reader
from tracker.query.snapshot import Snapshot
from tracker.query.sql_views import VIEW_COLUMNS, SqlViews
from tracker.storage.downloads import Download, download_all
from tracker.storage.errors import TrackerError
from tracker.storage.names import blob_key, encode_name
from tracker.storage.targets import targets_of

__all__ = ["Exported", "export_files", "export_reader", "export_records"]

_PAGE_RUNS: Final = 500
_PAGE_EVENTS: Final = 500_000
_ATTEMPTS_MAX: Final = 4
_FIRST: Final = ("run_id", "_step", "_runtime", "_timestamp")  # columns of the history, then the others by name


@dataclass(frozen=True, slots=True)
class Exported:
    """Which runs, in order, of which snapshot; and a fresh one of the same project."""

    snapshot: Snapshot
    again: Callable[[], Snapshot]
    run_ids: list[str]

    def pages(self, ask: Callable[[Snapshot, list[str]], Any]) -> Iterator[Any]:
        """`ask` of some runs after the others: so many that their events fit into memory, or one run."""
        snapshot, left, attempts = self.snapshot, self.run_ids, 0
        while left:
            page = _page(snapshot, left)
            try:
                found = ask(snapshot, page) if page else None
            except PartsGone:
                attempts += 1
                if attempts == _ATTEMPTS_MAX:
                    raise
                snapshot = self.again()
                left = [run_id for run_id in left if run_id in snapshot.runs]
                continue
            if found is not None:
                yield found
            left = left[max(len(page), 1) :]


def export_reader(name: str, of: Exported) -> pa.RecordBatchReader:
    """One of the tables runs, history, system, console and facts, read as it is consumed."""
    if name == "runs":
        return runs_reader(of.snapshot, of.run_ids, again=of.again)
    if name == "history":
        found = stream_rows(of.snapshot, of.again, of.run_ids, keys=None, x_axis="_step", samples=None)
        names = [*(one for one in _FIRST if one in found.schema.names)]
        names += [one for one in found.schema.names if one not in _FIRST]
        schema = pa.schema([found.schema.field(one) for one in names])
        return pa.RecordBatchReader.from_batches(schema, (batch.select(names) for batch in found))
    schema = pa.schema(list(VIEW_COLUMNS[name].items()))
    return pa.RecordBatchReader.from_batches(schema, _view_batches(name, of, schema))


def export_records(name: str, of: Exported) -> Iterator[dict[str, Any]]:
    """The rows of `export_reader` as dicts: values as they were logged, and only each row's own keys."""
    if name == "runs":
        for records in of.pages(load_runs):
            yield from (ordered_record(record) for record in records)
    elif name == "history":
        for rows in going_rows(of.snapshot, of.again, of.run_ids, keys=None, x_axis="_step", samples=None):
            for number, row in zip(rows.run.tolist(), to_dicts(rows), strict=True):
                yield {"run_id": of.run_ids[number], **row}
    else:
        for batch in export_reader(name, of):
            yield from batch.to_pylist()


def _view_batches(name: str, of: Exported, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for table in of.pages(lambda snapshot, page: SqlViews(snapshot, page)[name]):
        yield from table.cast(schema).to_batches()


def _page(snapshot: Snapshot, run_ids: Sequence[str]) -> list[str]:
    """The first of these runs, as many as fit; without those that are gone."""
    held = snapshot.runs.load(run_ids[:_PAGE_RUNS])
    page, events = list[str](), 0
    for run_id in run_ids[:_PAGE_RUNS]:
        if run_id not in held:
            if not page:
                return []
            break
        events += sum(part.events for part in held[run_id].parts)
        if page and events > _PAGE_EVENTS:
            break
        page.append(run_id)
    return page


def export_files(of: Exported, root: Path, on_done: Callable[[Download], None]) -> list[TrackerError]:
    """The files of each run lie below `root/<run>/`; what could not be had of a run, which is left out and told.

    A run's folder is its id as the store writes it. What is there already with the same contents is not fetched again.
    """
    failed: list[TrackerError] = []

    def fetch(snapshot: Snapshot, page: list[str]) -> None:
        for run_id in page:
            rows = run_file_rows(snapshot, run_id)
            try:
                if rows:
                    download_all(snapshot.store, _downloads(snapshot, root, run_id, rows), "replace", on_done=on_done)
            except PartsGone:
                raise
            except TrackerError as exc:
                warn(f"files of {run_id}: {exc}")
                failed.append(exc)

    deque(of.pages(fetch), maxlen=0)
    return failed


def _downloads(snapshot: Snapshot, root: Path, run_id: str, rows: Sequence[RunFileRow]) -> list[Download]:
    """Raises RefusedTarget: a name would lead out of the run's folder."""
    targets = targets_of(root / encode_name(run_id), [row.name for row in rows])
    return [
        Download(
            target=target,
            sha256=row.fact.sha256,
            size=row.fact.size,
            key=blob_key(snapshot.entity, snapshot.project, row.fact.sha256),
            text=None if row.fact.text is None else row.fact.text.encode("utf-8", "surrogatepass"),
        )
        for row, target in zip(rows, targets, strict=True)
    ]
