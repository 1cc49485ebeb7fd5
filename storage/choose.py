"""Part choice: which files, and which frames of each, make up what every writer wrote. Pure: names in, plan out.

Files of a writer overlap: small parts, the merged files that replace them, leftovers of a crash that were cut at
other frames. Taking each frame from exactly one of them is interval arithmetic on names.

A *set* is what one merge made: the files of one range and mark. Its `f` file commits it: it is put last and
deleted first, and it is written even where it is empty. So

- a set counts only when its `f` file is listed; its `h`, `s`, `c` files without it are ignored,
- a family without a file in a counted set has no events in that range. (The `f` file's footer repeats which
  families there are, so that a reader sees a set that lost a file, instead of believing it: `missing_families`.)

An `e` file is a set of its own with every family in it. The `r` file of a set is derived from the others and may be
missing. Families that this version does not know are ignored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tracker.storage.names import FAMILIES, PartName

__all__ = ["Choice", "Divergence", "Hole", "Pick", "choose_files", "choose_newer", "missing_families"]

_WHOLE: Final = "e"
_COMMIT: Final = "f"
_NOTHING: Final[Mapping[tuple[str, str], int]] = {}


@dataclass(frozen=True, slots=True)
class Pick:
    """Frames `first`..`last` (inclusive) are read from `parts` and from nothing else.

    `parts` is one `e` file, or an `f` file and those of `h`, `s`, `c`, `r` that exist, all of one range that ends
    at `last`. Where that range begins before `first` only rows with seq >= `first` may be taken.
    """

    first: int
    last: int
    parts: tuple[PartName, ...]

    @property
    def is_cut(self) -> bool:
        return self.parts[0].first < self.first

    def families(self, wanted: str) -> tuple[PartName, ...]:
        """The files that can hold events of the families in `wanted` (letters of f, h, s, c, r)."""
        return tuple(part for part in self.parts if part.family == _WHOLE or part.family in wanted)


@dataclass(frozen=True, slots=True)
class Hole:
    """No listed file has frame `frame`, but `beyond` shows that it was written: list again."""

    frame: int
    beyond: PartName


@dataclass(frozen=True, slots=True)
class Divergence:
    """Files of one writer that end at one frame but tell two histories (a copied machine, a fork in C).

    Nobody can tell which is right, so no frame from `frame` on is chosen from that writer.
    """

    frame: int
    parts: tuple[PartName, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Per writer the exact, disjoint cover of its frames 0..n, ordered by run, writer and frame."""

    picks: tuple[Pick, ...]
    holes: tuple[Hole, ...]
    divergences: tuple[Divergence, ...]


def choose_files(names: Iterable[PartName], packed: Mapping[tuple[str, str], int] = _NOTHING) -> Choice:
    """The cover of each writer's longest contiguous prefix, larger files first. Any order of names gives the same.

    `packed`: (run segment, writer) to the last frame that packs hold of it, from frame 0 on. Those frames come
    from the packs and are in no pick: picks begin behind them.

    A caller that gets holes starts over with a fresh listing (somebody merged and deleted meanwhile, or the
    listing was stale), and raises when they stay: an answer is never silently less.
    """
    writers: defaultdict[tuple[str, str], list[PartName]] = defaultdict(list)
    for name in names:
        if name.family in FAMILIES:
            writers[name.run_segment, name.writer_id].append(name)
    picks: list[Pick] = []
    holes: list[Hole] = []
    divergences: list[Divergence] = []
    for writer, parts in sorted(writers.items()):
        begin = packed.get(writer, -1) + 1
        if begin:
            parts = [part for part in parts if part.last >= begin]
            if not parts:
                continue
        elif len(parts) == 1 and parts[0].first == 0 and parts[0].family == _WHOLE:  # most runs
            picks.append(Pick(0, parts[0].last, (parts[0],)))
            continue
        divergence = _divergence(parts)
        if divergence is not None:
            divergences.append(divergence)
            parts = [part for part in parts if part.last < divergence.frame]
        cover = _cover(_sets(parts), begin)
        picks += cover
        end = cover[-1].last if cover else begin - 1
        beyond = max((part for part in parts if part.last > end), key=_order, default=None)
        if beyond is not None:
            holes.append(Hole(end + 1, beyond))
        if divergence is not None:
            divergences[-1] = Divergence(end + 1, divergence.parts)
    return Choice(tuple(picks), tuple(holes), tuple(divergences))


