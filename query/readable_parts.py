"""Which listed parts make up the answer, given that some turn out to be unreadable: choose, fetch, digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tracker.query.memory_cache import MemoryCache
from tracker.query.part_digest import PartDigest, PartToRead, digest_parts, join_digests
from tracker.query.run_files import RunPart
from tracker.storage.cache import PartCache
from tracker.storage.choose import Choice, Divergence, Pick, choose_files, missing_families
from tracker.storage.errors import CorruptData, NotFound
from tracker.storage.names import PartName, encode_name
from tracker.storage.port import ObjectInfo, Store

__all__ = ["Bad", "Objects", "ReadableParts", "StartOver", "read_parts"]

_DIGEST_BYTES: Final = 512 << 20
_FAMILIES: Final = "fhs"  # console lines are not part of any answer here

_digests: MemoryCache[PartDigest] = MemoryCache(_DIGEST_BYTES)

Objects = Mapping[PartName, ObjectInfo]
Bad = Mapping[PartName, Exception]


class StartOver(Exception):
    """The listing does not hold together: list again. `error` is what to raise when that stays so."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class ReadableParts:
    """Parts, ordered by run, writer and frame."""

    parts: tuple[RunPart, ...]
    bad: Bad  # what could not be read, and why
    divergences: tuple[Divergence, ...]


def read_parts(
    store: Store, cache: PartCache, objects: Objects, packed: Mapping[tuple[str, str], int]
) -> ReadableParts:
    """The cover of what is listed, without the frames that packs hold (`packed`: as in `choose_files`).

    Frames of an unreadable part come from smaller files while those are there; else they are missing, and the part
    stands in `bad`.

    Raises:
        StartOver: frames are missing below an existing file, a listed file is gone, or a set has lost one.
    """
    bad: dict[PartName, Exception] = {}
    while True:
        choice = _choose(store, objects, packed, bad)
        digests, failed = _digest_all(store, cache, objects, choice, bad)
        bad |= failed
        if not failed:
            break
    for pick in choice.picks:
        commit = digests.get((pick.parts[0], pick.first))
        if commit is not None and missing_families(pick, commit.footer.families):
            raise StartOver(_torn(store, objects[pick.parts[0]]))
    parts = (_part(objects, pick, digests) for pick in choice.picks)
    return ReadableParts(tuple(part for part in parts if part is not None), bad, choice.divergences)


def _part(objects: Objects, pick: Pick, digests: Mapping[tuple[PartName, int], PartDigest]) -> RunPart | None:
    """What can be read of a pick; None where that is nothing."""
    held = {name.family: name for name in pick.families(_FAMILIES) if (name, pick.first) in digests}
    if not held:
        return None
    digest = join_digests([digests[name, pick.first] for name in held.values()])
    history = held.get("h") or held.get("e") or next(iter(held.values()))
    system = held.get("s") or held.get("e")
    marks, rollup = digest.markers, next((part for part in pick.parts if part.family == "r"), None)
    return RunPart(
        info=objects[history],
        run_id=digest.footer.run_id,
        writer_id=history.writer_id,
        first=pick.first,
        last=pick.last,
        is_cut=pick.is_cut,
        packed=False,
        events=digests[history, pick.first].footer.rows,
        rows=len(marks),
        step_first=int(marks.step[0]) if len(marks) else None,
        step_last=int(marks.step[-1]) if len(marks) else None,
        plain=False,
        hlc_max_us=max(digest.footer.hlc_max_us, digest.footer.ts_max_us),
        upto_hlc_us=None,
        rollup=None if rollup is None else objects[rollup],
        system_info=objects[system] if system is not None and digest.system.num_rows else None,
        records=digest,
    )


