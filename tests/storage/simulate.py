"""One seed, one schedule: real writers, syncs, packers, cleaners and readers over one faulty store.

`python tests/storage/simulate.py 0 10000 [PROCESSES]` runs seeds 0..9999 and prints what was found.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

from simulate_packers import compactor, purger, vacuumer
from simulate_port import patched
from simulate_readers import last_look, reader, reference_reader
from simulate_world import Actor, World
from simulate_writers import syncer, writer

STEPS = 500
CHUNK = 25
NOBODY_ELSE: Mapping[str, int] = {}
Role = Callable[[Actor], None]

ROLES: dict[str, tuple[Role, int]] = {  # and how often its turn comes
    "writer": (writer, 5),
    "another writer": (writer, 5),
    "sync": (syncer, 2),
    "compactor": (compactor, 3),
    "another compactor": (compactor, 3),
    "vacuum": (vacuumer, 1),
    "purge": (purger, 1),
    "reader": (reader, 1),
    "another reader": (reader, 1),
    "reference reader": (reference_reader, 1),
}


def simulate(
    seed: int,
    *,
    stale_s: int = 0,
    exclusive: bool = True,
    broken: Callable[[], AbstractContextManager[None]] = nullcontext,
    steps: int = STEPS,
    busy: Mapping[str, int] = NOBODY_ELSE,
) -> World:
    """The world after one random schedule and a quiet end. `faults` must be empty, unless the code is `broken`.

    `busy`: how often the turn of a role comes, where that is not as in ROLES.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"simulate-{seed}-", dir=_scratch()))
    world = World(seed, directory, stale_s, exclusive)
    running: dict[str, Actor] = {}
    try:
        with patched(world), broken():
            try:
                for _ in range(steps):
                    for name, (role, often) in ROLES.items():
                        if name not in running or running[name].ended:
                            running[name] = world.start(name, role, busy.get(name, often))
                    world.step()
                world.quiet("last look", last_look)
            finally:
                world.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return world


def simulate_many(seeds: range, stale_s: int = 0) -> tuple[Counter[str], Counter[str], list[str]]:
    """(faults, counts, what the first faults were) over all seeds."""
    faults, counts, told = Counter[str](), Counter[str](), list[str]()
    for seed in seeds:
        world = simulate(seed, stale_s=stale_s)
        faults += world.faults
        counts += world.counts
        if world.faults:
            told += world.told[:5]
    return faults, counts, told


def _scratch() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def simulate_in_processes(
    first: int, last: int, processes: int, tell: Callable[[str], None] = lambda _: None
) -> tuple[Counter[str], Counter[str], list[str]]:
    """As `simulate_many` for seeds first..last-1; half of them with listings that are up to 20 s old."""
    chunks = [range(start, min(start + CHUNK, last)) for start in range(first, last, CHUNK)]
    faults, counts, told = Counter[str](), Counter[str](), list[str]()
    fixed_order = mock.patch.dict(os.environ, PYTHONHASHSEED="0")  # of sets, so that a seed is the same everywhere
    with fixed_order, ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        stale_s = [20 * (chunk.start // CHUNK % 2) for chunk in chunks]
        for found, counted, texts in pool.map(simulate_many, chunks, stale_s):
            faults += found
            counts += counted
            told += texts
            for text in texts:
                tell(text)
    return faults, counts, told


def main(first: int, last: int, processes: int) -> int:
    begun = time.monotonic()
    faults, counts, _ = simulate_in_processes(first, last, processes, print)
    print(f"{last - first} schedules in {time.monotonic() - begun:.0f} s: faults {dict(faults)}; {dict(counts)}")
    return 1 if faults else 0


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    sys.exit(main(*given[:2], given[2] if len(given) > 2 else os.cpu_count() or 1))
