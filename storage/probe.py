"""Does this store refuse a second put under one key? Asked once per root and process, by trying it."""

from __future__ import annotations

import contextlib
import os
import threading

from tracker.storage.clock import wall_us
from tracker.storage.errors import KeyTaken, TrackerError
from tracker.storage.names import new_ulid
from tracker.storage.port import Store

__all__ = ["explain_missing_put_if_absent", "probe_once", "probe_put_if_absent"]

_known: dict[str, bool] = {}
_lock = threading.Lock()


def probe_put_if_absent(store: Store) -> bool:
    """Put twice under a fresh key `_probe/<ulid>`: was the second one refused? Nothing stays behind.

    Raises:
        StorageUnavailable, CredentialsMissing, NotFound: the store did not let us try.
    """
    key = f"_probe/{new_ulid(wall_us())}"
    try:
        store.put_if_absent(key, b"first")
        store.put_if_absent(key, b"second")
    except KeyTaken:
        return True
    finally:
        with contextlib.suppress(TrackerError):  # without the right to delete, 5 bytes stay: no reason to fail
            store.delete([key])
    return False


def probe_once(store: Store) -> bool:
    """As `probe_put_if_absent`, kept per root for the life of the process."""
    with _lock:
        known = _known.get(store.url)
        if known is None:
            known = _known[store.url] = probe_put_if_absent(store)
        return known


def explain_missing_put_if_absent(url: str) -> str:
    """What is lost on a store that overwrites silently, in the user's words."""
    return (
        f"{url} does not refuse to overwrite an object (no conditional put). Runs are logged and read exactly as "
        "elsewhere, because two writers never use one name. What is lost: finished runs are not packed into large "
        "files, so reading many runs costs more requests; and where two processes claim one name in the same moment, "
        "the earlier stamp wins when reading, instead of the later one being told at once."
    )


def _fresh_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_fresh_lock)
