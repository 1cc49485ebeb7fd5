"""Loose files of runs and edits: what is wrong with each, and whether together they make up every frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import pyarrow as pa

from tracker.storage.choose import Pick, choose_files, missing_families
from tracker.storage.derived import DERIVED_SCHEMA, parse_derived_footer
from tracker.storage.errors import CorruptData, FormatTooNew, NotFound
from tracker.storage.fsck_objects import Bad
from tracker.storage.fsck_report import FsckReport
from tracker.storage.names import FAMILIES, PartName, RunRef, edits_prefix, encode_name, run_prefix, thing_prefix
from tracker.storage.parquet_check import Source, check_parquet
from tracker.storage.part_check import CheckedPart, check_part
from tracker.storage.port import ObjectInfo
from tracker.storage.schema import PartFooter

__all__ = ["Looked", "Objects", "look_at_part", "report_cover", "report_parts"]

_ROLLUP: Final = "r"

Objects = Mapping[PartName, ObjectInfo]
Looked = Mapping[str, tuple[ObjectInfo, CheckedPart | Bad]]  # by key
Hides = Callable[[str, str], bool]  # writer, run segment: purged


def look_at_part(source: Source, key: str) -> CheckedPart:
    """A part of any family, read whole. Raises as `check_part`."""
    if not key.rsplit("/", 1)[1].startswith(f"{_ROLLUP}-"):
        return check_part(source, key)
    rows = 0

    def each(records: pa.Table, _group: int) -> None:
        nonlocal rows
        rows += records.num_rows

    footer = parse_derived_footer(check_parquet(source, key, DERIVED_SCHEMA, each), key)
    if not isinstance(footer, PartFooter):
        raise CorruptData(f"{key} is a pack's file, not a run's: its footer names pack {footer.pack_id}.")
    if rows != footer.rows:
        raise CorruptData(f"{key} holds {rows:,} records, its footer says {footer.rows:,}.")
    return CheckedPart(footer, frozenset(), 0, 0, ())


def report_parts(report: FsckReport, objects: Objects, looked: Looked) -> bool:
    """Damage and false names, file by file. True: something is gone since it was listed."""
    gone = False
    for name, info in objects.items():
        if name.family not in FAMILIES:
            report.add("unknown", info.key, f"{info.key}: family {name.family} is of a newer tracker.")
            continue
        found = looked[info.key][1]
        match found:
            case NotFound():
                gone = True
            case FormatTooNew():
                report.add("too-new", info.key, str(found))
            case CorruptData():
                report.add("derived" if name.family == _ROLLUP else "damaged", info.key, str(found))
            case _:
                _report_sound(report, name, info, found)
    return gone


def _report_sound(report: FsckReport, name: PartName, info: ObjectInfo, part: CheckedPart) -> None:
    said = part.footer
    segment, folder = _place(name, part)
    found = PartName(segment, said.writer_id, said.family, said.first, said.last, said.mark)
    if found != name or info.key != f"{folder}{said.writer_id}/{found.file_name}":
        of = f"of run {said.run_id!r} of {said.entity}/{said.project}" if said.run_id else "of no run"
        text = f"{info.key} says of itself that it is {found.file_name} by {said.writer_id} {of}."
        report.add("misplaced", info.key, text)
    for text in part.complaints:
        report.add("odd-events", info.key, f"{info.key}: {text}.")
    if part.lost:
        text = f"{part.lost} records of writer {name.writer_id} were damaged on its local disk before they came here"
        report.add("lost", info.key, f"{info.key}: {text}.")


def _place(name: PartName, part: CheckedPart) -> tuple[str, str]:
    """(run segment, folder above the writer's) that a part of this name says of itself; "" where it fits nowhere."""
    said = part.footer
    if not name.run_segment:
        return (encode_name(said.run_id) if said.run_id else ""), edits_prefix(said.entity, said.project)
    kind, slash, _ = name.run_segment.partition("/")
    if slash:
        if said.run_id or len(part.subjects) != 1:
            return "", ""
        (thing_id,) = part.subjects
        return f"{kind}/{encode_name(thing_id)}", thing_prefix(said.entity, said.project, kind, thing_id)
    if not said.run_id:
        return "", ""
    return encode_name(said.run_id), run_prefix(RunRef(said.entity, said.project, said.run_id))


def report_cover(
    report: FsckReport, objects: Objects, looked: Looked, packed: Mapping[tuple[str, str], int], hides: Hides
) -> bool:
    """Gaps, two histories, torn sets, merges that did not end, purged runs. True: it may look better in a moment."""
    shaky = False
    names = []
    purged: defaultdict[str, int] = defaultdict(int)
    for name, info in objects.items():
        if hides(name.writer_id, name.run_segment):
            purged[info.key.rsplit("/", 1)[0] + "/"] += 1
        else:
            names.append(name)
    for folder, count in purged.items():
        report.add("purged", folder, f"{folder} has {count} files of a purged run. tracker vacuum removes them.")
    choice = choose_files(names, packed)
    for hole in choice.holes:
        shaky = True
        key = objects[hole.beyond].key
        text = f"Frame {hole.frame} of writer {hole.beyond.writer_id} is in no file, but {key} was written after it."
        report.add("gap", key.rsplit("/", 1)[0] + "/", text)
    for split in choice.divergences:
        keys = " and ".join(objects[part].key for part in split.parts)
        text = f"{keys} tell two histories of one writer. Readers leave out its frames from {split.frame} on."
        report.add("two-histories", objects[split.parts[0]].key.rsplit("/", 1)[0] + "/", text)
    for pick in choice.picks:
        lost = _lost_families(pick, objects, looked)
        if lost:
            shaky = True
            key = objects[pick.parts[0]].key
            text = f"{key} was written together with files of family {', '.join(lost)}, which are gone."
            report.add("torn", key, text)
    _report_uncommitted(report, names, objects)
    return shaky


def _lost_families(pick: Pick, objects: Objects, looked: Looked) -> str:
    commit = looked[objects[pick.parts[0]].key][1]
    return missing_families(pick, commit.footer.families) if isinstance(commit, CheckedPart) else ""


def _report_uncommitted(report: FsckReport, names: Iterable[PartName], objects: Objects) -> None:
    """Files of a set without its f file."""
    sets: defaultdict[tuple[str, str, int, int, str], dict[str, PartName]] = defaultdict(dict)
    for name in names:
        if name.family in FAMILIES and name.family != "e":
            sets[name.run_segment, name.writer_id, name.first, name.last, name.mark][name.family] = name
    for (_, writer_id, first, last, _), files in sets.items():
        if "f" not in files:
            key = objects[min(files.values(), key=lambda name: name.family)].key
            text = f"A merge of frames {first}..{last} of writer {writer_id} left {len(files)} files and did not end."
            report.add("uncommitted", key, text)
