"""`tracker runs export`: runs and what they logged, as files that anything reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tracker.cli.columns import count_text, size_text
from tracker.cli.export_parts import Exported, export_files, export_reader, export_records
from tracker.cli.export_sinks import TABLE_FORMATS, write_records, write_table
from tracker.cli.formats import FORMATS
from tracker.cli.reading import Reader, open_reader, parse_filter_text, question
from tracker.cli.talk import progress_bar, say, working
from tracker.query.runs import find_runs
from tracker.query.snapshot import Snapshot
from tracker.storage.downloads import Download
from tracker.storage.errors import UsageError

__all__ = ["EXPORT_FORMATS", "PARTS", "ExportOptions", "run_export"]

PARTS: Final = ("runs", "history", "system", "console", "facts", "files")
EXPORT_FORMATS: Final = (*TABLE_FORMATS, "jsonl")
_DEFAULT: Final = ("runs", "history")
_REPORT: Final = "export.json"
_REPORT_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What was asked on the command line."""

    urls: Sequence[str] | None
    project: str | None
    entity: str | None
    filter_text: str | None
    order: str | None
    limit: int | None
    output: Path
    what: list[str] | None
    format_name: str | None
    replace: bool
    as_json: bool


def run_export(options: ExportOptions) -> None:
    """The folder holds a file a table, `files/` where it was asked for, and at last `export.json`, which names them.

    Raises:
        UsageError: an unknown part or format, a bad filter or order, or a folder that cannot be written to.
        NotFound: no such root or project. What files of runs raise, after all else is written.
        StorageUnavailable, CredentialsMissing, CorruptData, FormatTooNew: as the store and its parts.
    """
    parts, form = _parts(options.what), _form(options.format_name)
    asked = question(options.filter_text, options.order, options.limit)
    _check_folder(options.output, options.replace)
    with open_reader(options.urls, options.project, options.entity) as reader:

        def find(snapshot: Snapshot) -> tuple[Snapshot, list[str]]:
            return snapshot, find_runs(snapshot, asked.where, asked.order, limit=asked.limit)[0]

        snapshot, run_ids = reader.read(find)
        of = Exported(snapshot, lambda: _opened(reader), run_ids)
        folder = _made_folder(options.output)
        (folder / _REPORT).unlink(missing_ok=True)
        tables = [_write(name, of, folder, form) for name in parts if name != "files"]
        files = _Files()
        failed = export_files(of, folder / "files", files.add) if "files" in parts else []
    report = {
        "version": _REPORT_VERSION,
        "source": snapshot.store.url,
        "entity": snapshot.entity,
        "project": snapshot.project,
        "filter": parse_filter_text(options.filter_text),
        "order": options.order,
        "limit": options.limit,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "runs": len(run_ids),
        "format": form,
        "tables": tables,
        "files": {"count": files.count, "size": files.size, "failed": len(failed)} if "files" in parts else None,
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    _written(folder / _REPORT, text)
    if files.count:
        say(f"wrote {folder / 'files'}: {count_text(files.count, 'file')}, {size_text(files.size)}")
    if options.as_json:
        print(text)
    if failed:
        raise failed[0]


def _parts(what: list[str] | None) -> list[str]:
    wanted = list(_DEFAULT) if what is None else list(PARTS) if what == ["all"] else what
    unknown = [name for name in wanted if name not in PARTS]
    if unknown or not wanted:
        shown = f'Unknown part "{unknown[0]}".' if unknown else "--what names nothing."
        raise UsageError(f"{shown} Known: {', '.join(PARTS)}, or all.")
    return [name for name in PARTS if name in wanted]


def _form(name: str | None) -> str:
    form = "parquet" if name is None else name
    if form not in EXPORT_FORMATS:
        raise UsageError(f'Unknown format "{form}". An export knows: {", ".join(EXPORT_FORMATS)}.')
    return form


def _check_folder(folder: Path, replace: bool) -> None:
    """Before anything is read: what is there is not mixed with an export by accident."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder. Choose another --output.")
    if folder.is_dir() and not replace and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty. Choose another --output, or pass --replace to write over it.")


def _made_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"Cannot make {folder}: {exc.strerror or exc}. Choose another --output.") from exc
    return folder


def _opened(reader: Reader) -> Snapshot:
    with progress_bar() as progress:
        return reader.open(progress)


def _write(name: str, of: Exported, folder: Path, form: str) -> dict[str, Any]:
    path = folder / f"{name}{FORMATS[form].suffixes[0]}"
    with working(f"writing {path}"):
        if form == "jsonl":
            rows = write_records(export_records(name, of), path)
        else:
            rows = write_table(export_reader(name, of), path, form)
    size = path.stat().st_size
    say(f"wrote {path}: {count_text(rows, 'row')}, {size_text(size)}")
    return {"name": name, "path": path.name, "rows": rows, "size": size}


def _written(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(f"{text}\n", encoding="utf-8")
    part.replace(path)


class _Files:
    """Counts what was fetched, from any thread."""

    def __init__(self) -> None:
        self._sizes: list[int] = []  # `append` needs no lock

    def add(self, done: Download) -> None:
        self._sizes.append(done.size)

    @property
    def count(self) -> int:
        return len(self._sizes)

    @property
    def size(self) -> int:
        return sum(self._sizes)
