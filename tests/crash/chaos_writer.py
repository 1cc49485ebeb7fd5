"""A process that logs rows and keeps count in a file that outlives it; it is killed, stopped or allowed to finish.

Usage: chaos_writer.py WORK URL RUN SEED ROWS. The count file `WORK/acknowledged/<writer id>` holds how many rows
`log` has returned from.
"""

import hashlib
import mmap
import random
import struct
import sys
import time
from pathlib import Path

from tracker.storage.frames import RowMark
from tracker.storage.names import RunRef
from tracker.storage.writer import RunWriter, WriterOptions

ENTITY, PROJECT = "e", "p"


def text_of(writer_id: str, number: int) -> str:
    """What row `number` of a writer says, so that nothing can be taken for anything else."""
    return hashlib.sha256(f"{writer_id} {number}".encode()).hexdigest()


def main(work: str, url: str, run: str, seed: str, rows: str) -> None:
    chosen = random.Random(int(seed))
    options = WriterOptions(
        flush_min_s=0.1, flush_max_s=0.3, grace_s=3.0, shipper="process" if chosen.random() < 0.15 else "thread"
    )
    writer = RunWriter.open(
        dir=Path(work),
        time_name="t",
        ref=RunRef(ENTITY, PROJECT, run),
        store_url=url,
        options=options,
        notify=lambda *_: None,
    )
    me = writer.writer_id
    counted = counter(Path(work) / "acknowledged" / me)
    said = {"generation": None, "job": None, "rank": None, "started_at": time.time_ns() // 1000, "state": "running"}
    assert writer.write_facts([("writer", None, f"{me}.{name}", value) for name, value in said.items()])
    for number in range(int(rows)):
        stamp = time.time_ns() // 1000
        cells = {"n": number, "f": number / 7, "w": me, "text": text_of(me, number)}
        assert writer.log(stamp, number, number, cells, [RowMark(number, number, stamp, 0.5)])
        counted[:8] = struct.pack("<q", number + 1)
        if chosen.random() < 0.05:
            time.sleep(chosen.random() * 0.05)
    assert writer.write_facts([("writer", None, f"{me}.state", "finished")])
    writer.finish(5.0)  # what is not sent by then waits for sync


def counter(path: Path) -> mmap.mmap:
    """Eight bytes that are in the file as soon as they are assigned, whatever then happens to the process."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(8))
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 8)


if __name__ == "__main__":
    main(*sys.argv[1:])
