"""What was read against what was written: nothing missing, nothing twice, nothing invented, no order lost."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
from simulate_port import SimulatedStore
from simulate_world import GRACE_S, World

from tracker.storage.choose import Pick, choose_files, missing_families
from tracker.storage.errors import NotFound
from tracker.storage.events import decode_cell, family_of
from tracker.storage.manifest import Manifest, newest_manifest
from tracker.storage.names import PartName, pack_key, parse_part_key, runs_prefix, ulid_time_us
from tracker.storage.pack_plan import Held
from tracker.storage.packs import read_cover
from tracker.storage.schema import parse_footer

Event = tuple[int, str, str, str]  # frame, kind, key, value
_COLUMNS = ["seq", "kind", "key", "t", "v", "i", "s"]
_ATTEMPTS = 60


@dataclass(slots=True)
class Seen:
    """Events by writer, and how far each writer's files reach."""

    events: defaultdict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    last: defaultdict[str, int] = field(default_factory=lambda: defaultdict(lambda: -1))
    folded_to: defaultdict[str, int] = field(default_factory=lambda: defaultdict(lambda: -1))

    def add_file(
        self,
        data: bytes,
        writer_id: str,
        first: int,
        last: int,
        *,
        families: str,
        packed_of: tuple[str, str] | None = None,
    ) -> None:
        """Frames first..last of `writer_id` in a Parquet file, only the kinds of these families.

        `packed_of`: (run, writer) whose rows count, in a file of a pack.
        """
        self.events[writer_id] += [
            event
            for event, owner in _decoded(data)
            if first <= event[0] <= last and family_of(event[1]) in families and owner == packed_of
        ]
        self.last[writer_id] = max(self.last[writer_id], last)

    def add_facts(self, writer_id: str, facts: pa.Table, *, folded: bool) -> None:
        """`folded`: only the last fact of each path is there."""
        self.events[writer_id] += _events(facts)
        if folded:
            self.folded_to[writer_id] = max(self.folded_to[writer_id], self.last[writer_id])


@functools.lru_cache(maxsize=512)
def _decoded(data: bytes) -> list[tuple[Event, tuple[str, str] | None]]:
    """All events of a file, with (run, writer) in a pack. Files never change, so each is decoded once."""
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        table = file.read(use_threads=False)
    if "run" not in table.column_names:
        return [(event, None) for event in _events(table)]
    owners = zip(table["run"].to_pylist(), table["writer"].to_pylist(), strict=True)
    return list(zip(_events(table), owners, strict=True))


def _events(table: pa.Table) -> list[Event]:
    columns = [table[name].to_pylist() for name in _COLUMNS]
    return [
        (seq, kind, key or "", repr(decode_cell(t, v, i, s)))
        for seq, kind, key, t, v, i, s in zip(*columns, strict=True)
    ]


def check_seen(
    world: World, seen: Seen, floor: dict[str, int], purged: set[str], *, families: str, who: str
) -> None:
    """Count every difference in `world.faults`. `floor`: frames by writer that had been acknowledged before."""
    for writer_id in seen.last:
        if writer_id not in world.frames:
            world.fault(f"{who}: an invented writer", writer_id)
        elif writer_id in purged and seen.events[writer_id]:
            world.fault(f"{who}: a purged writer shows", writer_id)
    for writer_id, frames in world.frames.items():
        until_s = world.purges_until_s.get(world.run_of[writer_id], 0)
        hidden = writer_id in world.maybe_hidden or ulid_time_us(writer_id) <= until_s * 1_000_000
        if hidden and not seen.events[writer_id]:
            continue
        last = seen.last[writer_id]
        if last + 1 < floor.get(writer_id, 0):
            world.fault(f"{who}: acknowledged missing", f"{writer_id}: {last + 1} of {floor[writer_id]} frames")
        if last >= len(frames):
            world.fault(f"{who}: invented frames", f"{writer_id}: {last + 1} of {len(frames)} frames")
        wanted = Counter(_expected(frames[: last + 1], families))
        wanted -= _superseded(wanted, seen.folded_to[writer_id])
        got = Counter(event for event in seen.events[writer_id] if family_of(event[1]) in families)
        got -= _superseded(got, seen.folded_to[writer_id])
        if got == wanted:
            continue
        for event, count in (wanted - got).items():
            world.fault(f"{who}: missing", f"{writer_id}: {event} {count} time(s); files reach frame {last}")
        for event, count in (got - wanted).items():
            world.fault(f"{who}: {'twice' if event in wanted else 'invented'}", f"{writer_id}: {event} +{count}")


