"""Random schedules of writers, mergers, cleaners and readers against one store; `choose_files` decides what is read.

Every actor is a generator, and each tuple it yields is one request to the store. The scheduler interleaves the
actors at random, crashes them before and after a request, loses replies, delivers requests long after their client
gave up (longer than the grace time), serves listings page by page and from a stale view. One seed, one schedule.

`Rules` holds the protocol's rules as switches: the defaults are the protocol, every other setting must be caught.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from tracker.storage.choose import Pick, choose_files, missing_families
from tracker.storage.names import PartName

GRACE, PAGE, STEPS, ATTEMPTS_MAX = 300, 3, 1500, 80
WRITERS = ("a" * 26, "b" * 26)

Event = tuple[str, int]  # family, frame
Request = Generator[tuple[Any, ...], Any, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    cut_rows: bool = True  # a file taken in part is cut by seq
    restart_on_hole: bool = True
    restart_on_missing: bool = True  # a 404 starts the reader over
    commit_last: bool = True  # the f file is put after h, s, c
    check_footer: bool = True  # the f file's footer lists the families
    put_before_delete: bool = True  # the covering set is stored before anything that it covers goes
    grace: int = GRACE


@dataclass(frozen=True, slots=True)
class Content:
    families: str  # of the whole set
    events: frozenset[Event]


@dataclass(slots=True)
class World:
    seed: int
    rules: Rules
    stale: int = 0  # listings may show the store as it was up to so many ticks ago
    rnd: random.Random = field(init=False)
    now: int = 0
    objects: dict[PartName, tuple[Content, int]] = field(default_factory=dict)
    log: list[tuple[int, PartName, bool]] = field(default_factory=list)
    late: list[tuple[int, tuple[Any, ...]]] = field(default_factory=list)
    acked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WRITERS, -1))
    written: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WRITERS, -1))
    faults: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    gave_up: int = 0

    def __post_init__(self) -> None:
        self.rnd = random.Random(self.seed)

    def family(self, writer: str, frame: int) -> str:
        return "fhhs"[hash((self.seed, writer[0] == "a", frame // 3)) % 4]

    def events(self, writer: str, first: int, last: int) -> frozenset[Event]:
        return frozenset((self.family(writer, frame), frame) for frame in range(first, last + 1))

    def apply(self, request: tuple[Any, ...]) -> Any:
        self.now += 1
        match request:
            case ("put", PartName() as name, Content() as content):
                if name not in self.objects:
                    self.objects[name] = (content, self.now)
                    self.log.append((self.now, name, True))
                return "ok"
            case ("get", name):
                return self.objects.get(name, (None, 0))[0]
            case ("delete", name):
                if self.objects.pop(name, None) is not None:
                    self.log.append((self.now, name, False))
                return "ok"
            case ("now",):
                return self.now
            case ("page", after):
                names = sorted((name for name in self._view() if _key(name) > after), key=_key)[:PAGE]
                return [(name, self.objects[name][1] if name in self.objects else self.now) for name in names]
        raise AssertionError(request)

    def _view(self) -> set[PartName]:
        if not self.stale:
            return set(self.objects)
        until, view = self.now - self.rnd.randrange(self.stale), set[PartName]()
        for at, name, added in self.log:
            if at <= until:
                (view.add if added else view.discard)(name)
        return view


def _key(name: PartName) -> str:
    return f"{name.writer_id}/{name.file_name}"


def _part(writer: str, family: str, first: int, last: int) -> PartName:
    return PartName("r", writer, family, first, last, f"{last:016x}")


def _list() -> Request:
    found: list[tuple[PartName, int]] = []
    after = ""
    while True:
        page = yield ("page", after)
        found += page
        if len(page) < PAGE:
            return found
        after = _key(page[-1][0])


def _put(name: PartName, content: Content) -> Request:
    while (yield ("put", name, content)) is None:
        pass  # the reply was lost: same name, same bytes, again


def writer(world: World, writer_id: str) -> Request:
    """Ships small parts; after a crash it cuts again from the last acknowledged frame, at other frames."""
    for _ in range(world.rnd.randrange(2, 6)):
        first = world.acked[writer_id] + 1
        last = max(world.written[writer_id], first + world.rnd.randrange(3))
        world.written[writer_id] = last
        events = world.events(writer_id, first, last)
        yield from _put(_part(writer_id, "e", first, last), Content("fhsc", events))
        world.acked[writer_id] = max(world.acked[writer_id], last)


def merger(world: World) -> Request:
    """Makes one set of a part of some writer's cover. Anybody may: equal ranges give equal files."""
    listed = [name for name, _ in (yield from _list())]
    choice = choose_files(listed)
    writer_id = world.rnd.choice(WRITERS)
    mine = [pick for pick in choice.picks if pick.parts[0].writer_id == writer_id]
    if len(mine) < 2 or choice.holes:
        return
    start = world.rnd.randrange(len(mine) - 1)
    picks = mine[start : world.rnd.randrange(start + 1, len(mine)) + 1]
    events = set[Event]()
    for pick in picks:
        taken = yield from _read(pick, Rules())
        if taken is None:
            return
        events.update(taken)
    first, last = picks[0].first, picks[-1].last
    present = "".join(sorted({family for family, _ in events} | {"f"}))
    order = [family for family in "hsc" if family in present]
    order = [*order, "f"] if world.rules.commit_last else ["f", *order]
    if not world.rules.put_before_delete:
        for pick in picks:
            for name in pick.parts:
                yield ("delete", name)
    for family in order:
        kept = frozenset(event for event in events if event[0] == family)
        yield from _put(_part(writer_id, family, first, last), Content(present, kept))


