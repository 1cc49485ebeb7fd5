"""Asking a run's writer to stop: one small object a writer, `claims/stop/<writer>.json`, which its shipper looks for.

A request is never taken back and never deleted; a later session of the run has another writer.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Protocol

from tracker.storage.errors import KeyTaken, NotFound
from tracker.storage.names import project_prefix
from tracker.storage.port import Get, ListKeys, PutIfAbsent

__all__ = ["find_stop", "find_stops", "request_stop", "stop_key"]


class _StopStore(Get, PutIfAbsent, Protocol):
    """The verbs that asking needs."""


class _ListedStops(Get, ListKeys, Protocol):
    """The verbs that reading all requests needs."""


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
        asked = _parsed(store.get(stop_key(entity, project, writer_id)))
    except NotFound:
        return None
    return str(asked.get("by") or "somebody")


def find_stops(
    store: _ListedStops, entity: str, project: str, writers: Collection[str]
) -> dict[str, tuple[str, int]]:
    """Which of these writers were asked to stop: by whom, and when (microseconds; 0: not told). One listing.

    Raises:
        StorageUnavailable, CredentialsMissing: as the store.
    """
    listed = {info.key for info in store.list(f"{project_prefix(entity, project)}claims/stop/")}
    found = {}
    for writer_id in writers:
        key = stop_key(entity, project, writer_id)
        if key in listed:
            asked = _parsed(store.get(key))
            at_us = asked.get("at_us")
            found[writer_id] = str(asked.get("by") or "somebody"), at_us if type(at_us) is int else 0
    return found


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(data)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}
