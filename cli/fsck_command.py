"""`tracker fsck`: check everything that is stored; with --repair, move aside what is bad."""

from __future__ import annotations

import json

from tracker.cli.choose_project import choose_projects, opened_store
from tracker.cli.columns import count_text, size_text
from tracker.cli.talk import progress_bar, say
from tracker.storage.checkpoint_renew import repair_checkpoints
from tracker.storage.clock import wall_us
from tracker.storage.errors import CorruptData, UsageError
from tracker.storage.format_file import check_format
from tracker.storage.fsck import check_project
from tracker.storage.fsck_report import FsckReport
from tracker.storage.quarantine import QUARANTINE, repair

__all__ = ["run_fsck"]


def run_fsck(
    url: str | None,
    project: str | None,
    entity: str | None,
    *,
    repairs: bool,
    dry_run: bool,
    blobs: bool,
    as_json: bool,
) -> None:
    """Print what is wrong, project by project.

    Raises:
        UsageError: --dry-run without --repair.
        CorruptData: something that was written is damaged or missing (all of it is printed before).
        FormatTooNew: a newer tracker made the root.
        NotFound, StorageUnavailable, CredentialsMissing: as the store.
    """
    if dry_run and not repairs:
        raise UsageError("--dry-run belongs to --repair: without it nothing is changed anyway.")
    with opened_store(url) as store:
        check_format(store)
        reports = []
        for name in choose_projects(store, project, entity):
            with progress_bar() as progress:
                report = check_project(store, name.entity, name.project, progress=progress, blobs=blobs)
                if repairs:
                    repair(store, report, now_us=wall_us(), dry_run=dry_run, progress=progress)
                    repair_checkpoints(store, report, now_us=wall_us(), dry_run=dry_run)
            reports.append(report)
            if not as_json:
                _print(report, dry_run)
    if as_json:
        print(json.dumps([report.as_dict() for report in reports], indent=2, ensure_ascii=False))
    _conclude(reports, repairs and not dry_run)


def _print(report: FsckReport, dry_run: bool) -> None:
    size = size_text(report.size_bytes)
    checked = f"{count_text(report.objects, 'object')}, {size}, {count_text(report.runs, 'run')}"
    print(f"{report.entity}/{report.project}: {checked}, {count_text(report.events, 'event')} read")
    for level in ("error", "warning", "note"):
        for one in sorted(report.of_level(level)):
            print(f"  {level:7}  {one.code:13}  {one.text}")
    for old, new in report.moved:
        print(f"  {'would move' if dry_run else 'moved'}  {old}\n      to  {new}")
    for key in report.renewed:
        print(f"  {'would renew' if dry_run else 'renewed'}  {key}")
    for key, why in report.kept:
        print(f"  left     {key}: {why}")
    if not report.findings:
        print("  sound")


def _conclude(reports: list[FsckReport], repaired: bool) -> None:
    moved = {(report.project, old) for report in reports for old, _ in report.moved} if repaired else set()
    errors = [
        (report, one)
        for report in reports
        for one in report.of_level("error")
        if (report.project, one.key) not in moved
    ]
    if moved:
        say(f"{count_text(len(moved), 'object')} moved to {QUARANTINE}. To undo, copy them back under their names.")
    if errors:
        raise CorruptData(
            f"{count_text(len(errors), 'thing')} that was written is damaged or missing; each is named above. "
            + ("What could not be moved: restore it from a backup." if repaired else
               "To move aside what readers can do without: tracker fsck --repair")
        )  # fmt: skip
