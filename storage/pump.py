"""Ships a writer's log while the training runs: when to cut, how to wait after a failure, what to say.

The same loop runs as a daemon thread beside the training (`start`) and as a process (`ship.py`).
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tracker.storage.clock import wall_us
from tracker.storage.errors import TrackerError
from tracker.storage.spool import Spool
from tracker.storage.stops import find_stop

if TYPE_CHECKING:
    from tracker.storage.port import Store
    from tracker.storage.shipper import Shipper

__all__ = ["FinishReport", "Pacer", "Pump", "WriterOptions", "default_grace_s"]

Notify = Callable[[str, str], None]

_POOL: Final = "ARROW_DEFAULT_MEMORY_POOL"
_BACKOFF_MAX_S: Final = 60.0
_SLICE_S: Final = 0.0003
_PAUSE_S: Final = 0.0005
_LOCAL_GRACE_S: Final = 300.0  # longer than a network file system may show an old listing
_REMOTE_GRACE_S: Final = 3600.0  # longer than any listing of a large project takes


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterOptions:
    """How a writer keeps and ships its log. Seconds and bytes."""

    flush_min_s: float = 2.0  # a run's first flush, and the interval while it is young
    flush_max_s: float = 10.0  # the interval grows to 1 % of the run's age, up to this
    flush_bytes: int = 1 << 20  # as much waiting log flushes at once
    spool_bytes_max: int = 10 << 30  # beyond it new data is refused and counted
    heartbeat_s: float = 30.0
    shipper: Literal["thread", "process"] = "thread"
    stop_check_s: float = 15.0  # how often to look whether somebody asked this writer to stop; 0: never
    observe: bool = False  # read first how far the run's stamps go: it goes on with what other sessions began
    grace_s: float | None = None  # how long a covered file stays for readers that listed before; None: by the store


@dataclass(frozen=True, slots=True)
class FinishReport:
    """How `finish` ended: everything in the store, or how many frames wait on the local disk, and why."""

    shipped: bool
    waiting_frames: int
    reason: str | None = None


class Pacer:
    """Called between small pieces of work: after 0.3 ms of them it sleeps, so that the training gets its turn."""

    __slots__ = ("_since", "enabled")

    def __init__(self) -> None:
        self.enabled = True
        self._since = time.perf_counter()

    def __call__(self) -> None:
        if self.enabled and time.perf_counter() - self._since > _SLICE_S:
            time.sleep(_PAUSE_S)
            self._since = time.perf_counter()


class Pump:
    """Owns the shipping of one spool (whose `ship_lock` it holds) until everything is in the store."""

    def __init__(
        self,
        spool: Spool,
        options: WriterOptions,
        notify: Notify,
        *,
        log_bytes: Callable[[], int],
        heartbeat: Callable[[], None] = lambda: None,
        on_shipped: Callable[[], None] = lambda: None,
        on_stop: Callable[[str], None] = lambda _: None,
        poll_s: float | None = None,
    ) -> None:
        """`on_stop` is called at most once, with who asked the writer to stop.

        `poll_s`: how often to look at `log_bytes`; None: whoever appends calls `wake` when there is much."""
        self._spool, self._options, self._notify = spool, options, notify
        self._poll_s = poll_s
        self._log_bytes, self._heartbeat, self._on_shipped = log_bytes, heartbeat, on_shipped
        self._on_stop = on_stop
        self._stop_check_at = time.monotonic() + options.stop_check_s if options.stop_check_s else float("inf")
        self._pacer = Pacer()
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()  # put() is safe in signal handlers
        self._store: Store | None = None
        self._shipper: Shipper | None = None
        self._started = time.monotonic()
        self._failures = 0
        self._said: str | None = None
        self._finishing = False
        self.writer_died = False  # set before `begin_finish`: the log is completed for it
        self.stop = False
        self.warm = threading.Event()  # most of what shipping needs is imported
        self.imported = threading.Event()  # all of it: this thread imports nothing any more
        self.done = threading.Event()  # finished: everything is in the store
        self.reason: str | None = None  # why the last attempt failed
        self.next_seq = 0  # the store has all frames below
        self.shipped_bytes = 0
        self.shipped_blobs = 0  # contents that went
        self._thread = threading.Thread(target=self.run, name="tracker-shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Flush now."""
        self._wakes.put(None)

    def begin_finish(self) -> None:
        """No frame follows: ship the rest at full speed, merge, and end."""
        self._finishing = True
        self._pacer.enabled = False
        self.wake()

    def wait_shipped(self, seq: int, timeout_s: float | None) -> bool:
        """True: the store has all frames below `seq`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.next_seq < seq:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            self.wake()
            time.sleep(0.01)
        return True

    def run(self) -> None:
        """Until everything is shipped after `begin_finish`, or `stop` is set."""
        self._import_heavy()
        last_shipped = time.monotonic()
        quiet_s = self._options.heartbeat_s
        while not self.stop:
            self._wait_until_due()
            try:
                finishing = self._finishing  # read before shipping: nothing is appended after it was set
                moved = self._round(finishing)
            except TrackerError as exc:
                self._failed(str(exc), exc.code)
                continue
            except Exception as exc:  # a bug of ours must not take the training's data with it: say it, keep trying
                detail = traceback.format_exc(limit=-3)
                self._failed(f"{type(exc).__name__}: {exc}\n{detail}", type(exc).__name__)
                continue
            self._recovered()
            if finishing:
                self._spool.close()
                self.done.set()
                return
            now = time.monotonic()
            if now >= self._stop_check_at:
                self._look_for_stop(now)
            if moved:
                last_shipped, quiet_s = now, self._options.heartbeat_s
            elif now - last_shipped >= quiet_s:
                self._heartbeat()
                last_shipped, quiet_s = now, min(quiet_s * 1.5, max(60.0, self._options.heartbeat_s))

    def _look_for_stop(self, now: float) -> None:
        self._stop_check_at = now + self._options.stop_check_s
        owner = self._spool.owner
        if self._store is None:
            return
        try:
            by = find_stop(self._store, owner.entity, owner.project, owner.writer_id)
        except TrackerError:  # shipping meets the same, and tells it
            return
        if by is not None:
            self._stop_check_at = float("inf")
            self._on_stop(by)

    def _import_heavy(self) -> None:
        """pyarrow and numpy, with short turns at the interpreter lock: imports must not stall `log`."""
        with _short_turns(), _system_memory():
            import pyarrow.compute
            import pyarrow.parquet  # noqa: F401

            import tracker.storage.recover
            import tracker.storage.shipper  # noqa: F401
        self.warm.set()
        with _short_turns(), contextlib.suppress(Exception):  # the first flush meets the same, and tells it
            from tracker.storage.stores import open_store, warm_up

            self._store = open_store(self._spool.owner.store_url)
            warm_up(self._store)
        self.imported.set()

    def _wait_until_due(self) -> None:
        age = time.monotonic() - self._started
        options = self._options
        wait = min(max(options.flush_min_s, age / 100), options.flush_max_s)
        if self._failures:
            backoff = min(2.0 ** min(self._failures - 1, 10), _BACKOFF_MAX_S) * random.uniform(0.7, 1.3)
            wait = min(backoff, 1.0) if self._finishing else max(wait, backoff)
        elif self._finishing:
            return
        due = time.monotonic() + wait
        while (left := due - time.monotonic()) > 0 and not self.stop:
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=left if self._poll_s is None else min(self._poll_s, left))
                if not self._failures or self._finishing:
                    self._drain_wakes()
                    return
            if not self._failures and self._log_bytes() - self.shipped_bytes >= options.flush_bytes:
                return

    def _drain_wakes(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._wakes.get_nowait()

    def _round(self, finishing: bool) -> bool:
        """Ship what is waiting. True: something went."""
        shipper = self._open()
        moved = False
        while shipper.ship_once(writer_gone=finishing):
            moved = True
            self.next_seq, self.shipped_bytes = shipper.state.next_seq, shipper.shipped_bytes
            self._on_shipped()
            if not finishing and self._log_bytes() - self.shipped_bytes < self._options.flush_bytes:
                break  # what was appended meanwhile goes with the next flush, not in a file of its own
        if finishing:
            from tracker.storage.recover import keep_files, ship_all

            (ship_all if self.writer_died else keep_files)(self._spool, shipper, self._notify)
        try:
            until_s = None if finishing else time.monotonic() + self._options.flush_min_s
            while shipper.merge(at_finish=finishing, until_s=until_s):
                self._pacer()
                if until_s is not None and time.monotonic() >= until_s:
                    break  # what was appended meanwhile waits no longer
            shipper.sweep()
        except Exception:
            if not finishing:
                raise
            # everything is in the store: what stays unmerged costs a few objects, waiting for it the user's time
        if finishing:
            shipper.mark_finished()
            self.next_seq = shipper.state.next_seq
            self._on_shipped()
        return moved

    def _open(self) -> Shipper:
        if self._shipper is None:
            from tracker.storage.format_file import ensure_format
            from tracker.storage.shipper import Shipper
            from tracker.storage.stores import open_store

            store = self._store = self._store or open_store(self._spool.owner.store_url)
            ensure_format(store)
            grace = self._options.grace_s
            self._shipper = Shipper(
                self._spool,
                store,
                wall=wall_us,
                monotonic_s=time.monotonic,
                notify=self._notify,
                breathe=self._pacer,
                grace_s=default_grace_s(store.url) if grace is None else grace,
                on_blobs=self._count_blobs,
            )
            self.next_seq = self._shipper.state.next_seq
        return self._shipper

    def _count_blobs(self, count: int) -> None:
        self.shipped_blobs += count
        self._on_shipped()

    def _failed(self, text: str, code: str) -> None:
        self._failures += 1
        self.reason = text
        if self._said == code:
            return
        self._said = code
        self._notify(
            "warn",
            f"{text}\nThe run goes on; its data waits in {self._spool.path} and is sent again in the background.",
        )

    def _recovered(self) -> None:
        if self._failures:
            self._failures, self.reason, self._said = 0, None, None
            self._notify("info", f"{self._spool.owner.store_url} answers again; everything that waited was sent.")


def default_grace_s(store_url: str) -> float:
    """How long a covered file stays: readers that listed it before must have come to an end."""
    return _REMOTE_GRACE_S if "://" in store_url and not store_url.startswith(("file:", "memory:")) else _LOCAL_GRACE_S


@contextlib.contextmanager
def _system_memory() -> Iterator[None]:
    """A pyarrow that is first imported here takes memory from malloc, which gives it back: its own pool keeps 15 MB.

    Without effect where the user has imported pyarrow before, or has chosen a pool.
    """
    if _POOL in os.environ or "pyarrow" in sys.modules:
        yield
        return
    os.environ[_POOL] = "system"
    try:
        yield
    finally:
        os.environ.pop(_POOL, None)


@contextlib.contextmanager
def _short_turns() -> Iterator[None]:
    """While this thread imports or builds, other threads get the interpreter lock after 0.5 ms, not 5."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, 0.0005))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
