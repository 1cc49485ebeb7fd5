"""Tags are one list in the store: who changes it says all of it. So that of two who change it at once nobody loses.

The list that is stored is the newest one, changed in the same way. Read again afterwards, what others wrote meanwhile
without having seen it is put together with it, and what came of that is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pyarrow.compute as pc

from tracker.apis.public.run_edits import attr_edits, write_edits
from tracker.apis.public.three_ways import merge_tags
from tracker.query.snapshot import Snapshot
from tracker.storage.edits import Edit
from tracker.storage.events import KIND_ATTR, decode_cell

__all__ = ["tag_lists", "unseen_tags", "write_with_tags"]

_TAGS: Final = "tags"
_ROUNDS_MAX: Final = 10

Stamp = tuple[str, int]  # writer, seq
Read = Callable[[], tuple[Snapshot, Sequence[str]]]  # the run as it is now, and its tags


def write_with_tags(
    run_id: str, edits: list[Edit], settled: Sequence[str], mine: Sequence[str], read: Read, *, patience_s: float
) -> None:
    """Store `edits`, and what makes the tags `settled` the tags `mine`.

    Raises:
        NoSuchRun: as `read`. StorageUnavailable: whether it is stored is not known; calling again is safe.
    """
    before, known = read()
    wanted = merge_tags(settled, mine, known)
    edits = edits + attr_edits(run_id, {_TAGS: list(known)}, {_TAGS: wanted})
    for _ in range(_ROUNDS_MAX):
        if not edits:
            return
        written_us = write_edits(before, edits, patience_s=patience_s)
        after, shown = read()
        merged = merge_tags(known, wanted, shown)
        merged += unseen_tags(known, merged, before, after, run_id, written_us)
        edits = attr_edits(run_id, {_TAGS: list(shown)}, {_TAGS: merged}) if set(merged) != set(shown) else []
        before, known, wanted = after, shown, merged


def unseen_tags(
    known: Sequence[str], merged: Sequence[str], before: Snapshot, after: Snapshot, run_id: str, written_us: int
) -> list[str]:
    """Tags beyond `merged` that others added to `known` between the two snapshots, whoever's list counts now.

    What is missing in their lists they removed, or had not seen: only what they add is sure. `written_us`: of our own.
    """
    seen = tag_lists(before, run_id)
    lists = [tags for stamp, tags in tag_lists(after, run_id, written_us).items() if stamp not in seen]
    added = dict.fromkeys(tag for tags in lists for tag in tags)
    return [tag for tag in added if tag not in known and tag not in merged]


def tag_lists(snapshot: Snapshot, run_id: str, but_us: int | None = None) -> dict[Stamp, list[str]]:
    """Lists of tags that edits of this run store, oldest first, but for what was stored at `but_us`."""
    edits = snapshot.edits
    about = pc.and_(pc.equal(edits["run"], run_id), pc.equal(edits["kind"], KIND_ATTR))
    found = edits.filter(pc.and_(about, pc.equal(edits["key"], _TAGS))).to_pylist()
    found.sort(key=lambda row: (row["hlc"], row["writer"], row["seq"]))
    lists = {(row["writer"], row["seq"]): decode_cell(row["t"], row["v"], row["i"], row["s"])
             for row in found if row["hlc"] != but_us}  # fmt: skip
    return {stamp: tags for stamp, tags in lists.items() if isinstance(tags, list)}
