"""One store, one clock and many processes that take turns: the world in which real code is interleaved at random.

Each process (`Actor`) runs in a thread of its own, but only one thread runs at any time: at every request to the store
or to the disk it hands control back to the scheduler (`World.step`), which picks the next actor by one seeded chance.
So a seed is a schedule, and the same seed is the same schedule.

The scheduler may crash an actor before or after a request, lose a reply, deliver a request long after its sender gave
up (up to three times the grace time), pause a machine, let time jump, serve listings page by page and out of date.
"""

from __future__ import annotations

import random
import threading
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracker.storage.errors import KeyTaken, NotFound, StorageUnavailable

GRACE_S = 300
EPOCH_S = 1_790_000_000
FOREVER_S = 1 << 40
ENTITY, PROJECT, RUNS = "e", "p", ("r-1", "r-2")
URL = "memory://simulated"
SIMULATED = "simulated"  # in the text of every failure that the scheduler made

Request = tuple[Any, ...]
Expected = list[tuple[str, str | None, object]]  # kind, key, value of the events of one frame


class Killed(BaseException):
    """Raised in an actor that is no more. What its `finally` blocks still ask of the store does not happen."""


@dataclass(frozen=True, slots=True)
class Chances:
    """How often what goes wrong, for each request."""

    crash: float = 0.01  # before the request, and as often again after it
    lost_reply: float = 0.08  # of a put or delete that was done
    failed: float = 0.02  # nothing was done, the caller is told so
    late: float = 0.01  # the caller is told that it failed, and later it happens
    pause: float = 0.05
    jump: float = 0.03  # nothing happens anywhere for up to the grace time


