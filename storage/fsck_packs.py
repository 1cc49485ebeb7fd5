"""Packs, their covers, checkpoints and manifests: each against what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.storage.derived import DERIVED_SCHEMA, parse_derived_footer
from tracker.storage.errors import CorruptData, FormatTooNew, NotFound, TrackerError
from tracker.storage.events import ROW
from tracker.storage.fsck_objects import Bad, check_objects
from tracker.storage.fsck_report import FsckReport
from tracker.storage.manifest import EMPTY, Checkpoint, Manifest, Pack, decode_manifest
from tracker.storage.names import encode_name
from tracker.storage.pack_plan import Coverage, Held
from tracker.storage.pack_writers import PackWriter, decode_writers
from tracker.storage.parquet_check import Source, check_parquet
from tracker.storage.part_check import EventCheck
from tracker.storage.port import Get, LocalPath, ObjectInfo
from tracker.storage.schema import PACK_SCHEMA, PackFooter, parse_pack_footer

__all__ = ["CheckedPacks", "PackFile", "check_packs"]

_EVENTS: Final = "fhsc"
_COVER: Final = "cover"
_CHECKPOINT: Final = "k"

Progress = Callable[[str, int, int], None]
Owner = tuple[str, str]  # the user's run id, writer


class _Readable(Get, LocalPath, Protocol):
    pass


@dataclass(slots=True)
class CheckedPacks:
    """What sound packs hold."""

    manifest: Manifest = EMPTY
    frames: dict[tuple[str, str], int] = field(default_factory=dict)  # (run segment, writer) to the last frame
    blobs: set[str] = field(default_factory=set)
    events: int = 0
    hlc_max_us: dict[str, int] = field(default_factory=dict)  # by key of the file
    shaky: bool = False  # a file that should be there is not: somebody may have published a manifest meanwhile
    gone: bool = False  # a file is gone since it was listed

    def hides(self, writer_id: str, run_segment: str) -> bool:
        """Whether this writer's run was purged."""
        return any(encode_name(p.run_id) == run_segment and p.hides(writer_id) for p in self.manifest.purged)


@dataclass(slots=True)
class _Extent:
    """What the files of a pack hold of one writer."""

    events: int = 0
    rows: int = 0
    seq_min: int = 2**62
    seq_max: int = -1
    hlc_min_us: int = 2**62
    hlc_max_us: int = 0
    wall_max_us: int = 0


@dataclass(slots=True)
class _PackFile:
    """A sound file of events."""

    footer: PackFooter
    check: EventCheck
    extents: dict[Owner, _Extent]


@dataclass(slots=True)
class _DerivedFile:
    """A sound file of derived records."""

    footer: PackFooter
    writers: list[PackWriter]


PackFile = _PackFile | _DerivedFile  # what a look at a sound file of a pack found


