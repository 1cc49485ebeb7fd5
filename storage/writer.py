"""One writer of one run: what the SDK holds. Frames go into the spool at once, the shipper follows behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tracker.storage.clock import HybridClock, wall_us
from tracker.storage.events import KIND_WRITER
from tracker.storage.frames import Facts, Log, Points, RowMark, encode_frame, pack_value
from tracker.storage.names import RunRef, new_ulid
from tracker.storage.observe import observe_within
from tracker.storage.pump import FinishReport, Pump, WriterOptions
from tracker.storage.spool import ShipState, Spool, on_tmpfs, read_hlc, write_hlc
from tracker.storage.wal import WalWriter

__all__ = ["CLOCK", "FinishReport", "RunWriter", "ShipSide", "WriterOptions", "append_facts", "close_open_row"]

CLOCK = HybridClock()  # one a process: what one writer (or a reader that then writes) has seen, all have seen
_tick = CLOCK.tick

_WARM_WAIT_S = 0.08
_OBSERVE_S = 2.0
_LARGE_BYTES = 100_000  # of one call of `log`: said once, never refused (HIST-19)
Notify = Callable[[str, str], None]


class ShipSide(Protocol):
    """What a writer needs of whoever ships: a thread (`Pump`) or a process (`ShipProcess`)."""

    next_seq: int  # the store has all frames below
    shipped_bytes: int
    shipped_blobs: int  # contents that went, so far
    reason: str | None
    done: threading.Event
    stop: bool

    def start(self) -> None: ...
    def wake(self) -> None: ...
    def begin_finish(self) -> None: ...
    def wait_shipped(self, seq: int, timeout_s: float | None) -> bool: ...


class RunWriter:
    """Numbers its frames 0, 1, 2, ...; nobody else ever writes into its log.

    Thread-safe. Disk trouble never raises into the training: calls are refused, said once, counted.
    """

    def __init__(self, spool: Spool, options: WriterOptions, notify: Notify, directory: Path) -> None:
        self.spool_dir = spool.path
        self.files_dir = spool.files_dir
        self.writer_id = spool.owner.writer_id
        self._directory = directory
        self._spool, self._options, self._notify = spool, options, notify
        self.lock = threading.RLock()  # of whoever appends; callers may hold it over several calls
        self._wal = WalWriter(spool.path)
        self._limit = options.spool_bytes_max
        self._flush_at = options.flush_bytes
        self._look_at = 0  # below so many bytes of log there is nothing to look at but the log itself
        self._refused = 0
        self._refusing = False
        self._said_large = False
        self._closed = False
        self.on_stop: Callable[[str], None] = lambda _: None  # called once, with who asked this writer to stop
        self._ship: ShipSide = self._make_shipper()

    @classmethod
    def open(
        cls, *, dir: Path, time_name: str, ref: RunRef, store_url: str, options: WriterOptions, notify: Notify
    ) -> RunWriter:
        """A fresh writer with its spool `<dir>/run-<time_name>-<id>-<writer>/` and a running shipper.

        No network, except with `options.observe`: then it waits for a short while for what the store has of the run.

        Raises:
            OSError: the spool cannot be made in `dir`.
        """
        CLOCK.observe(read_hlc(dir))
        if options.observe:
            observe_within(_OBSERVE_S, store_url, ref, CLOCK)
        begun_us = max(wall_us(), CLOCK.last_us + 1000)  # ids of writers tell the time in whole milliseconds
        spool = Spool.create(dir, time_name, ref, new_ulid(begun_us), store_url)
        if on_tmpfs(spool.path):
            notify("warn", f"{spool.path} lies in memory (tmpfs): what is not yet sent dies with the machine.")
        writer = cls(spool, options, notify, dir)
        writer._ship.start()
        warm = getattr(writer._ship, "warm", None)
        if warm is not None:  # import most of what ships before the training begins, but never hold `init` up for long
            warm.wait(_WARM_WAIT_S)
        return writer

    @property
    def next_seq(self) -> int:
        """Frames appended so far."""
        return self._wal.next_seq

    @property
    def shipped_frames(self) -> int:
        """Frames, from the first on, that the store has."""
        return self._ship.next_seq

    def shipped_at_s(self) -> float | None:
        """Unix seconds: when the store last took frames of this log; None: not yet."""
        return self._spool.noted_at_s() if self.shipped_frames else None

    def log(self, ts_us: int, row: int, step: int, cells: dict[str, Any], closes: list[RowMark]) -> bool:
        """Append one call of `log`. True: the kernel has it. False: refused (said once, counted).

        Raises:
            OverflowError, UnicodeEncodeError, TypeError: a value that needs `frames.pack_value`; nothing was written.
        """
        with self.lock:
            return self.log_locked(ts_us, row, step, cells, closes)

    def log_locked(self, ts_us: int, row: int, step: int, cells: dict[str, Any], closes: list[RowMark]) -> bool:
        """As `log`, for a caller that holds `lock`."""
        # the bytes of a frames.Log, without making one: a tuple costs less, and this is the hot path
        payload = encode_frame(("h", _tick(ts_us), ts_us, row, step, cells, closes))
        if len(payload) > _LARGE_BYTES:
            self._say_large(len(payload))
        wal = self._wal
        if wal.total_bytes >= self._look_at:
            return self._append(payload)
        try:
            wal.append(payload)
        except OSError as exc:
            self._refuse(exc)
            return False
        return True

    def write_facts(self, facts: list[tuple[str, str | None, str, Any]], ts_us: int | None = None) -> bool:
        """Append facts (kind, subject or None for the run, path, value) that hold together, as one frame."""
        ts = wall_us() if ts_us is None else ts_us
        packed = [(kind, subject, path, pack_value(value)) for kind, subject, path, value in facts]
        with self.lock:
            return self._append(encode_frame(Facts(CLOCK.tick(ts), ts, packed)))

    def write_points(self, kind: str, cells: dict[str, Any], ts_us: int | None = None) -> bool:
        """Append points of one time that belong to no row: SYSTEM metrics or CONSOLE lines by key, as one frame."""
        ts = wall_us() if ts_us is None else ts_us
        packed = {key: pack_value(value) for key, value in cells.items()}
        with self.lock:
            return self._append(encode_frame(Points(CLOCK.tick(ts), ts, kind, packed)))

    def wait_imported(self, timeout_s: float) -> bool:
        """Wait until the shipper's thread imports nothing any more: a fork in between would copy a half-done import."""
        imported: threading.Event | None = getattr(self._ship, "imported", None)
        return imported is None or imported.wait(timeout_s)

    def request_flush(self) -> None:
        """Ship what is there soon; returns at once. Safe in a signal handler."""
        self._ship.wake()

    def flush(self, timeout_s: float | None) -> bool:
        """Wait until the store has everything appended before the call. False: not within `timeout_s`."""
        return self._ship.wait_shipped(self._wal.next_seq, timeout_s)

    def finish(self, timeout_s: float) -> FinishReport:
        """Close the log and wait until the store has it, giving up after `timeout_s` seconds without progress.

        What is not shipped stays in the spool; a later `tracker sync` or `init` ships it.
        """
        with self.lock:
            if not self._closed:
                self._closed, self._look_at = True, 0
                self._wal.close()
        self._ship.begin_finish()
        seen, deadline = self._moved(), time.monotonic() + timeout_s
        while not self._ship.done.wait(0.05):
            now = time.monotonic()
            if self._moved() != seen:
                seen, deadline = self._moved(), now + timeout_s
            if now >= deadline:
                break
        write_hlc(self._directory, CLOCK.last_us)
        waiting = self._wal.next_seq - self._ship.next_seq
        shipped = self._ship.done.is_set() or waiting <= 0
        return FinishReport(shipped, max(waiting, 0), None if shipped else self._ship.reason or "no answer yet")

    def _moved(self) -> tuple[int, int]:
        """Changes as long as the store takes something."""
        return self._ship.next_seq, self._ship.shipped_blobs

    def abandon_in_child(self) -> None:
        """After fork, in the child: drop the inherited descriptors. The parent goes on undisturbed."""
        self.lock = threading.RLock()
        self._closed, self._look_at = True, 0
        self._wal.forget()
        self._spool.close()
        self._ship.stop = True

    def _append(self, payload: bytes) -> bool:
        if self._closed:
            return False
        try:
            if self._wal.total_bytes - self._ship.shipped_bytes >= self._limit:
                raise OSError(f"the limit of {self._limit / 2**30:.1f} GiB for data that waits is reached")
            self._wal.append(payload)
        except OSError as exc:
            self._refuse(exc)
            return False
        if self._wal.total_bytes >= self._flush_at:
            self._flush_at = self._wal.total_bytes + self._options.flush_bytes
            self._ship.wake()
        if self._refusing:
            self._resume()
        self._look_at = min(self._flush_at, self._ship.shipped_bytes + self._limit)
        return True

    def _say_large(self, size_bytes: int) -> None:
        if not self._said_large:
            self._said_large = True
            self._notify(
                "warn",
                f"One call of log had {size_bytes:,} bytes. It is kept whole, but values of more than {_LARGE_BYTES:,} "
                "bytes slow the training down; a file or fewer elements serve better. This is said once.",
            )

    def _refuse(self, exc: OSError) -> None:
        self._refused += 1
        self._look_at = 0
        if not self._refusing:
            self._refusing = True
            self._notify(
                "error",
                f"Cannot write to {self.spool_dir}: {exc.strerror or exc}. What is logged now is refused and counted, "
                "what was logged before is safe. Make room on that disk; logging then goes on by itself.",
            )

    def _resume(self) -> None:
        """Space came back: record how many calls were refused, so that the gap shows in the run."""
        self._refusing = False
        ts = wall_us()
        fact = (KIND_WRITER, None, f"{self.writer_id}.refused", self._refused)
        try:
            self._wal.append(encode_frame(Facts(CLOCK.tick(ts), ts, [fact])))
        except OSError as exc:
            self._refusing = True
            self._notify("error", f"{self.spool_dir}: {exc}")
            return
        self._notify("warn", f"{self.spool_dir} can be written again. {self._refused} calls were refused meanwhile.")

    def _make_shipper(self) -> ShipSide:
        if self._options.shipper == "process":
            from tracker.storage.ship import ShipProcess

            return ShipProcess(
                self._spool, self._options, self._notify, heartbeat=self._beat, on_stop=lambda by: self.on_stop(by)
            )
        if not self._spool.ship_lock.try_acquire():
            raise OSError(f"{self.spool_dir} was just made and is being shipped by somebody else")
        return Pump(
            self._spool,
            self._options,
            self._notify,
            log_bytes=lambda: self._wal.total_bytes,
            heartbeat=self._beat,
            on_shipped=lambda: write_hlc(self._directory, CLOCK.last_us),
            on_stop=lambda by: self.on_stop(by),
        )

    def _beat(self) -> None:
        if os.getpid() == self._spool.owner.pid and not self._closed:
            self.write_facts([(KIND_WRITER, None, f"{self.writer_id}.heartbeat", wall_us())])


