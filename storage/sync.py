"""Ships what processes left behind, and copies offline roots: safe to repeat, safe while others write.

One spool that cannot be shipped never stops the rest.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from tracker.storage.clock import wall_us
from tracker.storage.errors import NotFound, TrackerError, UsageError
from tracker.storage.file_notes import FileNotes
from tracker.storage.names import FORMAT_KEY, parse_event_key, parse_manifest_key
from tracker.storage.port import ListKeys, ObjectInfo, Store
from tracker.storage.spool import Spool, find_spool_dirs
from tracker.storage.staging import Staging
from tracker.storage.wal import WalReader, list_segments

__all__ = ["SpoolInfo", "SyncReport", "copy_root", "find_spools", "resume_orphans", "sync_dir"]

Notify = Callable[[str, str], None]
Progress = Callable[[str, int, int], None]  # what, done, total
State = Literal["live", "waiting", "shipped"]

OFFLINE: Final = "offline"
WORK_DIR: Final = "tracker-runs"
_ORPHANS_AFTER_S: Final = 3.0
_TRUSTED_US: Final = 6 * 24 * 3600 * 1_000_000  # a vacuum takes no blob that was put within seven days


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolInfo:
    """One spool: `live` belongs to a running process, `waiting` has data to ship, `shipped` only needs a clean-up."""

    path: Path
    entity: str
    project: str
    run_id: str
    writer_id: str
    store_url: str
    state: State
    waiting_frames: int
    waiting_bytes: int


@dataclass(slots=True)
class SyncReport:
    """What a sync did. `failed`: (what, why); its data stays where it is."""

    shipped: list[SpoolInfo] = field(default_factory=list)
    live: list[SpoolInfo] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    copied_objects: int = 0
    copied_bytes: int = 0


def find_spools(directory: Path) -> list[SpoolInfo]:
    """Spools at or below `directory`: a spool itself, a working directory, or the folder that holds one."""
    return [_info(spool) for spool in _spools(directory)]


def sync_dir(
    directory: Path,
    *,
    to: str | None = None,
    default_to: str | None = None,
    progress: Progress = lambda *_: None,
    notify: Notify = lambda *_: None,
) -> SyncReport:
    """Ship every spool without owner under `directory`, then copy its offline root.

    Spools go where their run wanted them, or to the root `to`. What was logged offline goes to `to`, else
    to `default_to`. Running it again, or twice at once, changes nothing more.

    Raises:
        NotFound: nothing here is a spool or an offline root.
    """
    report = SyncReport()
    spools = _spools(directory)
    roots = _offline_roots(directory)
    if not spools and not any(root.is_dir() for root in roots):
        raise NotFound(
            f"Nothing to sync in {directory}: no run directory and no offline root. Give the folder that "
            f"holds {WORK_DIR}/, that folder, or one run-* folder in it."
        )
    for count, spool in enumerate(spools):
        progress("runs", count, len(spools))
        _sync_one(spool, to if not _is_offline(spool, roots) else None, report, notify)
    progress("runs", len(spools), len(spools))
    for root in filter(Path.is_dir, roots):
        target = to or default_to
        if target is None:
            report.failed.append((str(root), "no target for offline runs: give --to URL or set TRACKER_BASE_URL"))
            continue
        try:
            objects, size = copy_root(str(root), target, progress=progress)
        except TrackerError as exc:
            report.failed.append((str(root), str(exc)))
            continue
        report.copied_objects += objects
        report.copied_bytes += size
    return report


def copy_root(
    source_url: str, target_url: str, *, progress: Progress = lambda *_: None
) -> tuple[int, int]:
    """Copy the parts, edits, things and blobs that `target_url` lacks; blobs first. Returns (objects, bytes) copied.

    Packs and manifests are never copied, nor is anything overwritten: names tell what a file holds.

    Raises:
        UsageError: runs of the source are in packs; nothing was copied, because they would be missing.
    """
    from tracker.storage.format_file import ensure_format
    from tracker.storage.stores import open_store

    source, target = open_store(source_url), open_store(target_url)
    keys = _keys(source)
    _refuse_packs(source, keys)
    ensure_format(target)
    wanted = sorted(
        (key for key in keys if "/blobs/" in key or parse_event_key(key) is not None),
        key=lambda key: ("/blobs/" not in key, key),
    )
    held = {
        info.key: info.modified_us
        for prefix in sorted({_project(key) for key in wanted})
        for info in _list(target, prefix)
    }
    missing = [key for key in wanted if key not in held]
    if any("/blobs/" not in key for key in missing):  # a vacuum may take old blobs that what is new here names
        newest_us = max([wall_us(), *held.values()])
        missing += [key for key in wanted if "/blobs/" in key and newest_us - held.get(key, newest_us) > _TRUSTED_US]
        missing.sort(key=lambda key: ("/blobs/" not in key, key))
    size = 0
    for count, key in enumerate(missing):
        progress("objects", count, len(missing))
        try:
            size += _copy_blob(source, target, key) if "/blobs/" in key else _copy_part(source, target, key)
        except NotFound:  # merged away meanwhile: what covers it was listed too, or will be copied next time
            continue
    progress("objects", len(missing), len(missing))
    return len(missing), size


def _copy_part(source: Store, target: Store, key: str) -> int:
    data = source.get(key)
    target.put_if_absent(key, data)
    return len(data)


def _copy_blob(source: Store, target: Store, key: str) -> int:
    """Never whole in memory. Returns its size. Raises CorruptData where the source holds other bytes than it says."""
    from tracker.storage.contents import fetch_key

    path = source.local_path(key)
    if path is not None and not path.exists():
        raise NotFound(f"There is no file {path}.")
    with tempfile.TemporaryDirectory(prefix="tracker-sync-") as folder:
        copy = Path(folder, "content")
        fetch_key(source, key, copy)
        target.put_contents([(key, copy)])
        return copy.stat().st_size


def _refuse_packs(source: Store, keys: list[str]) -> None:
    """Raises UsageError where a manifest says that packs hold what loose files do not."""
    from tracker.storage.manifest import decode_manifest

    newest = {
        _project(key): (key, number) for key in sorted(keys) if (number := parse_manifest_key(key)) is not None
    }
    for project, (key, number) in newest.items():
        if decode_manifest(source.get(key), number, key).packs:
            raise UsageError(
                f"Runs of {project} in {source.url} are in packs, which cannot be added to another root. Copy the "
                "whole root to an empty place with the tools of your store (cp -r, aws s3 sync, gsutil rsync)."
            )


def resume_orphans(directory: Path, notify: Notify) -> None:
    """In the background: ship spools that earlier processes left in `directory`. Returns at once; never raises."""
    if find_spool_dirs(directory):
        threading.Thread(target=_resume, args=(directory, notify), name="tracker-orphans", daemon=True).start()


def _resume(directory: Path, notify: Notify) -> None:
    time.sleep(_ORPHANS_AFTER_S)
    report = SyncReport()
    for path in find_spool_dirs(directory):
        spool = Spool.load(path)
        if spool is not None and not spool.is_alive():
            _sync_one(spool, None, report, lambda *_: None)
    sent = [info for info in report.shipped if info.waiting_frames]
    if sent:
        runs = ", ".join(sorted({info.run_id for info in sent})[:5])
        notify("info", f"Sent what {len(sent)} earlier process(es) had left behind in {directory} (runs {runs}).")


def _sync_one(spool: Spool, to: str | None, report: SyncReport, notify: Notify) -> None:
    """Adopt, close, ship, clean up one spool; whatever goes wrong is reported and stops nothing else."""
    info = _info(spool)
    if not spool.try_adopt():
        if spool.path.exists():  # else whoever had it has just shipped it
            report.live.append(replace(info, state="live"))
        return
    try:
        former_url = None if to is None else _redirect(spool, to)
        _ship_rest(spool, notify, former_url)
        report.shipped.append(info)
    except (TrackerError, OSError) as exc:
        report.failed.append((str(spool.path), str(exc)))
    finally:
        spool.close()


def _redirect(spool: Spool, to: str) -> str | None:
    """Send the whole log to another root. Only possible while the whole log is still here.

    Returns the former root where that has contents which the log names, and which are no longer here.
    """
    from tracker.storage.stores import normalize_url

    url = normalize_url(to)
    if url == spool.owner.store_url:
        return None
    segments = list_segments(spool.path)
    if not segments or segments[0][0] != 0:
        raise UsageError(
            f"The first frames of {spool.path} are in {spool.owner.store_url} already and no longer here. "
            f"Sync without --to first, then copy: tracker sync {spool.owner.store_url} --to {to}"
        )
    state = spool.load_state()
    former_url = spool.owner.store_url if state is None or state.next_seq else None
    spool.owner = replace(spool.owner, store_url=url)
    (spool.path / "ship.json").unlink(missing_ok=True)
    return former_url


def _ship_rest(spool: Spool, notify: Notify, former_url: str | None) -> None:
    from tracker.storage.format_file import ensure_format
    from tracker.storage.pump import default_grace_s
    from tracker.storage.recover import ship_all
    from tracker.storage.shipper import Shipper
    from tracker.storage.stores import open_store

    store = open_store(spool.owner.store_url)
    try:
        ensure_format(store)
        shipper = Shipper(
            spool,
            store,
            wall=wall_us,
            monotonic_s=time.monotonic,
            notify=notify,
            grace_s=default_grace_s(store.url),
            former=None if former_url is None else open_store(former_url),
        )
        ship_all(spool, shipper, notify)
        _drain(lambda: shipper.merge(at_finish=True))
        if shipper.state.covered:
            shipper.sweep(store_now_us=_store_clock_us(store))
        shipper.mark_finished()
    finally:
        store.close()


def _drain(step: Callable[[], object]) -> None:
    """Repeat `step` until it finds nothing more to do."""
    more: object = True
    while more:
        more = step()


def _store_clock_us(store: Store) -> int:
    """The store's own time: that of an object put now."""
    from tracker.storage.names import new_ulid

    key = f"vacuum/{new_ulid(wall_us())}"
    store.put_if_absent(key, b"clock")
    try:
        return next((info.modified_us for info in store.list("vacuum/") if info.key == key), 0)
    finally:
        store.delete([key])