def _choose(store: Store, objects: Objects, packed: Mapping[tuple[str, str], int], bad: Bad) -> Choice:
    """The choice without the bad files for each writer that loses nothing by it; with them for the others."""
    choice = choose_files(objects, packed)
    for hole in choice.holes:
        raise StartOver(
            CorruptData(
                f"Frame {hole.frame} of writer {hole.beyond.writer_id} is in no file, but "
                f"{store.url}/{objects[hole.beyond].key} was written after it. "
                "Restore what was deleted from that folder, or move the folder out of the store."
            )
        )
    if not bad:
        return choice
    spoiled = {_set_of(name) for name in bad}
    without = choose_files((name for name in objects if _set_of(name) not in spoiled), packed)
    whole, rest = _frames(choice.picks), _frames(without.picks)
    lost = {writer for writer, count in whole.items() if rest[writer] < count}
    picks = [pick for pick in without.picks if _writer(pick.parts[0]) not in lost]
    picks += [pick for pick in choice.picks if _writer(pick.parts[0]) in lost]
    picks.sort(key=lambda pick: (*_writer(pick.parts[0]), pick.first))
    return Choice(tuple(picks), (), choice.divergences)


def _writer(name: PartName) -> tuple[str, str]:
    return name.run_segment, name.writer_id


def _set_of(name: PartName) -> tuple[str, str, int, int, bool]:
    return name.run_segment, name.writer_id, name.first, name.last, name.family == "e"


def _frames(picks: Iterable[Pick]) -> Counter[tuple[str, str]]:
    count: Counter[tuple[str, str]] = Counter()
    for pick in picks:
        count[_writer(pick.parts[0])] += pick.last - pick.first + 1
    return count


def _digest_all(
    store: Store, cache: PartCache, objects: Objects, choice: Choice, bad: Bad
) -> tuple[dict[tuple[PartName, int], PartDigest], dict[PartName, Exception]]:
    """Digests of all chosen parts, from memory or made now; and what could not be read, beyond what is known as bad."""
    digests: dict[tuple[PartName, int], PartDigest] = {}
    wanted: list[tuple[PartName, int]] = []
    for pick in choice.picks:
        for name in pick.families(_FAMILIES):
            if name in bad:
                continue
            held = _digests.get(_identity(store, objects[name], pick.first))
            if held is None:
                wanted.append((name, pick.first))
            else:
                digests[name, pick.first] = held
    failed: dict[PartName, Exception] = {}
    paths = cache.fetch(store, [objects[name] for name, _ in wanted]) if wanted else []
    shown = {name: f"{store.url}/{objects[name].key}" for name, _ in wanted}
    to_read = [
        PartToRead(path, shown[name], first)
        for (name, first), path in zip(wanted, paths, strict=True)
        if path is not None
    ]
    made = digest_parts(to_read) if len(to_read) == len(wanted) else []
    gone = [name for (name, _), path in zip(wanted, paths, strict=True) if path is None]
    gone += [name for (name, _), digest in zip(wanted, made, strict=False) if isinstance(digest, FileNotFoundError)]
    if gone:
        raise StartOver(NotFound(f"{shown[gone[0]]} is listed, but is not there. Look for what deletes files."))
    for (name, first), digest in zip(wanted, made, strict=True):
        if isinstance(digest, PartDigest):
            said = _misplaced(name, digest, shown[name])
            if said is None:
                _digests.put(_identity(store, objects[name], first), digest, digest.size_bytes)
                digests[name, first] = digest
            else:
                failed[name] = said
        else:
            failed[name] = digest
    return digests, failed


def _identity(store: Store, info: ObjectInfo, first: int) -> tuple[str, str, int, int]:
    return store.url, info.key, info.size_bytes, first


def _misplaced(name: PartName, digest: PartDigest, shown: str) -> CorruptData | None:
    said = digest.footer
    found = PartName(encode_name(said.run_id), said.writer_id, said.family, said.first, said.last, said.mark)
    if found == name:
        return None
    return CorruptData(f"{shown} says of itself that it is {found.file_name} of run {said.run_id!r}. Move it back.")


def _torn(store: Store, info: ObjectInfo) -> CorruptData:
    return CorruptData(
        f"{store.url}/{info.key} has files of other families beside it, and one of them is gone. "
        "Restore it, or move the writer's folder out of the store."
    )
