"""What a check of a project finds, in words that do not change: `FINDINGS` stands in docs/cli.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tracker.storage.port import ObjectInfo

__all__ = ["FINDINGS", "Finding", "FsckReport", "Level"]

Level = Literal["error", "warning", "note"]

FINDINGS: Final[dict[str, tuple[Level, str]]] = {
    "damaged": ("error", "bytes are not what was written: cut short, flipped, or contradicting each other"),
    "misplaced": ("error", "a file says of itself that it is another one, or of another run"),
    "gap": ("error", "frames of a writer are in no file, but later ones are there"),
    "torn": ("error", "a merged set lost one of its files"),
    "two-histories": ("error", "files of one writer tell two histories (a copied machine)"),
    "missing-pack": ("error", "the manifest lists a pack or checkpoint whose file is not there, or has another size"),
    "bad-cover": ("error", "what a pack's cover says is not what the pack holds"),
    "bad-manifest": ("error", "the newest manifest cannot be read"),
    "missing-blob": ("error", "a value names a blob that is not there"),
    "too-new": ("warning", "a newer tracker wrote it; this one cannot check it"),
    "derived": ("warning", "a rollup or checkpoint is damaged or not what its files say; it can be made again"),
    "odd-events": ("warning", "events are whole, but not as this version writes them"),
    "lost": ("warning", "records were damaged on the local disk of the process that logged them, before shipping"),
    "clock-ahead": ("warning", "stamps lie more than 24 hours ahead of the store's clock"),
    "unknown": ("warning", "an object whose name means nothing here; nobody reads it"),
    "old-manifest": ("note", "an older manifest cannot be read; nobody reads it"),
    "uncommitted": ("note", "files of a merge that did not end (their f file is not there); nobody reads them"),
    "unlisted-pack": ("note", "a pack that no manifest lists: a packer that did not end; nobody reads it"),
    "unnamed-blob": ("note", "no value names this blob"),
    "purged": ("note", "files of a purged run; nobody reads them"),
    "quarantine": ("note", "objects that an earlier repair moved aside"),
    "changing": ("note", "files came and went while they were checked; check again when nobody writes"),
}


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong or worth knowing. `code` is a key of FINDINGS; `key` the object, or a prefix."""

    code: str
    key: str
    text: str

    @property
    def level(self) -> Level:
        return FINDINGS[self.code][0]


@dataclass(slots=True)
class FsckReport:
    """What was looked at, and what was found; `moved`, `kept` and `renewed` by a repair.

    `listed`: every object by key; `packed`: (run segment, writer) to the last frame that packs hold;
    `named`: what `tracker vacuum --blobs` goes by.
    """

    entity: str
    project: str
    objects: int = 0
    size_bytes: int = 0
    events: int = 0
    runs: int = 0
    findings: list[Finding] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)  # from, to
    kept: list[tuple[str, str]] = field(default_factory=list)  # key, why it was not moved
    renewed: list[str] = field(default_factory=list)  # damaged or missing checkpoints that gave way to good ones
    listed: dict[str, ObjectInfo] = field(default_factory=dict)
    packed: dict[tuple[str, str], int] = field(default_factory=dict)
    named: frozenset[str] = frozenset()  # SHA-256 of the contents that values name

    def of_level(self, level: Level) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == level]

    @property
    def is_sound(self) -> bool:
        """Nothing that was written is damaged or missing."""
        return not self.of_level("error")

    def add(self, code: str, key: str, text: str) -> None:
        """Raises KeyError for a code that FINDINGS does not have."""
        FINDINGS[code]
        finding = Finding(code, key, text)
        if finding not in self.findings:
            self.findings.append(finding)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: fields are only ever added."""
        return {
            "entity": self.entity,
            "project": self.project,
            "sound": self.is_sound,
            "objects": self.objects,
            "size_bytes": self.size_bytes,
            "events": self.events,
            "runs": self.runs,
            "findings": [
                {"level": one.level, "code": one.code, "key": one.key, "text": one.text}
                for one in sorted(self.findings, key=lambda one: (_LEVELS.index(one.level), one.code, one.key))
            ],
            "moved": [{"key": old, "to": new} for old, new in self.moved],
            "kept": [{"key": key, "why": why} for key, why in self.kept],
            "renewed": list(self.renewed),
        }


_LEVELS: Final = ("error", "warning", "note")
