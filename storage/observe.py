"""What a session that goes on with a run must have seen of it, so that what it writes wins over what is there.

Its machine's clock may be behind that of the machine before. So the greatest stamps of the run, of its project's
edits and packs are read before the first one is given: three listings, a manifest, and the footer of each writer's
last file.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, Protocol

from tracker.storage.clock import HybridClock
from tracker.storage.errors import TrackerError
from tracker.storage.names import PartName, RunRef, edits_prefix, parse_edit_key, parse_part_key, run_prefix
from tracker.storage.port import Get, ListKeys, LocalPath, ObjectInfo

__all__ = ["observe_run", "observe_within"]

_FOOTERS_MAX: Final = 32
_TAIL_BYTES: Final = 64 << 10


class _Readable(Get, ListKeys, LocalPath, Protocol):
    """What is asked of the store."""


def observe_within(timeout_s: float, store_url: str, ref: RunRef, clock: HybridClock) -> bool:
    """`observe_run`; after `timeout_s` seconds it is left to go on in the background. False: not yet, or not at all.

    A store that does not answer is no error here: whoever ships meets it too, and tells it.
    """
    done = threading.Event()

    def run() -> None:
        from tracker.storage.stores import open_store

        with suppress(TrackerError, OSError):
            store = open_store(store_url)
            try:
                observe_run(store, ref, clock)
                done.set()
            finally:
                store.close()

    thread = threading.Thread(target=run, name="tracker-observe", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return done.is_set()


def observe_run(store: _Readable, ref: RunRef, clock: HybridClock) -> None:
    """Every stamp that `clock` gives from now on is greater than those of the run and of edits of its project.

    Stamps more than a day ahead of the store's clock are left alone.

    Raises:
        StorageUnavailable, CredentialsMissing, NotFound: as the store.
        CorruptData, FormatTooNew: a manifest cannot be read.
    """
    from tracker.storage.manifest import newest_manifest

    parts = store.list(run_prefix(ref))
    edits = store.list(edits_prefix(ref.entity, ref.project))
    manifest = newest_manifest(store, ref.entity, ref.project)
    store_now_us = max([manifest.modified_us, *(info.modified_us for info in (*parts, *edits))])
    named = [(name, info) for info in parts if (name := parse_part_key(info.key)) is not None]
    named += [(name, info) for info in edits if (name := parse_edit_key(info.key)) is not None]
    stamps = [checkpoint.hlc_max_us for checkpoint in manifest.checkpoints]
    stamps += [purged.hlc_us for purged in manifest.purged if purged.run_id == ref.run_id]
    for stamp_us in (*stamps, *_last_stamps(store, _last_files(named))):
        clock.observe(stamp_us, store_now_us)


def _last_files(named: Iterable[tuple[PartName, ObjectInfo]]) -> list[ObjectInfo]:
    """The files with each writer's last frame, of those writers that came last."""
    writers: dict[str, list[tuple[PartName, ObjectInfo]]] = {}
    for name, info in named:
        held = writers.setdefault(name.writer_id, [])
        if held and held[0][0].last < name.last:
            held.clear()
        if not held or held[0][0].last == name.last:
            held.append((name, info))
    found = sorted((info for held in writers.values() for _, info in held), key=lambda info: info.modified_us)
    return found[-_FOOTERS_MAX:]


def _last_stamps(store: _Readable, infos: Iterable[ObjectInfo]) -> Iterator[int]:
    for info in infos:
        with suppress(TrackerError, OSError):  # a reader tells what is bad
            tail = _tail(store, info)
            yield _footer_number(tail, b"hlc_max_us") or _footer_number(tail, b"ts_max_us")


def _tail(store: _Readable, info: ObjectInfo) -> bytes:
    begin = max(0, info.size_bytes - _TAIL_BYTES)
    path = store.local_path(info.key)
    if path is None:
        return store.get_range(info.key, begin, info.size_bytes)
    with path.open("rb") as file:
        file.seek(begin)
        return file.read()


def _footer_number(tail: bytes, field: bytes) -> int:
    """A number among the key-value metadata of a Parquet footer, 0 where there is none.

    Text in the footer stands as it is: the key, then 0x18 (the next field is text), its length in one byte, the value.
    So nobody has to import a Parquet library, which takes longer than a session takes to begin.

    Source: KeyValue of parquet.thrift, in the Thrift compact protocol.
    """
    found = re.search(rb"tracker\." + field + rb"\x18([\x01-\x13])(\d+)", tail, re.DOTALL)
    return int(found[2][: found[1][0]]) if found else 0