class Actor(threading.Thread):
    """A process: one role, one wall clock, what the kernel cleans up when it dies."""

    def __init__(self, world: World, name: str, role: Callable[[Actor], None], busy: int) -> None:
        super().__init__(name=name, daemon=True)
        self.world, self.role, self.busy = world, role, busy
        self.skew_s = world.skew()
        self.at_exit: list[Callable[[], None]] = []
        self.wanted: Request | None = None
        self.answer: Any = None
        self.stalled_until = 0
        self.dead = False
        self.ended = False
        self.go = threading.Lock()
        self.go.acquire()

    def run(self) -> None:
        self.go.acquire()
        try:
            if not self.dead:
                self.role(self)
        except Killed:
            self.dead = True
        except BaseException as exc:
            self.world.fault(f"{self.name} raised {type(exc).__name__}", traceback.format_exc())
        finally:
            self.dead = True
            for clean_up in reversed(self.at_exit):
                clean_up()
            self.ended = True
            self.world.control.release()

    def request(self, *request: Any) -> Any:
        """Hand over to the scheduler; go on when it says so, with what the store answered."""
        if self.dead:
            raise Killed
        self.wanted = request
        self.world.control.release()
        self.go.acquire()
        answer, self.answer = self.answer, None
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass(slots=True)
class World:
    seed: int
    directory: Path  # the machine's disk: spools and caches
    stale_s: int = 0  # listings may show the store as it was up to so long ago
    exclusive: bool = True  # the store enforces put-if-absent
    chances: Chances = field(default_factory=Chances)
    rnd: random.Random = field(init=False)
    now_s: int = 0
    objects: dict[str, tuple[bytes, int]] = field(default_factory=dict)  # key: bytes, time of the put
    changes: list[tuple[int, str, tuple[bytes, int] | None]] = field(default_factory=list)
    late: list[tuple[int, Request]] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
    control: threading.Lock = field(default_factory=threading.Lock)
    frames: dict[str, list[Expected]] = field(default_factory=lambda: defaultdict(list))  # what writers appended
    run_of: dict[str, str] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # frames that the store has acknowledged
    purged: set[str] = field(default_factory=set)  # writers whose purge was acknowledged
    maybe_hidden: set[str] = field(default_factory=set)  # writers that were known when somebody purged their run
    purges_until_s: dict[str, int] = field(default_factory=dict)  # by run: whoever began before may be hidden, too
    faults: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)  # details of the faults
    counts: Counter[str] = field(default_factory=Counter)  # what happened, to see that something did
    trace: int = 0  # a hash over all requests: equal for equal schedules
    page: int = field(init=False)

    def __post_init__(self) -> None:
        self.rnd = random.Random(self.seed)
        self.page = self.rnd.choice([3, 7, 20])
        self.control.acquire()

    def fault(self, what: str, detail: str = "") -> None:
        self.faults[what] += 1
        self.told.append(f"seed {self.seed}, {self.now_s} s: {what}\n{detail}")

    def skew(self) -> int:
        """How far a process's wall clock is off, in seconds: mostly little, sometimes a day."""
        return self.rnd.choice([0, 0, self.rnd.randrange(-60, 60), self.rnd.randrange(-90_000, 80_000)])

    def wall_s(self) -> int:
        """The store's clock."""
        return EPOCH_S + self.now_s

    def start(self, name: str, role: Callable[[Actor], None], busy: int = 1) -> Actor:
        """A new process; its turn comes `busy` times as often as another's."""
        actor = Actor(self, name, role, busy)
        actor.start()
        self.actors.append(actor)
        return actor

    def step(self) -> None:
        """One request of one actor, or some time in which nothing happens."""
        rnd, chances = self.rnd, self.chances
        for item in [item for item in self.late if item[0] <= self.now_s]:
            self.late.remove(item)
            self._deliver(item[1])
        if rnd.random() < chances.jump:
            self.now_s += rnd.randrange(GRACE_S)
        awake = [actor for actor in self.actors if actor.stalled_until <= self.now_s]
        if not awake:
            self.now_s = max(self.now_s + 1, min(actor.stalled_until for actor in self.actors))
            return
        actor = rnd.choices(awake, [actor.busy for actor in awake])[0]
        request = actor.wanted
        if request is None:  # not started yet
            self._resume(actor)
            return
        changes = request[0] in ("put", "delete")
        chance = rnd.random()
        if chance < chances.crash:
            if changes and rnd.random() < 0.5:
                self._later(request)
            self._kill(actor)
            return
        chance -= chances.crash
        if changes and chance < chances.late:
            self._later(request)
            actor.answer = StorageUnavailable(f"{SIMULATED}: no answer")
        elif request[0] not in ("disk", "sleep") and chance < chances.late + chances.failed:
            actor.answer = StorageUnavailable(f"{SIMULATED}: refused")
        else:
            try:
                actor.answer = self.apply(request)
            except (NotFound, KeyTaken) as exc:
                actor.answer = exc
            if changes and rnd.random() < chances.lost_reply:
                actor.answer = StorageUnavailable(f"{SIMULATED}: the reply was lost")
                self.counts["lost replies"] += 1
        if rnd.random() < chances.crash:
            self._kill(actor)
            return
        if request[0] == "sleep":
            actor.stalled_until = self.now_s + request[1]
        elif rnd.random() < chances.pause:
            actor.stalled_until = self.now_s + rnd.randrange(3 * GRACE_S)
        self._resume(actor)

    def quiet(self, name: str, role: Callable[[Actor], None]) -> None:
        """Everything late arrives, every actor dies; then one more runs alone, without faults, until it ends."""
        for _, request in self.late:
            self._deliver(request)
        self.late.clear()
        for actor in list(self.actors):
            self._kill(actor)
        self.stale_s = 0
        actor = self.start(name, role)
        while not actor.ended:
            request = actor.wanted
            if request is not None:
                try:
                    actor.answer = self.apply(request, ticks=0)
                except (NotFound, KeyTaken) as exc:
                    actor.answer = exc
                if request[0] == "sleep":
                    self.now_s += request[1]
            self._resume(actor)

    def close(self) -> None:
        for actor in list(self.actors):
            self._kill(actor)

    def apply(self, request: Request, ticks: int = 1) -> Any:
        """The store acts. Each request takes a second."""
        self.now_s += ticks
        self.trace = hash((self.trace, request[0], request[1] if request[0] in ("put", "get", "delete") else None))
        match request:
            case ("put", str() as key, bytes() as data):
                held = self.objects.get(key)
                if held is None or (held[0] != data and not self.exclusive):
                    self.objects[key] = (data, self.wall_s())
                    self.changes.append((self.now_s, key, self.objects[key]))
                    self.counts["puts"] += 1
                elif held[0] != data:
                    raise KeyTaken(f"{key} holds other bytes.")
                return None
            case ("get", str() as key):
                if key not in self.objects:
                    raise NotFound(f"{key} is not there.")
                return self.objects[key][0]
            case ("delete", str() as key):
                if self.objects.pop(key, None) is not None:
                    self.changes.append((self.now_s, key, None))
                    self.counts["deletions"] += 1
                return None
            case ("page", str() as prefix, str() as after):
                view = self._view()
                keys = sorted(key for key in view if key.startswith(prefix) and key > after)[: self.page]
                return [(key, len(view[key][0]), view[key][1]) for key in keys]
            case ("disk",) | ("sleep", _):
                return None
        raise AssertionError(request)

    def _view(self) -> dict[str, tuple[bytes, int]]:
        if not self.stale_s:
            return self.objects
        until, view = self.now_s - self.rnd.randrange(self.stale_s), dict[str, tuple[bytes, int]]()
        for at, key, held in self.changes:
            if at > until:
                break
            if held is None:
                view.pop(key, None)
            else:
                view[key] = held
        return view

    def _later(self, request: Request) -> None:
        self.late.append((self.now_s + self.rnd.randrange(3 * GRACE_S), request))
        self.counts["late"] += 1

    def _deliver(self, request: Request) -> None:
        try:
            self.apply(request)
        except KeyTaken:
            self.counts["late puts refused"] += 1

    def _kill(self, actor: Actor) -> None:
        actor.dead = True
        actor.answer = Killed()
        self.counts["crashes"] += 1
        self._resume(actor)

    def _resume(self, actor: Actor) -> None:
        """Until its next request, or its end."""
        actor.go.release()
        self.control.acquire()
        if actor.ended:
            actor.join()
            self.actors.remove(actor)