def check_packs(
    store: _Readable,
    objects: Mapping[tuple[str, str], ObjectInfo],
    manifests: Mapping[int, ObjectInfo],
    report: FsckReport,
    known: dict[str, tuple[ObjectInfo, PackFile | Bad]],
    progress: Progress = lambda *_: None,
) -> CheckedPacks:
    """Look at every file of every pack that the newest manifest lists; findings go to `report`.

    `known`: what was looked at before, by key; filled here, so that a second look reads only what is new.
    """
    found = CheckedPacks(manifest=_manifest(store, manifests, report))
    manifest = found.manifest
    keys = {info.key: name for name, info in objects.items()}
    listed = {pack.id for pack in manifest.packs} | {one.id for one in manifest.checkpoints}
    for (pack_id, _), info in objects.items():
        if pack_id not in listed:
            when = "it is about to be deleted" if pack_id in manifest.gc else "a packer has not ended, or never will"
            report.add("unlisted-pack", info.key, f"{info.key} is in no manifest: {when}. tracker vacuum removes it.")
    found.shaky = _missing(manifest, objects, report)
    read: dict[tuple[str, str], _PackFile | _DerivedFile] = {}
    wanted = [info for (pack_id, _), info in sorted(objects.items()) if pack_id in listed]
    new = [info for info in wanted if info.key not in known or known[info.key][0].size_bytes != info.size_bytes]
    for info, result in check_objects(store, new, _look, progress, "packs"):
        known[info.key] = info, result
    for info in wanted:
        name, result = keys[info.key], known[info.key][1]
        match result:
            case NotFound():
                del known[info.key]
                found.gone = True
            case FormatTooNew():
                report.add("too-new", info.key, str(result))
            case CorruptData():
                report.add("derived" if name[1] in "rk" else "damaged", info.key, str(result))
            case _:
                read[name] = result
                _compare_footer(result.footer, name, info.key, report)
    covers = _check_covers(manifest, read, objects, found, report)
    for checkpoint in manifest.checkpoints:
        _check_checkpoint(checkpoint, read, covers, objects, report)
    found.frames = Coverage.of(
        ((encode_name(one.run_id) if one.run_id else "", one.writer_id), Held(one.first_frame or 0, last, "", pack))
        for pack, writers in covers.items()
        for one in writers
        if (last := one.last_frame) is not None
    ).frames()
    return found


def _manifest(store: Get, manifests: Mapping[int, ObjectInfo], report: FsckReport) -> Manifest:
    newest = EMPTY
    for number, info in sorted(manifests.items()):
        try:
            newest = decode_manifest(store.get(info.key), number, info.key, info.modified_us)
        except NotFound:
            continue
        except FormatTooNew as exc:
            report.add("too-new", info.key, str(exc))
        except TrackerError as exc:
            if not isinstance(exc, CorruptData):
                raise
            report.add("bad-manifest" if number == max(manifests) else "old-manifest", info.key, str(exc))
    return newest


def _missing(manifest: Manifest, objects: Mapping[tuple[str, str], ObjectInfo], report: FsckReport) -> bool:
    """Whether a file that the manifest lists is not there, or has another size."""
    sizes = {(pack.id, family): size for pack in manifest.packs for family, size in pack.families.items()}
    sizes |= {(one.id, _CHECKPOINT): one.size_bytes for one in manifest.checkpoints}
    missing = False
    for (pack_id, family), size in sizes.items():
        info = objects.get((pack_id, family))
        if info is None or info.size_bytes != size:
            missing = True
            there = "is not there" if info is None else f"has {info.size_bytes:,} bytes"
            text = f"Manifest {manifest.number} lists {pack_id}.{family} with {size:,} bytes; it {there}."
            code = "derived" if family in ("r", _CHECKPOINT) else "missing-pack"
            report.add(code, f"packs/{pack_id}.{family}.parquet" if info is None else info.key, text)
    in_checkpoints = [pack for one in manifest.checkpoints for pack in one.packs]
    wrong = {pack.id for pack in manifest.packs}.symmetric_difference(in_checkpoints)
    if wrong or len(in_checkpoints) != len(set(in_checkpoints)):
        text = f"Manifest {manifest.number}: not every pack is in exactly one checkpoint ({', '.join(sorted(wrong))})."
        report.add("derived", f"manifests/{manifest.number:012d}.json", text)
    return missing


def _look(source: Source, name: str) -> _PackFile | _DerivedFile:
    family = name.rsplit("/", 1)[1].split(".")[1]
    if family not in _EVENTS:
        metadata = check_parquet(source, name, DERIVED_SCHEMA)
        footer = parse_derived_footer(metadata, name)
        if not isinstance(footer, PackFooter):
            raise CorruptData(f"{name} is not of a pack: its footer names run {footer.run_id!r}.")
        _rows_as_said(metadata.num_rows, footer, name)
        return _DerivedFile(footer, decode_writers(source, name))
    check = EventCheck(family)
    extents: dict[Owner, _Extent] = {}

    def each(events: pa.Table, group: int) -> None:
        check.add(events, group)
        _count(events, extents)

    metadata = check_parquet(source, name, PACK_SCHEMA, each)
    footer = parse_pack_footer(metadata, name)
    _rows_as_said(check.rows, footer, name)
    check.compare_times(footer, name)
    return _PackFile(footer, check, extents)


