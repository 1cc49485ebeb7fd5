"""The writing processes of the simulation: sessions that log and ship, and the sync of what they leave behind."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from simulate_port import SimulatedStore, expected
from simulate_world import ENTITY, GRACE_S, PROJECT, RUNS, SIMULATED, URL, Actor

from tracker.storage.clock import HybridClock, wall_us
from tracker.storage.errors import NotFound, StorageUnavailable
from tracker.storage.format_file import ensure_format
from tracker.storage.frames import Facts, Frame, Log, Points, RowMark, encode_frame, pack_value
from tracker.storage.names import RunRef, new_ulid
from tracker.storage.shipper import Shipper
from tracker.storage.spool import Spool
from tracker.storage.sync import sync_dir
from tracker.storage.wal import WalWriter

__all__ = ["spools_of", "syncer", "writer"]


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
        said = {"generation": self._id, "job": None, "rank": None, "started_at": self._clock.last_us}
        said |= {"state": "running"}
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
    before = set(spools_of(actor))
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


def spools_of(actor: Actor) -> list[tuple[str, Any]]:
    work = actor.world.directory / "work"
    paths = sorted(work.glob("run-*")) if work.is_dir() else []
    return [(spool.owner.writer_id, path) for path in paths if (spool := Spool.load(path)) is not None]


def _is_alive(path: Path) -> bool:
    spool = Spool.load(path)
    return spool is None or spool.is_alive()


