"""What a short run leaves in the store: one file of events, and of contents only those that runs share."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from emulator.servers import FaultyStore
from run_view import run_script

import tracker
from tracker.apis.public import Api
from tracker.apis.public.file import File
from tracker.apis.public.run import Run
from tracker.storage.clock import wall_us
from tracker.storage.errors import CorruptData
from tracker.storage.file_facts import TEXT_BYTES_MAX
from tracker.storage.fsck import check_project
from tracker.storage.names import parse_blob_key
from tracker.storage.packing import compact_project
from tracker.storage.stores import open_store
from tracker.storage.sync import sync_dir

AS_USERS_HAVE_IT = {  # what tests switch off in general
    "TRACKER_X_DISABLE_META": "false",
    "TRACKER_X_DISABLE_STATS": "false",
    "TRACKER_X_SAVE_REQUIREMENTS": "true",
    "TRACKER_CONSOLE": "auto",
    "TRACKER_FLUSH_MIN_S": "120",  # on a busy machine a short run lasts longer than a flush
    "TRACKER_FLUSH_MAX_S": "120",
}
SHORT = """
for seed in range({runs}):
    run = tracker.init(id=f"r{{seed}}", config={{"lr": 0.1, "seed": seed}})
    for epoch in range(10):
        print("epoch", epoch, "loss", 1 / (epoch + 1))
        run.log({{"loss": 1 / (epoch + 1)}})
    run.finish()
"""
OWN = ["config.yaml", "output.log", "wandb-metadata.json", "wandb-summary.json"]


def kinds_of(url: str) -> Counter[str]:
    """How many objects of which kind the store has."""
    keys = [info.key for info in open_store(url).list("")]
    return Counter("blob" if parse_blob_key(key) else key.rpartition("/")[2][0] for key in keys)


def text_of(file: File, folder: Path) -> str:
    with file.download(str(folder), replace=True) as text:
        return text.read()


def stored_run(url: str, run_id: str = "r0") -> Run:
    return Api({"base_url": url}).run(f"main/p/{run_id}")


def keep(root: Path, **contents: bytes) -> Run:
    """A run with these files, as a reader sees it. `.` in a name is `__`."""
    run = tracker.init(project="p", id="r0", settings={"base_url": str(root)})
    for name, data in contents.items():
        run.recorder.files.put_bytes(name.replace("__", "."), data)
    run.finish()
    return stored_run(str(root))


def test_a_short_run_is_one_file_of_events(tmp_path: Path) -> None:
    """META-6, CON-3: with metadata, statistics and console on. Requirements are one object, whatever many runs."""
    process = run_script(SHORT.format(runs=3), tmp_path, env=AS_USERS_HAVE_IT)
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    url = str(tmp_path / "root")
    assert kinds_of(url) == {"_": 1, "e": 3, "blob": 1}
    assert check_project(open_store(url), "main", "p").findings == []
    files = {file.name: text_of(file, tmp_path / "out") for file in stored_run(url, "r2").files()}
    assert sorted(files) == sorted([*OWN, "requirements.txt"])
    assert "pyarrow==" in files["requirements.txt"]
    assert "seed:\n  value: 2\n" in files["config.yaml"]
    assert "epoch 9 loss 0.1\n" in files["output.log"]
    assert json.loads(files["wandb-summary.json"])["loss"] == 0.1
    assert json.loads(files["wandb-metadata.json"])["root"] == str(tmp_path)


def test_a_short_run_takes_few_requests(s3_faults: FaultyStore, tmp_path: Path) -> None:
    """META-6: a look at the format file and at the writer's own place, then the requirements and the events."""
    process = run_script(SHORT.format(runs=1), tmp_path, env=AS_USERS_HAVE_IT | {"TRACKER_BASE_URL": s3_faults.url})
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    first = s3_faults.proxy.count()
    s3_faults.proxy.set_faults()
    again = SHORT.format(runs=1).replace('"r{', '"again{')
    process = run_script(again, tmp_path, env=AS_USERS_HAVE_IT | {"TRACKER_BASE_URL": s3_faults.url})
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    assert s3_faults.proxy.count() == {"GET": 1, "LIST": 1, "PUT": 2}
    assert first["PUT"] == 3, "the format file, too"
    assert kinds_of(s3_faults.url) == {"_": 1, "e": 2, "blob": 1}


