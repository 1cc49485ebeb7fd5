"""Contents too large to travel in the log's stream: sent beside it, and named in the log once the store has them.

So the metrics of a run never wait behind a checkpoint of gigabytes. A note says what was promised, so that whoever
takes over after a crash keeps it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from tracker.sdk import term

if TYPE_CHECKING:
    from tracker.storage.file_facts import FileFact
    from tracker.storage.port import PutContents
    from tracker.storage.staging import Staging
    from tracker.storage.writer import RunWriter

__all__ = ["LARGE_BYTES", "LargeFiles"]

LARGE_BYTES: Final = 16 << 20
_BACKOFF_MAX_S: Final = 60.0
_IMPORTS_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Promise:
    fact: FileFact
    mtime_ns: int


class LargeFiles:
    """One thread, one content at a time. `keep(fact, mtime_ns)` writes what is in the store into the log."""

    def __init__(
        self, writer: RunWriter, store_url: str, entity: str, project: str, keep: Callable[[FileFact, int], None]
    ) -> None:
        self._writer, self._store_url = writer, store_url
        self._entity, self._project = entity, project
        self._keep = keep
        self._promises: SimpleQueue[_Promise | None] = SimpleQueue()
        self._failing_since: float | None = None
        self._given_up = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracker-large-files", daemon=True)
        self._running = self._start()

    def send(self, fact: FileFact, mtime_ns: int) -> None:
        """The content waits in the staging; the log names it when the store has it."""
        if self._running:
            self._promises.put(_Promise(fact, mtime_ns))
        else:
            self._keep(fact, mtime_ns)

    def finish(self, timeout_s: float) -> None:
        """All were sent; or, where the store fails for `timeout_s`, all are in the log: their contents go before it."""
        if not self._running:
            return
        self._promises.put(None)
        self._wake.set()
        while self._thread.is_alive():
            self._thread.join(0.2)
            failing_since = self._failing_since
            if failing_since is not None and time.monotonic() - failing_since >= timeout_s:
                self._given_up.set()
                self._wake.set()
                self._thread.join()

    def _start(self) -> bool:
        try:
            self._thread.start()
        except RuntimeError:  # Python exits
            return False
        return True

    def _run(self) -> None:
        from tracker.storage.staging import Staging

        self._writer.wait_imported(_IMPORTS_S)
        staging = Staging(self._writer.spool_dir)
        store: PutContents | None = None
        while (promise := self._promises.get()) is not None:
            failures = 0
            while not self._given_up.is_set():
                try:
                    store = store or self._open()
                    self._put(store, staging, promise)
                    break
                except Exception as exc:  # the store is away, or the disk lost what waited: the log tells readers
                    failures += 1
                    self._failed(promise, exc, failures)
            self._failing_since = None
            self._keep(promise.fact, promise.mtime_ns)

    def _open(self) -> PutContents:
        from tracker.storage.format_file import ensure_format
        from tracker.storage.stores import open_store

        store = open_store(self._store_url)
        ensure_format(store)
        return store

    def _put(self, store: PutContents, staging: Staging, promise: _Promise) -> None:
        from tracker.storage.names import blob_key

        sha256 = promise.fact.sha256
        path = staging.path(sha256)
        if path.exists():  # else another file's event was faster, and the store has it
            store.put_contents([(blob_key(self._entity, self._project, sha256), path)])

    def _failed(self, promise: _Promise, exc: Exception, failures: int) -> None:
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            term.warn(f"{promise.fact.name} waits: {exc}. It is sent again in the background.")
        wait_s = min(2.0 ** min(failures - 1, 10), _BACKOFF_MAX_S) * random.uniform(0.7, 1.3)
        if self._wake.is_set():  # the run ends
            self._given_up.wait(min(wait_s, 1.0))
        else:
            self._wake.wait(wait_s)
