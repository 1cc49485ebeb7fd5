"""What a file and a listing of files show in a notebook; of pictures and short texts, what is in them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from tracker.errors import Error
from tracker.storage.contents import pieces_of
from tracker.storage.names import blob_key
from tracker.storage.staging import EMPTY_SHA256

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient
    from tracker.apis.public.file import File
    from tracker.apis.public.run import Run
    from tracker.query.run_file_rows import RunFileRow

__all__ = ["FileView", "FilesView"]

_PICTURES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "image/bmp")
_TEXTS: Final = ("application/json", "application/x-yaml", "application/yaml", "application/toml", "application/xml")
_PICTURE_BYTES_MAX: Final = 2 << 20
_TEXT_BYTES_MAX: Final = 64 << 10
_TEXT_SHOWN_MAX: Final = 4_000  # characters
_ROWS_MAX: Final = 200


class FileView:
    """The page of a File."""

    client: RetryingClient
    run: Any

    if TYPE_CHECKING:
        name: str
        size: int
        mimetype: str
        sha256: str
        updated_at: str
        _row: RunFileRow

    def to_html(self, *args: Any, **kwargs: Any) -> str:
        """As every object's: `height` in pixels, then `hidden`."""
        shown: str = super().to_html(*args, **kwargs)  # type: ignore[misc]  # of Attrs, which stands behind this class
        return shown

    def _page(self) -> str:
        """Name, type, size, time; pictures of at most 2 MiB and the beginnings of texts of at most 64 KiB."""
        from tracker.sdk.html_page import escaped, head, page

        about = repr(self).removeprefix(f"<File {self.name} ").removesuffix(">")
        body = head(self.name, f"{about} · {self.updated_at}", "/".join(self.run.path) if self.run else "")
        try:
            return page(body + self._preview())
        except Error as exc:
            return page(f"{body}<p>{escaped(f'not shown: {exc}')}</p>")

    def _preview(self) -> str:
        from tracker.sdk.html_page import escaped

        if self.mimetype in _PICTURES and self.size <= _PICTURE_BYTES_MAX:
            data = base64.b64encode(self._content()).decode()
            return f'<img alt="{escaped(self.name)}" src="data:{self.mimetype};base64,{data}">'
        is_text = self.mimetype.startswith("text/") or self.mimetype in _TEXTS or self._row.fact.text is not None
        if is_text and self.size <= _TEXT_BYTES_MAX:
            text = self._content().decode("utf-8", "replace")
            more = "\n..." if len(text) > _TEXT_SHOWN_MAX else ""
            return f"<pre>{escaped(text[:_TEXT_SHOWN_MAX] + more)}</pre>"
        return ""

    def _content(self) -> bytes:
        if self._row.fact.text is not None:
            return self._row.fact.text.encode("utf-8", "surrogatepass")
        if self.sha256 == EMPTY_SHA256:
            return b""
        return b"".join(pieces_of(self.client.store, blob_key(self.run.entity, self.run.project, self.sha256)))


class FilesView:
    """The page of a listing of files."""

    run: Run

    if TYPE_CHECKING:
        objects: list[File]

    def _page(self) -> str:
        """A line for each of the first 200 files."""
        from tracker.sdk.html_page import cells_table, counted, head, page

        files = self.objects
        rows = [(file.name, file.mimetype, file.size, file.updated_at) for file in files[:_ROWS_MAX]]
        body = head("/".join(self.run.path), counted(len(files), "file", len(rows)))
        return page(body + (cells_table(("name", "type", "bytes", "changed"), rows) if rows else ""))