def _info(spool: Spool) -> SpoolInfo:
    state = spool.load_state()
    alive = spool.is_alive()
    waiting_frames = waiting_bytes = 0
    with contextlib.suppress(OSError):
        for item in WalReader(spool.path, next_seq=state.next_seq if state else 0).read(
            bytes_max=1 << 62, writer_gone=True
        ):
            waiting_frames += 1
            waiting_bytes += len(getattr(item, "raw", b""))
    promised = FileNotes(spool.path).read().promised
    waiting_bytes += Staging(spool.path).size_bytes()
    owner = spool.owner
    return SpoolInfo(
        path=spool.path,
        entity=owner.entity,
        project=owner.project,
        run_id=owner.run_id,
        writer_id=owner.writer_id,
        store_url=owner.store_url,
        state="live" if alive else "waiting" if waiting_frames or promised else "shipped",
        waiting_frames=waiting_frames,
        waiting_bytes=waiting_bytes,
    )


def _spools(directory: Path) -> list[Spool]:
    paths = find_spool_dirs(directory) or find_spool_dirs(directory / WORK_DIR)
    return [spool for path in paths if (spool := Spool.load(path)) is not None]


def _offline_roots(directory: Path) -> list[Path]:
    if (directory / FORMAT_KEY).is_file():  # a root itself
        return [directory]
    return [directory / OFFLINE, directory / WORK_DIR / OFFLINE]


def _is_offline(spool: Spool, roots: list[Path]) -> bool:
    return any(Path(spool.owner.store_url).resolve() == root.resolve() for root in roots)


def _project(key: str) -> str:
    entity, project, _ = key.split("/", 2)
    return f"{entity}/{project}/"


def _keys(source: ListKeys) -> list[str]:
    return [info.key for info in _list(source, "")]


def _list(store: ListKeys, prefix: str) -> list[ObjectInfo]:
    try:
        return list(store.list(prefix))
    except NotFound:
        return []
