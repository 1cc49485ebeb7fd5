"""A process that logs as fast as it can and says, after each call that returned, how far it came.

Usage: killed_writer.py WORK URL RUN SHIPPER SEED. It is killed from outside.
"""

import os
import random
import sys
import time
from pathlib import Path

from tracker.storage.frames import RowMark
from tracker.storage.names import RunRef
from tracker.storage.writer import RunWriter, WriterOptions


def main(work: str, url: str, run: str, shipper: str, seed: str) -> None:
    chosen = random.Random(int(seed))
    writer = RunWriter.open(
        dir=Path(work),
        time_name="t",
        ref=RunRef("e", "p", run),
        store_url=url,
        options=WriterOptions(flush_min_s=0.05, flush_max_s=0.05, shipper=shipper),  # type: ignore[arg-type]
        notify=lambda *_: None,
    )
    print(writer.writer_id, flush=True)
    number = 0
    while True:
        stamp = time.time_ns() // 1000
        cells = {"n": number, "text": "x" * chosen.randrange(200), "f": number / 7}
        assert writer.log(stamp, number, number, cells, [RowMark(number, number, stamp, 0.5)])
        os.write(1, b"%d\n" % number)
        number += 1
        if chosen.random() < 0.02:
            time.sleep(chosen.random() * 0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
