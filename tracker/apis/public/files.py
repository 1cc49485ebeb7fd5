"""The files of a run as a sequence."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, overload

from tracker.apis.public.attrs import Attrs
from tracker.apis.public.client import RetryingClient
from tracker.apis.public.failures import comm_errors
from tracker.apis.public.file import File, existing_of
from tracker.apis.public.file_fetch import fetch_files
from tracker.apis.public.file_view import files_page
from tracker.apis.public.questions import FILES

if TYPE_CHECKING:
    from tracker.apis.public.run import Run

__all__ = ["Files"]


class Files(Attrs):
    """The files of a run by name, or those of `names`: a sequence, read when it is first used."""

    QUERY: ClassVar[str] = FILES

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

    @comm_errors
    def download(
        self,
        root: str | os.PathLike[str] = ".",
        replace: bool = False,
        exist_ok: bool = False,
        workers: int | None = None,
    ) -> list[Path]:
        """All of them are below `root`, whole; where each is, in the order of the files.

        `exist_ok`: what is there already stays. `replace`: it is replaced, unless it has the same contents. `workers`
        files at a time; None: 64 from a bucket, 4 from a disk. After an error, or Ctrl-C, what has come stays: with
        `exist_ok` calling again fetches the rest, and goes on in the middle of a large file.

        Raises:
            ValueError: some are there, and neither is set; a name would lead out of `root`; or two files cannot lie
                there together. Then nothing is fetched.
            NotFound: the store does not have the contents of one (yet). CorruptData: they are not what was kept.
            StorageUnavailable, CredentialsMissing: as the store.
        """
        return fetch_files(self.objects, Path(root), existing_of(replace, exist_ok), workers)

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

    def _page(self) -> str:
        return files_page(self)

    def __repr__(self) -> str:
        return f"<Files {'/'.join(self.run.path)} ({len(self)})>"
