"""Compaction that nobody asked for: now and then a run that ends starts a process that packs what may be packed.

The run never waits for it, and it is safe to kill at any time. So that hundreds of runs that end together do not all do
the same work, few of them start one, each begins at a moment of its own, and it ends at once where little is to do.
`python -m tracker.storage.tidy URL ENTITY PROJECT`
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from typing import Final

from tracker.storage.clock import wall_us
from tracker.storage.errors import TrackerError
from tracker.storage.names import parse_part_key, runs_prefix
from tracker.storage.port import ListKeys
from tracker.storage.pump import default_grace_s
from tracker.storage.stores import open_store

__all__ = ["WRITERS_MIN", "main", "start_tidying", "tidy"]

WRITERS_MIN: Final = 64  # with fewer that may be packed it is left for later
_ONE_IN: Final = 16  # runs that end start it
_WAIT_MAX_S: Final = 5.0
_TIME_S: Final = 60.0
_KILL_S: Final = 180  # where a request does not come back
_MEMORY_BYTES: Final = 64 << 20

_started: list[int] = []  # process ids that are not collected yet


class _Enough(Exception):
    """The time is over."""


def start_tidying(store_url: str, entity: str, project: str, *, one_in: int = _ONE_IN) -> bool:
    """Perhaps start the process, and return at once. False: not this time, or it cannot be started."""
    for pid in list(_started):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                continue
        _started.remove(pid)
    if random.randrange(one_in) or not sys.executable or store_url.startswith("memory:"):
        return False
    # -P: a folder "tracker" where the script stands is not ours
    command = [sys.executable, "-P", "-m", "tracker.storage.tidy", store_url, entity, project]
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    try:
        _started.append(os.posix_spawn(sys.executable, command, os.environ, file_actions=silent, setsid=True))
    except (OSError, NotImplementedError):
        return False
    return True


def tidy(store_url: str, entity: str, project: str, *, grace_s: float | None = None, time_s: float = _TIME_S) -> bool:
    """Pack the project where at least WRITERS_MIN writers may be packed. True: compaction ran to its end.

    Raises: as `compact_project`.
    """
    store = open_store(store_url)
    try:
        grace_s = default_grace_s(store.url) if grace_s is None else grace_s
        if _quiet_writers(store, runs_prefix(entity, project), grace_s) < WRITERS_MIN:
            return False
        from tracker.storage.packing import compact_project

        until = time.monotonic() + time_s

        def breathe() -> None:
            if time.monotonic() >= until:
                raise _Enough

        compact_project(
            store,
            entity,
            project,
            now_us=wall_us(),
            memory_bytes=_MEMORY_BYTES,
            writers_min=WRITERS_MIN,
            grace_s=grace_s,
            breathe=breathe,
        )
    except _Enough:
        return False
    finally:
        store.close()
    return True


def _quiet_writers(store: ListKeys, prefix: str, grace_s: float) -> int:
    """How many writers have loose files and wrote none within the grace time; a look at names alone."""
    last: dict[tuple[str, str], int] = {}
    for info in store.list(prefix):
        name = parse_part_key(info.key)
        if name is not None:
            writer = name.run_segment, name.writer_id
            last[writer] = max(last.get(writer, 0), info.modified_us)
    now_us = wall_us()  # good enough for a first look; what is done goes by the store's clock
    return sum(now_us - modified_us >= grace_s * 1e6 for modified_us in last.values())


def main(arguments: list[str]) -> int:
    """The process. Whatever goes wrong is left to the next one: nobody is there to be told."""
    with contextlib.suppress(OSError):
        os.nice(10)
    signal.alarm(_KILL_S)
    time.sleep(random.uniform(0.0, _WAIT_MAX_S))
    url, entity, project = arguments
    try:
        tidy(url, entity, project)
    except TrackerError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