def choose_newer(names: Iterable[PartName], known: Mapping[tuple[str, str], int]) -> tuple[Pick, ...] | None:
    """Per writer the cover of what it wrote from frame `known[run segment, writer]` on (default 0), for one who has
    read all before: of the sets that hold the next frame the one that begins last, so that little is read twice.

    None where the names do not say: frames are missing below an existing file, or a writer tells two histories.
    """
    writers: defaultdict[tuple[str, str], list[PartName]] = defaultdict(list)
    for name in names:
        if name.family in FAMILIES:
            writers[name.run_segment, name.writer_id].append(name)
    picks: list[Pick] = []
    for writer, parts in sorted(writers.items()):
        frame = known.get(writer, 0)
        newer = [part for part in parts if part.last >= frame]
        if newer and _divergence(parts) is not None:
            return None
        last = max((part.last for part in newer), default=-1)
        sets = _sets(newer)
        while frame <= last:
            holding = [found for found in sets if found[0].first <= frame <= found[0].last]
            if not holding:
                return None
            best = max(holding, key=lambda found: (found[0].first, found[0].last, found[0].family == _WHOLE))
            picks.append(Pick(frame, best[0].last, best))
            frame = best[0].last + 1
    return tuple(picks)


def missing_families(pick: Pick, listed: str) -> str:
    """Families that the commit file's footer lists (letters) and that `pick` has no file of.

    Not empty: the listing was torn, or a file of the set is gone. Start over.
    """
    present = {part.family for part in pick.parts}
    return "" if _WHOLE in present else "".join(sorted(set(listed) - present))


def _order(part: PartName) -> tuple[int, int, str, str]:
    return part.last, -part.first, part.family, part.mark


def _divergence(parts: list[PartName]) -> Divergence | None:
    """The contested files with the lowest last frame: same writer, same last frame, another mark."""
    marks: dict[int, str] = {}
    contested = [part.last for part in parts if marks.setdefault(part.last, part.mark) != part.mark]
    if not contested:
        return None
    lowest = min(contested)
    return Divergence(lowest, tuple(sorted((part for part in parts if part.last == lowest), key=_order)))


def _sets(parts: list[PartName]) -> list[tuple[PartName, ...]]:
    """Files grouped by merge, those without their commit file left out; the commit file (or the `e` file) is first."""
    groups: defaultdict[tuple[int, int, bool], list[PartName]] = defaultdict(list)
    for part in parts:
        groups[part.first, part.last, part.family == _WHOLE].append(part)
    found = []
    for group in groups.values():
        group.sort(key=lambda part: (part.family not in (_WHOLE, _COMMIT), part.family))
        if group[0].family in (_WHOLE, _COMMIT):
            found.append(tuple(group))
    return found


def _cover(sets: list[tuple[PartName, ...]], frame: int) -> list[Pick]:
    """Greedy from `frame` on: of the sets that hold the next frame the one that reaches furthest, then begins first."""
    waiting = sorted(sets, key=lambda parts: parts[0].first, reverse=True)
    cover: list[Pick] = []
    best: tuple[PartName, ...] | None = None
    while True:
        while waiting and waiting[-1][0].first <= frame:
            found = waiting.pop()
            if best is None or _preference(found) > _preference(best):
                best = found
        if best is None or best[0].last < frame:
            return cover
        cover.append(Pick(frame, best[0].last, best))
        frame = best[0].last + 1


def _preference(parts: tuple[PartName, ...]) -> tuple[int, int, bool]:
    return parts[0].last, -parts[0].first, parts[0].family != _WHOLE
