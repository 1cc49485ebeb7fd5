"""Files that runs keep: found by name, downloaded, removed, added."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, overload

from tracker.apis.public.attrs import Attrs
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import CommValueError, comm_errors
from tracker.apis.public.file_view import FilesView, FileView
from tracker.errors import NotFound
from tracker.query.run_file_rows import RunFileRow
from tracker.storage.contents import fetch_content, pieces_of, write_content
from tracker.storage.errors import CorruptData
from tracker.storage.events import DELETED, KIND_FILE, join_path
from tracker.storage.file_facts import FileFact
from tracker.storage.names import blob_key
from tracker.storage.staging import EMPTY_SHA256, Staging

if TYPE_CHECKING:
    from tracker.apis.public.api import Api
    from tracker.apis.public.run import Run

__all__ = ["File", "Files", "fetch_file", "upload_file"]

_UNITS: Final = ("B", "KB", "MB", "GB", "TB")


class File(FileView, Attrs):
    """One file that a run keeps, as it was when the run was asked for its files."""

    def __init__(self, client: RetryingClient, attrs: RunFileRow, run: Run) -> None:
        self.client = client
        self.run = run
        self._row = attrs

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
        """Where the contents lie; of a short text that the run's own data holds, a `data:` URL."""
        text = self._row.fact.text
        if text is not None:
            return f"data:{self.mimetype};base64,{base64.b64encode(text.encode('utf-8', 'surrogatepass')).decode()}"
        return self.client.url_of(self._key)

    direct_url = url
    path_uri = url

    @property
    def md5(self) -> str:
        """Base64 of the contents' MD5, which are read for it: the store knows them by their SHA-256."""
        found = hashlib.md5(usedforsecurity=False)
        if self._row.fact.text is not None:
            found.update(self._short())
        elif self.sha256 != EMPTY_SHA256:
            for piece in pieces_of(self.client.store, self._key):
                found.update(piece)
        return base64.b64encode(found.digest()).decode()

    @comm_errors
    def download(
        self, root: str = ".", replace: bool = False, exist_ok: bool = False, api: Api | None = None
    ) -> TextIO:
        """The file is at `root/name`, whole, and is returned opened for reading as text. Folders are made.

        `exist_ok`: one that is there already stays and is opened. `replace`: it is replaced. `api` has no effect.

        Raises:
            ValueError: it is there, and neither is set.
            NotFound: the store does not have the contents (yet). CorruptData: they are not what was kept.
        """
        _ = api
        target = Path(root, self.name)
        if target.exists() and not replace:
            if not exist_ok:
                raise ValueError(f"{target} is there already. Pass replace=True or exist_ok=True.")
            return open(target, encoding="utf-8")
        if self._row.fact.text is not None:
            write_content([self._short()], target)
        else:
            fetch_content(self.client.store, self.run.entity, self.run.project, self.sha256, target)
        return open(target, encoding="utf-8")

    @comm_errors
    def delete(self) -> None:
        """The run has no such file any more. Its contents go with `tracker vacuum --blobs`, if nothing else names them.

        Raises:
            UsageError: the run is shown as of a time gone by.
        """
        self.run.store_edits([(KIND_FILE, self.run.id, self._row.path, DELETED)])

    def _short(self) -> bytes:
        """The contents that the fact holds."""
        data = (self._row.fact.text or "").encode("utf-8", "surrogatepass")
        if len(data) != self.size:
            raise CorruptData(f"{self.name} has {len(data)} bytes, and {self.size} were kept. Run: tracker fsck")
        return data

    @property
    def _key(self) -> str:
        return blob_key(self.run.entity, self.run.project, self.sha256)

    def __repr__(self) -> str:
        return f"<File {self.name} ({self.mimetype}) {_human(self.size)}>"


