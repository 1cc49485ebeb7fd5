"""What a merge reads: frames of one writer, from one file of everything or from the files of a set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tracker.storage.arrow_arrays import codes_of, numbers, values_of
from tracker.storage.closed_rows import ClosedRows, collect_closed_rows
from tracker.storage.derived import Record, read_derived
from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.event_file import read_blocks
from tracker.storage.events import HISTORY, ROW
from tracker.storage.key_places import KeyPlaces
from tracker.storage.kway import Source
from tracker.storage.names import PartName
from tracker.storage.owners import Owners
from tracker.storage.port import Get, LocalPath
from tracker.storage.schema import PartFooter, parse_footer

__all__ = ["MergeInput", "Tally", "collect_rows", "fetch_input"]

_RANGE_BYTES: Final = 8 << 20
_MARKER_ROWS: Final = 16 * 1024
_KEYS: Final = ("seq", "kind", "key")
_KEY_PLACES: Final = ("kind", "key", "place")


class _Readable(Get, LocalPath, Protocol):
    pass


class Tally:
    """Counts events on their way into a merge: as many must come out."""

    def __init__(self) -> None:
        self.rows = 0

    def counted(self, blocks: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for block in blocks:
            self.rows += block.num_rows
            yield block


@dataclass(frozen=True, slots=True)
class MergeInput:
    """Frames of one writer from `first` on."""

    parts: tuple[PartName, ...]  # one e file; or an f file, and those of h, s, c, r that there are
    first: int  # frames below do not count
    files: Mapping[str, Path | pa.Buffer]  # family letter to a local file, or its bytes

    def source(self, family: str, tally: Tally) -> Source | None:
        """The stream of one family's events, or None where there are none."""
        found = self._file(family)
        if found is None:
            return None
        file, name = found

        def blocks(rows: int) -> Iterator[pa.Table]:
            return tally.counted(read_blocks(file, name, rows, families=family, first=self._cut))

        return Source(blocks, self.footer(family).rows)

    def all_events(self) -> Iterator[pa.Table]:
        """Every event, file by file."""
        for family in "e" if "e" in self.files else "hscf":
            if found := self._file(family):
                yield from read_blocks(*found, 1 << 20, first=self._cut)

    def markers(self) -> Iterator[pa.Table]:
        """The events that close rows: columns seq, row, kind, step."""
        if found := self._file("h"):
            columns = ("seq", "row", "kind", "step")
            yield from read_blocks(*found, _MARKER_ROWS, families="h", first=self._cut, kind=ROW, columns=columns)

    def rows(self) -> int:
        """How many events its files hold, those below `first` too."""
        return sum(self.footer(family).rows for family in self.files if family != "r")

    def footer(self, family: str) -> PartFooter:
        """What the file of this family says of itself, compared with its name.

        Raises:
            CorruptData, FormatTooNew: it cannot be trusted.
        """
        file, name = self._file(family) or self._file("f") or self._missing("f")
        try:
            source = pa.BufferReader(file) if isinstance(file, pa.Buffer) else file
            with pq.ParquetFile(source) as opened:
                footer = parse_footer(opened.metadata, name)
        except (pa.ArrowException, OSError, EOFError) as exc:
            if isinstance(exc, FileNotFoundError):
                raise
            raise CorruptData(f"{name} is damaged ({exc}). Keep the file and report it.") from exc
        part = self.parts[0]
        if (footer.writer_id, footer.first, footer.last, footer.mark) != (
            part.writer_id,
            part.first,
            part.last,
            part.mark,
        ):
            raise CorruptData(f"{name} holds other frames than its name says. Keep the file and report it.")
        return footer

    def check_families(self) -> None:
        """Raises CorruptData where the set lacks a file that its f file lists."""
        if "e" in self.files:
            return
        for family in self.footer("f").families:
            if family not in self.files and family != "f":
                self._missing(family)

    def add_key_places(self, owner: int, places: KeyPlaces) -> None:
        """The history keys as first logged: an e file's dictionary keeps that order, a set's r file says it."""
        if "e" in self.files:
            file, name = self._file("e") or self._missing("e")
            for block in read_blocks(file, name, _MARKER_ROWS, families="h", kind=HISTORY, columns=_KEYS):
                places.add(owner, block["key"].chunk(0).dictionary)
                return
        elif "r" in self.files:
            name = self._named("r")
            try:
                series = read_derived(self.files["r"], name, what=[Record.OPEN, Record.SERIES], columns=_KEY_PLACES)
            except (CorruptData, FormatTooNew):
                return  # it is derived: without it keys are shown by their letters
            if series.num_rows:
                places.add(owner, _keys_in_place(series))

    @property
    def _cut(self) -> int:
        return self.first if self.first > self.parts[0].first else 0

    def _file(self, family: str) -> tuple[Path | pa.Buffer, str] | None:
        letter = "e" if "e" in self.files else family
        file = self.files.get(letter)
        return None if file is None else (file, self._named(letter))

    def _named(self, family: str) -> str:
        return next(part.file_name for part in self.parts if part.family == family)

    def _missing(self, family: str) -> tuple[Path | pa.Buffer, str]:
        part = self.parts[0]
        raise CorruptData(
            f"The set of {part.file_name} lacks its file of family {family}. Keep all files and report it."
        )


def fetch_input(store: _Readable, prefix: str, parts: Sequence[PartName], first: int, directory: Path) -> MergeInput:
    """`parts` (one e file, or the files of one set) ready to be read: where they lie on this machine, else fetched
    into memory, or into `directory` where they are large.

    Raises:
        NotFound, StorageUnavailable, CredentialsMissing: as the store does.
    """
    files: dict[str, Path | pa.Buffer] = {}
    for part in parts:
        key = prefix + part.file_name
        files[part.family] = store.local_path(key) or _fetched(store, key, directory / part.file_name)
    return MergeInput(tuple(parts), first, files)


def collect_rows(inputs: Sequence[MergeInput], owners: Owners, breathe: Callable[[], None]) -> ClosedRows:
    """Which rows the markers in all inputs (of one owner, in the order of their frames) close."""

    def markers() -> Iterator[pa.Table]:
        for one in inputs:
            for block in one.markers():
                yield block
                breathe()

    return collect_closed_rows(markers, owners, breathe)


def _fetched(store: _Readable, key: str, path: Path) -> Path | pa.Buffer:
    data = store.get_range(key, 0, _RANGE_BYTES)
    if len(data) < _RANGE_BYTES:
        return pa.py_buffer(data)
    with open(path, "wb") as file:
        size = 0
        while data:
            size += file.write(data)
            data = store.get_range(key, size, size + _RANGE_BYTES)
    return path


def _keys_in_place(series: pa.Table) -> pa.Array:
    """Keys of the history series and open cells, in the order of `place`; some twice."""
    kinds, keys = series["kind"].chunk(0), series["key"].chunk(0)
    logged = np.array([word == HISTORY for word in kinds.dictionary.to_pylist()], bool)
    at = np.flatnonzero(logged[codes_of(kinds)])
    at = at[np.argsort(values_of(series["place"].chunk(0))[at], kind="stable")]
    return keys.dictionary.take(numbers(codes_of(keys)[at], pa.int64()))
