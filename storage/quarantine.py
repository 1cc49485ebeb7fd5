"""Moves bad objects aside: copied to `_quarantine/<time>/<key>`, the copy read back, then deleted. No byte is lost.

A bad file is moved only where readers lose nothing by it that they had: where its frames stand in other files too, or
where nothing of its writer follows. A file in the middle that is the only one stays where it is: readers leave
it out with a warning, and without it they would have to refuse the whole project.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from tracker.storage.choose import choose_files
from tracker.storage.errors import NotFound, StorageUnavailable
from tracker.storage.fsck_report import FsckReport
from tracker.storage.names import PartName, parse_event_key, parse_pack_key
from tracker.storage.port import Delete, Get, ListKeys, ObjectInfo, PutIfAbsent

__all__ = ["QUARANTINE", "list_quarantine", "repair"]

QUARANTINE: Final = "_quarantine/"  # at the root: no entity's name begins so
_MOVED: Final = frozenset({"damaged", "misplaced", "derived", "old-manifest"})
_KEPT: Final = {
    "gap": "nothing can be moved to fill it: restore the missing file from a backup",
    "torn": "its frames are in no other file: restore the file that is gone",
    "two-histories": "nobody can tell which history is right: move the wrong files out of the store",
    "missing-pack": "restore the pack's files from a backup",
    "missing-blob": "restore the blob from a backup",
    "bad-manifest": "packs could not be found without it: restore it, or an older one under a higher number",
    "bad-cover": "the pack's events are still there; keep the pack and report it",
}

Progress = Callable[[str, int, int], None]


class _Mutable(PutIfAbsent, Get, Delete, ListKeys, Protocol):
    url: str


def repair(
    store: _Mutable,
    report: FsckReport,
    *,
    now_us: int,
    dry_run: bool,
    progress: Progress = lambda *_: None,
) -> None:
    """Move aside what `report` found to be bad; fills its `moved` and `kept`. What could not be copied stays.

    Raises:
        StorageUnavailable, CredentialsMissing: as the store; what was moved by then stands in the report.
    """
    bad = [one.key for one in report.findings if one.code in _MOVED and one.key in report.listed]
    keys, kept = _movable(bad, report.listed, report.packed)
    report.kept += kept
    report.kept += [(one.key, _KEPT[one.code]) for one in report.findings if one.code in _KEPT]
    folder = f"{QUARANTINE}{time.strftime('%Y-%m-%dT%H-%M-%SZ', time.gmtime(now_us / 1e6))}/"
    for count, key in enumerate(keys):
        progress("moved", count, len(keys))
        if dry_run or _move(store, key, folder + key):
            report.moved.append((key, folder + key))
    progress("moved", len(keys), len(keys))


def list_quarantine(store: ListKeys, prefix: str) -> list[ObjectInfo]:
    """What earlier repairs moved aside from below `prefix`, oldest first."""
    return [info for info in store.list(QUARANTINE) if f"/{prefix}" in info.key]


def _movable(
    bad: Sequence[str], objects: Mapping[str, ObjectInfo], packed: Mapping[tuple[str, str], int]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Keys to move, in the order in which they may vanish, and what has to stay, with the reason."""
    parts = {name: key for key in objects if (name := parse_event_key(key)) is not None}
    bad_parts = [name for name, key in parts.items() if key in set(bad)]
    moving: list[str] = [key for key in bad if key not in set(parts.values()) and _is_free(key)]
    kept = [(key, "its pack is listed; keep it and restore it from a backup") for key in bad if _is_of_pack(key)]
    of_writer: defaultdict[tuple[str, str], set[PartName]] = defaultdict(set)
    for name in bad_parts:
        of_writer[name.run_segment, name.writer_id] |= _set_of(name, parts)
    for writer, leaving in of_writer.items():
        mine = [name for name in parts if (name.run_segment, name.writer_id) == writer]
        rest = [name for name in mine if name not in leaving]
        if choose_files(rest, packed).holes and not choose_files(mine, packed).holes:
            why = "nothing else has its frames, and later ones are there; readers leave it out with a warning"
            kept += [(parts[name], why) for name in leaving if name in bad_parts]
            continue
        order = sorted(leaving, key=lambda name: (name.first, name.family not in "ef", name.family))
        moving += [parts[name] for name in order]
    return moving, kept


def _is_free(key: str) -> bool:
    """Files of listed packs stay: only a packer may take a pack out of the manifest."""
    return "/packs/" not in key


def _is_of_pack(key: str) -> bool:
    """Not a checkpoint: those are made again (`tracker.storage.checkpoint_renew`)."""
    name = parse_pack_key(key)
    return name is not None and name[1] != "k"


def _set_of(name: PartName, parts: Mapping[PartName, str]) -> set[PartName]:
    """All files of the set: without one of them the others would be torn. A rollup goes alone."""
    if name.family in "er":
        return {name}
    return {
        other
        for other in parts
        if (other.run_segment, other.writer_id, other.first, other.last, other.mark)
        == (name.run_segment, name.writer_id, name.first, name.last, name.mark)
        and other.family != "e"
    }


def _move(store: _Mutable, key: str, target: str) -> bool:
    """False: the object was gone already."""
    try:
        data = store.get(key)
    except NotFound:
        return False
    store.put_if_absent(target, data)
    if store.get(target) != data:
        raise StorageUnavailable(f"{target} is not the same as {key}, of which it is a copy. Nothing was deleted.")
    store.delete([key])
    return True