class Files(FilesView, Attrs):
    """The files of a run by name, or those of `names`: a sequence, read when it is first used."""

    def __init__(
        self,
        client: RetryingClient,
        run: Run,
        names: Sequence[str] | None = None,
        per_page: int = 50,
        upload: bool = False,
    ) -> None:
        """Nothing is fetched yet. `per_page` and `upload` have no effect: the names come with the run."""
        self.client = client
        self.run = run
        self.names = None if names is None else [names] if isinstance(names, str) else list(names)
        self.per_page = per_page
        self.upload = upload
        self.variables: dict[str, Any] = {}
        self._loaded: list[File] | None = None
        self._at = 0
        self.update_variables()

    @property
    def objects(self) -> list[File]:
        """All of them."""
        if self._loaded is None:
            rows = self.run.file_rows()
            wanted = None if self.names is None else set(self.names)
            self._loaded = [File(self.client, row, self.run) for row in rows if wanted is None or row.name in wanted]
        return self._loaded

    @property
    def length(self) -> int:
        return len(self.objects)

    @property
    def more(self) -> bool:
        """Whether further pages exist."""
        return self._loaded is None

    @property
    def cursor(self) -> str | None:
        """The name of the last loaded file."""
        return self._loaded[-1].name if self._loaded else None

    @property
    def url(self) -> str:
        """Where the contents of files of the project lie."""
        return self.run.url

    def update_variables(self) -> None:
        """Prepare the request for the following page."""
        self.variables.update({"fileLimit": self.per_page, "fileNames": self.names or [], "upload": self.upload})

    def convert_objects(self) -> list[File]:
        """The files of the last loaded page."""
        return list(self.objects)

    def __len__(self) -> int:
        return len(self.objects)

    @overload
    def __getitem__(self, index: int) -> File: ...
    @overload
    def __getitem__(self, index: slice) -> list[File]: ...
    def __getitem__(self, index: int | slice) -> File | list[File]:
        return self.objects[index]

    def __iter__(self) -> Iterator[File]:
        self._at = 0
        for file in self.objects:
            self._at += 1
            yield file

    def __next__(self) -> File:
        if self._at >= len(self):
            raise StopIteration
        self._at += 1
        return self[self._at - 1]

    next = __next__

    def __repr__(self) -> str:
        return f"<Files {'/'.join(self.run.path)} ({len(self)})>"


def upload_file(run: Run, path: str | os.PathLike[str], root: str | os.PathLike[str]) -> File:
    """The run keeps the file at `path`, under its path relative to `root`, when this returns.

    Raises:
        ValueError: it does not lie below `root`. OSError: it cannot be read.
        UsageError: the run is shown as of a time gone by. StorageUnavailable, CredentialsMissing: as the store.
    """
    source = Path(os.path.abspath(path))
    name = os.path.relpath(source, os.path.abspath(root)).replace(os.sep, "/")
    if name.startswith(".."):
        raise ValueError(f"{source} does not lie below {os.path.abspath(root)}. Pass a root that holds it.")
    run.client.refuse_the_past()
    with tempfile.TemporaryDirectory(prefix="tracker-upload-") as folder:
        staging = Staging(Path(folder))
        content = staging.add_file(source)
        if content.size:
            key = blob_key(run.entity, run.project, content.sha256)
            run.client.store.put_contents([(key, staging.path(content.sha256))])
    fact = FileFact.of(name, content, source.stat().st_mtime_ns // 1000, "now")
    run.store_edits([(KIND_FILE, run.id, join_path([name]), fact.row[3])])
    return File(run.client, RunFileRow(path=join_path([name]), fact=fact), run)


def fetch_file(run_path: str, name: str, root: str, *, base_url: str | None) -> TextIO | None:
    """The file `name` of the run at `run_path`, downloaded below `root` and opened; None: the run has no such file.

    Raises:
        ValueError: the run has the file, but not (yet) its contents.
        CommError: there is no such run. StorageUnavailable, CredentialsMissing: as the store.
    """
    from tracker.apis.public.api import Api

    run = Api({} if base_url is None else {"base_url": base_url}).run(run_path)
    found = Files(run.client, run, [name])
    if not len(found):
        return None
    try:
        return found[0].download(root, replace=True)
    except NotFound as exc:
        text = f"{name} of run {run_path} was declared, but its contents are not in the store (yet)."
        raise CommValueError(text, ValueError(text)) from exc


def _human(size: int) -> str:
    """1536 to `1.5KB`."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f}{_UNITS[unit]}"
