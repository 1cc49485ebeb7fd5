"""Media that come encoded, as files or bytes: images, video, audio and tables, for what writes them beside the user."""

from __future__ import annotations

import json
import os
import struct
from typing import Any, ClassVar

from tracker.sdk.media import MediaFile

__all__ = ["AudioFile", "ImageFile", "TableFile", "VideoFile"]

_IMAGE_STARTS = {b"\x89PNG": "png", b"GIF8": "gif", b"\xff\xd8\xff": "jpg", b"BM": "bmp"}


class ImageFile(MediaFile):
    """One encoded image. Lists of them are one entry (IMG-5, IMG-6)."""

    log_type: ClassVar[str] = "image-file"
    group_type: ClassVar[str] = "images/separated"
    folder: ClassVar[str] = "media/images"

    @classmethod
    def encoded(cls, data: bytes, width: int, height: int) -> ImageFile:
        """`data` tells its format; `width` and `height` in pixels."""
        found = next((name for start, name in _IMAGE_STARTS.items() if data.startswith(start)), "png")
        return cls(data, f".{found}", format=found, width=width, height=height)

    @classmethod
    def group_json(cls, kept: list[dict[str, Any]]) -> dict[str, Any]:
        """Size and format are those of the first."""
        first = {name: kept[0][name] for name in ("width", "height", "format") if name in kept[0]}
        return super().group_json(kept) | first


class VideoFile(MediaFile):
    """One encoded video (VID-2). Lists of them are one entry."""

    log_type: ClassVar[str] = "video-file"
    group_type: ClassVar[str] = "videos"
    folder: ClassVar[str] = "media/videos"

    @classmethod
    def at(cls, path: str | os.PathLike[str], caption: str | None = None) -> VideoFile:
        """The video in the file at `path`; its extension is the format. Raises FileNotFoundError."""
        name = os.fspath(path)
        extension = os.path.splitext(name)[1]
        size = _mp4_size(name) if extension == ".mp4" else None
        width, height = size or (None, None)
        return cls(name, extension, width=width, height=height, caption=caption)

    @classmethod
    def group_json(cls, kept: list[dict[str, Any]]) -> dict[str, Any]:
        """Captions are False unless the first has one."""
        captions = [one.get("caption") for one in kept]
        shown = captions if captions[0] is not None else False
        return {"_type": cls.group_type, "count": len(kept), "videos": kept, "captions": shown}


class AudioFile(MediaFile):
    """One encoded sound (AUD-1). Lists of them are one entry."""

    log_type: ClassVar[str] = "audio-file"
    group_type: ClassVar[str] = "audio"
    folder: ClassVar[str] = "media/audio"

    @classmethod
    def group_json(cls, kept: list[dict[str, Any]]) -> dict[str, Any]:
        return {"_type": cls.group_type, "count": len(kept), "audio": kept}


class TableFile(MediaFile):
    """Rows under named columns, as the JSON file that tables of a run are kept in (TAB-7)."""

    log_type: ClassVar[str] = "table-file"
    folder: ClassVar[str] = "media/table"
    columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, rows: list[list[Any]]) -> None:
        """`rows`: each as long as `columns`, of JSON values."""
        data = json.dumps({"columns": list(self.columns), "data": rows}).encode()
        super().__init__(data, ".table.json", ncols=len(self.columns), nrows=len(rows))


def _mp4_size(path: str) -> tuple[int, int] | None:
    """Width and height that the first visual track's header states, in pixels. Source: ISO/IEC 14496-12, box `tkhd`."""
    try:
        with open(path, "rb") as file:
            moov = _find_box(file, os.path.getsize(path), b"moov")
            while moov:
                track = _find_box(file, moov[1], b"trak", moov[0])
                if track is None:
                    return None
                header = _find_box(file, track[1], b"tkhd", track[0])
                if header is not None:
                    file.seek(header[1] - 8)
                    width, height = struct.unpack(">II", file.read(8))
                    if width and height:
                        return width >> 16, height >> 16
                moov = (track[1], moov[1])
    except (OSError, struct.error):
        return None
    return None


def _find_box(file: Any, end: int, kind: bytes, start: int = 0) -> tuple[int, int] | None:
    """Begin and end of the contents of the first box of this kind between two positions."""
    while start + 8 <= end:
        file.seek(start)
        size, found = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            header = 16
        size = end - start if size == 0 else size
        if size < header:
            return None
        if found == kind:
            return start + header, min(start + size, end)
        start += size
    return None
