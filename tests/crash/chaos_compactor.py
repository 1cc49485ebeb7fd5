"""A process that compacts the project again and again, as anybody may at any time.

Usage: chaos_compactor.py URL. One JSON line a round, until standard input ends: {"compacted": what},
{"refused": why} when the store did not answer, or {"fault": what} it had to say of what it found.
"""

import json
import select
import sys
import time

from chaos_writer import ENTITY, PROJECT

from tracker.storage.errors import TrackerError
from tracker.storage.packing import compact_project
from tracker.storage.stores import open_store


def main(url: str) -> None:
    store = open_store(url)
    while not select.select([sys.stdin], [], [], 0.5)[0]:
        try:
            report = compact_project(
                store, ENTITY, PROJECT, now_us=time.time_ns() // 1000, quiet_s=4.0, finished_quiet_s=1.0,
                grace_s=5.0,
            )  # fmt: skip
        except TrackerError as exc:
            say(refused=f"{type(exc).__name__}: {exc}"[:500])
        else:
            say(compacted=f"{report.packed_writers} writers, {report.deleted_objects} objects deleted")
            for note in report.notes:
                say(fault=note)


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
