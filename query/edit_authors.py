"""Who wrote edits of a project, as their writers say in their first frame."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow.compute as pc

from tracker.query.fact_files import read_fact_files
from tracker.query.snapshot import Snapshot
from tracker.storage.events import KIND_WRITER, decode_cell
from tracker.storage.names import edits_prefix, parse_edit_key

__all__ = ["edit_authors"]


def edit_authors(snapshot: Snapshot, writers: Collection[str]) -> dict[str, dict[str, Any]]:
    """By writer of edits the fields `host`, `pid`, `user`, those that it told. One listing, and one file a writer.

    Raises:
        StartOver: a listed file is gone.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    if not writers:
        return {}
    objects = {
        name: info
        for info in snapshot.store.list(edits_prefix(snapshot.entity, snapshot.project))
        if (name := parse_edit_key(info.key)) is not None and name.first == 0 and name.writer_id in writers
    }
    found: dict[str, dict[str, Any]] = {}
    for part, facts in read_fact_files(snapshot.store, snapshot.cache, objects, what="edits").pieces:
        start = f"{part.writer_id}."
        mine = facts.filter(pc.and_(pc.is_null(facts["subject"]), pc.equal(facts["kind"], KIND_WRITER)))
        for row in mine.to_pylist():
            if row["key"].startswith(start):
                value = decode_cell(row["t"], row["v"], row["i"], row["s"])
                found.setdefault(part.writer_id, {})[row["key"].removeprefix(start)] = value
    return found
