"""The runs of a project by id: those with loose files, and those in packs, which are made when they are asked for."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Final

from tracker.query.packed import Packed
from tracker.query.packed_records import packed_parts
from tracker.query.run_files import RunFiles, RunPart

__all__ = ["ProjectRuns"]

_FEW: Final = 64  # writers in packs, beyond which nobody asks whether all are of one run
_KEPT_MAX: Final = 20_000  # packed runs that were made stay, until there are so many


class ProjectRuns(Mapping[str, RunFiles]):
    """In order of ids. `only`: nothing but this run."""

    def __init__(self, packed: Packed, loose: Iterable[RunPart], only: str | None = None) -> None:
        parts: defaultdict[str, list[RunPart]] = defaultdict(list)
        for part in loose:
            if only is None or part.run_id == only:
                parts[part.run_id].append(part)
        self.packed = packed
        self.only = only
        self.loose = {run_id: tuple(sorted(parts[run_id], key=_place)) for run_id in sorted(parts)}
        self._made: OrderedDict[str, RunFiles] = OrderedDict()
        self._packed_ids: list[str] | None = None
        self.branched: frozenset[str] | None = None  # as `tracker.query.branches` finds out, once

    def __getitem__(self, run_id: str) -> RunFiles:
        """Raises PartsGone where a checkpoint is no more in the store."""
        return self.load([run_id])[run_id]

    def load(self, run_ids: Sequence[str]) -> dict[str, RunFiles]:
        """Many at once, which is much faster than one after the other; those that are not there are left out.

        Raises:
            PartsGone: a checkpoint is no more in the store. Open a new snapshot.
        """
        known = [run_id for run_id in run_ids if self.only is None or run_id == self.only]
        held = self._made  # threads share it, and any of them may empty it
        found = {run_id: made for run_id in known if (made := held.get(run_id)) is not None}
        wanted = [run_id for run_id in known if run_id not in found]
        if len(wanted) + len(held) > _KEPT_MAX:
            held.clear()
        packed = packed_parts(self.packed, wanted) if wanted and self.packed else {}
        for run_id in wanted:
            parts = (*packed.get(run_id, ()), *self.loose.get(run_id, ()))
            if parts:
                files = tuple(sorted(parts, key=_place)) if run_id in packed else parts
                found[run_id] = held[run_id] = RunFiles(self.packed.entity, self.packed.project, run_id, files)
        return {run_id: found[run_id] for run_id in known if run_id in found}

    def single(self) -> RunFiles | None:
        """The only run, where there is just one."""
        if len(self.loose) > 1 or (self.only is None and self.packed.writers.num_rows > _FEW):
            return None
        ids = list(self)
        return self[ids[0]] if len(ids) == 1 else None

    def __bool__(self) -> bool:
        if self.only is not None:
            return self.only in self
        return bool(self.loose) or bool(self.packed)

    def __iter__(self) -> Iterator[str]:
        if not self.packed:
            return iter(self.loose)
        if not self.loose:
            return iter(self._ids_in_packs())
        return iter(dict.fromkeys(merge(self.loose, self._ids_in_packs())))

    def __contains__(self, run_id: object) -> bool:
        if self.only is not None and run_id != self.only:
            return False
        return run_id in self.loose or (bool(self.packed) and run_id in self.packed)

    def __len__(self) -> int:
        if not self.packed:
            return len(self.loose)
        return len(self._ids_in_packs()) + sum(run_id not in self.packed for run_id in self.loose)

    def _ids_in_packs(self) -> list[str]:
        if self._packed_ids is None:
            if self.only is None:
                self._packed_ids = self.packed.run_ids()
            else:
                self._packed_ids = [self.only] if self.only in self.packed else []
        return self._packed_ids


def _place(part: RunPart) -> tuple[str, int]:
    return part.writer_id, part.first
