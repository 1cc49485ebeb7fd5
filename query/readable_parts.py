"""Which listed parts make up the answer, given that some turn out to be unreadable: choose, fetch, digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tracker.query.digest_records import DigestRecords
from tracker.query.history import PartsGone
from tracker.query.memory_cache import MemoryCache
from tracker.query.part_digest import PartDigest, PartToRead, digest_parts, join_digests
from tracker.query.part_marks import NO_MARKS, load_marks
from tracker.query.run_files import Marks, RunPart, Series
from tracker.query.set_digest import set_digest
from tracker.storage.cache import PartCache
from tracker.storage.choose import Choice, Divergence, Pick, choose_files, missing_families
from tracker.storage.errors import CorruptData, FormatTooNew, NotFound
from tracker.storage.names import PartName, encode_name
from tracker.storage.port import ObjectInfo, Store

__all__ = ["Bad", "Objects", "ReadableParts", "StartOver", "distrust", "distrusted_count", "read_parts"]

_DIGEST_BYTES: Final = 512 << 20
_FAMILIES: Final = "fhs"  # console lines are not part of any answer here

_DISTRUSTED_MAX: Final = 10_000

_digests: MemoryCache[PartDigest] = MemoryCache(_DIGEST_BYTES)
_distrusted: MemoryCache[CorruptData] = MemoryCache(_DISTRUSTED_MAX)

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
    store: Store,
    cache: PartCache,
    objects: Objects,
    packed: Mapping[tuple[str, str], int],
    upto_hlc_us: int | None = None,
) -> ReadableParts:
    """The cover of what is listed, without the frames that packs hold (`packed`: as in `choose_files`).

    Frames of an unreadable part come from smaller files while those are there; else they are missing, and the part
    stands in `bad`. With `upto_hlc_us` later events are left out, and so are parts that have no others.

    Raises:
        StartOver: frames are missing below an existing file, a listed file is gone, or a set has lost one.
    """
    bad: dict[PartName, Exception] = {
        name: error for name, info in objects.items() if (error := _distrusted.get(_object(store, info))) is not None
    }
    reader = _Reader(store, cache, objects, upto_hlc_us)
    while True:
        choice = _choose(store, objects, packed, bad)
        digests, failed = reader.digests(choice.picks, bad)
        bad |= failed
        if not failed:
            break
    for pick in choice.picks:
        digest = digests.get(pick)
        if digest is not None and pick.parts[0] not in bad and missing_families(pick, digest.footer.families):
            raise StartOver(_torn(store, objects[pick.parts[0]]))
    parts = (reader.part(pick, digests[pick]) for pick in choice.picks if pick in digests)
    return ReadableParts(tuple(part for part in parts if part is not None), bad, choice.divergences)


def distrust(store: Store, info: ObjectInfo, error: CorruptData) -> PartsGone:
    """Snapshots that are opened from now on treat the object as damaged. The error to raise: open one and ask again.

    Files with history are not read when a project is opened, so damage in one shows when it is needed.
    """
    _distrusted.put(_object(store, info), error, 1)
    return PartsGone(f"{error} Open the project again to read what else there is.")


def distrusted_count() -> int:
    """How many objects turned out to be damaged since this process began."""
    return len(_distrusted)


def _object(store: Store, info: ObjectInfo) -> tuple[object, ...]:
    return info.root or store.url, info.key, info.size_bytes, info.modified_us


@dataclass(frozen=True, slots=True)
class _LooseRecords(DigestRecords):
    """Of files. Markers come from the file with the history (`info`)."""

    store: Store
    cache: PartCache
    info: ObjectInfo

    def series(self, key: str, /) -> Series | None:
        return self.digest.series(key)

    def marks(self) -> Marks:
        if not self.digest.rows:
            return NO_MARKS
        (path,) = self.cache.fetch(self.store, [self.info])
        if path is not None:
            try:
                return load_marks(path, self.digest.first, self.digest.upto_hlc_us)
            except CorruptData as exc:
                raise distrust(self.store, self.info, exc) from exc
            except FileNotFoundError:
                pass
        raise PartsGone(f"{self.info.key} is no more in {self.store.url}: it was merged meanwhile. Try again.")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Digests of picks, from memory or made now."""

    store: Store
    cache: PartCache
    objects: Objects
    upto_hlc_us: int | None

    def part(self, pick: Pick, digest: PartDigest) -> RunPart | None:
        """None where everything in it is too late."""
        if digest.upto_hlc_us is not None and digest.first_hlc_us is None:
            return None
        held = {part.family: part for part in pick.parts}
        history = held.get("h") or held.get("e") or pick.parts[0]
        system = held.get("s") or held.get("e")
        console = held.get("c") or held.get("e")
        info = self.objects[history]
        return RunPart(
            info=info,
            run_id=digest.footer.run_id,
            writer_id=history.writer_id,
            first=pick.first,
            last=pick.last,
            is_cut=pick.is_cut,
            packed=False,
            events=digest.events,
            rows=digest.rows,
            step_first=digest.step_first,
            step_last=digest.step_last,
            plain=digest.plain,
            hlc_max_us=digest.hlc_max_us,
            upto_hlc_us=digest.upto_hlc_us,
            rollup=self.objects[held["r"]] if "r" in held else None,
            system_info=self.objects[system] if system is not None and digest.system.num_rows else None,
            console_info=self.objects[console] if console is not None else None,
            records=_LooseRecords(digest, self.store, self.cache, info),
        )

    def digests(self, picks: Sequence[Pick], bad: Bad) -> tuple[dict[Pick, PartDigest], dict[PartName, Exception]]:
        """The digest of each pick that anything can be read of; and what could not be read, beyond what is bad."""
        found: dict[Pick, PartDigest] = {}
        wanted = []
        for pick in picks:
            held = self._held(pick, bad)
            if held is None:
                wanted.append(pick)
            else:
                found[pick] = held
        failed: dict[PartName, Exception] = {}
        short = [pick for pick in wanted if self._has_rollup(pick, bad)]
        facts = self._files([(pick.parts[0], pick.first) for pick in short], failed)
        rolled: set[Pick] = set()
        for pick, digest in self._rolled(short, facts).items():
            rolled.add(pick)
            found[pick] = self._keep(pick, bad, digest)
        whole = [pick for pick in wanted if pick not in rolled]
        files = [(name, pick.first) for pick in whole for name in pick.families(_FAMILIES) if name not in bad]
        digests = self._files([one for one in files if one not in facts and one[0] not in failed], failed) | facts
        for pick in whole:
            made = [digests[name, pick.first] for name in pick.families(_FAMILIES) if (name, pick.first) in digests]
            if made:
                found[pick] = self._keep(pick, {**bad, **failed}, join_digests(made))
        return found, failed

    def _has_rollup(self, pick: Pick, bad: Bad) -> bool:
        whole = not pick.is_cut and bad.keys().isdisjoint(pick.parts)
        return whole and any(part.family == "r" for part in pick.parts)

    def _rolled(
        self, picks: Sequence[Pick], facts: Mapping[tuple[PartName, int], PartDigest]
    ) -> dict[Pick, PartDigest]:
        """Digests from rollups; a pick whose rollup is of no use is left to its other files."""
        chosen = [pick for pick in picks if (pick.parts[0], pick.first) in facts]
        rollups = [next(part for part in pick.parts if part.family == "r") for pick in chosen]
        paths = self.cache.fetch(self.store, [self.objects[part] for part in rollups]) if rollups else []
        found = {}
        for pick, rollup, path in zip(chosen, rollups, paths, strict=True):
            digest = facts[pick.parts[0], pick.first]
            if path is None:
                raise StartOver(self._gone(rollup))
            try:
                made = set_digest(digest, path, self._shown(rollup))
            except FileNotFoundError:
                raise StartOver(self._gone(rollup)) from None
            except (CorruptData, FormatTooNew):  # derived: all that it says is in the other files
                continue
            if self.upto_hlc_us is None or made.hlc_max_us <= self.upto_hlc_us:
                found[pick] = made
        return found

    def _files(
        self, files: Sequence[tuple[PartName, int]], failed: dict[PartName, Exception]
    ) -> dict[tuple[PartName, int], PartDigest]:
        """Digests of single files, from a frame on. What cannot be read goes to `failed`."""
        if not files:
            return {}
        paths = self.cache.fetch(self.store, [self.objects[name] for name, _ in files])
        for (name, _), path in zip(files, paths, strict=True):
            if path is None:
                raise StartOver(self._gone(name))
        to_read = [
            PartToRead(path, self._shown(name), first, self.upto_hlc_us)
            for (name, first), path in zip(files, paths, strict=True)
            if path is not None
        ]
        digests = {}
        for (name, first), digest in zip(files, digest_parts(to_read), strict=True):
            if isinstance(digest, FileNotFoundError):
                raise StartOver(self._gone(name))
            said = _misplaced(name, digest, self._shown(name)) if isinstance(digest, PartDigest) else digest
            if said is not None:
                failed[name] = said
            elif isinstance(digest, PartDigest):
                digests[name, first] = digest
        return digests

    def _held(self, pick: Pick, bad: Bad) -> PartDigest | None:
        found = _digests.get(self._identity(pick, bad, None))
        if found is not None and self.upto_hlc_us is not None and found.hlc_max_us > self.upto_hlc_us:
            return _digests.get(self._identity(pick, bad, self.upto_hlc_us))
        return found

    def _keep(self, pick: Pick, bad: Bad, digest: PartDigest) -> PartDigest:
        _digests.put(self._identity(pick, bad, digest.upto_hlc_us), digest, digest.size_bytes)
        return digest

    def _identity(self, pick: Pick, bad: Bad, upto_hlc_us: int | None) -> tuple[object, ...]:
        files = tuple((self.objects[name].key, self.objects[name].size_bytes) for name in pick.parts if name not in bad)
        return self.store.url, files, pick.first, upto_hlc_us

    def _shown(self, name: PartName) -> str:
        return self.objects[name].shown_in(self.store.url)

    def _gone(self, name: PartName) -> NotFound:
        return NotFound(f"{self._shown(name)} is listed, but is not there. Look for what deletes files.")


def _choose(store: Store, objects: Objects, packed: Mapping[tuple[str, str], int], bad: Bad) -> Choice:
    """The choice without the bad files for each writer that loses nothing by it; with them for the others."""
    choice = choose_files(objects, packed)
    for hole in choice.holes:
        raise StartOver(
            CorruptData(
                f"Frame {hole.frame} of writer {hole.beyond.writer_id} is in no file, but "
                f"{objects[hole.beyond].shown_in(store.url)} was written after it. "
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


def _misplaced(name: PartName, digest: PartDigest, shown: str) -> CorruptData | None:
    said = digest.footer
    found = PartName(encode_name(said.run_id), said.writer_id, said.family, said.first, said.last, said.mark)
    if found == name:
        return None
    return CorruptData(f"{shown} says of itself that it is {found.file_name} of run {said.run_id!r}. Move it back.")


def _torn(store: Store, info: ObjectInfo) -> CorruptData:
    return CorruptData(
        f"{info.shown_in(store.url)} has files of other families beside it, and one of them is gone. "
        "Restore it, or move the writer's folder out of the store."
    )
