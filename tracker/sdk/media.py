"""Values that are more than a number: what each becomes in the log, and where its bytes go.

An inline value (a histogram) is its JSON. A media file is staged beside the log, kept as a file of the run, and
logged as JSON that names it (MEDIA-1, MEDIA-2).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

__all__ = ["InlineValue", "Loggable", "MediaFile", "MediaPlace", "Stage", "media_json"]

# contents and the name as a run's file to `sha256`, `size` and `path`
Stage = Callable[[bytes | Path, Callable[[str], str]], dict[str, Any]]


class MediaPlace:
    """Where one row, or the summary, keeps what its media consist of."""

    __slots__ = ("_stage", "_step")

    def __init__(self, stage: Stage, step: int | str) -> None:
        """`step` stands in file names: that of the row, or "summary"."""
        self._stage = stage
        self._step = step

    def keep(self, source: bytes | Path, folder: str, key: str, extension: str) -> dict[str, Any]:
        """The contents are kept as `<folder>/<key>_<step>_<20 hex of their SHA-256><extension>`.

        Returns `sha256`, `size` (bytes) and `path`. Raises OSError when the local disk takes no copy.
        """
        parts = [_SAFE.get(part, part) for part in key.split("/") if part]
        stem = "/".join(parts) or "_"
        return self._stage(source, lambda sha256: f"{folder}/{stem}_{self._step}_{sha256[:20]}{extension}")


_SAFE = {".": "_", "..": "__"}


class Loggable(Protocol):
    """What `log` and the summary take besides plain values and arrays."""

    def as_json(self, key: str, place: MediaPlace | None) -> dict[str, Any]:
        """The stored form under `key`. `place` is None where nothing can keep bytes.

        Raises:
            TypeError: bytes would have to be kept, and can not be here.
        """


class InlineValue:
    """A value that is JSON as a whole."""

    def to_json(self, run_or_artifact: Any = None) -> dict[str, Any]:
        """The stored form. Raises TypeError for a kind of value that has none."""
        _ = run_or_artifact
        raise TypeError(f"A value of type {type(self).__name__} has no stored form.")

    def as_json(self, key: str, place: MediaPlace | None) -> dict[str, Any]:
        """The stored form, the same everywhere."""
        _ = (key, place)
        return self.to_json()


class MediaFile:
    """One file with a type: the bytes, or the path of a file, and what its JSON says besides."""

    log_type: ClassVar[str] = ""  # of one
    group_type: ClassVar[str] = ""  # of a list of them; empty: a list has no stored form
    folder: ClassVar[str] = ""

    def __init__(self, source: bytes | str | os.PathLike[str], extension: str, **fields: Any) -> None:
        """`extension` with its dot. `fields` are JSON and stand beside `_type`; those that are None are left out.

        Raises:
            FileNotFoundError: `source` is the path of no file.
        """
        self.source = source if isinstance(source, bytes) else Path(source).absolute()
        if isinstance(self.source, Path) and not self.source.is_file():
            raise FileNotFoundError(f"There is no file {self.source}.")
        self.extension = extension
        self.fields = {name: value for name, value in fields.items() if value is not None}

    def as_json(self, key: str, place: MediaPlace | None) -> dict[str, Any]:
        """Keep the file; JSON with `_type`, `sha256`, `size`, `path` and the fields."""
        if place is None:
            raise TypeError(f"{key!r}: a {type(self).__name__} can only be logged to a run.")
        return {"_type": self.log_type, **place.keep(self.source, self.folder, key, self.extension), **self.fields}

    @classmethod
    def group_json(cls, kept: list[dict[str, Any]]) -> dict[str, Any]:
        """The stored form of a list of this class; `kept` are the JSON forms of its items."""
        return {"_type": cls.group_type, "count": len(kept), "filenames": [one["path"] for one in kept]}


def media_json(items: Sequence[Any], key: str, place: MediaPlace | None) -> dict[str, Any] | None:
    """One JSON for a list of one kind of media file; None when the list holds none (MEDIA-5).

    Raises:
        TypeError: kinds are mixed, or there is no stored form for a list of this one.
    """
    kinds = {type(item) for item in items}
    if not any(issubclass(kind, MediaFile) for kind in kinds):
        return None
    kind = kinds.pop()
    if kinds or not kind.group_type:
        names = ", ".join(sorted({type(item).__name__ for item in items}))
        raise TypeError(f"{key!r}: a list of media must hold one kind of them that can be grouped, got: {names}.")
    grouped: dict[str, Any] = kind.group_json([item.as_json(key, place) for item in items])
    return grouped
