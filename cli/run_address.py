"""Where a run is, in one word: `id`, `project/id`, `entity/project/id`, or `URL#` and one of these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from tracker.cli.reading import Reader, open_reader
from tracker.storage.errors import UsageError

__all__ = ["RunAddress", "open_run", "parse_address"]


@dataclass(frozen=True, slots=True)
class RunAddress:
    """None: what the command's options, the environment or the store say."""

    url: str | None
    entity: str | None
    project: str | None
    run_id: str


def parse_address(
    text: str, url: str | None = None, project: str | None = None, entity: str | None = None
) -> RunAddress:
    """`text` decides before the options. Parts of the path are URL-quoted where they hold `/`, `#` or `%`.

    Raises:
        UsageError: it is no such path.
    """
    place, mark, path = text.rpartition("#")
    parts = path.strip("/ ").split("/")
    last = len(parts) - 1
    parts = [unquote(part) for n, part in enumerate(parts) if not (part == "runs" and 0 < n < last)]
    if len(parts) > 3 or not all(parts) or (mark and not place):
        raise UsageError(f'"{text}" is no run. Give its id, project/id, entity/project/id, or URL# and one of these.')
    if len(parts) > 1:
        project = parts[-2]
    if len(parts) > 2:
        entity = parts[0]
    return RunAddress(place or url, entity, project, parts[-1])


@contextmanager
def open_run(address: RunAddress) -> Iterator[Reader]:
    """The run's project, of which only this run is read.

    Raises:
        NotFound, UsageError, StorageUnavailable, CredentialsMissing: as `open_reader`.
    """
    with open_reader(address.url, address.project, address.entity, run_id=address.run_id) as reader:
        yield reader
