"""`tracker compact` and `tracker vacuum`: fewer, larger files; and what nobody needs any more goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tracker.cli.choose_project import choose_project, choose_projects, opened_store
from tracker.cli.columns import count_text, size_text
from tracker.cli.talk import say, warn, working
from tracker.query.projects import ProjectName
from tracker.storage.clock import wall_us
from tracker.storage.pack_state import store_clock_us
from tracker.storage.packing import CompactReport, compact_project
from tracker.storage.port import Store
from tracker.storage.vacuum import VacuumReport, vacuum_project
from tracker.storage.vacuum_blobs import vacuum_blobs

__all__ = ["run_compact", "run_vacuum"]


def run_compact(
    url: str | None,
    project: str | None,
    entity: str | None,
    *,
    run_id: str | None,
    memory_mib: int,
    finished_for_s: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Compact every project that is meant, or one run, and print what was done.

    Raises:
        NotFound: no such root, project or run.
        FormatTooNew, CorruptData, StorageUnavailable, CredentialsMissing: as the store. Repeating is safe.
    """

    def compact(store: Store, name: ProjectName) -> CompactReport:
        return compact_project(
            store,
            name.entity,
            name.project,
            now_us=wall_us(),
            memory_bytes=memory_mib << 20,
            finished_quiet_s=finished_for_s,
            dry_run=dry_run,
            notify=_notify,
            run_id=run_id,
        )

    _each(url, project, entity, "compacting", compact, _compact_line, as_json, only=run_id is not None)


def run_vacuum(
    url: str | None,
    project: str | None,
    entity: str | None,
    *,
    grace_s: float | None,
    blobs: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete what is superfluous in every project that is meant, and print how much that was.

    `blobs`: contents that nothing names any more, too.

    Raises: as `run_compact`.
    """

    def vacuum(store: Store, name: ProjectName) -> VacuumReport:
        report = vacuum_project(
            store, name.entity, name.project, now_us=wall_us(), grace_s=grace_s, dry_run=dry_run, notify=_notify
        )
        if blobs:
            store_now_us = wall_us() if dry_run else store_clock_us(store)
            found = vacuum_blobs(store, name.entity, name.project, store_now_us=store_now_us, dry_run=dry_run)
            report.blobs = found.blobs
            report.deleted_bytes += found.blob_bytes
            for note in found.notes:
                report.notes.append(note)
                warn(note)
        return report

    _each(url, project, entity, "vacuuming", vacuum, _vacuum_line, as_json)


def _each(
    url: str | None,
    project: str | None,
    entity: str | None,
    verb: str,
    do: Callable[[Store, ProjectName], Any],
    line: Callable[[Any], str],
    as_json: bool,
    only: bool = False,
) -> None:
    reports = []
    with opened_store(url) as store:
        names = [choose_project(store, project, entity)] if only else choose_projects(store, project, entity)
        for name in names:
            with working(f"{verb} {name}"):
                report = do(store, name)
            reports.append({"entity": name.entity, "project": name.project, **asdict(report)})
            if not as_json:
                print(f"{name}: {line(report)}")
    if as_json:
        print(json.dumps(reports, indent=2, ensure_ascii=False))


def _compact_line(report: CompactReport) -> str:
    verbs = ("would merge", "would pack", "would delete") if report.dry_run else ("merged", "packed", "deleted")
    did = []
    if report.merged_writers:
        did.append(f"{verbs[0]} the files of {count_text(report.merged_writers, 'writer')}")
    if report.packed_writers:
        packs = count_text(report.packs_written, "pack")
        did.append(f"{verbs[1]} {count_text(report.packed_writers, 'writer')} into {packs}")
    elif report.packs_merged:
        did.append(f"merged {count_text(report.packs_merged, 'pack')} into larger ones")
    if report.deleted_objects:
        size = size_text(report.deleted_bytes)
        did.append(f"{verbs[2]} {count_text(report.deleted_objects, 'file')} ({size}) that packs cover")
    if report.waiting_writers:
        did.append(f"{count_text(report.waiting_writers, 'writer')} still at work or too large to be packed")
    if report.broken_writers:
        writers = count_text(report.broken_writers, "writer")
        did.append(f"left {writers} with damaged or missing files alone (see: tracker fsck)")
    loose = f"{count_text(report.loose_objects, 'loose file')} ({size_text(report.loose_bytes)})"
    return f"{loose}; {'; '.join(did) or 'nothing to do'}"


def _vacuum_line(report: VacuumReport) -> str:
    counts = {
        "file that packs or merged files cover": report.loose_objects,
        "file of replaced packs": report.pack_objects,
        "old manifest": report.manifests,
        "clock marker": report.markers,
        "half-written file": report.temporary_files,
        "content that nothing names": report.blobs,
    }
    words = {"file that packs or merged files cover": "files that packs or merged files cover",
             "file of replaced packs": "files of replaced packs",
             "content that nothing names": "contents that nothing names"}  # fmt: skip
    did = [count_text(count, one, words.get(one)) for one, count in counts.items() if count]
    verb = "would delete" if report.dry_run else "deleted"
    line = f"{verb} {', '.join(did)} ({size_text(report.deleted_bytes)})" if did else "nothing to delete"
    if report.orphan_packs:
        packs = count_text(report.orphan_packs, "pack")
        line += f"; {packs} that no manifest lists will go with a vacuum after the grace time"
    return line


def _notify(level: str, text: str) -> None:
    if level in ("warn", "warning", "error"):
        warn(text)
    else:
        say(text)
