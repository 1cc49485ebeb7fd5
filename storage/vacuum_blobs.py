"""By hand: contents that nothing names any more go, once nobody can be about to name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tracker.storage.fsck import check_project
from tracker.storage.names import blobs_prefix, parse_blob_key
from tracker.storage.port import ObjectInfo, Store

__all__ = ["CONTENT_AGE_S", "BlobVacuum", "vacuum_blobs"]

CONTENT_AGE_S: Final = 7 * 24 * 3600.0
_AT_ONCE: Final = 500


@dataclass(slots=True)
class BlobVacuum:
    """What went, or with `dry_run` would go."""

    dry_run: bool = False
    blobs: int = 0
    blob_bytes: int = 0
    young: int = 0  # that nothing names, put lately: perhaps somebody is about to name them
    notes: list[str] = field(default_factory=list)


def vacuum_blobs(
    store: Store,
    entity: str,
    project: str,
    *,
    store_now_us: int,
    age_s: float = CONTENT_AGE_S,
    dry_run: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> BlobVacuum:
    """Delete contents that no value of the project names and that were put more than `age_s` ago by the store's clock.

    Every event is read for it. Whoever ships contents puts old ones again (port.FRESH_US), so what is about to be named
    is young. Where anything of the project is damaged or cannot be read, nothing is deleted: it may name them.

    Raises:
        NotFound, StorageUnavailable, CredentialsMissing: as the store.
    """
    report = BlobVacuum(dry_run=dry_run)
    checked = check_project(store, entity, project, progress=progress, blobs=False)
    doubts = sorted({one.code for one in checked.findings if one.level == "error" or one.code in _DOUBTFUL})
    if doubts:
        report.notes.append(
            f"Contents of {entity}/{project} stay: what names them cannot be read as a whole ({', '.join(doubts)}). "
            "See: tracker fsck"
        )
        return report

    def is_free(info: ObjectInfo) -> bool:
        sha256 = parse_blob_key(info.key)
        return sha256 is not None and sha256 not in checked.named

    def is_old(info: ObjectInfo) -> bool:
        return bool(info.modified_us) and store_now_us - info.modified_us >= age_s * 1e6

    free = [info for info in store.list(blobs_prefix(entity, project)) if is_free(info)]
    old = [info for info in free if is_old(info)]
    report.young = len(free) - len(old)
    report.blobs, report.blob_bytes = len(old), sum(info.size_bytes for info in old)
    if not dry_run:
        for at in range(0, len(old), _AT_ONCE):
            store.delete([info.key for info in old[at : at + _AT_ONCE]])
    return report


_DOUBTFUL: Final = frozenset({"too-new", "changing", "quarantine"})
