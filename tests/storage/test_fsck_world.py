"""Whatever writers, packers, vacuum and purges do, and wherever they die: a check finds nothing wrong."""

from __future__ import annotations

import random

import pytest
from pack_world import DAY_US, GRACE_S, HOUR_US, Died, FakeStore, make_world
from store_maker import T0, MadeWriter, made_run

from tracker.storage import fsck
from tracker.storage.clock import HybridClock
from tracker.storage.edits import EditWriter, delete_edit
from tracker.storage.errors import NotFound
from tracker.storage.fsck import check_project
from tracker.storage.packing import compact_project
from tracker.storage.purge import purge_runs
from tracker.storage.things import ThingWriter
from tracker.storage.vacuum import vacuum_project

LEFT_OVER = {"uncommitted", "unlisted-pack", "purged"}  # notes: what a process that died leaves behind


class _World:
    """One store and who works on it, from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store, self.writers = make_world(3)
        self.number = 0

    def step(self) -> str:
        action = self.chance.choice([self.write, self.log_more, self.merge, self.compact, self.compact, self.vacuum,
                                     self.purge, self.edit, self.change, self.wait])  # fmt: skip
        action()
        return action.__name__

    def write(self) -> None:
        self.number += 1
        rows = [{"loss": self.chance.random(), "n": n} for n in range(self.chance.randrange(1, 6))]
        state = self.chance.choice(["finished", "running"])
        self.writers.append(made_run(self.store, f"new{self.number}", rows, state=state, start_us=T0 + self.number))

    def log_more(self) -> None:
        writer = self._any()
        for _ in range(self.chance.randrange(1, 4)):
            writer.log({"loss": self.chance.random()})
        writer.put()

    def merge(self) -> None:
        """The whole range, as at a writer's end; its parts may be packed and gone already."""
        writer = self._any()
        writer.merge(0, writer.shipped - 1, whole_families=self.chance.random() < 0.5)

    def compact(self) -> None:
        self._mortal(lambda: compact_project(self.store, "main", "p", now_us=self.store.now_us, grace_s=GRACE_S))

    def vacuum(self) -> None:
        self._mortal(lambda: vacuum_project(self.store, "main", "p", now_us=self.store.now_us, grace_s=GRACE_S))

    def purge(self) -> None:
        run = self._any().ref.run_id
        try:
            self._mortal(
                lambda: purge_runs(self.store, "main", "p", [run], now_us=self.store.now_us, grace_s=GRACE_S)
            )
        except NotFound:  # purged and gone already
            return

    def edit(self) -> None:
        clock = HybridClock(wall=lambda: self.store.now_us)
        editor = EditWriter(self.store, "main", "p", clock=clock, wall=lambda: self.store.now_us)
        editor.write(delete_edit(self._any().ref.run_id))

    def change(self) -> None:
        clock = HybridClock(wall=lambda: self.store.now_us)
        kind, thing_id = self.chance.choice([("report", "first"), ("user", "A n n")])
        thing = ThingWriter(self.store, "main", "p", kind, thing_id, clock=clock, wall=lambda: self.store.now_us)
        for _ in range(self.chance.randrange(1, 4)):
            thing.write([("title", self.chance.random())])
        if self.chance.random() < 0.3:
            thing.delete()

    def wait(self) -> None:
        self.store.now_us += self.chance.choice([HOUR_US // 2, 2 * HOUR_US, 2 * DAY_US])

    def _any(self) -> MadeWriter:
        return self.chance.choice(self.writers)

    def _mortal(self, work: object) -> None:
        """Every other time the process dies at some request, before the store acted or after."""
        assert callable(work)
        when = self.store.requests + self.chance.randrange(1, 60)
        moment = self.chance.choice(["at", "after"])

        def die(number: int, _verb: str, _key: str) -> None:
            if number == when:
                raise Died

        if self.chance.random() < 0.5:
            setattr(self.store, moment, die)
        try:
            work()
        except Died:
            return
        finally:
            self.store.at = self.store.after = lambda *_: None


def unexpected(store: FakeStore) -> list[str]:
    report = check_project(store, "main", "p")
    return [f"{one.code}: {one.text}" for one in report.findings if one.code not in LEFT_OVER]


def run_world(seed: int, steps: int) -> None:
    world = _World(seed)
    done = []
    for _ in range(steps):
        done.append(world.step())
        assert unexpected(world.store) == [], (seed, done)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsck, "_PAUSES_S", (0.0, 0.0))


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_happens_to_a_project_looks_like_damage(seed: int) -> None:
    run_world(seed, 12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_nothing_that_happens_to_a_project_looks_like_damage_for_long(seed: int) -> None:
    run_world(seed, 40)
