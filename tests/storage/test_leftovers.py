"""What a killed process left half-written in a local store goes when its run is shipped to the end."""

import os
import time

from tracker.storage.names import RunRef, run_prefix
from tracker.storage.writer import RunWriter, WriterOptions


def test_half_written_files_of_an_earlier_process_are_removed_and_nothing_else(tmp_path):
    root = tmp_path / "root"
    ref = RunRef("e", "p", "r")
    writer = RunWriter.open(
        dir=tmp_path / "work",
        time_name="20260101_000000",
        ref=ref,
        store_url=str(root),
        options=WriterOptions(flush_min_s=0.05),
        notify=lambda *_: None,
    )
    writer.write_facts([("config", None, "a", 1)])
    assert writer.flush(30.0)
    folder = root / run_prefix(ref) / writer.writer_id
    old, new, other = folder / ".tmp-0123", folder / ".tmp-4567", folder / "notes.txt"
    for path in (old, new, other):
        path.write_bytes(b"half")
    for path, age_s in ((old, 7200), (new, -7200), (other, 7200)):
        os.utime(path, (time.time() - age_s,) * 2)
    writer.write_facts([("config", None, "a", 2)])
    assert writer.finish(30.0).shipped
    left = {path.name for path in folder.iterdir()}
    assert {".tmp-4567", "notes.txt"} == {name for name in left if not name.endswith(".parquet")}
