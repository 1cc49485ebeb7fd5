"""Whether a root can be written to and read from: tried with one small object, which does not stay."""

from __future__ import annotations

import contextlib
import threading
from typing import Final

from tracker.errors import AuthenticationError, CommError, CredentialsMissing, Error
from tracker.storage.clock import wall_us
from tracker.storage.names import new_ulid

__all__ = ["verify_root"]

_TIMEOUT_S: Final = 30.0
_TEXT: Final = b"tracker was here to see whether this root can be written to and read from"


def verify_root(root: str, timeout_s: float | None = None) -> None:
    """Returns when an object was put below `root`, read back and deleted.

    Raises:
        AuthenticationError: the store refused us, or credentials are missing.
        CommError: no answer within `timeout_s` (None: 30 seconds), no such bucket, or other bytes came back.
    """
    failed: list[Exception] = []
    limit_s = _TIMEOUT_S if timeout_s is None else timeout_s

    def attempt() -> None:
        try:
            _probe(root)
        except Exception as exc:  # told below, in the caller's thread
            failed.append(exc)

    thread = threading.Thread(target=attempt, name="tracker-verify", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise CommError(f"{root} did not answer within {limit_s:g} seconds. Check the network and the endpoint.")
    if failed:
        exc = failed[0]
        if isinstance(exc, CredentialsMissing):
            raise AuthenticationError(str(exc), exc) from exc
        raise CommError(f"{root} can not be used: {exc}", exc) from exc


def _probe(root: str) -> None:
    from tracker.storage.stores import open_store

    store = open_store(root)
    key = f"_probe/{new_ulid(wall_us())}"
    try:
        store.put_if_absent(key, _TEXT)
        try:
            if store.get(key) != _TEXT:
                raise CommError("other bytes came back than were written")
        finally:
            with contextlib.suppress(Error):  # without the right to delete, the probe stays: no reason to fail
                store.delete([key])
    finally:
        store.close()
