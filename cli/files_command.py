"""`tracker files ls`, `get`, `put` and `rm`."""

from __future__ import annotations

import fnmatch
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracker.base_url import resolve_base_url
from tracker.cli.choose_project import choose_project
from tracker.cli.columns import count_text, size_text
from tracker.cli.formats import Answer, format_named
from tracker.cli.output import check_output, write_answer
from tracker.cli.talk import Progress, progress_bar, say
from tracker.cli.text_table import printable
from tracker.storage.errors import NotFound, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from tracker.apis.public.file import File
    from tracker.apis.public.run import Run

__all__ = ["get_files", "list_files", "put_files", "remove_files"]

_FOR_PEOPLE: Final = ("name", "size", "mimetype", "updated_at")
_COLUMNS: Final = (*_FOR_PEOPLE, "sha256")


def list_files(
    run: str,
    names: Sequence[str],
    url: str | None,
    project: str | None,
    entity: str | None,
    format_name: str | None,
    output: Path | None,
) -> None:
    """Print the files of the run that have these names, all of them without names.

    Raises:
        NotFound: no such run; or no file of one of these names.
        UsageError: no such format, or the output cannot be written.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    form = format_named(format_name, output)
    check_output(form, output)
    with _opened_run(run, url, project, entity) as found:
        records = [file.as_dict() for file in _chosen(found, names)]
    shown = _FOR_PEOPLE if form.name == "table" else _COLUMNS
    write_answer(Answer(lambda: _table(records, shown), lambda: records), form, output)


def get_files(
    run: str,
    names: Sequence[str],
    url: str | None,
    project: str | None,
    entity: str | None,
    *,
    root: Path,
    replace: bool,
    exist_ok: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """These files are below `root`; their paths are printed.

    Raises:
        UsageError: some are there already, or cannot lie there; then nothing is fetched.
        NotFound: no such run or file, or the store lacks its contents. CorruptData: they are damaged.
        StorageUnavailable, CredentialsMissing: as the store.
    """
    from tracker.apis.public.file import existing_of
    from tracker.apis.public.file_fetch import fetch_files

    with _opened_run(run, url, project, entity) as found, progress_bar() as progress:
        files = _chosen(found, names)
        counter = _Counter("files", len(files), progress)
        targets = fetch_files(files, root, existing_of(replace, exist_ok), workers, lambda _: counter.add())
    total = sum(file.size for file in files)
    say(f"{count_text(len(files), 'file')} of {found.id} in {root}, {size_text(total)}")
    _print([{"name": file.name, "path": str(target)} for file, target in zip(files, targets, strict=True)],
           "path", as_json)  # fmt: skip


def put_files(
    run: str,
    paths: Sequence[Path],
    url: str | None,
    project: str | None,
    entity: str | None,
    *,
    root: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """The run keeps these files; their names are printed.

    Raises:
        UsageError: one is not there, cannot be read, or does not lie below `root`; then the run keeps none newly.
        NotFound: no such run. StorageUnavailable, CredentialsMissing: as the store. Repeating is safe.
    """
    from tracker.apis.public.file_edits import named_files, upload_files

    try:
        sources = named_files(paths, root)
        sizes = {name: source.stat().st_size for name, source in sources.items()}
    except (OSError, ValueError) as exc:
        raise UsageError(f"Cannot keep {printable(str(exc))}") from exc
    with _opened_run(run, url, project, entity) as found, progress_bar() as progress:
        counter = _Counter("files", len(sources), progress)
        if not dry_run:
            try:
                upload_files(found, sources, lambda _: counter.add())
            except OSError as exc:
                raise UsageError(f"Cannot read {printable(str(exc))}") from exc
    verb = "would keep" if dry_run else "kept"
    say(f"{verb} {count_text(len(sizes), 'file')} with {found.id}, {size_text(sum(sizes.values()))}")
    _print([{"name": name, "size": size} for name, size in sizes.items()], "name", as_json)


def remove_files(
    run: str,
    names: Sequence[str],
    url: str | None,
    project: str | None,
    entity: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """The run has none of these files any more; their names are printed.

    Raises:
        NotFound: no such run; or no file of one of these names; then none is removed.
        StorageUnavailable, CredentialsMissing: as the store. Repeating is safe.
    """
    from tracker.apis.public.file_edits import delete_files

    with _opened_run(run, url, project, entity) as found:
        files = _chosen(found, names)
        if not dry_run:
            delete_files(found, files)
    say(f"{'would remove' if dry_run else 'removed'} {count_text(len(files), 'file')} from {found.id}")
    _print([{"name": file.name, "size": file.size} for file in files], "name", as_json)


class _Counter:
    """Moves the bar, from any thread."""

    def __init__(self, what: str, total: int, progress: Progress) -> None:
        self._what, self._total, self._progress = what, total, progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self._done += 1
            self._progress(self._what, self._done, self._total)


@contextmanager
def _opened_run(run: str, url: str | None, project: str | None, entity: str | None) -> Iterator[Run]:
    """The run at a path, which options and environment complete.

    Raises:
        NotFound: there is none. UsageError: no path; or several projects, and none named.
    """
    from tracker.apis.public.client import RetryingClient
    from tracker.apis.public.run import Run

    *above, run_id = run.strip("/").split("/")
    if len(above) > 2 or not run_id:
        raise UsageError(f'"{run}" is no run. Give its id, project/id or entity/project/id.')
    if above:
        project = above[-1]
        entity = above[0] if len(above) == 2 else entity
    client = RetryingClient(resolve_base_url(url))
    try:
        name = choose_project(client.store, project, entity)
        yield Run(client, name.entity, name.project, run_id)
    finally:
        client.store.close()


def _chosen(run: Run, names: Sequence[str]) -> list[File]:
    """The files of these names and patterns, sorted by name; all of them without any."""
    files = list(run.files())
    if not names:
        return files
    kept: set[str] = set()
    for name in names:
        matched = [file.name for file in files if file.name == name or fnmatch.fnmatchcase(file.name, name)]
        if not matched:
            raise NotFound(f'Run {run.id} has no file "{name}". See: tracker files ls {"/".join(run.path)}')
        kept.update(matched)
    return [file for file in files if file.name in kept]


def _table(records: Sequence[dict[str, Any]], shown: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    kinds = {name: pa.int64() if name == "size" else pa.string() for name in shown}
    return pa.table({name: pa.array([record[name] for record in records], kind) for name, kind in kinds.items()})


def _print(records: Sequence[dict[str, Any]], name: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"files": records}, indent=2, ensure_ascii=False))
    else:
        for record in records:
            print(printable(record[name]))
