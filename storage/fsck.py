"""Checks everything that a project holds: every byte, every name, every frame. Only reads, and locks nothing.

Runs may go on meanwhile: what is put, merged and deleted during the check is listed again until the picture holds
together. `tracker.storage.quarantine` moves aside what this finds to be bad.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from tracker.storage.clock import MAX_AHEAD_US
from tracker.storage.contents import pieces_of
from tracker.storage.errors import CorruptData, NotFound
from tracker.storage.fsck_checkpoints import check_checkpoints
from tracker.storage.fsck_objects import Bad, check_objects
from tracker.storage.fsck_packs import CheckedPacks, PackFile, check_packs
from tracker.storage.fsck_parts import look_at_part, report_cover, report_parts
from tracker.storage.fsck_report import FsckReport
from tracker.storage.fsck_rollups import check_rollups, rollups_of_packs, rollups_of_sets
from tracker.storage.names import (
    FAMILIES,
    PartName,
    parse_event_key,
    parse_manifest_key,
    parse_pack_key,
    project_prefix,
)
from tracker.storage.parquet_check import Source, open_source
from tracker.storage.part_check import CheckedPart
from tracker.storage.port import Get, ListKeys, LocalPath, ObjectInfo
from tracker.storage.quarantine import QUARANTINE, list_quarantine
from tracker.storage.staging import EMPTY_SHA256

__all__ = ["check_project"]

_PAUSES_S: Final = (0.0, 0.2, 1.0, 3.0)  # before each attempt; a merge puts and deletes within these
_PIECE_BYTES: Final = 1 << 20
_WHOLE_BYTES: Final = 64 << 20
_FOLDERS_KNOWN: Final = frozenset({"vacuum", "claims", "things"})

Progress = Callable[[str, int, int], None]
T = TypeVar("T")
_Looked = dict[str, tuple[ObjectInfo, T | Bad]]


class _Readable(Get, ListKeys, LocalPath, Protocol):
    url: str


@dataclass(slots=True)
class _Contents:
    """A project's objects by what their names say."""

    parts: dict[PartName, ObjectInfo] = field(default_factory=dict)  # of runs, of edits, and of things
    packs: dict[tuple[str, str], ObjectInfo] = field(default_factory=dict)
    manifests: dict[int, ObjectInfo] = field(default_factory=dict)
    blobs: dict[str, ObjectInfo] = field(default_factory=dict)  # by what their name says to be their sha256
    unknown: list[ObjectInfo] = field(default_factory=list)


