"""`RunFileCalls`: the files of a public `Run`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracker.apis.public.failures import CommIndexError, comm_errors
from tracker.apis.public.file import File
from tracker.apis.public.file_edits import named_files, upload_files
from tracker.apis.public.files import Files
from tracker.query.run_file_rows import RunFileRow, run_file_rows

if TYPE_CHECKING:
    from tracker.apis.public.client import RetryingClient
    from tracker.query.snapshot import Snapshot

__all__ = ["RunFileCalls"]


class RunFileCalls:
    """Part of `Run`, which stores what changes them."""

    id: str
    client: RetryingClient

    if TYPE_CHECKING:

        def _open(self) -> Snapshot: ...

    @comm_errors
    def files(self, names: Sequence[str] | None = None, per_page: int = 50) -> Files:
        """The files that the run keeps, by name; with `names` those of exactly these names."""
        return Files(self.client, self, names, per_page)  # type: ignore[arg-type]  # a part of Run

    @comm_errors
    def file(self, name: str) -> File:
        """The file of that name.

        Raises:
            IndexError: the run has no such file.
        """
        found = Files(self.client, self, [name])  # type: ignore[arg-type]
        if not len(found):
            text = f"the run has no file {name!r}"
            raise CommIndexError(text, IndexError(text))
        return found[0]

    @comm_errors
    def upload_file(self, path: str | os.PathLike[str], root: str | os.PathLike[str] = ".") -> File:
        """The run keeps the file at `path` as its path relative to `root`; the store has it when this returns.

        Raises:
            ValueError: it does not lie below `root`, or is a folder. OSError: it cannot be read.
            UsageError: the run is shown as of a time gone by.
        """
        if os.path.isdir(path):
            raise ValueError(f"{os.fspath(path)} is a folder. Use upload_files, which takes all that is in it.")
        return upload_files(self, named_files([path], root))[0]  # type: ignore[arg-type]

    @comm_errors
    def upload_files(
        self, paths: Sequence[str | os.PathLike[str]], root: str | os.PathLike[str] = "."
    ) -> list[File]:
        """As `upload_file`, of each, and of all that lies below those that are folders; the run keeps all or none.

        Raises:
            As `upload_file`.
        """
        return upload_files(self, named_files(paths, root))  # type: ignore[arg-type]

    def file_rows(self) -> list[RunFileRow]:
        """The files as the store has them now, sorted by name. Not for users."""
        return self.client.read(lambda snapshot: run_file_rows(snapshot, self.id), self._open(), self._open)
