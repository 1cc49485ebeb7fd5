"""A writer's own merging while its run goes on: begun, worked at between flushes, put, noted.

A merge of a long run takes longer than the time between two flushes, so it is done in steps. Files are put in an
order that makes them count at once with the last of them; a crash between puts is made good by the same merge again,
which the note in the spool remembers.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.storage.derived import DERIVED_SCHEMA
from tracker.storage.errors import CorruptData, FormatTooNew, KeyTaken, NotFound
from tracker.storage.merge import MERGE_BYTES, MergedFile, merge_due, merge_steps, put_merged
from tracker.storage.merge_input import fetch_input
from tracker.storage.names import PartName
from tracker.storage.port import Get, ListKeys, LocalPath, PutFile, PutIfAbsent
from tracker.storage.range_file import RangeFile
from tracker.storage.schema import SCHEMA, PartFooter, parse_any_footer
from tracker.storage.spool import ShipState

__all__ = ["MergeStore", "OwnMerges"]

_FULL_PAUSE_S: Final = 600.0
_DIRECTORY: Final = "merge"


class MergeStore(PutIfAbsent, PutFile, Get, ListKeys, LocalPath, Protocol):
    """The verbs that merging needs."""


@dataclass(slots=True)
class _UnderWay:
    first: int  # frames
    last: int
    old: list[str]  # names of the files to replace, those that commit a set first
    steps: Generator[None, None, list[MergedFile]]
    files: list[MergedFile] | None = None  # None: still being made
    put: int = 0  # how many of them the store has


class OwnMerges:
    """Merges of one writer's parts, one at a time."""

    def __init__(
        self,
        store: MergeStore,
        prefix: str,
        directory: Path,
        *,
        writer: tuple[str, str],
        footer: Callable[[PartName, int], PartFooter],
        monotonic_s: Callable[[], float],
        notify: Callable[[str, str], None],
        breathe: Callable[[], None],
    ) -> None:
        """`directory`: the spool's. `writer`: run segment and writer id. `footer`: of the range that ends with a part
        and begins with a frame.
        """
        self._store, self._prefix = store, prefix
        self._directory, self._writer = directory / _DIRECTORY, writer
        self._footer, self._monotonic_s = footer, monotonic_s
        self._notify, self._breathe = notify, breathe
        self._under_way: _UnderWay | None = None
        self._paused_until_s = -math.inf

    def advance(
        self, state: ShipState, save: Callable[[], object], *, at_finish: bool = False, until_s: float | None = None
    ) -> bool:
        """Work at a merge, until `until_s` (monotonic) if it is large. True: something was done, maybe there is more.

        A merge that is done stands in `state` (parts, covered). Raises: what the store raises; call again.
        """
        if self._monotonic_s() < self._paused_until_s:
            return False
        if at_finish and self._under_way is not None and self._under_way.files is None:
            self._drop()  # a large one: whoever compacts the run later does it
        try:
            merge = self._under_way = self._under_way or self._begin(state, at_finish)
            if merge is None:
                return False
            if merge.files is None and not self._work(merge, until_s):
                return True
            self._put_all(merge, state, save)
        except (CorruptData, FormatTooNew, NotFound, FileNotFoundError) as exc:
            self._pause(math.inf, f"The parts of this run are merged no more: {exc}")
            return False
        except OSError as exc:
            self._pause(_FULL_PAUSE_S, f"Merging the parts of this run waits: {exc}. Everything is shipped as before.")
            return False
        self._note(merge, state)
        self._drop()
        return True

    def _begin(self, state: ShipState, at_finish: bool) -> _UnderWay | None:
        due = self._interrupted(state) or merge_due(
            [self._commit(note) for note in state.parts], [note["rows"] for note in state.parts], at_finish=at_finish
        )
        if due is None:
            return None
        chosen = state.parts[due[0] : due[1]]
        self._clear()
        self._directory.mkdir()
        inputs = []
        for note in chosen:
            inputs.append(fetch_input(self._store, self._prefix, self._set(note), note["first"], self._directory))
            self._breathe()
        footer = self._footer(self._commit(chosen[-1]), chosen[0]["first"])
        steps = merge_steps(inputs, footer, directory=self._directory, memory_bytes=MERGE_BYTES, breathe=self._breathe)
        old = [part.file_name for note in chosen for part in self._set(note)]
        return _UnderWay(chosen[0]["first"], chosen[-1]["last"], old, steps)

    @staticmethod
    def _interrupted(state: ShipState) -> tuple[int, int] | None:
        """The parts of a merge whose files were being put when the process ended."""
        if state.merging is None:
            return None
        firsts, lasts = [note["first"] for note in state.parts], [note["last"] for note in state.parts]
        if state.merging[0] not in firsts or state.merging[1] not in lasts:
            return None
        first, last = firsts.index(state.merging[0]), lasts.index(state.merging[1]) + 1
        return (first, last) if last - first > 1 else None

    def _work(self, merge: _UnderWay, until_s: float | None) -> bool:
        """True: all files are made."""
        while until_s is None or self._monotonic_s() < until_s:
            try:
                next(merge.steps)
            except StopIteration as end:
                merge.files = end.value
                return True
        return False

    def _put_all(self, merge: _UnderWay, state: ShipState, save: Callable[[], object]) -> None:
        files = merge.files or []
        if len(files) > 1 and state.merging != [merge.first, merge.last]:
            state.merging = [merge.first, merge.last]
            save()
        for file in files[merge.put :]:
            key = self._prefix + file.name.file_name
            try:
                put_merged(self._store, key, file)
            except KeyTaken:  # by another release, say: the same frames under the same history are the same file
                _check_held(self._store, key, file.name)
            merge.put += 1
            self._breathe()

    def _note(self, merge: _UnderWay, state: ShipState) -> None:
        files = merge.files or []
        by = [file.name.file_name for file in files]
        state.covered.append({"by": by, "names": [name for name in merge.old if name not in by]})
        first = next(n for n, note in enumerate(state.parts) if note["first"] == merge.first)
        last = next(n for n, note in enumerate(state.parts) if note["last"] == merge.last)
        name = files[-1].name
        state.parts[first : last + 1] = [
            {
                "family": name.family,
                "first": name.first,
                "last": name.last,
                "mark": name.mark,
                "rows": sum(file.rows for file in files),
                "families": "".join(file.name.family for file in reversed(files)),
            }
        ]
        state.merging = None

    def _commit(self, note: dict[str, Any]) -> PartName:
        """The e or f file of a part that the spool's note speaks of."""
        return PartName(*self._writer, note["family"], note["first"], note["last"], note["mark"])

    def _set(self, note: dict[str, Any]) -> list[PartName]:
        """All its files, the one that commits them first."""
        commit = self._commit(note)
        families = note.get("families") or (commit.family if commit.family == "e" else self._listed(commit))
        return [commit, *(replace(commit, family=family) for family in families if family != commit.family)]

    def _listed(self, commit: PartName) -> str:
        """Which families a set has, by its f file: notes of early releases do not say."""
        return _held_footer(self._store, self._prefix + commit.file_name, "f").families

    def _pause(self, seconds: float, text: str) -> None:
        self._paused_until_s = self._monotonic_s() + seconds
        self._drop()
        self._notify("warn", text)

    def _drop(self) -> None:
        if self._under_way is not None:
            self._under_way.steps.close()
            self._under_way = None
        self._clear()

    def _clear(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def _check_held(store: MergeStore, key: str, name: PartName) -> None:
    held = _held_footer(store, key, name.family)
    if (held.first, held.last, held.mark) != (name.first, name.last, name.mark):
        raise CorruptData(f"{key} holds another history than its name says. Keep both files and report it.")


def _held_footer(store: MergeStore, key: str, family: str) -> PartFooter:
    path = store.local_path(key)
    schema = DERIVED_SCHEMA if family == "r" else SCHEMA
    if path is None:
        sizes = {info.key: info.size_bytes for info in store.list(key.rpartition("/")[0] + "/")}
        if key not in sizes:
            raise NotFound(f"{key} was there, and is gone.")
    try:
        with pq.ParquetFile(RangeFile(store, key, sizes[key]) if path is None else path) as file:
            footer = parse_any_footer(file.metadata, key, schema)
    except (pa.ArrowException, EOFError, ValueError) as exc:
        raise CorruptData(f"{key} is damaged ({exc}). Keep the file and report it.") from exc
    if not isinstance(footer, PartFooter):
        raise CorruptData(f"{key} says that it is of a pack. Keep the file and report it.")
    return footer
