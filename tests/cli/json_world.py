"""A small store in which every field of the JSON that commands print has a value somewhere, and elsewhere none."""

from __future__ import annotations

import time
from pathlib import Path

from store_builder import write_run
from store_maker import MadeWriter

from tracker.apis.public import Api
from tracker.storage.cache_space import CacheSpace
from tracker.storage.format_file import ensure_format
from tracker.storage.frames import Points
from tracker.storage.names import RunRef, run_prefix
from tracker.storage.spool import Spool
from tracker.storage.stores import open_store

__all__ = ["build_world"]

ATTRS = {"name": "full", "notes": "n", "group": "g", "job_type": "train"}
ATTRS |= {"host": "node", "username": "ada", "sweep": "s1", "commit": "abc"}
PATCH = "--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-x = 1\n+x = {}\n"


def build_world(folder: Path) -> None:
    """`folder/root` is a root. Of main/digits: `a` and `b` differ in everything, `bare` has nothing, `live` goes on,
    `gone` and `source` are deleted, and `fork` began in the latter; main/broken has a damaged file. A spool waits in
    `folder`, which has a file `f.txt`; the cache has a copy.
    """
    url = str(folder / "root")
    store = open_store(url)
    ensure_format(store)
    for number, (run_id, loss) in enumerate((("a", 1.0), ("b", 2.0))):
        writer = MadeWriter(store, RunRef("main", "digits", run_id), number)
        attrs = {**ATTRS, "tags": ["t", run_id]} if run_id == "a" else {}
        facts = [("meta", "python", f"3.1{number}"), ("meta", f"only.{run_id}", number)]
        writer.begin(attrs, {"lr": loss, "opt": {"name": f"of {run_id}"}, f"only_{run_id}": None, "taken": 1}, facts)
        for step in range(3):
            writer.log({"loss": loss / (step + 1), "n": step, "word": f"{run_id}{step}", f"key_{run_id}": 1})
        writer.system({"cpu": 12.5})
        lines = {"stdout": "a line\nanother", "stderr.rank0": "oh"}
        writer.add(Points(writer._tick(), writer.now_us, "console", lines)).end()
    write_run(url, "bare", attrs={"name": None, "username": None, "tags": []})
    write_run(url, "gone")
    MadeWriter(store, RunRef("main", "digits", "live"), 9, start_us=time.time_ns() // 1000).begin().log({"x": 1}).put()
    source = MadeWriter(store, RunRef("main", "digits", "source"), 20).begin().log({"x": 1}).end()
    MadeWriter(store, RunRef("main", "digits", "fork"), 21).branch(source, 0, {source.id: 1}).log({"x": 2}).end()
    write_run(url, "whole", project="broken")
    write_run(url, "torn", project="broken")
    (part,) = [info.key for info in store.list(run_prefix(RunRef("main", "broken", "torn")))]
    Path(url, part).write_bytes(b"PAR1 no more")
    store.close()

    api = Api({"base_url": url, "entity": "main", "project": "digits"})
    for run_id, package in (("a", "numpy==1.0\nonly-a==1"), ("b", "numpy==2.0")):
        for name, text in (("requirements.txt", package), ("diff.patch", PATCH.format(run_id)), ("f.txt", "text")):
            (folder / name).write_text(text)
            api.run(run_id).upload_file(str(folder / name), root=str(folder))
    changed = api.run("a")
    changed.notes = "changed"
    del changed.config["taken"]
    changed.update()
    for run_id in ("gone", "source"):
        api.run(run_id).delete()
    Spool.create(folder, "20260101_000000", RunRef("main", "digits", "waits"), "0" * 26, url).close()
    copies = folder / "cache" / "of-a-bucket"
    copies.mkdir(parents=True)
    (copies / "part.parquet").write_bytes(b"x" * 100)
    CacheSpace(folder / "cache").name_root(copies, "s3://bucket/root")
