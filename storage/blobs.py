"""Ships the contents that wait beside a log: before the events that name them, so that no reader finds a name
without its bytes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.arrow_arrays import numbers, values_of
from tracker.storage.contents import ContentSource, fetch_content
from tracker.storage.errors import NotFound
from tracker.storage.events import Type
from tracker.storage.names import RunRef, blob_key
from tracker.storage.port import PutContents
from tracker.storage.staging import EMPTY_SHA256, Staging

__all__ = ["BlobShipper", "blobs_in_text", "named_blobs"]

_NAMED: Final = re.compile(r'"sha256":\s*"([0-9a-f]{64})"')
_BATCH: Final = 64  # contents on their way at once
_BATCH_BYTES: Final = 32 << 20


class BlobShipper:
    """The contents of one spool on their way. Every method may raise what the store raises, and be called again."""

    def __init__(
        self,
        spool_dir: Path,
        ref: RunRef,
        store: PutContents,
        on_put: Callable[[int], None] = lambda _: None,
        former: ContentSource | None = None,
    ) -> None:
        """`on_put`: told how many contents the store newly has. `former`: where to look for what waits here no more."""
        self._staging = Staging(spool_dir)
        self._ref, self._store, self._on_put = ref, store, on_put
        self._former = former
        self._sent: set[str] = set()  # acknowledged, while the events that name them are not

    def put(self, events: pa.Table) -> set[str]:
        """The store has the contents that `events` name and that wait here. Returns their hashes."""
        waiting = self._staging.waiting()
        named = named_blobs(events) if waiting or self._former is not None else set()
        if self._former is not None:
            for sha256 in sorted(named - waiting - {EMPTY_SHA256}):
                self._fetch(self._former, sha256)
                waiting = self._staging.waiting()
        named &= waiting
        self._put_all(sorted(named - self._sent))
        return named

    def acknowledged(self, named: Iterable[str]) -> None:
        """The store has the events too: the copies here may go."""
        for sha256 in named:
            self._staging.drop(sha256)
            self._sent.discard(sha256)

    def _fetch(self, former: ContentSource, sha256: str) -> None:
        """What the other store does not have either stays missing, as it is there."""
        path = self._staging.path(sha256)
        with contextlib.suppress(NotFound):
            fetch_content(former, self._ref.entity, self._ref.project, sha256, path)

    def _put_all(self, hashes: list[str]) -> None:
        batch: list[tuple[str, Path]] = []
        size = 0
        for sha256 in hashes:
            path = self._staging.path(sha256)
            batch.append((sha256, path))
            size += path.stat().st_size
            if size >= _BATCH_BYTES or len(batch) == _BATCH:
                self._put(batch)
                batch, size = [], 0
        self._put(batch)

    def _put(self, batch: list[tuple[str, Path]]) -> None:
        if batch:
            ref = self._ref
            self._store.put_contents([(blob_key(ref.entity, ref.project, sha256), path) for sha256, path in batch])
            self._sent.update(sha256 for sha256, _ in batch)
            self._on_put(len(batch))


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
