"""The processes of the simulation that keep the store small: compaction, vacuum, purge; by anybody, at any time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from simulate_port import SimulatedStore
from simulate_world import ENTITY, FOREVER_S, GRACE_S, PROJECT, RUNS, URL, Actor

from tracker.storage.clock import wall_us
from tracker.storage.errors import Conflict, NotFound, StorageUnavailable, UsageError
from tracker.storage.packing import compact_project
from tracker.storage.purge import purge_runs
from tracker.storage.vacuum import vacuum_project

__all__ = ["compactor", "purger", "vacuumer"]


def compactor(actor: Actor) -> None:
    """`tracker compact` by anybody, at any time: what was silent for a moment goes into packs, packs are merged."""
    world, rnd = actor.world, actor.world.rnd
    with contextlib.suppress(StorageUnavailable):
        report = compact_project(
            SimulatedStore(URL),
            ENTITY,
            PROJECT,
            now_us=wall_us(),
            quiet_s=rnd.choice([0, GRACE_S / 2, 2 * GRACE_S]),
            finished_quiet_s=rnd.choice([0, GRACE_S]),
            grace_s=GRACE_S,
            notify=_fault_if_error(actor),
        )
        world.counts["packed writers"] += report.packed_writers
        world.counts["packs merged"] += report.packs_merged
        world.counts["packs dropped"] += report.packs_dropped
    actor.request("sleep", rnd.randrange(1, GRACE_S))


def vacuumer(actor: Actor) -> None:
    """`tracker vacuum` by anybody, at any time."""
    world = actor.world
    with contextlib.suppress(StorageUnavailable):
        report = vacuum_project(
            SimulatedStore(URL), ENTITY, PROJECT, now_us=wall_us(), grace_s=GRACE_S, notify=_fault_if_error(actor)
        )
        world.counts["vacuumed"] += report.loose_objects + report.pack_objects
        world.counts["orphan packs"] += report.orphan_packs
    actor.request("sleep", world.rnd.randrange(1, GRACE_S))


def purger(actor: Actor) -> None:
    """Now and then one of the runs is purged for good, while its writers may be alive or wait for a sync."""
    world, rnd = actor.world, actor.world.rnd
    actor.request("sleep", rnd.randrange(GRACE_S, 6 * GRACE_S))
    run_id = rnd.choice(RUNS)
    known = {one for one, count in world.stored.items() if count and world.run_of[one] == run_id}
    world.purges_until_s[run_id] = FOREVER_S  # while it goes on

    def ends() -> None:
        world.purges_until_s[run_id] = world.wall_s()
        world.maybe_hidden.update(one for one, run in world.run_of.items() if run == run_id)

    actor.at_exit.append(ends)
    with contextlib.suppress(StorageUnavailable, NotFound, UsageError, Conflict):
        purge_runs(SimulatedStore(URL), ENTITY, PROJECT, [run_id], now_us=wall_us(), grace_s=GRACE_S)
        world.purged |= known
        world.counts["purges"] += 1


def _fault_if_error(actor: Actor) -> Callable[[str, str], None]:
    def notify(level: str, text: str) -> None:
        actor.world.counts[f"notes: {level}"] += 1
        if level != "info":
            actor.world.fault("compaction: said", text)

    return notify
