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
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from simulate_packers import compactor, purger, vacuumer
from simulate_port import patched
from simulate_readers import last_look, reader, reference_reader
from simulate_world import Actor, World
from simulate_writers import syncer, writer

STEPS = 800
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
) -> World:
    """The world after one random schedule and a quiet end. `faults` must be empty, unless the code is `broken`."""
    directory = Path(tempfile.mkdtemp(prefix=f"simulate-{seed}-", dir=_scratch()))
    world = World(seed, directory, stale_s, exclusive)
    running: dict[str, Actor] = {}
    try:
        with patched(world), broken():
            try:
                for _ in range(steps):
                    for name, (role, busy) in ROLES.items():
                        if name not in running or running[name].ended:
                            running[name] = world.start(name, role, busy)
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


def main(first: int, last: int, processes: int) -> int:
    """Half of the seeds with fresh listings, half with listings that are up to 20 s old."""
    begun = time.monotonic()
    chunk = 25
    chunks = [range(start, min(start + chunk, last)) for start in range(first, last, chunk)]
    faults, counts = Counter[str](), Counter[str]()
    with ProcessPoolExecutor(processes) as pool:
        stale = [20 * (n % 2) for n in range(len(chunks))]
        for found, counted, told in pool.map(simulate_many, chunks, stale):
            faults += found
            counts += counted
            for text in told:
                print(text, flush=True)
    print(f"{last - first} schedules in {time.monotonic() - begun:.0f} s: faults {dict(faults)}; {dict(counts)}")
    return 1 if faults else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets must not differ from one run to the next
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})
    given = [int(text) for text in sys.argv[1:]]
    sys.exit(main(*given[:2], given[2] if len(given) > 2 else os.cpu_count() or 1))
