"""Asking a run's writer to stop: one small object a writer, `claims/stop/<writer>.json`, which its shipper looks for.

A request is never taken back and never deleted; a later session of the run has another writer.
"""

from __future__ import annotations

import json
from typing import Protocol

from tracker.storage.errors import KeyTaken, NotFound
from tracker.storage.names import project_prefix
from tracker.storage.port import Get, PutIfAbsent

__all__ = ["find_stop", "request_stop", "stop_key"]


class _StopStore(Get, PutIfAbsent, Protocol):
    """The verbs that this needs."""


def stop_key(entity: str, project: str, writer_id: str) -> str:
    """Where the request to this writer lies."""
    return f"{project_prefix(entity, project)}claims/stop/{writer_id}.json"


def request_stop(store: _StopStore, entity: str, project: str, writer_id: str, *, by: str, now_us: int) -> None:
    """The writer's process will be told to stop. Asking again changes nothing.

    `by`: who asks, for the message there. `now_us`: wall time, microseconds.

    Raises:
        StorageUnavailable: whether the request counts is not known; asking again is safe.
    """
    data = json.dumps({"by": by, "at_us": now_us}).encode()
    try:
        store.put_if_absent(stop_key(entity, project, writer_id), data)
    except KeyTaken:
        return  # somebody has asked before


def find_stop(store: Get, entity: str, project: str, writer_id: str) -> str | None:
    """Who asked this writer to stop; None: nobody did.

    Raises:
        StorageUnavailable, CredentialsMissing: as the store.
    """
    try:
        asked = json.loads(store.get(stop_key(entity, project, writer_id)))
    except NotFound:
        return None
    except ValueError:
        return "somebody"
    return str(asked.get("by") or "somebody") if isinstance(asked, dict) else "somebody"