def check_project(
    store: _Readable, entity: str, project: str, *, progress: Progress = lambda *_: None, blobs: bool = True
) -> FsckReport:
    """What is wrong in a project. Every object is read whole, once; blobs only where `blobs` says so.

    Raises:
        NotFound: the root is not there.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    prefix = project_prefix(entity, project)
    looked: _Looked[CheckedPart] = {}
    of_packs: _Looked[PackFile] = {}
    hashed: _Looked[str] = {}
    for tries_left, pause_s in zip(reversed(range(len(_PAUSES_S))), _PAUSES_S, strict=True):
        time.sleep(pause_s)
        listed = store.list(prefix)
        report = FsckReport(entity, project, len(listed), sum(info.size_bytes for info in listed))
        report.listed = {info.key: info for info in listed}
        contents = _sort(listed, prefix)
        known = [info for name, info in contents.parts.items() if name.family in FAMILIES]
        _look_at(store, known, look_at_part, looked, progress, "files")
        packs = check_packs(store, contents.packs, contents.manifests, report, of_packs, progress)
        changed = report_parts(report, contents.parts, looked) or packs.gone
        shaky = report_cover(report, contents.parts, looked, packs.frames, packs.hides) or packs.shaky
        report.named = _named(looked, packs)
        if blobs:
            _look_at_blobs(store, list(contents.blobs.values()), hashed, progress)
            shaky |= _report_blobs(report, contents, hashed)
        if not (shaky or changed) or not tries_left:
            break
    whole = {one.id for one in packs.manifest.packs if all((one.id, part) in contents.packs for part in one.families)}
    in_use = {name: info for name, info in contents.packs.items() if name[0] in whole}
    check_rollups(store, [*rollups_of_sets(contents.parts), *rollups_of_packs(in_use)], report, progress)
    check_checkpoints(store, packs.manifest, in_use | _checkpoints(contents), report)
    if changed:
        report.add("changing", prefix, "Files came and went while they were checked.")
    _report_clock(report, looked, packs, max((info.modified_us for info in listed), default=0))
    for info in contents.unknown:
        report.add("unknown", info.key, f"{info.key} is nothing of tracker's, or of a newer one.")
    aside = list_quarantine(store, prefix)
    if aside:
        folder = "/".join(aside[0].key.split("/")[:2])
        text = f"{len(aside)} objects were moved aside by earlier repairs, the first into {folder}/."
        report.add("quarantine", QUARANTINE, text)
    report.packed = packs.frames
    sound = [part for _, part in looked.values() if isinstance(part, CheckedPart)]
    report.events = packs.events + sum(part.footer.rows for part in sound if part.footer.family != "r")
    loose = {name.run_segment for name in contents.parts if name.run_segment and "/" not in name.run_segment}
    report.runs = len(loose | {run for run, _ in packs.frames})
    return report


def _sort(listed: Iterable[ObjectInfo], prefix: str) -> _Contents:
    found = _Contents()
    for info in listed:
        name = parse_event_key(info.key)
        if name is not None:
            found.parts[name] = info
        elif (pack := parse_pack_key(info.key)) is not None:
            found.packs[pack] = info
        elif (number := parse_manifest_key(info.key)) is not None:
            found.manifests[number] = info
        elif info.key.startswith(f"{prefix}blobs/"):
            found.blobs[info.key.rsplit("/", 1)[1]] = info
        elif info.key.split("/")[2] not in _FOLDERS_KNOWN:
            found.unknown.append(info)
    return found


def _checkpoints(contents: _Contents) -> dict[tuple[str, str], ObjectInfo]:
    return {name: info for name, info in contents.packs.items() if name[1] == "k"}


def _look_at(
    store: _Readable,
    infos: Sequence[ObjectInfo],
    check: Callable[[Source, str], T],
    looked: _Looked[T],
    progress: Progress,
    what: str,
) -> None:
    """Fill `looked` with what is new since the last listing; forget what is gone."""
    listed = {info.key: info.size_bytes for info in infos}
    for key in [key for key, (info, _) in looked.items() if listed.get(key) != info.size_bytes]:
        del looked[key]
    new = [info for info in infos if info.key not in looked]
    for info, result in check_objects(store, new, check, progress, what):
        looked[info.key] = info, result


def _sha256(source: Source, _key: str) -> str:
    digest = hashlib.sha256()
    with open_source(source) as raw:
        while piece := raw.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _look_at_blobs(
    store: _Readable, infos: Sequence[ObjectInfo], hashed: _Looked[str], progress: Progress
) -> None:
    """As `_look_at`; large ones of a remote store are read piece by piece."""
    large = [info for info in infos if info.size_bytes > _WHOLE_BYTES and store.local_path(info.key) is None]
    for info in large:
        if info.key not in hashed:
            hashed[info.key] = info, _sha256_in_pieces(store, info)
    rest = {key: value for key, value in hashed.items() if key not in {info.key for info in large}}
    _look_at(store, [info for info in infos if info not in large], _sha256, rest, progress, "blobs")
    for key in [key for key in hashed if key not in rest and key not in {info.key for info in large}]:
        del hashed[key]
    hashed.update(rest)


def _sha256_in_pieces(store: _Readable, info: ObjectInfo) -> str | Bad:
    digest, size = hashlib.sha256(), 0
    try:
        for piece in pieces_of(store, info.key):
            digest.update(piece)
            size += len(piece)
    except NotFound as exc:
        return exc
    if size != info.size_bytes:
        return CorruptData(f"{info.key} has {size:,} bytes, {info.size_bytes:,} were listed.")
    return digest.hexdigest()


def _named(looked: Mapping[str, tuple[ObjectInfo, CheckedPart | Bad]], packs: CheckedPacks) -> frozenset[str]:
    """Contents that values in files and packs name."""
    parts = (part.blobs for _, part in looked.values() if isinstance(part, CheckedPart))
    return frozenset(packs.blobs).union(*parts)


def _report_blobs(
    report: FsckReport,
    contents: _Contents,
    hashed: Mapping[str, tuple[ObjectInfo, str | Bad]],
) -> bool:
    """Blobs against their names, and against the values that name them. True: one is missing."""
    for digest, info in contents.blobs.items():
        found = hashed[info.key][1]
        if isinstance(found, CorruptData):
            report.add("damaged", info.key, str(found))
        elif isinstance(found, str) and (found != digest or info.key.split("/")[-2] != digest[:2]):
            text = f"{info.key} holds other bytes than its name says: their sha256 is {found}."
            report.add("damaged", info.key, text)
        elif digest not in report.named:
            report.add("unnamed-blob", info.key, f"No value names {info.key}.")
    missing = sorted(report.named - contents.blobs.keys() - {EMPTY_SHA256})
    for digest in missing:
        key = f"blobs/{digest[:2]}/{digest}"
        report.add("missing-blob", key, f"A value names {key}, which is not there.")
    return bool(missing) or any(isinstance(found, NotFound) for _, found in hashed.values())


def _report_clock(
    report: FsckReport,
    looked: Mapping[str, tuple[ObjectInfo, CheckedPart | Bad]],
    packs: CheckedPacks,
    store_now_us: int,
) -> None:
    """The store's clock is at least at the newest object of the listing; a store that tells no times is not asked."""
    stamps = dict(packs.hlc_max_us)
    stamps |= {key: part.hlc_max_us for key, (_, part) in looked.items() if isinstance(part, CheckedPart)}
    for key, hlc_us in stamps.items():
        ahead_us = hlc_us - store_now_us
        if store_now_us and ahead_us > MAX_AHEAD_US:
            hours = ahead_us / 3_600_000_000
            text = f"{key} has stamps {hours:,.0f} hours ahead of the store's newest object: a clock was wrong."
            report.add("clock-ahead", key, f"{text} No clock adopts them.")
