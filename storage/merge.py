"""A writer merges its own parts: many small neighbours become one, so that a run stays a handful of files.

Pure decisions (`merge_due`) and one function over files of any size (`merge_parts`) whose memory is bounded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.storage.derived import DERIVED_SCHEMA
from tracker.storage.errors import CorruptData, NotFound
from tracker.storage.event_file import read_blocks, write_groups
from tracker.storage.kway import merge_streams
from tracker.storage.merge_input import MergeInput, Tally, collect_rows
from tracker.storage.names import PartName, encode_name
from tracker.storage.port import Get, ListKeys, LocalPath, PutFile, PutIfAbsent
from tracker.storage.range_file import RangeFile
from tracker.storage.rollup import Frames, KeyPlaces, Owners, Rollup, read_derived, write_derived
from tracker.storage.schema import SCHEMA, PartFooter, empty_events, encode_part, parse_any_footer

__all__ = ["MERGE_BYTES", "MergedFile", "merge_due", "merge_parts", "merge_steps", "put_merged", "verify_covering"]

MERGE_BYTES: Final = 6 << 20  # for the streams of a merge in a training process; writing takes as much again

_FAN_IN: Final = 16
_SMALL_EVENTS: Final = 32_000  # a part with at least as many is worth its own objects
_FINISH_EVENTS_MAX: Final = 500_000
_TIERS: Final = tuple(125 * _FAN_IN**n for n in range(6))  # the third is _SMALL_EVENTS; beyond the last nothing merges
_VERIFY_ROWS: Final = 16 * 1024
_IN_MEMORY_BYTES: Final = 8 << 20  # a larger file is put from disk


def merge_due(parts: Sequence[PartName], events: Sequence[int], *, at_finish: bool) -> tuple[int, int] | None:
    """Which neighbours to merge now, as parts[first:last], or None. `parts` are in order of their frames.

    While the run goes on: 16 of one tier of size, and smaller ones between them; each tier is 16 times as large as the
    one before, so that n parts become O(16 log n). At its end: the whole run up to 500,000 events, else small ones.
    """
    if at_finish and len(parts) > 1 and sum(events) <= _FINISH_EVENTS_MAX:
        return 0, len(parts)
    if at_finish:
        return _small_neighbours(events)
    for low, below in itertools.pairwise((0, *_TIERS)):
        if found := _sixteen(events, low, below):
            return found
    return None


def _small_neighbours(events: Sequence[int]) -> tuple[int, int] | None:
    """The first two or more neighbours that are all small."""
    start = 0
    for at, count in enumerate([*events, _SMALL_EVENTS]):
        if count >= _SMALL_EVENTS:
            if at - start > 1:
                return start, at
            start = at + 1
    return None


def _sixteen(events: Sequence[int], low: int, below: int) -> tuple[int, int] | None:
    """The first neighbours with 16 of a tier among them and none of a higher one."""
    start = found = 0
    for at, count in enumerate(events):
        if count >= below:
            start, found = at + 1, 0
        elif count >= low:
            found += 1
            if found == _FAN_IN:
                return start, at + 1
    return None


@dataclass(frozen=True, slots=True)
class MergedFile:
    """A file to put: in memory, or where it is large at `path`."""

    name: PartName
    rows: int
    data: bytes | None
    path: Path | None


class _PutStore(PutIfAbsent, PutFile, Protocol):
    pass


class _ReadStore(Get, ListKeys, LocalPath, Protocol):
    pass


def put_merged(store: _PutStore, key: str, file: MergedFile) -> None:
    """Raises as `put_if_absent`. The files of a set are put in the order in which `merge_parts` gives them."""
    if file.path is not None and file.path.stat().st_size > _IN_MEMORY_BYTES:
        store.put_file_if_absent(key, file.path)
    else:
        store.put_if_absent(key, file.data or (file.path.read_bytes() if file.path else b""))


def merge_parts(
    inputs: Sequence[MergeInput],
    footer: PartFooter,
    *,
    directory: Path,
    memory_bytes: int = MERGE_BYTES,
    breathe: Callable[[], None] = lambda: None,
) -> list[MergedFile]:
    """The files that replace `inputs` (of one writer, in the order of their frames), in the order to put them in.

    `footer` is that of the whole range. A small result stays one `e` file; a large one is cut by family, with an `r`
    file of what follows from it, and the `f` file, which is always there, comes last: once it can be seen, so can
    the others. Large results are files in `directory`, which the caller removes. The same inputs give the same bytes.

    Raises:
        CorruptData, FormatTooNew, FileNotFoundError: an input is damaged or gone. OSError: `directory` is full.
    """
    steps = merge_steps(inputs, footer, directory=directory, memory_bytes=memory_bytes, breathe=breathe)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            files: list[MergedFile] = end.value
            return files


def merge_steps(
    inputs: Sequence[MergeInput],
    footer: PartFooter,
    *,
    directory: Path,
    memory_bytes: int,
    breathe: Callable[[], None],
) -> Generator[None, None, list[MergedFile]]:
    """`merge_parts` in steps of about 64,000 events, for a caller that has other things to do."""
    for one in inputs:
        one.check_families()
        breathe()
    if sum(one.rows() for one in inputs) <= _SMALL_EVENTS:
        return [_small_file(inputs, replace(footer, family="e"), breathe)]
    owner = footer.run_id, footer.writer_id
    owners, places = Owners([owner]), KeyPlaces()
    for one in inputs:
        one.add_key_places(0, places)
        breathe()
    rollup = Rollup(owners, collect_rows(inputs, owners, breathe), places)
    yield
    tally = Tally()
    files: list[MergedFile] = []
    for family in "hscf":
        sources = [source for one in inputs if (source := one.source(family, tally)) is not None]
        blocks = merge_streams(sources, memory_bytes=memory_bytes, spill=directory, breathe=breathe)
        first = next(blocks, None)
        if first is None and family != "f":
            continue
        families = "".join(file.name.family for file in files) + family
        own = replace(footer, family=family, families=families if family == "f" else "")
        name = _name(own)
        path = directory / name.file_name
        filled = yield from write_groups(
            path,
            itertools.chain([] if first is None else [first], blocks),
            own,
            SCHEMA,
            on_group=rollup.add,
            breathe=breathe,
        )
        files.append(MergedFile(name, filled.rows, None, path))
    if sum(file.rows for file in files) != tally.rows:
        raise CorruptData(f"Merging into {files[-1].name.file_name} would lose events. Keep all files and report it.")
    derived = replace(footer, family="r")
    data = write_derived(rollup.records({owner: Frames(footer.first, footer.last, footer.mark)}), derived)
    return [*files[:-1], MergedFile(_name(derived), 0, data, None), files[-1]]


def verify_covering(
    store: _ReadStore, prefix: str, names: Sequence[str], breathe: Callable[[], None] = lambda: None
) -> bool:
    """Whether every one of the files is there and whole: only then may what they cover go.

    Files on this machine, and small ones, are read through with their checksums; of a large remote one the footer
    and the size, as the store took it whole.
    """
    sizes: dict[str, int] | None = None
    for name in names:
        try:
            path = store.local_path(prefix + name)
            if path is None and sizes is None:
                sizes = {info.key: info.size_bytes for info in store.list(prefix)}
            if path is not None:
                _read_through(path, name, breathe)
            elif sizes is None or (size := sizes.get(prefix + name)) is None:
                return False
            elif size <= _IN_MEMORY_BYTES:
                _read_through(pa.py_buffer(store.get(prefix + name)), name, breathe)
            else:
                _read_footer(RangeFile(store, prefix + name, size), name)
        except (CorruptData, NotFound, FileNotFoundError):
            return False
    return True


def _small_file(inputs: Sequence[MergeInput], footer: PartFooter, breathe: Callable[[], None]) -> MergedFile:
    tables = [empty_events()]
    for one in inputs:
        for block in one.all_events():
            tables.append(block)
            breathe()
    events = pa.concat_tables(tables)
    data, rows = encode_part([events], footer)
    if rows != events.num_rows:
        raise CorruptData(f"Merging into {_name(footer).file_name} would lose events. Keep all files and report it.")
    return MergedFile(_name(footer), rows, data, None)


def _name(footer: PartFooter) -> PartName:
    segment = encode_name(footer.run_id) if footer.run_id else ""  # edits are of no run
    return PartName(segment, footer.writer_id, footer.family, footer.first, footer.last, footer.mark)


def _read_through(source: Path | pa.Buffer, name: str, breathe: Callable[[], None]) -> None:
    if name.startswith("r-"):
        read_derived(pa.BufferReader(source) if isinstance(source, pa.Buffer) else source, name)
        return
    for _ in read_blocks(source, name, _VERIFY_ROWS):
        breathe()


def _read_footer(file: RangeFile, name: str) -> None:
    """Raises CorruptData where the file's end does not say what a whole file says."""
    try:
        with pq.ParquetFile(file) as opened:
            footer = parse_any_footer(opened.metadata, name, DERIVED_SCHEMA if name.startswith("r-") else SCHEMA)
            if footer.rows != opened.metadata.num_rows:
                raise CorruptData(f"{name} holds {opened.metadata.num_rows} rows, not {footer.rows} as it says.")
    except (pa.ArrowException, OSError, EOFError, ValueError) as exc:
        raise CorruptData(f"{name} is damaged ({exc}).") from exc
