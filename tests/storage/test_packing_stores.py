"""Packing over the real adapters: a directory, S3 and GCS emulators."""

from __future__ import annotations

from store_maker import T0, made_run

from tracker.storage.format_file import ensure_format
from tracker.storage.fsck import check_project
from tracker.storage.manifest import newest_manifest
from tracker.storage.names import runs_prefix
from tracker.storage.packing import compact_project
from tracker.storage.purge import purge_runs
from tracker.storage.stores import open_store
from tracker.storage.vacuum import vacuum_project

NOW_US = T0 + 3_600_000_000
AT_ONCE = {"now_us": NOW_US, "grace_s": 0.0}


def test_runs_are_packed_purged_and_checked(store_url: str):
    store = open_store(store_url)
    ensure_format(store)
    for number in range(5):
        writer = made_run(store, f"run{number}", [{"loss": 1 / (number + 1)}], state="running")
        writer.log({"loss": 0.5}).put()
        if number == 3:
            writer.merge(0, writer.shipped - 1)
        writer.end()
    report = compact_project(store, "main", "p", finished_quiet_s=0.0, **AT_ONCE)
    assert (report.packed_writers, report.packs_written) == (5, 1)
    assert report.requests < 60
    assert purge_runs(store, "main", "p", ["run2"], **AT_ONCE).packs_rewritten == 1
    compact_project(store, "main", "p", finished_quiet_s=0.0, **AT_ONCE)
    vacuum_project(store, "main", "p", **AT_ONCE)
    assert store.list(runs_prefix("main", "p")) == []
    manifest = newest_manifest(store, "main", "p")
    assert [pack.writers for pack in manifest.packs] == [4]
    found = check_project(store, "main", "p")
    assert (found.runs, found.findings) == (4, [])
    store.close()
