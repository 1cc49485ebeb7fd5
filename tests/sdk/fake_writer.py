"""A writer in memory: encodes as the real one does, keeps the frames, ships nowhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from tracker.storage.events import DELETED, Fact, decode_cell, encode_cell, unflatten
from tracker.storage.fold import RunState, WriterSpan, fold_run
from tracker.storage.frames import Facts, Log, Points, RowMark, decode_frame, encode_frame, pack_value, unpack_value
from tracker.storage.names import RunRef, new_ulid
from tracker.storage.writer import FinishReport, WriterOptions


class FakeWriter:
    """`opened` lists all of them, oldest first."""

    opened: ClassVar[list[FakeWriter]] = []

    def __init__(self, spool_dir: Path, ref: RunRef, store_url: str, options: WriterOptions) -> None:
        self.spool_dir, self.files_dir = spool_dir, spool_dir / "files"
        self.ref, self.store_url, self.options = ref, store_url, options
        self.writer_id = new_ulid(time.time_ns() // 1000)
        self.frames: list[Log | Facts | Points] = []
        self.finished_with: float | None = None
        self.report = FinishReport(True, 0)
        self.flushes = 0
        self.on_stop: Callable[[str], None] = lambda _: None
        self.before_log: Callable[[], None] = lambda: None
        self.lock = threading.RLock()

    @classmethod
    def open(
        cls, *, dir: Path, time_name: str, ref: RunRef, store_url: str, options: WriterOptions, notify: Any
    ) -> FakeWriter:
        _ = notify
        writer = cls(dir / f"run-{time_name}-{ref.run_id}-fake", ref, store_url, options)
        writer.files_dir.mkdir(parents=True, exist_ok=True)
        cls.opened.append(writer)
        return writer

    @property
    def next_seq(self) -> int:
        return len(self.frames)

    @property
    def shipped_frames(self) -> int:
        return len(self.frames)

    def shipped_at_s(self) -> float | None:
        return time.time() if self.frames else None

    def log_locked(self, ts_us: int, row: int, step: int, cells: dict[str, Any], closes: list[RowMark]) -> bool:
        self.before_log()
        return self._append(Log(ts_us, ts_us, row, step, cells, closes))

    def write_facts(self, facts: list[tuple[str, str | None, str, Any]], ts_us: int | None = None) -> bool:
        ts = time.time_ns() // 1000 if ts_us is None else ts_us
        return self._append(Facts(ts, ts, [(k, s, p, pack_value(v)) for k, s, p, v in facts]))

    def write_points(self, kind: str, cells: dict[str, Any], ts_us: int | None = None) -> bool:
        ts = time.time_ns() // 1000 if ts_us is None else ts_us
        return self._append(Points(ts, ts, kind, {key: pack_value(value) for key, value in cells.items()}))

    def wait_imported(self, timeout_s: float) -> bool:
        return True

    def request_flush(self) -> None:
        self.flushes += 1

    def flush(self, timeout_s: float | None) -> bool:
        _ = timeout_s
        self.flushes += 1
        return True

    def finish(self, timeout_s: float) -> FinishReport:
        self.finished_with = timeout_s
        return self.report

    def abandon_in_child(self) -> None:
        self.frames = []

    def _append(self, frame: Log | Facts | Points) -> bool:
        decoded = decode_frame(encode_frame(frame))
        assert isinstance(decoded, Log | Facts | Points)
        self.frames.append(decoded)
        return True

    # what tests ask

    def rows(self) -> list[tuple[int, dict[str, Any]]]:
        """(step, cells) of the committed rows, in the order of their numbers; paths as stored."""
        cells: dict[int, dict[str, Any]] = {}
        steps: dict[int, int] = {}
        for frame in self.frames:
            if isinstance(frame, Log):
                cells.setdefault(frame.row, {}).update({key: plain(value) for key, value in frame.cells.items()})
                for mark in frame.closes:
                    assert mark.row not in steps, "a row was ended twice"
                    steps[mark.row] = mark.step
        return [(step, cells.get(row, {})) for row, step in sorted(steps.items())]

    def marks(self) -> list[RowMark]:
        return [mark for frame in self.frames if isinstance(frame, Log) for mark in frame.closes]

    def printed(self) -> list[tuple[str, str]]:
        """(key, text) of the console points, in order."""
        return [
            (key, plain(value))
            for frame in self.frames
            if isinstance(frame, Points) and frame.kind == "console"
            for key, value in frame.cells.items()
        ]

    def facts(self) -> list[Fact]:
        return [
            Fact(
                kind=kind, subject=self.ref.run_id, path=path, value=plain(value),
                hlc_us=frame.hlc_us, writer_id=self.writer_id, seq=seq,
            )
            for seq, frame in enumerate(self.frames)
            if isinstance(frame, Facts)
            for kind, _, path, value in frame.facts
        ]  # fmt: skip

    def points(self) -> list[Fact]:
        """The last committed value of each key, as facts."""
        committed = {mark.row for mark in self.marks()}
        last = {
            key: Fact(
                kind="summary", subject=self.ref.run_id, path=key, value=plain(value),
                hlc_us=frame.hlc_us, writer_id=self.writer_id, seq=seq,
            )
            for seq, frame in enumerate(self.frames)
            if isinstance(frame, Log) and frame.row in committed
            for key, value in frame.cells.items()
        }  # fmt: skip
        return list(last.values())

    def folded(self) -> RunState:
        """The run as a reader sees it now."""
        stamps = [frame.hlc_us for frame in self.frames]
        spans = {self.writer_id: WriterSpan(self.writer_id, min(stamps), max(stamps))}
        state = fold_run(self.facts(), self.points(), spans, time.time_ns() // 1000)
        assert state is not None
        return state

    def stored(self, kind: str) -> dict[str, Any]:
        """The live leaves of a kind, as nested dicts."""
        return unflatten(list(self.folded().live.get(kind, {}).items()))

    def own(self, field: str) -> Any:
        """The last value of `<writer>.<field>`."""
        path = f"{self.writer_id}.{field}"
        return next((fact.value for fact in reversed(self.facts()) if fact.path == path), None)


def plain(packed: Any) -> Any:
    """The value that a reader gets back."""
    value = unpack_value(packed)
    return value if value is DELETED else decode_cell(*encode_cell(value))
