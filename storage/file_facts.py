"""What a run says of one of its files: the fact of kind `file`, written by the SDK and read by the Api.

Contents are objects of their own, which runs share. Only the few files that every run has, and no two alike, travel
within the fact while they are short: a hundred thousand short runs shall not leave half a million objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tracker.storage.events import KIND_FILE, Value, join_path, split_path
from tracker.storage.staging import Content

__all__ = ["TEXT_BYTES_MAX", "FileFact", "Policy", "file_name_of", "read_short"]

Policy = Literal["now", "end", "live"]

TEXT_BYTES_MAX: Final = 4096  # of UTF-8
_EVERY_RUN_HAS: Final = frozenset({"config.yaml", "output.log", "wandb-metadata.json", "wandb-summary.json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact:
    """File `name` (POSIX, relative) of the run had these contents."""

    name: str
    sha256: str
    size: int  # bytes
    modified_us: int  # of the original, by its file system; 0: not known
    policy: str = "now"
    text: str | None = None  # the contents, where they are here; None: in the store, under their hash

    @classmethod
    def short(cls, name: str, data: bytes, modified_us: int, policy: Policy) -> FileFact | None:
        """The fact that holds these contents itself; None where they are to be an object."""
        if name not in _EVERY_RUN_HAS or policy == "live" or not 0 < len(data) <= TEXT_BYTES_MAX:
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        sha256 = hashlib.sha256(data).hexdigest()
        return cls(name=name, sha256=sha256, size=len(data), modified_us=modified_us, policy=policy, text=text)

    @classmethod
    def of(cls, name: str, content: Content, modified_us: int, policy: Policy) -> FileFact:
        return cls(
            name=name, sha256=content.sha256, size=content.size, modified_us=modified_us, policy=policy
        )

    @classmethod
    def parse(cls, path: str, value: Value) -> FileFact | None:
        """The file that the fact at `path` tells of, or None for what is no file."""
        if not isinstance(value, Mapping) or value.get("_type") != "file":
            return None
        sha256, size, modified_us = value.get("sha256"), value.get("size"), value.get("mtime_us")
        text = value.get("text")
        if isinstance(text, str):
            sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        if not isinstance(sha256, str) or not isinstance(size, int):
            return None
        return cls(
            name=file_name_of(path),
            sha256=sha256,
            size=size,
            modified_us=modified_us if isinstance(modified_us, int) else 0,
            policy=str(value.get("policy")),
            text=text if isinstance(text, str) else None,
        )

    @property
    def row(self) -> tuple[str, None, str, dict[str, Any]]:
        """The fact as `RunWriter.write_facts` takes it: the name is one segment of the path."""
        value = {
            "_type": "file",
            **({"sha256": self.sha256} if self.text is None else {"text": self.text}),
            "size": self.size,
            "mtime_us": self.modified_us,
            "policy": self.policy,
        }
        return KIND_FILE, None, join_path([self.name]), value


def read_short(name: str, source: Path, modified_us: int, policy: Policy) -> FileFact | None:
    """As `FileFact.short`, of the file as it is now. Nothing is read where it would be an object in any case.

    Raises:
        OSError: it cannot be read.
    """
    if name not in _EVERY_RUN_HAS:
        return None
    with open(source, "rb") as file:
        return FileFact.short(name, file.read(TEXT_BYTES_MAX + 1), modified_us, policy)


def file_name_of(path: str) -> str:
    """The name at a stored path."""
    return ".".join(split_path(path))
