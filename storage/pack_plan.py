"""What to pack, which packs to merge and what may be deleted: pure functions over listings and covers.

Ages are by the store's clock alone (times of objects in a listing against the time of an object put just now). An
object whose time the store does not say is taken for new, so nothing is packed or deleted on its account.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tracker.storage.choose import Pick, choose_files
from tracker.storage.manifest import Manifest, Pack
from tracker.storage.names import FAMILIES, PartName
from tracker.storage.port import ObjectInfo

__all__ = [
    "Coverage",
    "Held",
    "PackRules",
    "WriterPlan",
    "covered_by_packs",
    "covered_by_sets",
    "group_writers",
    "plan_checkpoint",
    "plan_pack_merge",
    "plan_writers",
    "settled_number",
]

_FAN_IN: Final = 16
_WRITERS_MAX: Final = 32_000  # in a pack: what it says of each is in memory while it is made
_TIER_BYTES: Final = 64 << 10  # packs below are of one tier; each further tier is 16 times as large
_CHECKPOINT_SMALL_BYTES: Final = 256 << 10  # rewriting one below costs nothing
_CHECKPOINT_FAN_IN: Final = 4  # an older checkpoint is at least so many times as large as what follows it
_CHECKPOINT_BYTES_MAX: Final = 24 << 20  # a larger one is left alone: merging it would take too much memory

WriterKey = tuple[str, str]  # run segment, writer
Objects = Mapping[PartName, ObjectInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRules:
    """When a writer is packed, and how large things get. Times in microseconds."""

    quiet_us: int  # a writer without a new file for so long goes into a pack, whether it ended or not
    ended_quiet_us: int  # one that said that it ended
    writer_bytes_max: int = 64 << 20  # a larger writer stays loose: its own sets are as good as a pack
    pack_bytes_max: int = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterPlan:
    """Frames of one writer that may be packed: what `picks` choose, contiguous to what packs hold already."""

    run_segment: str
    writer_id: str
    picks: tuple[Pick, ...]
    size_bytes: int  # of the picked files
    must_have_ended: bool  # silent too short a time for anything else

    @property
    def first(self) -> int:
        return self.picks[0].first

    @property
    def last(self) -> int:
        return self.picks[-1].last

    @property
    def mark(self) -> str:
        return self.picks[-1].parts[0].mark


@dataclass(frozen=True, slots=True, order=True)
class Held:
    """Frames first..last of a writer lie in `pack`; `mark` is that of `last`."""

    first: int
    last: int
    mark: str
    pack: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What some packs hold: per writer its extents in order of frames."""

    extents: Mapping[WriterKey, tuple[Held, ...]]

    @staticmethod
    def of(found: Iterable[tuple[WriterKey, Held]]) -> Coverage:
        grouped: defaultdict[WriterKey, list[Held]] = defaultdict(list)
        for writer, extent in found:
            grouped[writer].append(extent)
        return Coverage({writer: tuple(sorted(extents)) for writer, extents in grouped.items()})

    def frames(self) -> dict[WriterKey, int]:
        """The last frame up to which a writer lies in packs without a gap from frame 0 on."""
        return {
            writer: end for writer, extents in self.extents.items() if (end := _contiguous_end(extents)) is not None
        }

    def only(self, packs: frozenset[str]) -> Coverage:
        return Coverage.of(
            (writer, extent) for writer, extents in self.extents.items() for extent in extents if extent.pack in packs
        )


def plan_writers(
    objects: Objects,
    packed: Mapping[WriterKey, int],
    hidden: Callable[[str, str], bool],
    now_us: int,
    rules: PackRules,
) -> list[WriterPlan]:
    """Writers whose loose files may go into a pack, ordered by run and writer.

    Left out are writers that wrote too recently or are too large, purged ones, and those with a gap between their
    files or two histories: packs hold every frame from 0 on, or nothing.
    """
    newest: dict[WriterKey, int] = {}
    for name, info in objects.items():
        writer = name.run_segment, name.writer_id
        newest[writer] = max(newest.get(writer, 0), info.modified_us or now_us)
    quiet = {
        writer
        for writer, modified_us in newest.items()
        if now_us - modified_us >= min(rules.quiet_us, rules.ended_quiet_us) and not hidden(*writer)
    }
    choice = choose_files((name for name in objects if (name.run_segment, name.writer_id) in quiet), packed)
    broken = {(hole.beyond.run_segment, hole.beyond.writer_id) for hole in choice.holes}
    broken |= {(part.run_segment, part.writer_id) for split in choice.divergences for part in split.parts}
    picks: defaultdict[WriterKey, list[Pick]] = defaultdict(list)
    for pick in choice.picks:
        picks[pick.parts[0].run_segment, pick.parts[0].writer_id].append(pick)
    plans = []
    for writer, found in picks.items():
        size_bytes = sum(objects[part].size_bytes for pick in found for part in pick.parts)
        if writer not in broken and size_bytes <= rules.writer_bytes_max:
            plans.append(
                WriterPlan(
                    run_segment=writer[0],
                    writer_id=writer[1],
                    picks=tuple(found),
                    size_bytes=size_bytes,
                    must_have_ended=now_us - newest[writer] < rules.quiet_us,
                )
            )
    return plans


def group_writers(plans: Sequence[WriterPlan], bytes_max: int) -> list[list[WriterPlan]]:
    """Neighbours as one pack each: at most 32,000, and `bytes_max` as they are stored now (a pack is smaller)."""
    groups: list[list[WriterPlan]] = []
    size = bytes_max
    for plan in plans:
        if size + plan.size_bytes > bytes_max or len(groups[-1]) == _WRITERS_MAX:
            groups.append([])
            size = 0
        groups[-1].append(plan)
        size += plan.size_bytes
    return groups