def append_facts(spool: Spool, state: ShipState, facts: list[tuple[str, str | None, str, Any]]) -> None:
    """Add a frame to the log of a dead process, all of which is shipped. The caller owns the spool."""
    CLOCK.observe(read_hlc(spool.path.parent))
    packed = [(kind, subject, path, pack_value(value)) for kind, subject, path, value in facts]
    wal = WalWriter(spool.path, next_seq=state.next_seq)
    try:
        wal.append(encode_frame(Facts(CLOCK.tick(), wall_us(), packed)))
    finally:
        wal.close()


def close_open_row(spool: Spool, state: ShipState) -> None:
    """Give the row that a dead process left open its marker and flag the writer. The caller owns the spool."""
    if state.open_row is None:
        return
    row, step, ts_us = state.open_row
    started_us = ts_us if state.run_start_us is None else state.run_start_us
    CLOCK.observe(read_hlc(spool.path.parent))
    mark = RowMark(row, step, ts_us, max(ts_us - started_us, 0) / 1e6)
    fact = (KIND_WRITER, None, f"{spool.owner.writer_id}.recovered", True)
    wal = WalWriter(spool.path, next_seq=state.next_seq)
    try:
        wal.append(encode_frame(Log(CLOCK.tick(), ts_us, row, step, {}, [mark])))
        wal.append(encode_frame(Facts(CLOCK.tick(), wall_us(), [fact])))
    finally:
        wal.close()