def _rows_as_said(rows: int, footer: PackFooter, name: str) -> None:
    if rows != footer.rows:
        raise CorruptData(f"{name} holds {rows:,} rows, its footer says {footer.rows:,}.")


def _count(events: pa.Table, extents: dict[Owner, _Extent]) -> None:
    """Add one row group to what is known of its writers."""
    if not events.num_rows:
        return
    events = events.unify_dictionaries().combine_chunks()
    runs, writers = (events[name].chunk(0) for name in ("run", "writer"))
    seq, hlc = (events[name].to_numpy() for name in ("seq", "hlc"))
    wall = hlc + events["ts"].to_numpy()
    is_mark = pc.equal(events["kind"], ROW).to_numpy()
    width = len(writers.dictionary)
    owner = runs.indices.to_numpy().astype(np.int64) * width + writers.indices.to_numpy()
    order = np.argsort(owner, kind="stable")
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1))
    run_names, writer_names = runs.dictionary.to_pylist(), writers.dictionary.to_pylist()
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        mine = order[start:end]
        run, writer = divmod(int(owner[mine[0]]), width)
        one = extents.setdefault((run_names[run], writer_names[writer]), _Extent())
        one.events += len(mine)
        one.rows += int(is_mark[mine].sum())
        one.seq_min, one.seq_max = min(one.seq_min, int(seq[mine].min())), max(one.seq_max, int(seq[mine].max()))
        one.hlc_min_us = min(one.hlc_min_us, int(hlc[mine].min()))
        one.hlc_max_us = max(one.hlc_max_us, int(hlc[mine].max()))
        one.wall_max_us = max(one.wall_max_us, int(wall[mine].max()))


def _compare_footer(footer: PackFooter, name: tuple[str, str], key: str, report: FsckReport) -> None:
    said = (footer.pack_id, footer.family, footer.entity, footer.project)
    if said != (*name, report.entity, report.project):
        report.add("misplaced", key, f"{key} says of itself that it is {'.'.join(said[:2])} of {'/'.join(said[2:])}.")


def _check_covers(
    manifest: Manifest,
    read: Mapping[tuple[str, str], _PackFile | _DerivedFile],
    objects: Mapping[tuple[str, str], ObjectInfo],
    found: CheckedPacks,
    report: FsckReport,
) -> dict[str, list[PackWriter]]:
    """Writers by pack. Every cover is compared with the events beside it."""
    covers: dict[str, list[PackWriter]] = {}
    for pack in manifest.packs:
        cover = read.get((pack.id, _COVER))
        if not isinstance(cover, _DerivedFile):
            continue
        covers[pack.id] = cover.writers
        files = {family: read.get((pack.id, family)) for family in pack.families if family in _EVENTS}
        held: dict[Owner, _Extent] = {}
        for family, file in files.items():
            if isinstance(file, _PackFile):
                key = objects[pack.id, family].key
                _take(file, key, held, found, report)
        if all(isinstance(file, _PackFile) for file in files.values()):
            _compare(pack, cover.writers, held, objects[pack.id, _COVER].key, report)
    return covers


def _take(
    file: _PackFile, key: str, held: dict[Owner, _Extent], found: CheckedPacks, report: FsckReport
) -> None:
    found.events += file.check.rows
    found.blobs |= file.check.blobs
    found.hlc_max_us[key] = file.check.hlc_max_us
    for text in file.check.complaints:
        report.add("odd-events", key, f"{key}: {text}.")
    for owner, one in file.extents.items():
        total = held.setdefault(owner, _Extent())
        total.events += one.events
        total.rows += one.rows
        total.seq_min, total.seq_max = min(total.seq_min, one.seq_min), max(total.seq_max, one.seq_max)
        total.hlc_min_us = min(total.hlc_min_us, one.hlc_min_us)
        total.hlc_max_us = max(total.hlc_max_us, one.hlc_max_us)
        total.wall_max_us = max(total.wall_max_us, one.wall_max_us)


