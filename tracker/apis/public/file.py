"""One file that a run keeps: what it is, where its contents lie, and how they come to the local disk."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracker.apis.public.attrs import Attrs
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import comm_errors
from tracker.apis.public.file_view import file_page
from tracker.errors import UsageError
from tracker.query.run_file_rows import RunFileRow
from tracker.storage.contents import pieces_of
from tracker.storage.downloads import Download, download
from tracker.storage.errors import CorruptData
from tracker.storage.events import DELETED, KIND_FILE
from tracker.storage.names import blob_key
from tracker.storage.part_file import Existing
from tracker.storage.port import SignUrl
from tracker.storage.staging import EMPTY_SHA256
from tracker.storage.targets import target_of

if TYPE_CHECKING:
    from tracker.apis.public.api import Api
    from tracker.apis.public.run import Run

__all__ = ["File", "existing_of", "size_words"]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SIGNED_S: Final = 3600


class File(Attrs):
    """One file that a run keeps, as it was when the run was asked for its files."""

    def __init__(self, client: RetryingClient, attrs: RunFileRow, run: Run | None = None) -> None:
        """Without `run` it tells its name, size and hash; where its contents lie is not known."""
        self.client = client
        self.run = run
        self._row = attrs
        self._md5: str | None = None

    @property
    def name(self) -> str:
        """Relative to the run's files, with `/`."""
        return self._row.name

    @property
    def id(self) -> str:
        """The SHA-256 of the contents, 64 hex digits."""
        return self._row.fact.sha256

    @property
    def sha256(self) -> str:
        """Of the contents, 64 hex digits."""
        return self._row.fact.sha256

    @property
    def size(self) -> int:
        """Bytes."""
        return self._row.fact.size

    @property
    def mimetype(self) -> str:
        """By the name; `application/octet-stream` where that tells nothing."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    @property
    def updated_at(self) -> str:
        """When the original was changed last: ISO 8601, UTC."""
        return datetime.fromtimestamp(self._row.fact.modified_us / 1e6, UTC).isoformat(timespec="seconds")

    @property
    def url(self) -> str:
        """Where the contents lie; of what is no object of the store (a short text, nothing at all) a `data:` URL."""
        held = self._held()
        if held is not None:
            return f"data:{self.mimetype};base64,{base64.b64encode(held).decode()}"
        return self.client.url_of(self._key)

    @property
    def direct_url(self) -> str:
        """As `url`; of a bucket an address for browsers and `curl` that is good for an hour, without a request.

        Anybody who has it can read the contents. Credentials that cannot sign (none, or those of a person on Google
        Cloud) leave it at `url`.
        """
        store = self.client.store
        if self._held() is None and isinstance(store, SignUrl):
            return store.signed_url(self._key, _SIGNED_S) or self.url
        return self.url

    @property
    def path_uri(self) -> str:
        """The storage URI of the contents (`s3://`, `gs://`, `file://`), "" of what is no object of the store."""
        return "" if self._held() is not None else self.client.url_of(self._key)

    @property
    def md5(self) -> str:
        """Base64 of the contents' MD5, which are read for it: the store knows them by their SHA-256.

        Raises:
            NotFound: the store does not have the contents (yet). StorageUnavailable, CredentialsMissing: as the store.
        """
        if self._md5 is None:
            found = hashlib.md5(usedforsecurity=False)
            held = self._held()
            for piece in pieces_of(self.client.store, self._key) if held is None else (held,):
                found.update(piece)
            self._md5 = base64.b64encode(found.digest()).decode()
        return self._md5

    @comm_errors
    def download(
        self, root: str = ".", replace: bool = False, exist_ok: bool = False, api: Api | None = None
    ) -> TextIOWrapper:
        """The file is at `root/name`, whole, and is returned opened for reading as text. Folders are made.

        `exist_ok`: one that is there already stays and is opened. `replace`: it is replaced. `api` has no effect.
        A download that was stopped has left what it had in a hidden `.part` file beside; calling again goes on there.

        Raises:
            ValueError: it is there, and neither is set; or its name would lead out of `root`.
            NotFound: the store does not have the contents (yet). CorruptData: they are not what was kept.
            StorageUnavailable, CredentialsMissing: as the store.
        """
        _ = api
        wanted = self.download_to(Path(root))
        download(self.client.store, wanted, existing_of(replace, exist_ok))
        return open(wanted.target, encoding="utf-8")

    @comm_errors
    def delete(self) -> None:
        """The run has no such file any more. Its contents go with `tracker vacuum --blobs`, if nothing else names them.

        Raises:
            UsageError: the run is shown as of a time gone by.
        """
        self._owner.store_edits([(KIND_FILE, self._owner.id, self._row.path, DELETED)])

    def download_to(self, root: Path, target: Path | None = None) -> Download:
        """What `download` fetches: to `root/name`, or to `target`. Not for users.

        Raises:
            RefusedTarget: the name would lead out of `root`.
        """
        target = target or target_of(root, self.name)
        return Download(target=target, sha256=self.sha256, size=self.size, key=self._key, text=self._held())

    def as_dict(self) -> dict[str, Any]:
        """What `tracker files ls` shows of it: name, size in bytes, mimetype, updated_at, sha256."""
        return {
            "name": self.name,
            "size": self.size,
            "mimetype": self.mimetype,
            "updated_at": self.updated_at,
            "sha256": self.sha256,
        }

    @property
    def _owner(self) -> Run:
        if self.run is None:
            raise UsageError(f"This File was made without its run, so {self.name} cannot be reached. Use Run.file().")
        return self.run

    @property
    def _key(self) -> str:
        return blob_key(self._owner.entity, self._owner.project, self.sha256)

    def _held(self) -> bytes | None:
        """The contents, where the store keeps no object for them."""
        text = self._row.fact.text
        if text is None:
            return b"" if self.sha256 == EMPTY_SHA256 else None
        data = text.encode("utf-8", "surrogatepass")
        if len(data) != self.size:
            raise CorruptData(f"{self.name} has {len(data)} bytes, and {self.size} were kept. Run: tracker fsck")
        return data

    def to_html(self, *args: Any, **kwargs: Any) -> str:
        """As every object's: `height` in pixels, then `hidden`."""
        return super().to_html(*args, **kwargs)

    def _page(self) -> str:
        return file_page(self, self._content)

    def _content(self) -> bytes:
        """All of it."""
        held = self._held()
        return b"".join(pieces_of(self.client.store, self._key)) if held is None else held

    def __repr__(self) -> str:
        return f"<File {self.name} ({self.mimetype}) {size_words(self.size)}>"


def existing_of(replace: bool, exist_ok: bool) -> Existing:
    """What these two arguments mean for a file that is there already."""
    return "replace" if replace else "keep" if exist_ok else "refuse"


def size_words(size: int) -> str:
    """1536 to `1.5KiB`."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f}{_UNITS[unit]}"
