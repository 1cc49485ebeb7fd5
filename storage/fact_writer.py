"""Facts that are not part of a run's own log: one small file for each call, in the store when it returns.

Like a run's writer it has a sequence of its own below a folder, only without a log on the local disk: a frame is
encoded, put, and then acknowledged. So a fact is lost only to a caller who was told so.
"""

from __future__ import annotations

import os
import random
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from tracker.storage.clock import HybridClock, wall_us
from tracker.storage.errors import CredentialsMissing, StorageUnavailable
from tracker.storage.events import Value
from tracker.storage.frames import Facts, encode_frame, pack_value
from tracker.storage.names import PartName, new_ulid
from tracker.storage.port import PutIfAbsent
from tracker.storage.writer import CLOCK

__all__ = ["PATIENCE_S", "FactStore", "FactWriter", "SubjectFact"]

PATIENCE_S: Final = 20.0
_BACKOFF_MAX_S: Final = 5.0

SubjectFact = tuple[str, str, str, Value]  # kind, subject, path, value (DELETED takes the path back)
_AnyFact = tuple[str, str | None, str, Value]  # without a subject it is about the run of the writer


class FactStore(PutIfAbsent, Protocol):
    """What a writer of facts needs of a store."""

    url: str


class FactWriter:
    """Puts frames of facts below `prefix`. Thread-safe; a forked child goes on under an identity of its own."""

    writer_id: str
    next_seq: int
    _crc: int
    _adler: int

    def __init__(
        self,
        store: FactStore,
        entity: str,
        project: str,
        prefix: str,
        *,
        run_id: str = "",
        clock: HybridClock = CLOCK,
        wall: Callable[[], int] = wall_us,
        sleep: Callable[[float], None] = time.sleep,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`run_id`: the run whose writer this is; without it every fact names its subject."""
        self._store, self._entity, self._project, self._prefix = store, entity, project, prefix
        self._run_id = run_id
        self._clock, self._wall, self._sleep, self._monotonic_s = clock, wall, sleep, monotonic_s
        self._begin()

    def put_facts(self, facts: Sequence[_AnyFact], patience_s: float) -> int:
        """Put `facts` as one frame: they hold together, from the returned stamp (us) on. Without any, nothing is put.

        Of two facts of one path the later one counts. A store that does not answer is asked again, with the same
        bytes, for `patience_s` seconds.

        Raises:
            StorageUnavailable: whether the facts count is not known. Calling again is safe.
            CredentialsMissing, KeyTaken: they do not count.
            TypeError: a value without a stored form. Nothing was put.
        """
        if not facts:
            return self._clock.last_us
        last = {(kind, subject, path): value for kind, subject, path, value in facts}
        packed: list[_AnyFact] = [
            (kind, subject, path, pack_value(value)) for (kind, subject, path), value in last.items()
        ]
        if os.getpid() != self._pid:
            with _renewing:  # two threads of a child must not both begin
                if os.getpid() != self._pid:
                    self._begin()
        with self._lock:
            if not self.next_seq:
                packed += [(kind, None, path, pack_value(value)) for kind, _, path, value in self.first_facts()]
            now_us = self._wall()
            frame = Facts(self._clock.tick(now_us), now_us, packed)
            raw = encode_frame(frame)
            crc, adler = zlib.crc32(raw, self._crc), zlib.adler32(raw, self._adler)
            name = PartName("", self.writer_id, "e", self.next_seq, self.next_seq, f"{crc:08x}{adler:08x}")
            try:
                self._put(name, self._encode(name, frame), patience_s)
            except BaseException:  # Ctrl-C too: it may or may not be there, so nothing may follow under this identity
                self._begin_writer()
                raise
            self.next_seq, self._crc, self._adler = self.next_seq + 1, crc, adler
            return frame.hlc_us

    def first_facts(self) -> Sequence[tuple[str, None, str, Value]]:
        """What the first frame says besides, of the writer itself. Nothing, unless a subclass has something to say."""
        return ()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._begin_writer()
        self._pid = os.getpid()

    def _begin_writer(self) -> None:
        self.writer_id = new_ulid(self._wall())
        self.next_seq = 0
        self._crc, self._adler = 0, 1

    def _encode(self, name: PartName, frame: Facts) -> bytes:
        from tracker import __version__
        from tracker.storage.columns import EventBuilder
        from tracker.storage.schema import PartFooter, write_events

        builder = EventBuilder()
        builder.add(name.first, frame)
        footer = PartFooter(
            entity=self._entity,
            project=self._project,
            run_id=self._run_id,
            writer_id=name.writer_id,
            family=name.family,
            first=name.first,
            last=name.last,
            mark=name.mark,
            created_by=f"tracker {__version__}",
        )
        return write_events(builder.table(), footer, level=1)

    def _put(self, name: PartName, data: bytes, patience_s: float) -> None:
        key = f"{self._prefix}{name.writer_id}/{name.file_name}"
        deadline = self._monotonic_s() + patience_s
        pause_s = 0.1
        while True:
            try:
                self._store.put_if_absent(key, data)
                return
            except CredentialsMissing:
                raise
            except StorageUnavailable:
                if self._monotonic_s() + pause_s > deadline:
                    raise
            self._sleep(pause_s * random.uniform(0.7, 1.3))
            pause_s = min(pause_s * 2, _BACKOFF_MAX_S)


_renewing = threading.Lock()


def _renew_lock() -> None:
    global _renewing
    _renewing = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
