"""Ships the contents that wait beside a log: before the events that name them, so that no reader finds a name
without its bytes.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.arrow_arrays import numbers, values_of
from tracker.storage.events import Type
from tracker.storage.names import RunRef, blob_key
from tracker.storage.port import PutContent
from tracker.storage.staging import Staging

__all__ = ["BlobShipper", "blobs_in_text", "named_blobs"]

_NAMED: Final = re.compile(r'"sha256":\s*"([0-9a-f]{64})"')
_AT_A_TIME: Final = 8


class BlobShipper:
    """The contents of one spool on their way. Every method may raise what the store raises, and be called again."""

    def __init__(
        self, spool_dir: Path, ref: RunRef, store: PutContent, on_put: Callable[[], None] = lambda: None
    ) -> None:
        """`on_put`: called after each content that the store newly has, perhaps by several threads."""
        self._staging = Staging(spool_dir)
        self._ref, self._store, self._on_put = ref, store, on_put
        self._sent: set[str] = set()  # acknowledged, while the events that name them are not
        self.shipped_bytes = 0

    def put(self, events: pa.Table) -> set[str]:
        """The store has the contents that `events` name and that wait here. Returns their hashes."""
        waiting = self._staging.waiting()
        named = waiting & named_blobs(events) if waiting else set()
        self._put_all(sorted(named - self._sent))
        return named

    def acknowledged(self, named: Iterable[str]) -> None:
        """The store has the events too: the copies here may go."""
        for sha256 in named:
            self._staging.drop(sha256)
            self._sent.discard(sha256)

    def _put_all(self, hashes: list[str]) -> None:
        if len(hashes) < 2:
            for sha256 in hashes:
                self._put(sha256)
            return
        waiting: SimpleQueue[str] = SimpleQueue()
        for sha256 in hashes:
            waiting.put(sha256)
        failed: list[Exception] = []

        def work() -> None:
            with contextlib.suppress(Empty):
                while not failed:
                    sha256 = waiting.get_nowait()
                    try:
                        self._put(sha256)
                    except Exception as exc:  # raised below, by whoever asked
                        failed.append(exc)

        helpers = []
        for _ in range(min(_AT_A_TIME, len(hashes)) - 1):
            helper = threading.Thread(target=work, name="tracker-blobs", daemon=True)
            try:
                helper.start()  # no executor: those refuse work once the interpreter ends, which is when runs end
            except RuntimeError:
                break
            helpers.append(helper)
        work()
        for helper in helpers:
            helper.join()
        if failed:
            raise failed[0]

    def _put(self, sha256: str) -> None:
        path = self._staging.path(sha256)
        size = path.stat().st_size
        self._store.put_content(blob_key(self._ref.entity, self._ref.project, sha256), path)
        self._sent.add(sha256)
        self.shipped_bytes += size
        self._on_put()


def named_blobs(events: pa.Table) -> set[str]:
    """Hashes of all contents that values of these events (columns `t` and `s`) name."""
    found: set[str] = set()
    for batch in events.select(["t", "s"]).to_batches():
        at = np.flatnonzero(values_of(batch.column(0)) == Type.JSON)
        if not len(at):
            continue
        texts = batch.column(1).take(numbers(at, pa.int64()))
        for text in texts.filter(pc.match_substring(texts, '"sha256"')).to_pylist():
            found |= blobs_in_text(text)
    return found


def blobs_in_text(text: str) -> set[str]:
    """Hashes of the contents that a value's JSON names: those of dicts with `_type`."""
    return set(_NAMED.findall(text)) if '"_type"' in text else set()