def plan_pack_merge(packs: Sequence[Pack], coverage: Coverage, bytes_max: int) -> list[Pack]:
    """Packs to rewrite as one now, oldest first; none when there are too few of any size.

    16 of one tier of size, as far as `bytes_max` and 32,000 writers allow: so a project keeps O(16 log n) of them.
    Frames of one writer must join: one whose frames between lie in a pack outside is left out with its pack.
    """
    tiers: defaultdict[int, list[Pack]] = defaultdict(list)
    for pack in packs:
        size = sum(pack.families.values())
        if size * 2 <= bytes_max and pack.writers * 2 <= _WRITERS_MAX:
            tiers[_tier(size)].append(pack)
    for _, found in sorted(tiers.items()):
        if len(found) < _FAN_IN:
            continue
        chosen: list[Pack] = []
        size = writers = 0
        for pack in found[:_FAN_IN]:
            more = sum(pack.families.values())
            if size + more <= bytes_max and writers + pack.writers <= _WRITERS_MAX:
                chosen.append(pack)
                size, writers = size + more, writers + pack.writers
        chosen = _joining(chosen, coverage)
        if len(chosen) > 1:
            return chosen
    return []


def plan_checkpoint(sizes: Sequence[int]) -> int:
    """How many of the newest checkpoints (bytes, oldest first; the last is about to be written) become one.

    1: the last stays alone. Each checkpoint is then at least four times as large as the next, so that there are
    few; a very large one is never rewritten.
    """
    count, total = 1, sizes[-1]
    for size in reversed(sizes[:-1]):
        if size > _CHECKPOINT_BYTES_MAX or size >= _CHECKPOINT_FAN_IN * max(total, _CHECKPOINT_SMALL_BYTES):
            break
        count += 1
        total += size
    return count


def settled_number(manifests: Mapping[int, ObjectInfo], now_us: int, grace_us: int) -> int:
    """The highest manifest that is older than the grace time, -1 where none is: every reader that has not read it
    or a later one listed too long ago to go on. What it says may be acted upon, if the newest still says it.
    """
    old = (n for n, info in manifests.items() if info.modified_us and now_us - info.modified_us >= grace_us)
    return max(old, default=-1)


def covered_by_packs(
    objects: Objects, coverage: Coverage, manifest: Manifest, settled: int
) -> tuple[dict[PartName, str], list[PartName]]:
    """(Loose files that packs of a settled manifest cover, with the pack that holds the last frame of each; and
    files that end at a pack's last frame and tell another history: those are evidence, and stay.)
    """
    old = coverage.only(frozenset(pack.id for pack in manifest.packs if pack.since <= settled))
    ends = old.frames()
    covered: dict[PartName, str] = {}
    diverging: list[PartName] = []
    for name in objects:
        writer = name.run_segment, name.writer_id
        end = ends.get(writer)
        if end is None or name.last > end or name.family not in FAMILIES:
            continue
        extent = next(extent for extent in old.extents[writer] if extent.first <= name.last <= extent.last)
        if extent.last == name.last and extent.mark != name.mark:
            diverging.append(name)
        else:
            covered[name] = extent.pack
    return covered, diverging


def covered_by_sets(
    objects: Objects, packed: Mapping[WriterKey, int], now_us: int, grace_us: int, quiet_us: int
) -> dict[PartName, Pick]:
    """Loose files that a larger loose set covers, with that set: of writers that were silent for `quiet_us`, where
    all files of the set are older than the grace time. Verify the set before deleting anything.
    """
    newest: dict[WriterKey, int] = {}
    for name, info in objects.items():
        writer = name.run_segment, name.writer_id
        newest[writer] = max(newest.get(writer, 0), info.modified_us or now_us)
    choice = choose_files(objects, packed)
    split = {(part.run_segment, part.writer_id) for found in choice.divergences for part in found.parts}
    ripe: defaultdict[WriterKey, list[Pick]] = defaultdict(list)
    for pick in choice.picks:
        writer = pick.parts[0].run_segment, pick.parts[0].writer_id
        times = [objects[part].modified_us for part in pick.parts]
        quiet = now_us - newest[writer] >= quiet_us
        if quiet and writer not in split and all(time_us and now_us - time_us >= grace_us for time_us in times):
            ripe[writer].append(pick)
    covered: dict[PartName, Pick] = {}
    for name in objects:
        for pick in ripe.get((name.run_segment, name.writer_id), ()):
            if name not in pick.parts and pick.parts[0].first <= name.first and name.last <= pick.last:
                if name.family in FAMILIES:
                    covered[name] = pick
                break
    return covered


def _contiguous_end(extents: Sequence[Held]) -> int | None:
    end = -1
    for extent in extents:
        if extent.first > end + 1:
            break
        end = max(end, extent.last)
    return None if end < 0 else end


def _tier(size_bytes: int) -> int:
    tier = 0
    while size_bytes >= _TIER_BYTES:
        size_bytes //= _FAN_IN
        tier += 1
    return tier


def _joining(packs: list[Pack], coverage: Coverage) -> list[Pack]:
    """`packs` without those that would leave a gap between the frames of a writer."""
    while True:
        ids = frozenset(pack.id for pack in packs)
        bad: set[str] = set()
        for extents in coverage.extents.values():
            if len(extents) < 2:
                continue
            mine = [extent for extent in extents if extent.pack in ids]
            bad |= {b.pack for a, b in itertools.pairwise(mine) if b.first != a.last + 1}
        if not bad:
            return packs
        packs = [pack for pack in packs if pack.id not in bad]
