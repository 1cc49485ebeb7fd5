"""One pack from the loose files of many writers: fetched, read, merged."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from tracker.storage.arrow_arrays import codes_of, numbers, valid_of, values_of
from tracker.storage.choose import missing_families
from tracker.storage.derived import Record, read_derived
from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.event_file import read_blocks
from tracker.storage.names import PartName, new_ulid
from tracker.storage.pack_build import BuiltPack, PackInput, RunWriter, build_pack
from tracker.storage.pack_fetch import fetch_many
from tracker.storage.pack_job import PackJob, created_by
from tracker.storage.pack_plan import WriterPlan
from tracker.storage.pack_read import LoosePart, has_ended, part_footer
from tracker.storage.pack_sources import SMALL_BYTES, PartStreams, stream_parts
from tracker.storage.port import ObjectInfo
from tracker.storage.rollup import Frames
from tracker.storage.schema import PartFooter

__all__ = ["build_from_loose", "places_of"]

_EVENTS: Final = "efhsc"
_BLOCK_ROWS: Final = 64 * 1024

Fetched = tuple[WriterPlan, list[LoosePart], dict[PartName, Path]]


def build_from_loose(
    job: PackJob, plans: Sequence[WriterPlan], objects: Mapping[PartName, ObjectInfo], directory: Path
) -> BuiltPack | None:
    """A pack of those of `plans` that may be packed; None where that is none.

    Left out are writers that had to have ended and did not, those whose files vanished meanwhile (somebody merged
    them: next time), and those with a damaged file, which is said.
    """
    fetched = _fetch(job, plans, objects, directory)
    ready = [one for one in fetched if _may_be_packed(job, *one)]
    for _ in range(2):
        if not ready:
            return None
        try:
            return _build(job, ready, directory)
        except (CorruptData, FormatTooNew, FileNotFoundError):
            sound = [one for one in ready if _is_sound(job, one)]
            if len(sound) == len(ready):
                raise
            ready = sound
    return None


def _fetch(
    job: PackJob, plans: Sequence[WriterPlan], objects: Mapping[PartName, ObjectInfo], directory: Path
) -> list[Fetched]:
    wanted = [part for plan in plans for pick in plan.picks for part in pick.parts]
    paths = dict(zip(wanted, fetch_many(job.store, [objects[part] for part in wanted], directory), strict=True))
    fetched: list[Fetched] = []
    for plan in plans:
        found = {part: path for pick in plan.picks for part in pick.parts if (path := paths[part]) is not None}
        events = [(pick, part) for pick in plan.picks for part in pick.parts if part.family in _EVENTS]
        parts = [
            LoosePart(
                part,
                pick.first,
                found[part],
                f"{job.store.url}/{objects[part].key}",
                objects[part].size_bytes,
                must_end=plan.must_have_ended and len(events) == 1 and objects[part].size_bytes <= SMALL_BYTES,
            )
            for pick, part in events
            if part in found
        ]
        if len(parts) < len(events):
            job.report.waiting_writers += 1
        else:
            fetched.append((plan, parts, found))
    return fetched


def _may_be_packed(job: PackJob, plan: WriterPlan, parts: list[LoosePart], _: dict[PartName, Path]) -> bool:
    """Whether it was silent for long enough, or ended. What cannot be read is not packed."""
    if not plan.must_have_ended or parts[0].must_end:  # the latter shows while it is read
        return True
    last = next(part for part in parts if part.name == plan.picks[-1].parts[0])
    try:
        ended = has_ended(last)
    except FileNotFoundError:
        ended = False
    except (CorruptData, FormatTooNew) as exc:
        return _broken(job, exc)
    job.report.waiting_writers += not ended
    return ended


def _build(job: PackJob, ready: Sequence[Fetched], directory: Path) -> BuiltPack | None:
    parts = [part for _, found, _ in ready for part in found]
    streams = stream_parts(parts, directory, job.memory_bytes, job.breathe)
    frames: dict[RunWriter, Frames] = {}
    places: list[tuple[RunWriter, pa.Array]] = []
    at = 0
    for plan, found, paths in ready:
        footers = streams.footers[at : at + len(found)]
        if streams.left_out[at]:
            job.report.waiting_writers += 1
            at += len(found)
            continue
        _check_sets(plan, found, footers)
        owner = footers[0].run_id, plan.writer_id
        frames[owner] = Frames(plan.first, plan.last, plan.mark)
        places += _places(owner, found, streams, at, paths)
        at += len(found)
    if not frames:
        return None
    given = PackInput(frames, streams.sources, streams.markers, places, streams.events)
    return build_pack(
        new_ulid(job.wall_us),
        job.entity,
        job.project,
        given,
        directory,
        memory_bytes=job.memory_bytes,
        created_by=created_by(),
        breathe=job.breathe,
    )


def _check_sets(plan: WriterPlan, parts: Sequence[LoosePart], footers: Sequence[PartFooter]) -> None:
    """A set that says that it has more files than there are would lose them in the pack."""
    families = {part.name: footer.families for part, footer in zip(parts, footers, strict=True)}
    for pick in plan.picks:
        missing = missing_families(pick, families[pick.parts[0]])
        if missing:
            shown = next(part.shown for part in parts if part.name == pick.parts[0])
            raise CorruptData(f"{shown} says that families {missing} belong to it; these files are not there.")


def _places(
    owner: RunWriter, parts: Sequence[LoosePart], streams: PartStreams, at: int, paths: Mapping[PartName, Path]
) -> list[tuple[RunWriter, pa.Array]]:
    """Keys of one writer as first logged: from the dictionaries of its `e` files and the rollups of its sets."""
    found = []
    for n, part in enumerate(parts):
        if part.name.family == "e":
            words = streams.words[at + n]
        elif part.name.family == "h":
            rollup = paths.get(PartName(*_place_of(part.name)))
            words = pa.nulls(0, pa.string()) if rollup is None else _rollup_words(rollup, owner)
        else:
            continue
        if len(words):
            found.append((owner, words))
    return found


def _place_of(name: PartName) -> tuple[str, str, str, int, int, str]:
    return name.run_segment, name.writer_id, "r", name.first, name.last, name.mark


def _rollup_words(path: Path, owner: RunWriter) -> pa.Array:
    try:
        return dict(places_of(path, str(path))).get(owner, pa.nulls(0, pa.string()))
    except (CorruptData, FormatTooNew, FileNotFoundError):  # derived: without it keys are shown by their letters
        return pa.nulls(0, pa.string())


def places_of(source: Path | pa.Buffer, name: str) -> list[tuple[RunWriter, pa.Array]]:
    """Per writer the history keys of a rollup or checkpoint as first logged.

    Raises:
        CorruptData, FormatTooNew, FileNotFoundError: it cannot be read.
    """
    table = read_derived(source, name, what=[Record.SERIES], columns=["run", "writer", "key", "place"])
    if not table.num_rows:
        return []
    place = table["place"].chunk(0)
    valid = valid_of(place)
    at = np.arange(len(place)) if valid is None else np.flatnonzero(valid)
    runs, writers = table["run"].chunk(0), table["writer"].chunk(0)
    run, writer = codes_of(runs)[at], codes_of(writers)[at]
    order = np.lexsort((values_of(place)[at], writer, run))
    run, writer = run[order], writer[order]
    keys = table["key"].chunk(0).dictionary.take(numbers(codes_of(table["key"].chunk(0))[at[order]], pa.int64()))
    starts = np.flatnonzero((np.diff(run, prepend=-1) != 0) | (np.diff(writer, prepend=-1) != 0)).tolist()
    return [
        (
            (runs.dictionary[run[start]].as_py(), writers.dictionary[writer[start]].as_py()),
            keys.slice(start, end - start),
        )
        for start, end in itertools.pairwise([*starts, len(order)])
    ]


def _is_sound(job: PackJob, fetched: Fetched) -> bool:
    """Whether every file of the writer can be read to its end, and its sets are whole."""
    plan, parts, _ = fetched
    try:
        _check_sets(plan, parts, [part_footer(part) for part in parts])
        for part in parts:
            for _ in read_blocks(part.open(), part.shown, _BLOCK_ROWS):
                job.breathe()
        return True
    except FileNotFoundError:
        job.report.waiting_writers += 1
        return False
    except (CorruptData, FormatTooNew) as exc:
        return _broken(job, exc)


def _broken(job: PackJob, exc: Exception) -> bool:
    job.report.broken_writers += 1
    job.note("warn", f"{exc} Its writer is not packed.")
    return False
