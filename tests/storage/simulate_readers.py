"""The reading processes of the simulation, and its end: everything is shipped, and everybody sees all of it."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator

from simulate_check import Seen, check_seen, read_everything
from simulate_port import SimulatedStore
from simulate_world import ENTITY, PROJECT, RUNS, URL, Actor
from simulate_writers import spools_of

from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.clock import wall_us
from tracker.storage.errors import CorruptData, NotFound, StorageUnavailable
from tracker.storage.sync import sync_dir

__all__ = ["last_look", "reader", "reference_reader"]

_numbers = itertools.count()


def reader(actor: Actor) -> None:
    """Opens the project (or a run of it) as `Api` does, and reads every part; a floor: what was stored before."""
    world = actor.world
    floor = {} if world.stale_s else dict(world.stored)
    purged = set(world.purged)
    run_id = world.rnd.choice([None, None, *RUNS])
    with own_cache(actor) as (store, cache):
        try:
            snapshot = open_project(
                store, ENTITY, PROJECT, cache=cache, now_us=wall_us(), run_id=run_id,
                warn=lambda text: world.fault("reader: warned", text),
            )  # fmt: skip
            seen = _seen(snapshot)
        except StorageUnavailable:
            world.counts["refused reads"] += 1
            return
        except (NotFound, CorruptData) as exc:  # never silently less: it says so
            world.counts["gave up"] += 1
            world.told.append(f"gave up: {exc}")
            return
    world.counts["reads"] += 1
    floor = {one: count for one, count in floor.items() if run_id is None or world.run_of[one] == run_id}
    check_seen(world, seen, floor, purged, families="fhs", who="reader")
    actor.request("sleep", world.rnd.randrange(1, 60))


@contextlib.contextmanager
def own_cache(actor: Actor) -> Iterator[tuple[SimulatedStore, PartCache]]:
    """A cache that no other process has; gone afterwards. The URL keeps caches in memory apart, too."""
    world = actor.world
    number = next(_numbers)
    directory = world.directory / f"cache-{number}"
    try:
        yield SimulatedStore(f"{URL}-{number}"), PartCache(directory, 1 << 30)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _seen(snapshot: Snapshot) -> Seen:
    """All that the snapshot's parts hold: points from their files, facts from what was read of them."""
    seen = Seen()
    for run in snapshot.runs.values():
        system = [part for one in run.parts if (part := one.of_system()) is not None]
        files = [(part, "h") for part in run.parts] + [(part, "s") for part in system]
        paths = snapshot.paths([part for part, _ in files])
        for (part, family), path in zip(files, paths, strict=True):
            packed_of = (part.run_id, part.writer_id) if part.packed else None
            data = path.read_bytes()
            seen.add_file(data, part.writer_id, part.first, part.last, families=family, packed_of=packed_of)
        for part in run.parts:
            seen.add_facts(part.writer_id, part.records.facts, folded=part.packed)
    return seen


def reference_reader(actor: Actor) -> None:
    """The read protocol in a few plain lines, all families, without any of the reading side's code."""
    world = actor.world
    floor = {} if world.stale_s else dict(world.stored)
    purged = set(world.purged)
    try:
        seen = read_everything(SimulatedStore(URL), ENTITY, PROJECT, lambda: world.now_s)
    except StorageUnavailable:
        return
    if seen is None:
        world.counts["gave up"] += 1
        return
    world.counts["reference reads"] += 1
    check_seen(world, seen, floor, purged, families="fhsc", who="reference reader")


def last_look(actor: Actor) -> None:
    """A quiet store: everything is shipped, and both readers see all of it."""
    world = actor.world
    report = sync_dir(world.directory / "work") if spools_of(actor) else None
    if report is not None and (report.failed or report.live):
        world.fault("the last sync failed", f"{report.failed} {report.live}")
    for writer_id, frames in world.frames.items():
        world.stored[writer_id] = len(frames)
    before: defaultdict[str, int] = defaultdict(int, world.counts)
    roles: list[Callable[[Actor], None]] = [reference_reader, reader]
    for role in roles:
        role(actor)
    if world.counts["gave up"] > before["gave up"]:
        world.fault("unreadable at the end", "\n".join(world.told[-3:]))


