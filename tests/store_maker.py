"""Writers made by hand: frames in, parts out, cut and merged as a test wants it. No spool, no shipper, no thread."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracker.storage.columns import EventBuilder
from tracker.storage.events import JsonText, flatten, join_path
from tracker.storage.frames import Facts, Frame, Log, Points, RowMark, encode_frame, pack_value
from tracker.storage.merge import merge_parts, put_merged
from tracker.storage.merge_input import MergeInput
from tracker.storage.names import PartName, RunRef, encode_name, new_ulid, run_prefix
from tracker.storage.port import Store
from tracker.storage.schema import PartFooter, write_events
from tracker.storage.stores import open_store

T0 = 1_790_000_000_000_000  # 2026-09-21, microseconds


@dataclass
class MadeWriter:
    """One session of one run. Times grow by a second per frame; `put` makes a part of frames first..last."""

    store: Store
    ref: RunRef
    number: int = 0  # tells writers apart and orders their ids
    start_us: int = T0
    opens: bool = True  # it opens a generation
    rank: str | None = None
    frames: list[Frame] = field(default_factory=list)
    now_us: int = 0
    shipped: int = 0
    row: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        self.now_us = self.now_us or self.start_us
        self.id = new_ulid(self.start_us, self.number.to_bytes(10))

    @property
    def prefix(self) -> str:
        return f"{run_prefix(self.ref)}{self.id}/"

    def begin(
        self,
        attrs: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        extra: list[tuple[str, str, Any]] | None = None,
    ) -> MadeWriter:
        """The first frame: the session, attributes, config, and `extra` facts (kind, path, value)."""
        said = {
            "generation": self.id if self.opens else None,
            "job": None,
            "rank": self.rank,
            "started_at": self.now_us,
            "state": "running",
        }
        facts = [("writer", f"{self.id}.{name}", value) for name, value in said.items()]
        facts += [("attr", name, value) for name, value in (attrs or {}).items()]
        facts += [("config", path, value) for path, value in flatten(config or {})]
        return self.facts(*facts, *(extra or []))

    def facts(self, *facts: tuple[str, str, Any]) -> MadeWriter:
        rows = [(kind, None, path, pack_value(value)) for kind, path, value in facts]
        return self.add(Facts(self._tick(), self.now_us, rows))

    def branch(self, parent: MadeWriter, step: int, pinned: dict[str, int], *, of: str | None = None) -> MadeWriter:
        """The first frame of a life that begins in the one that `parent` opened (`of`: or in that one)."""
        value = {"run": parent.ref.run_id, "generation": parent.id if of is None else of, "step": step}
        return self.begin(extra=[("branch", self.id, JsonText(json.dumps(value | {"writers": pinned})))])

    def log(
        self, data: dict[str, Any], step: int | None = None, *, commit: bool = True, row: int | None = None
    ) -> MadeWriter:
        """One row's cells. Nested dicts are flattened; `row` writes into another row than the open one."""
        if step is not None:
            self.step = step
        number = self.row if row is None else row
        cells = {path: pack_value(value) for path, value in flatten(data)}
        closes = [RowMark(number, self.step, self.now_us + 1_000_000, self._runtime_s())] if commit else []
        self.add(Log(self._tick(), self.now_us, number, self.step, cells, closes))
        if commit:
            self.row = max(self.row, number + 1)
            self.step += 1
        return self

    def system(self, values: dict[str, Any]) -> MadeWriter:
        cells = {join_path((name,)): pack_value(value) for name, value in values.items()}
        return self.add(Points(self._tick(), self.now_us, "system", cells))

    def end(self, state: str = "finished", exit_code: int = 0) -> MadeWriter:
        self.facts(
            ("writer", f"{self.id}.state", state),
            ("writer", f"{self.id}.exit_code", exit_code),
            ("writer", f"{self.id}.ended_at", self.now_us),
        )
        return self.put()

    def add(self, frame: Frame) -> MadeWriter:
        self.frames.append(frame)
        return self

    def put(self, first: int | None = None, last: int | None = None) -> MadeWriter:
        """An `e` part of frames first..last; by default of all that are in none yet."""
        first = self.shipped if first is None else first
        last = len(self.frames) - 1 if last is None else last
        if first <= last:
            self.store.put_if_absent(f"{self.prefix}{self.name(first, last).file_name}", self.encode(first, last))
            self.shipped = max(self.shipped, last + 1)
        return self

    def merge(self, first: int, last: int, *, whole_families: bool = True) -> list[str]:
        """Files that replace all parts of first..last (which must be there), by family; returns their keys."""
        from tracker.storage import merge

        before = merge._SMALL_EVENTS
        merge._SMALL_EVENTS = -1 if whole_families else before
        try:
            whole = MergeInput((self.name(first, last),), first, {"e": pa.py_buffer(self.encode(first, last))})
            with tempfile.TemporaryDirectory() as directory:
                merged = merge_parts([whole], self.footer(first, last), directory=Path(directory))
                for file in merged:
                    put_merged(self.store, f"{self.prefix}{file.name.file_name}", file)
        finally:
            merge._SMALL_EVENTS = before
        return [f"{self.prefix}{file.name.file_name}" for file in merged]

    def encode(self, first: int, last: int) -> bytes:
        return write_events(self.events(first, last), self.footer(first, last))

    def events(self, first: int, last: int) -> pa.Table:
        builder = EventBuilder()
        for seq in range(first, last + 1):
            builder.add(seq, self.frames[seq])
        return builder.table()

    def footer(self, first: int, last: int) -> PartFooter:
        return PartFooter(
            entity=self.ref.entity,
            project=self.ref.project,
            run_id=self.ref.run_id,
            writer_id=self.id,
            family="e",
            first=first,
            last=last,
            mark=self.mark(last),
        )

    def name(self, first: int, last: int, family: str = "e") -> PartName:
        return PartName(encode_name(self.ref.run_id), self.id, family, first, last, self.mark(last))

    def key(self, first: int, last: int, family: str = "e") -> str:
        return f"{self.prefix}{self.name(first, last, family).file_name}"

    def mark(self, last: int) -> str:
        chain = hashlib.sha256()
        for frame in self.frames[: last + 1]:
            chain.update(encode_frame(frame))
        return chain.hexdigest()[:16]

    def _tick(self) -> int:
        self.now_us += 1_000_000
        return self.now_us

    def _runtime_s(self) -> float:
        return (self.now_us + 1_000_000 - self.start_us) / 1e6


def made_run(
    store: Store | str,
    run_id: str,
    rows: list[dict[str, Any]] | None = None,
    *,
    project: str = "p",
    entity: str = "main",
    config: dict[str, Any] | None = None,
    attrs: dict[str, Any] | None = None,
    state: str = "finished",
    start_us: int = T0,
) -> MadeWriter:
    """A whole run in one part; a row's `_step` sets its step. state `running` leaves it unfinished."""
    store = open_store(store) if isinstance(store, str) else store
    number = int.from_bytes(hashlib.sha256(f"{entity}/{project}/{run_id}".encode()).digest()[:8])
    writer = MadeWriter(store, RunRef(entity, project, run_id), number, start_us)
    writer.begin({"name": run_id} | (attrs or {}), config)
    for row in rows or []:
        writer.log({key: value for key, value in row.items() if key != "_step"}, row.get("_step"))
    return writer.put() if state in ("running", "crashed") else writer.end(state, int(state != "finished"))
