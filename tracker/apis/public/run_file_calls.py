"""`RunFileCalls`: the files of a public `Run`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracker.apis.public.failures import CommIndexError, comm_errors
from tracker.apis.public.files import File, Files, upload_file
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
            ValueError: it does not lie below `root`. OSError: it cannot be read.
            UsageError: the run is shown as of a time gone by.
        """
        return upload_file(self, path, root)  # type: ignore[arg-type]

    def file_rows(self) -> list[RunFileRow]:
        """The files as the store has them now, sorted by name. Not for users."""
        return self.client.read(lambda snapshot: run_file_rows(snapshot, self.id), self._open(), self._open)