def test_a_short_file_is_read_like_any_other(tmp_path: Path) -> None:
    """FILE-1: name, size, digest, URL and download, also from packs; and without a blob."""
    stored = keep(tmp_path / "root", config__yaml=b"a: \xc3\xa9\n", other__txt=b"a: \xc3\xa9\n")
    short, named = stored.file("config.yaml"), stored.file("other.txt")
    assert kinds_of(str(tmp_path / "root"))["blob"] == 1
    assert (short.size, short.md5, short.sha256, short.id) == (named.size, named.md5, named.sha256, named.id)
    with urllib.request.urlopen(short.url) as opened:
        assert opened.read() == b"a: \xc3\xa9\n"
    assert text_of(short, tmp_path) == "a: é\n"
    with pytest.raises(ValueError, match="is there already"):
        short.download(str(tmp_path))
    store = open_store(str(tmp_path / "root"))
    compact_project(store, "main", "p", now_us=wall_us(), finished_quiet_s=0.0, grace_s=0.0)
    assert text_of(stored_run(str(tmp_path / "root")).file("config.yaml"), tmp_path / "again") == "a: é\n"
    assert check_project(store, "main", "p").findings == []


def test_a_text_of_another_size_than_was_kept_is_refused(tmp_path: Path) -> None:
    stored = keep(tmp_path / "root", config__yaml=b"a: 1\n")
    (row,) = stored.file_rows()
    file = File(stored.client, replace(row, fact=replace(row.fact, text="a: 1\nmore")), stored)
    with pytest.raises(CorruptData, match="9 bytes, and 5 were kept"):
        file.download(str(tmp_path / "out"))
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_what_is_long_or_no_text_is_an_object(tmp_path: Path) -> None:
    stored = keep(tmp_path / "root", config__yaml=b"x" * (TEXT_BYTES_MAX + 1), output__log=b"\xff\xfe")
    assert kinds_of(str(tmp_path / "root"))["blob"] == 2
    assert [file.size for file in stored.files()] == [TEXT_BYTES_MAX + 1, 2]


def test_a_short_file_that_grows_becomes_an_object(tmp_path: Path) -> None:
    """SAVE-6: what the run's directory holds at the end counts, and later words replace earlier ones."""
    run = tracker.init(project="p", id="r0", settings={"base_url": str(tmp_path / "root")})
    log = Path(run.dir, "output.log")
    log.write_text("short\n")
    run.save(log, base_path=run.dir, policy="now")
    assert run.recorder.files.wait(10)
    log.write_text("long\n" * TEXT_BYTES_MAX)
    run.save(log, base_path=run.dir, policy="end")
    run.finish()
    stored = stored_run(str(tmp_path / "root"))
    assert text_of(stored.file("output.log"), tmp_path / "out") == "long\n" * TEXT_BYTES_MAX
    assert kinds_of(str(tmp_path / "root"))["blob"] == 1


def test_the_output_of_a_killed_process_travels_within_the_log(tmp_path: Path) -> None:
    """CON-3: whoever takes over keeps it as the process would have."""
    code = """
    import os, time
    run = tracker.init(id="r0", settings={"console": "wrap"})
    print("said before the end", flush=True)
    run.log({"loss": 1.0})
    while not os.path.exists(os.path.join(run.dir, "output.log")):
        time.sleep(0.02)
    os.kill(os.getpid(), 9)
    """
    run_script(code, tmp_path)
    assert sync_dir(tmp_path).failed == []
    assert text_of(stored_run(str(tmp_path / "root")).file("output.log"), tmp_path / "out") == "said before the end\n"
    assert kinds_of(str(tmp_path / "root"))["blob"] == 0