def _expected(frames: Iterable[list[tuple[str, str | None, object]]], families: str) -> list[Event]:
    return [
        (seq, kind, key or "", repr(value))
        for seq, frame in enumerate(frames)
        for kind, key, value in frame
        if family_of(kind) in families
    ]


def _superseded(events: Counter[Event], folded_to: int) -> Counter[Event]:
    """Facts up to frame `folded_to` that a later one of the same path follows there: one of each may be left out."""
    facts = sorted(event for event in events if event[0] <= folded_to and family_of(event[1]) == "f")
    last_of = {event[1:3]: event for event in facts}
    return Counter(event for event in facts if last_of[event[1:3]] != event)


def read_everything(store: SimulatedStore, entity: str, project: str, now_s: Callable[[], int]) -> Seen | None:
    """List, read the manifest, choose, get; start over on a hole, a missing file, a torn set or a slow listing.

    None: it gave up.
    """
    for _ in range(_ATTEMPTS):
        begun = now_s()
        listed = {
            name: info.key
            for info in store.list(runs_prefix(entity, project))
            if (name := parse_part_key(info.key)) is not None
        }
        if now_s() - begun > GRACE_S // 2:
            continue
        try:
            manifest = newest_manifest(store, entity, project)
            seen, packed = _read_packs(store, entity, project, manifest)
            kept = {name: key for name, key in listed.items() if not _hides(manifest, name.run_segment, name.writer_id)}
            choice = choose_files(kept, packed)
            if choice.holes or choice.divergences:
                continue
            _read_loose(store, choice.picks, kept, seen)
        except (NotFound, _Torn):
            continue
        return seen
    return None


class _Torn(Exception):
    """A set has lost a file since it was listed."""


def _hides(manifest: Manifest, run_segment: str, writer_id: str) -> bool:
    return any(one.run_id == run_segment and one.hides(writer_id) for one in manifest.purged)


def _read_packs(
    store: SimulatedStore, entity: str, project: str, manifest: Manifest
) -> tuple[Seen, dict[tuple[str, str], int]]:
    """What packs hold, and up to which frame they hold each writer without a gap."""
    seen = Seen()
    extents = defaultdict(list)
    for pack in manifest.packs:
        cover = _cover(store.get(pack_key(entity, project, pack.id, "cover")), pack.id)
        for writer, held in cover:
            extents[writer].append(held)
        files = [
            store.get(pack_key(entity, project, pack.id, family)) for family in pack.families if family in "fhsc"
        ]
        for (run, writer_id), held in cover:
            if _hides(manifest, run, writer_id):
                continue
            for data in files:
                seen.add_file(data, writer_id, held.first, held.last, families="fhsc", packed_of=(run, writer_id))
            seen.last[writer_id] = max(seen.last[writer_id], held.last)
    packed: dict[tuple[str, str], int] = {}
    for writer, found in extents.items():
        for held in sorted(found):
            if held.first > packed.get(writer, -1) + 1:
                break
            packed[writer] = held.last
    return seen, packed


def _read_loose(store: SimulatedStore, picks: Iterable[Pick], keys: dict[PartName, str], seen: Seen) -> None:
    for pick in picks:
        for name in pick.families("fhsc"):
            data = store.get(keys[name])
            if name.family == "f" and missing_families(pick, _families(data)):
                raise _Torn
            seen.add_file(data, name.writer_id, pick.first, name.last, families="fhsc")


@functools.lru_cache(maxsize=512)
def _families(data: bytes) -> str:
    return parse_footer(pq.read_metadata(pa.BufferReader(data)), "a file of a set").families


@functools.lru_cache(maxsize=512)
def _cover(data: bytes, pack: str) -> list[tuple[tuple[str, str], Held]]:
    return read_cover(pa.py_buffer(data), "a cover", pack)
