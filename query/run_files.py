"""The files of a run as a reader holds them: chosen, cut, digested."""

from __future__ import annotations

from dataclasses import dataclass

from tracker.query.part_digest import PartDigest
from tracker.storage.names import PartName
from tracker.storage.port import ObjectInfo

__all__ = ["RunFiles", "RunPart"]


@dataclass(frozen=True, slots=True)
class RunPart:
    """Frames from `first` on of one file. Nothing else has them."""

    info: ObjectInfo
    name: PartName
    first: int
    digest: PartDigest

    @property
    def is_cut(self) -> bool:
        return self.name.first < self.first


@dataclass(frozen=True, slots=True)
class RunFiles:
    """All parts of one run, ordered by writer, frame and family."""

    entity: str
    project: str
    run_id: str
    parts: tuple[RunPart, ...]

    def of_writers(self, writers: frozenset[str]) -> RunFiles:
        """Only what these writers wrote."""
        kept = tuple(part for part in self.parts if part.name.writer_id in writers)
        return RunFiles(self.entity, self.project, self.run_id, kept)

    def history_keys(self) -> list[str]:
        """Stored history keys in the order in which they were first logged (writer by writer)."""
        return list(dict.fromkeys(key for part in self.parts for key in part.digest.keys))
