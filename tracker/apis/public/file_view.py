"""What a file and a listing of files show in a notebook; of pictures and short texts, what is in them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tracker.errors import Error

if TYPE_CHECKING:
    from tracker.apis.public.file import File
    from tracker.apis.public.files import Files

__all__ = ["file_page", "files_page"]

_PICTURES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "image/bmp")
_TEXTS: Final = ("application/json", "application/x-yaml", "application/yaml", "application/toml", "application/xml")
_TEXT_SUFFIXES: Final = (".yaml", ".yml", ".toml", ".md", ".log", ".patch", ".jsonl")
_PICTURE_BYTES_MAX: Final = 2 << 20
_TEXT_BYTES_MAX: Final = 64 << 10
_TEXT_SHOWN_MAX: Final = 4_000  # characters
_ROWS_MAX: Final = 200


def file_page(file: File, content: Callable[[], bytes]) -> str:
    """Name, type, size, time; pictures of at most 2 MiB and the beginnings of texts of at most 64 KiB, for which alone
    `content` is called.
    """
    from tracker.sdk.html_page import escaped, head, page

    about = repr(file).removeprefix(f"<File {file.name} ").removesuffix(">")
    body = head(file.name, f"{about} · {file.updated_at}", "/".join(file.run.path) if file.run else "")
    try:
        return page(body + _preview(file, content))
    except Error as exc:
        return page(f"{body}<p>{escaped(f'not shown: {exc}')}</p>")


def _preview(file: File, content: Callable[[], bytes]) -> str:
    from tracker.sdk.html_page import escaped

    if file.mimetype in _PICTURES and file.size <= _PICTURE_BYTES_MAX:
        data = base64.b64encode(content()).decode()
        return f'<img alt="{escaped(file.name)}" src="data:{file.mimetype};base64,{data}">'
    is_text = file.mimetype.startswith("text/") or file.mimetype in _TEXTS or file.name.endswith(_TEXT_SUFFIXES)
    if is_text and file.size <= _TEXT_BYTES_MAX:
        text = content().decode("utf-8", "replace")
        more = "\n..." if len(text) > _TEXT_SHOWN_MAX else ""
        return f"<pre>{escaped(text[:_TEXT_SHOWN_MAX] + more)}</pre>"
    return ""


def files_page(listing: Files) -> str:
    """A line for each of the first 200 files."""
    from tracker.sdk.html_page import cells_table, counted, head, page

    files = listing.objects
    rows = [(file.name, file.mimetype, file.size, file.updated_at) for file in files[:_ROWS_MAX]]
    body = head("/".join(listing.run.path), counted(len(files), "file", len(rows)))
    return page(body + (cells_table(("name", "type", "bytes", "changed"), rows) if rows else ""))