def _compare(
    pack: Pack, writers: Iterable[PackWriter], held: Mapping[Owner, _Extent], key: str, report: FsckReport
) -> None:
    said = {(one.run_id, one.writer_id): one for one in writers}
    for owner in sorted(held.keys() - said.keys()):
        text = f"{key} does not name writer {owner[1]} of run {owner[0]!r}, whose events are here."
        report.add("bad-cover", key, text)
    for owner, one in sorted(said.items()):
        has = held.get(owner, _Extent())
        wrong = _wrong(one, has)
        if wrong:
            report.add("bad-cover", key, f"{key}, writer {owner[1]} of run {owner[0]!r}: {'; '.join(wrong)}.")
    events = sum(one.events for one in held.values())
    if (len(said), events) != (pack.writers, pack.events):
        text = f"{pack.writers:,} writers and {pack.events:,} events, the pack has {len(said):,} and {events:,}"
        report.add("bad-cover", key, f"The manifest says that {pack.id} has {text}.")
    latest = max((one.hlc_max_us for one in held.values()), default=0)
    if latest > pack.hlc_max_us:
        text = f"The manifest says that {pack.id} ends at {pack.hlc_max_us}; it ends at {latest}."
        report.add("bad-cover", key, text)


def _wrong(said: PackWriter, has: _Extent) -> list[str]:
    """What a cover says of a writer that its events do not."""
    wrong = []
    if said.events is not None and said.events != has.events:
        wrong.append(f"{has.events:,} events, not {said.events:,}")
    if said.rows is not None and said.rows != has.rows:
        wrong.append(f"{has.rows:,} rows, not {said.rows:,}")
    first, last = said.first_frame or 0, said.last_frame
    if last is None:
        wrong.append("no last frame")
    elif has.events and not first <= has.seq_min <= has.seq_max <= last:
        wrong.append(f"frames {has.seq_min}..{has.seq_max}, not within {first}..{last}")
    if has.events and said.last_hlc_us is not None and said.last_hlc_us != has.hlc_max_us:
        wrong.append(f"the last stamp is {has.hlc_max_us}, not {said.last_hlc_us}")
    if has.events and said.first_hlc_us is not None and said.first_hlc_us != has.hlc_min_us:
        wrong.append(f"the first stamp is {has.hlc_min_us}, not {said.first_hlc_us}")
    if has.events and said.last_wall_us is not None and said.last_wall_us != has.wall_max_us:
        wrong.append(f"the last time is {has.wall_max_us}, not {said.last_wall_us}")
    return wrong


def _check_checkpoint(
    checkpoint: Checkpoint,
    read: Mapping[tuple[str, str], _PackFile | _DerivedFile],
    covers: Mapping[str, list[PackWriter]],
    objects: Mapping[tuple[str, str], ObjectInfo],
    report: FsckReport,
) -> None:
    """A checkpoint names the writers of its packs as their covers do."""
    file = read.get((checkpoint.id, _CHECKPOINT))
    if not isinstance(file, _DerivedFile) or not all(pack in covers for pack in checkpoint.packs):
        return
    wanted = {_identity(one, pack) for pack in checkpoint.packs for one in covers[pack]}
    found = {_identity(one, one.pack) for one in file.writers}
    if wanted != found:
        key = objects[checkpoint.id, _CHECKPOINT].key
        odd = sorted(wanted ^ found, key=str)[0]
        text = f"{len(wanted - found)} writers of its packs are missing, {len(found - wanted)} are not theirs"
        report.add("derived", key, f"{key}: {text}, first {odd[1]} of run {odd[0]!r}.")


def _identity(one: PackWriter, pack: str | None) -> tuple[object, ...]:
    return one.run_id, one.writer_id, pack, one.first_frame, one.last_frame, one.mark, one.events, one.rows