def cleaner(world: World) -> Request:
    """Deletes what a verified set, older than the grace time by the store's clock, covers; commit files first."""
    now = yield ("now",)
    listed = yield from _list()
    commits = [(name, at) for name, at in listed if name.family == "f"]
    for name, _ in sorted(listed, key=lambda item: (item[0].family != "f", _key(item[0]))):
        for cover, at in commits:
            same = (cover.first, cover.last) == (name.first, name.last)
            if cover.writer_id != name.writer_id or (same and name.family != "e"):
                continue
            if not cover.first <= name.first <= name.last <= cover.last or now - at < world.rules.grace:
                continue
            content = yield ("get", cover)
            if content is None:
                continue
            for family in content.families:
                sibling = yield ("get", _part(cover.writer_id, family, cover.first, cover.last))
                if sibling is None:
                    break
            else:
                yield ("delete", name)
                break


def _read(pick: Pick, rules: Rules) -> Request:
    """The events of the picked frames, or None when a file is gone."""
    taken: list[Event] = []
    for name in pick.parts:
        content = yield ("get", name)
        if content is None:
            return None
        if rules.check_footer and name.family == "f" and missing_families(pick, content.families):
            return None
        taken += [event for event in content.events if event[1] >= pick.first or not rules.cut_rows]
    return taken


def reader(world: World) -> Request:
    """Lists, chooses, fetches; starts over on a hole or a 404. Then the answer is compared with what was written."""
    rules = world.rules
    floor = dict(world.acked)
    for _ in range(ATTEMPTS_MAX):
        begun = yield ("now",)
        listed = [name for name, _ in (yield from _list())]
        if (yield ("now",)) - begun > GRACE // 2 - world.stale:
            continue  # a listing that took this long may mix what grace was to keep apart
        choice = choose_files(listed)
        if choice.holes and rules.restart_on_hole:
            continue
        got: defaultdict[str, list[Event]] = defaultdict(list)
        for pick in choice.picks:
            taken = yield from _read(pick, rules)
            if taken is not None:
                got[pick.parts[0].writer_id] += taken
            elif rules.restart_on_missing:
                break
        else:
            break
    else:
        world.gave_up += 1
        return
    world.reads += 1
    for writer_id in WRITERS:
        events = got[writer_id]
        last = max((frame for _, frame in events), default=-1)
        if len(events) != len(set(events)):
            world.faults["twice"] += 1
        if set(events) - world.events(writer_id, 0, world.written[writer_id]):
            world.faults["invented"] += 1
        if world.events(writer_id, 0, last) - set(events):
            world.faults["missing"] += 1
        if not world.stale and last < floor[writer_id]:
            world.faults["acknowledged missing"] += 1


def simulate(seed: int, rules: Rules | None = None, stale: int = 0) -> World:
    """The world after one random schedule and one last quiet read. `faults` must be empty."""
    world = World(seed, rules or Rules(), stale)
    rnd = world.rnd
    roles: list[Callable[[], Request]] = [
        *(lambda writer_id=writer_id: writer(world, writer_id) for writer_id in WRITERS),
        *[lambda: merger(world)] * 2,
        *[lambda: cleaner(world)] * 2,
        *[lambda: reader(world)] * 2,
    ]
    actors = [[role, role(), None, 0] for role in roles]
    for _ in range(STEPS):
        for item in [item for item in world.late if item[0] <= world.now]:
            world.late.remove(item)
            world.apply(item[1])
        actor = rnd.choice(actors)
        role, running, reply, stalled_until = actor
        if stalled_until > world.now:
            world.now += 1
            continue
        try:
            request = running.send(reply)
        except StopIteration:
            actor[1:3] = role(), None
            continue
        chance = rnd.random()
        if chance < 0.02:  # crash before the request, which may still be on its way
            if request[0] in ("put", "delete") and rnd.random() < 0.5:
                world.late.append((world.now + rnd.randrange(3 * GRACE), request))
            actor[1:3] = role(), None
            continue
        actor[2] = world.apply(request)
        if chance < 0.04:  # crash after the request
            actor[1:3] = role(), None
        elif request[0] == "put" and chance < 0.12:
            actor[2] = None  # the reply was lost
        if chance > 0.985 or (request[0] == "put" and rnd.random() < 0.2):
            actor[3] = world.now + rnd.randrange(3 * GRACE)  # a paused machine
    _quiet_read(world)
    return world


def _quiet_read(world: World) -> None:
    """Everything delivered, nobody else at work: now the answer must come."""
    for _, request in world.late:
        world.apply(request)
    world.stale, before = 0, world.gave_up
    running, reply = reader(world), None
    try:
        while True:
            request = running.send(reply)
            reply = world.apply(request)
            if request[0] == "page":
                world.now -= 1  # a quiet store lists in no time
    except StopIteration:
        if world.gave_up > before:
            world.faults["unreadable"] += 1
