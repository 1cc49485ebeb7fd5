"""What a run says of one of its files: the fact of kind `file`, written by the SDK and read by the Api."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tracker.storage.events import KIND_FILE, Value, join_path, split_path
from tracker.storage.staging import Content

__all__ = ["FileFact", "Policy", "file_name_of"]

Policy = Literal["now", "end", "live"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact:
    """File `name` (POSIX, relative) of the run had these contents."""

    name: str
    sha256: str
    size: int  # bytes
    modified_us: int  # of the original, by its file system; 0: not known
    policy: str = "now"

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
        if not isinstance(sha256, str) or not isinstance(size, int):
            return None
        return cls(
            name=file_name_of(path),
            sha256=sha256,
            size=size,
            modified_us=modified_us if isinstance(modified_us, int) else 0,
            policy=str(value.get("policy")),
        )

    @property
    def row(self) -> tuple[str, None, str, dict[str, Any]]:
        """The fact as `RunWriter.write_facts` takes it: the name is one segment of the path."""
        value = {
            "_type": "file",
            "sha256": self.sha256,
            "size": self.size,
            "mtime_us": self.modified_us,
            "policy": self.policy,
        }
        return KIND_FILE, None, join_path([self.name]), value


def file_name_of(path: str) -> str:
    """The name at a stored path."""
    return ".".join(split_path(path))
