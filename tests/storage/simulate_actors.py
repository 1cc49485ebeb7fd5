"""What the processes of the simulation do: they run the code that ships, merges, sweeps, packs, cleans and reads."""

from __future__ import annotations

import contextlib
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from simulate_check import Seen, check_seen, read_everything
from simulate_port import SimulatedStore, expected
from simulate_world import GRACE_S, SIMULATED, Actor

from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.clock import HybridClock, wall_us
from tracker.storage.errors import CorruptData, NotFound, StorageUnavailable
from tracker.storage.format_file import ensure_format
from tracker.storage.frames import Facts, Frame, Log, Points, RowMark, encode_frame, pack_value
from tracker.storage.names import RunRef, new_ulid
from tracker.storage.shipper import Shipper
from tracker.storage.spool import Spool
from tracker.storage.sync import sync_dir
from tracker.storage.wal import WalWriter

__all__ = ["ENTITY", "PROJECT", "URL", "last_look", "reader", "reference_reader", "syncer", "writer"]

ENTITY, PROJECT = "e", "p"
URL = "memory://simulated"
RUNS = ("r-1", "r-2")


def writer(actor: Actor) -> None:
    """A session: logs, ships, merges, sweeps; then finishes, or goes away and leaves its spool behind."""
    world, rnd = actor.world, actor.world.rnd
    work = world.directory / "work"
    run_id = rnd.choice(RUNS)
    store = SimulatedStore(URL)
    spool = Spool.create(work, "t", RunRef(ENTITY, PROJECT, run_id), new_ulid(wall_us()), URL)
    assert spool.ship_lock.try_acquire()
    writer_id = spool.owner.writer_id
    world.run_of[writer_id] = run_id
    wal = WalWriter(spool.path, segment_bytes=rnd.choice([600, 3000]))
    actor.at_exit.append(wal.close)
    shipper = Shipper(
        spool,
        store,
        wall=wall_us,
        monotonic_s=lambda: float(world.now_s),
        notify=lambda level, text: world.fault("writer: said", text) if level == "error" else None,
        grace_s=GRACE_S,
    )
    frames = Session(actor, writer_id)

    def append(frame: Frame) -> None:
        wal.append(encode_frame(frame))
        world.frames[writer_id].append(expected(frame))
        world.counts["frames"] += 1

    append(frames.first())
    knows_format = False
    for _ in range(rnd.randrange(2, 30)):
        for _ in range(rnd.randrange(1, 4)):
            append(frames.any())
        with contextlib.suppress(StorageUnavailable):
            if not knows_format:
                ensure_format(store)
                knows_format = True
            _round(actor, shipper, at_finish=False)
    if rnd.random() < 0.3:
        return
    append(frames.last())
    wal.close()
    while True:
        try:
            _round(actor, shipper, at_finish=True)
        except StorageUnavailable:
            actor.request("sleep", 10)
            continue
        shipper.mark_finished()
        world.counts["finished"] += 1
        return


def _round(actor: Actor, shipper: Shipper, *, at_finish: bool) -> None:
    """As the pump does it."""
    world, writer_id = actor.world, shipper._spool.owner.writer_id
    while shipper.ship_once(bytes_max=world.rnd.choice([100, 400, 1 << 20]), writer_gone=at_finish):
        world.stored[writer_id] = max(world.stored[writer_id], shipper.state.next_seq)
    while shipper.merge(at_finish=at_finish):
        world.counts["merges"] += 1
    shipper.sweep()


class Session:
    """Makes the frames of one writer: rows that are closed at once or later, system values, facts."""

    def __init__(self, actor: Actor, writer_id: str) -> None:
        self._rnd, self._id = actor.world.rnd, writer_id
        self._clock = HybridClock(wall=lambda: (actor.world.wall_s() + actor.skew_s) * 1_000_000)
        self._row = self._step = self._count = 0

    def first(self) -> Frame:
        said = {"generation": self._id, "job": None, "rank": None, "started_at": self._clock.last_us, "state": "running"}
        return self._facts([("writer", f"{self._id}.{name}", value) for name, value in said.items()])

    def any(self) -> Frame:
        self._count += 1
        stamp = self._clock.tick()
        match self._rnd.randrange(8):
            case 0:
                return Points(stamp, stamp, "system", {"cpu": float(self._count)})
            case 1:
                return Points(stamp, stamp, "console", {"stdout": f"line {self._count}"})
            case 2:
                return self._facts([("config", "lr", self._count / 7), ("config", "name", f"n{self._count}")])
        cells: dict[str, Any] = {"loss": self._count / 3}
        if self._rnd.random() < 0.3:
            cells |= {"text": f"t{self._count}", "n": self._count}
        closes = []
        row, step = self._row, self._step
        if self._rnd.random() < 0.8:
            closes.append(RowMark(row, step, stamp, float(self._count)))
            self._row += 1
            self._step += 1
        return Log(stamp, stamp, row, step, cells, closes)

    def last(self) -> Frame:
        said = {"state": "finished", "exit_code": 0, "ended_at": self._clock.last_us}
        return self._facts([("writer", f"{self._id}.{name}", value) for name, value in said.items()])

    def _facts(self, facts: list[tuple[str, str, Any]]) -> Frame:
        stamp = self._clock.tick()
        return Facts(stamp, stamp, [(kind, None, path, pack_value(value)) for kind, path, value in facts])


def syncer(actor: Actor) -> None:
    """`tracker sync` on the machine's disk, while its processes run or are dead. Now and then a note was lost."""
    world = actor.world
    work = world.directory / "work"
    before = set(_spools(actor))
    for _, path in sorted(before):
        if world.rnd.random() < 0.1 and not _is_alive(path):
            (path / "ship.json").unlink(missing_ok=True)
    with contextlib.suppress(NotFound):
        report = sync_dir(work)
        for _, why in report.failed:
            if SIMULATED not in why:
                world.fault("sync failed", why)
        for info in report.shipped:
            if (info.writer_id, info.path) in before:
                world.stored[info.writer_id] = max(world.stored[info.writer_id], len(world.frames[info.writer_id]))
                world.counts["adopted"] += 1
    actor.request("sleep", world.rnd.randrange(1, GRACE_S))


def _spools(actor: Actor) -> list[tuple[str, Any]]:
    work = actor.world.directory / "work"
    paths = sorted(work.glob("run-*")) if work.is_dir() else []
    return [(spool.owner.writer_id, path) for path in paths if (spool := Spool.load(path)) is not None]


def _is_alive(path: Path) -> bool:
    spool = Spool.load(path)
    return spool is None or spool.is_alive()


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
    world.counts["caches"] += 1
    number = world.counts["caches"]
    directory = world.directory / f"cache-{number}"
    try:
        yield SimulatedStore(f"{URL}-{world.seed}/{number}"), PartCache(directory, 1 << 30)
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
            seen.add_file(path.read_bytes(), part.writer_id, part.first, part.last, families=family, packed_of=packed_of)
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
    report = sync_dir(world.directory / "work") if _spools(actor) else None
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


