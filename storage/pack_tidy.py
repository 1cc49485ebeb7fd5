"""Merges the loose files of writers that ended or fell silent, as they would have done themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tracker.storage.choose import Pick, choose_files
from tracker.storage.errors import CorruptData, FormatTooNew, KeyTaken, NotFound
from tracker.storage.merge import merge_due, merge_parts, put_merged
from tracker.storage.merge_input import MergeInput, fetch_input
from tracker.storage.names import PartName
from tracker.storage.pack_job import PackJob, created_by
from tracker.storage.port import ObjectInfo
from tracker.storage.schema import PartFooter

__all__ = ["merge_silent_writers"]

_MERGES_MAX: Final = 8  # of one writer in one call

WriterKey = tuple[str, str]
Objects = Mapping[PartName, ObjectInfo]


def merge_silent_writers(
    job: PackJob, objects: Objects, packed: Mapping[WriterKey, int], *, quiet_us: int, bytes_min: int = 0
) -> dict[PartName, ObjectInfo]:
    """Few files instead of many for each writer that put nothing for `quiet_us`, is not packed and has more than
    `bytes_min` (others are packed sooner or later). Returns the files that were put (with `dry_run` none). What they
    cover stays: see `delete_covered`.

    Equal ranges of a writer give equal files, so two that do it at once disturb nobody.
    """
    newest: dict[WriterKey, int] = {}
    for name, info in objects.items():
        writer = name.run_segment, name.writer_id
        newest[writer] = max(newest.get(writer, 0), info.modified_us or job.now_us)
    silent = {writer for writer, modified_us in newest.items() if job.now_us - modified_us >= quiet_us}
    choice = choose_files((name for name in objects if (name.run_segment, name.writer_id) in silent), packed)
    broken = {(hole.beyond.run_segment, hole.beyond.writer_id) for hole in choice.holes}
    broken |= {(part.run_segment, part.writer_id) for split in choice.divergences for part in split.parts}
    picks: dict[WriterKey, list[Pick]] = {}
    for pick in choice.picks:
        picks.setdefault((pick.parts[0].run_segment, pick.parts[0].writer_id), []).append(pick)
    put: dict[PartName, ObjectInfo] = {}
    for writer, found in picks.items():
        size_bytes = sum(objects[part].size_bytes for pick in found for part in pick.parts)
        if len(found) < 2 or writer in broken or size_bytes < bytes_min:
            continue
        job.report.merged_writers += 1
        job.report.merged_objects += sum(len(pick.parts) for pick in found)
        if not job.report.dry_run:
            put |= _merge(job, objects, found)
        job.breathe()
    return put


def _merge(job: PackJob, objects: Objects, picks: Sequence[Pick]) -> dict[PartName, ObjectInfo]:
    """One writer's picks, until nothing more is due."""
    known, waiting = dict(objects), list(picks)
    put: dict[PartName, ObjectInfo] = {}
    for _ in range(_MERGES_MAX):
        try:
            with tempfile.TemporaryDirectory(dir=job.directory) as directory:
                inputs = [_input(job, known, pick, Path(directory)) for pick in waiting]
                parts, rows = [pick.parts[0] for pick in waiting], [one.rows() for one in inputs]
                due = merge_due(parts, rows, at_finish=True) or merge_due(parts, rows, at_finish=False)
                if due is None:
                    return put
                chosen, given = waiting[due[0] : due[1]], inputs[due[0] : due[1]]
                found = _put(job, known, chosen, given, Path(directory))
        except (NotFound, FileNotFoundError):  # its own writer was faster
            return put
        except (CorruptData, FormatTooNew) as exc:
            job.note("warn", f"{exc} Its writer is not merged.")
            return put
        known |= found
        put |= found
        commit_first = sorted(found, key=lambda name: (name.family not in "ef", name.family))
        waiting[due[0] : due[1]] = [Pick(chosen[0].first, chosen[-1].last, tuple(commit_first))]
    return put


def _input(job: PackJob, objects: Objects, pick: Pick, directory: Path) -> MergeInput:
    prefix = objects[pick.parts[0]].key.removesuffix(pick.parts[0].file_name)
    return fetch_input(job.store, prefix, pick.parts, pick.first, directory)


def _put(
    job: PackJob, objects: Objects, picks: Sequence[Pick], inputs: Sequence[MergeInput], directory: Path
) -> dict[PartName, ObjectInfo]:
    last = picks[-1].parts[0]
    prefix = objects[last].key.removesuffix(last.file_name)
    said = inputs[-1].footer("e" if "e" in inputs[-1].files else "f")
    footer = PartFooter(
        entity=said.entity,
        project=said.project,
        run_id=said.run_id,
        writer_id=said.writer_id,
        family="e",
        first=picks[0].first,
        last=last.last,
        mark=last.mark,
        created_by=created_by(),
    )
    out = directory / "merged"
    out.mkdir()
    found: dict[PartName, ObjectInfo] = {}
    files = merge_parts(inputs, footer, directory=out, memory_bytes=job.memory_bytes // 2, breathe=job.breathe)
    for file in files:
        size = file.path.stat().st_size if file.path is not None else len(file.data or b"")
        key = prefix + file.name.file_name
        try:
            put_merged(job.store, key, file)
        except KeyTaken:  # by another release: the same frames under the same history are the same file
            job.note("info", f"{job.store.url}/{key} was there already, in another encoding.")
        found[file.name] = ObjectInfo(key, size, job.now_us)
    return found
