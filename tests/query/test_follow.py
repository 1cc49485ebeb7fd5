"""Following a run: every row comes once, whatever happens to the files in between, and little is read for it."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, MadeWriter

from tracker.query import follow_run as follow_module
from tracker.query.console_rows import console_lines
from tracker.query.follow import RunFollower, RunGone
from tracker.query.follow_run import FollowOptions, follow_run
from tracker.query.followed_rows import RowForm, line_dict, sample_dict
from tracker.query.frames import to_dicts
from tracker.query.history import history_batches
from tracker.query.runs import stream_files, visible_files
from tracker.query.snapshot import Snapshot, open_project
from tracker.query.system_rows import system_batches
from tracker.storage.cache import PartCache
from tracker.storage.edits import EditWriter, delete_edit
from tracker.storage.errors import StorageUnavailable, UsageError
from tracker.storage.events import join_path
from tracker.storage.format_file import ensure_format
from tracker.storage.frames import Points, pack_value
from tracker.storage.memory import MemoryStore
from tracker.storage.names import RunRef, parse_part_key, run_prefix
from tracker.storage.packing import compact_project
from tracker.storage.port import ObjectInfo

REF = RunRef("main", "p", "r")


class CountingStore(MemoryStore):
    """Counts what is asked of it: (verb, key or prefix)."""

    def __init__(self) -> None:
        super().__init__(uuid.uuid4().hex)
        self.asked: list[tuple[str, str]] = []
        self.away = False

    def list(self, prefix: str) -> list[ObjectInfo]:
        self.asked.append(("list", prefix))
        if self.away:
            raise StorageUnavailable("the network is gone")
        return super().list(prefix)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.asked += [("get", key) for key in keys]
        return super().get_many(keys)


class World:
    """A run that is written by hand, its clock, and who follows it."""

    def __init__(self, folder: Path, store: MemoryStore | None = None) -> None:
        self.store = store or CountingStore()
        ensure_format(self.store)
        self.cache = PartCache(folder / "cache", 1 << 30)
        self.writers: list[MadeWriter] = []
        self.seconds = 0.0

    def writer(self, *, opens: bool | None = None, rank: str | None = None) -> MadeWriter:
        start_us = max([T0, *(one.now_us + 1_000_000 for one in self.writers)])
        first = not self.writers if opens is None else opens
        made = MadeWriter(self.store, REF, len(self.writers) + 1, start_us, opens=first, rank=rank)
        self.writers.append(made.begin())
        return made

    def open(self) -> Snapshot:
        return open_project(
            self.store, "main", "p", cache=self.cache, now_us=self.now_us(), warn=pytest.fail, run_id="r"
        )

    def now_us(self) -> int:
        return max(one.now_us for one in self.writers)

    def follower(self) -> RunFollower:
        return RunFollower(self.open(), "r", self.open, monotonic_s=lambda: self.seconds, now_us=self.now_us)

    def rows(self) -> list[dict[str, Any]]:
        """All rows, as the history has them."""
        snapshot = self.open()
        batches = history_batches(visible_files(snapshot, ["r"]), snapshot.paths, keys=None, samples=None)
        return [row for rows in batches for row in to_dicts(rows)]


def form(follower: RunFollower, keys: Sequence[str] | None = None, known: Sequence[str] = ()) -> RowForm:
    return RowForm(keys, known, follower.said)


def rows_of(follower: RunFollower, shape: RowForm) -> list[dict[str, Any]]:
    return [row for one in follower.look().rows if (row := shape.as_dict(one)) is not None]


def multiset(rows: Sequence[dict[str, Any]]) -> Counter[str]:
    return Counter(repr(sorted(row.items())) for row in rows)


def test_rows_come_when_their_file_does_each_once_and_in_the_form_of_the_history(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = world.writer().log({"loss": 1.0}).put()
    follower = world.follower()
    shape = form(follower, known=["loss"])
    assert follower.look().rows == []
    writer.log({"loss": 0.5, "z": "text", "a": {"b": [1, 2]}}).log({"loss": float("inf"), "a.b": None, "big": 2**70})
    assert follower.look().rows == []  # nothing of it is in the store yet
    writer.put()
    found = rows_of(follower, shape)
    assert found == world.rows()[1:]
    assert [list(row) for row in found] == [list(row) for row in world.rows()[1:]]  # columns in the same order
    assert follower.look().rows == []
    assert follower.state.state == "running"
    writer.log({"loss": 0.1}).end()
    assert [row["loss"] for row in rows_of(follower, shape)] == [0.1]
    assert follower.ended
    assert follower.state.state == "finished"
    assert follower.opened == 0  # the listing alone was enough all the time


def test_with_keys_come_rows_that_have_them_all_and_nothing_else(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = world.writer(rank="3").put()
    follower = world.follower()
    writer.log({"a": 1}).log({"a": 2, "b": {"c": 3}}).log({"b.c": 4, "a": 5, "b": {"c": 6}}).put()
    news = follower.look()
    some = form(follower, ["_step", "b.c", "a", "_rank", "_writer"])
    assert [some.as_dict(row) for row in news.rows] == [
        None,
        {"_step": 1, "b.c": 3, "a": 2, "_rank": 3, "_writer": writer.id},
        {"_step": 2, "b.c": 4, "a": 5, "_rank": 3, "_writer": writer.id},  # the literal name goes before the nested one
    ]


def test_cells_wait_for_the_end_of_their_row_across_files(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = world.writer().log({"a": 1}, commit=False).put()
    follower = world.follower()
    shape = form(follower)
    writer.log({"b": 2}, commit=False).put()
    assert follower.look().rows == []
    writer.log({"a": 3, "c": 4}).put()
    (row,) = rows_of(follower, shape)
    assert {name: row[name] for name in "abc"} == {"a": 3, "b": 2, "c": 4}
    assert row == world.rows()[0]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_to_files_no_row_is_missing_or_comes_twice(tmp_path: Path, seed: int) -> None:
    follow_a_schedule(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6, 106))
def test_whatever_happens_to_files_at_length(tmp_path: Path, seed: int) -> None:
    follow_a_schedule(tmp_path, seed)


def follow_a_schedule(tmp_path: Path, seed: int) -> None:
    """Writers come and go, files are put, merged, packed and deleted, in any order; the history is the reference."""
    chance = random.Random(seed)
    world = World(tmp_path)
    follower, found, before = None, [], []
    active = [world.writer().put()]
    shape = None
    for n in range(chance.randrange(20, 60)):
        writer = chance.choice(active)
        match chance.choice(["log", "log", "log", "put", "put", "merge", "join", "end", "pack", "look", "look"]):
            case "log":
                cells: dict[str, Any] = {"n": n, chance.choice("xyz"): chance.random()}
                writer.log(cells, commit=chance.random() < 0.7)
            case "put":
                writer.put()
            case "merge" if writer.shipped > 1:
                first = chance.randrange(writer.shipped - 1)
                whole = f"{writer.prefix}{writer.name(0, writer.shipped - 1).file_name}"
                if whole not in {info.key for info in world.store.list(writer.prefix)}:
                    old = [info.key for info in world.store.list(writer.prefix)]
                    writer.merge(0 if chance.random() < 0.7 else first, writer.shipped - 1,
                                 whole_families=chance.random() < 0.5)  # fmt: skip
                    if chance.random() < 0.7:
                        _delete_covered(world.store, old)
            case "join":
                active.append(world.writer(opens=False, rank=str(len(world.writers))).put())
            case "end" if len(active) > 1:
                active.remove(writer.end())
            case "pack":
                compact_project(world.store, "main", "p", now_us=world.now_us(), finished_quiet_s=0.0, grace_s=0.0)
            case "look":
                if follower is None:
                    before, follower = world.rows(), world.follower()
                    shape = form(follower)
                found += rows_of(follower, shape)
                world.seconds += chance.choice([0.5, 20.0])
    if follower is None:
        before, follower = world.rows(), world.follower()
        shape = form(follower)
    for writer in active:
        writer.end()
    found += rows_of(follower, shape)
    world.seconds += 20.0  # by then what was packed and deleted is noticed, too
    found += rows_of(follower, shape)
    assert follower.ended
    assert multiset(found) == multiset(world.rows()) - multiset(before)


def _delete_covered(store: MemoryStore, keys: list[str]) -> None:
    """As a writer does after the grace time: what a later and larger file covers."""
    listed = [name for info in store.list("") if (name := parse_part_key(info.key))]
    gone = []
    for key in keys:
        name = parse_part_key(key)
        if name is not None and any(
            other.family in "ef" and other.writer_id == name.writer_id and other.first <= name.first
            and other.last >= name.last and (other.first, other.last) != (name.first, name.last)
            for other in listed
        ):  # fmt: skip
            gone.append(key)
    store.delete(gone)


def test_a_look_is_one_listing_of_the_run_and_each_new_file_is_read_once(tmp_path: Path) -> None:
    """However large the project is: nothing of it is listed, and packs and edits every ten seconds only."""
    world = World(tmp_path)
    store = world.store
    assert isinstance(store, CountingStore)
    for number in range(30):
        MadeWriter(store, RunRef("main", "p", f"other{number}"), number).begin().log({"x": 1}).end()
    writer = world.writer().log({"loss": 1.0}).put()
    follower = world.follower()
    store.asked.clear()
    for n in range(1, 61):  # half a minute
        world.seconds = n / 2
        if n % 4 == 0:
            writer.log({"loss": 1 / n}).put()
        news = follower.look()
        assert len(news.rows) == (n % 4 == 0)
    asked = Counter(verb if verb == "get" else key.removeprefix("main/p/") for verb, key in store.asked)
    mine = run_prefix(REF).removeprefix("main/p/")
    assert asked.pop(mine) == 60
    assert asked.pop("get") == 15
    assert asked == {"things/edits/": 3, "manifests/": 3}
    assert follower.opened == 0


def test_merges_and_deletions_cost_no_second_reading(tmp_path: Path) -> None:
    world = World(tmp_path)
    store = world.store
    assert isinstance(store, CountingStore)
    writer = world.writer().put()
    follower = world.follower()
    for n in range(4):
        writer.log({"n": n}).put()
        assert len(follower.look().rows) == 1
    small = [info.key for info in store.list(writer.prefix)]
    writer.merge(0, 4)
    store.asked.clear()
    assert follower.look().rows == []
    store.delete(small)
    assert follower.look().rows == []
    assert {verb for verb, _ in store.asked} == {"list"}
    writer.log({"n": 4}).put()
    assert [one.cells for one in follower.look().rows] == [{"n": 4}]
    assert follower.opened == 0


def test_what_was_merged_away_between_two_looks_comes_from_the_merged_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = world.writer().put()
    follower = world.follower()
    writer.log({"n": 0}).put().log({"n": 1}).put().log({"n": 2}).put()
    small = [info.key for info in world.store.list(writer.prefix)]
    writer.merge(0, 3)
    world.store.delete(small)
    assert [one.cells["n"] for one in follower.look().rows] == [0, 1, 2]


def test_a_damaged_file_is_told_and_what_comes_after_it_comes(tmp_path: Path) -> None:
    world = World(tmp_path)
    said: list[str] = []

    def reopen() -> Snapshot:
        now_us = world.now_us()
        return open_project(
            world.store, "main", "p", cache=world.cache, now_us=now_us, warn=said.append, run_id="r"
        )

    writer = world.writer().log({"n": 0}).put()
    follower = RunFollower(world.open(), "r", reopen, now_us=world.now_us)
    writer.log({"n": 1})
    writer.store.put_if_absent(writer.key(2, 2), writer.encode(2, 2)[:-50])
    writer.shipped = 3
    assert follower.look().rows == []
    assert len(said) == 1
    assert "is damaged" in said[0]
    assert follower.look().rows == []
    assert follower.opened == 1  # nothing new: nothing is opened
    writer.log({"n": 2}).put()
    assert [one.cells["n"] for one in follower.look().rows] == [2]
    writer.log({"n": 3}).put()
    assert [one.cells["n"] for one in follower.look().rows] == [3]
    assert follower.opened == 2


def test_a_writer_that_was_packed_with_all_that_it_wrote_since_the_last_look_is_read_from_the_pack(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    writer = world.writer().log({"n": 0}).put()
    follower = world.follower()
    writer.log({"n": 1}).end()
    compact_project(world.store, "main", "p", now_us=world.now_us(), finished_quiet_s=0.0, grace_s=0.0)
    compact_project(world.store, "main", "p", now_us=world.now_us(), finished_quiet_s=0.0, grace_s=0.0)
    assert world.store.list(writer.prefix) == []
    assert [one.cells["n"] for one in follower.look().rows] == [1]
    assert follower.ended


def test_a_run_that_is_deleted_while_it_is_followed_is_gone_within_ten_seconds(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = world.writer().log({"a": 1}).put()
    follower = world.follower()
    edits = EditWriter(world.store, "main", "p", wall=lambda: writer.now_us + 1, clock=_clock(writer.now_us + 1))
    edits.write(delete_edit("r"))
    world.seconds = 9.0
    assert follower.look().rows == []
    world.seconds = 10.1
    with pytest.raises(RunGone, match="Run r of main/p was deleted"):
        follower.look()


def _clock(now_us: int) -> Any:
    from tracker.storage.clock import HybridClock

    clock = HybridClock()
    clock.tick(now_us)
    return clock


def test_a_new_life_of_the_run_hides_what_the_old_one_still_writes(tmp_path: Path) -> None:
    world = World(tmp_path)
    old = world.writer().log({"n": 0}).end()
    new = world.writer(opens=True).put()
    follower = world.follower()
    old.log({"n": 1}).put()  # it comes late, from a life that shows no more
    new.log({"n": 2}).put()
    assert [one.cells["n"] for one in follower.look().rows] == [2]
    before = follower.state.generations
    newer = world.writer(opens=True)
    new.end()
    newer.log({"n": 3}).put()
    assert [one.cells["n"] for one in follower.look().rows] == [3]
    assert follower.state.generations != before


def test_a_run_that_has_been_silent_for_five_minutes_ends_as_crashed(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = world.writer().log({"a": 1}).put()
    follower = world.follower()
    assert not follower.ended
    writer.now_us += 301_000_000
    follower.look()
    assert follower.ended
    assert follower.state.state == "crashed"


def test_samples_and_lines_come_in_the_form_of_their_histories(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = world.writer().put()
    follower = world.follower()

    def printed(stream: str, text: str, *label: str) -> None:
        cells = {join_path((stream, *label)): pack_value(text)}
        writer.add(Points(writer._tick(), writer.now_us, "console", cells))

    writer.system({"cpu": 1.5, "gpu.0": 2}).system({"cpu": 3})
    printed("stdout", "one\ntwo")
    printed("stdout_open", "10 %")
    printed("stderr", "oops", "rank 1")
    writer.put()
    news = follower.look()
    printed("stdout_open", "20 %")
    writer.put()
    news.add(follower.look())
    assert [line.text for line in follower.unfinished] == ["20 %"]
    printed("stdout", "100 %")
    writer.put()
    news.add(follower.look())
    assert list(follower.unfinished) == []
    snapshot = world.open()
    files = stream_files(snapshot, ["r"])
    lines = console_lines(files, snapshot.paths).drop_columns(["run_id"]).to_pylist()
    assert [line_dict(line) for line in news.lines] == lines
    assert [line["text"] for line in lines] == ["one", "two", "oops", "100 %"]
    started = follower.state.created_at_us
    batches = system_batches(files, snapshot.paths, {"r": started}, samples=None)
    samples = [row for rows in batches for row in to_dicts(rows)]
    assert [sample_dict(one, started) for one in news.samples] == samples


def follow(world: World, during: Sequence[Any], **options: Any) -> list[tuple[str, dict[str, Any]]]:
    """All records, while `during` happens: one thing at each pause."""
    steps = iter(during)

    def sleep(seconds: float) -> None:
        assert 0 < seconds <= follow_module.EVERY_S or world.store.away  # type: ignore[attr-defined]
        world.seconds += seconds
        next(steps)()

    return list(
        follow_run(
            world.open,
            "r",
            FollowOptions(**options),
            sleep=sleep,
            monotonic_s=lambda: world.seconds,
            now_us=world.now_us,
        )
    )


@pytest.mark.parametrize("last", [0, 1, 3, 50, None])
def test_the_last_rows_come_first_and_then_all_that_follow(tmp_path: Path, last: int | None) -> None:
    world = World(tmp_path)
    writer = world.writer()
    for n in range(10):
        writer.log({"n": n, **({"rare": n} if n % 4 == 0 else {})}).put()
    shown = range(10) if last is None else range(max(10 - last, 0), 10)

    def more() -> None:
        writer.log({"n": 10}).log({"n": 11, "rare": 11}).put()

    records = follow(world, [more, lambda: None, lambda: writer.log({"n": 12}).end()], last=last)
    assert [row["n"] for _, row in records] == [*shown, 10, 11, 12]
    assert [row for _, row in records] == world.rows()[-len(records) :]
    rare = follow(world, [], last=last, keys=("_step", "rare"))
    wanted = [row["n"] for row in world.rows() if "rare" in row]
    assert rare == [
        ("history", {"_step": n, "rare": n}) for n in (wanted if last is None else wanted[-last:] if last else [])
    ]


def test_the_last_rows_of_a_long_run_come_from_its_last_files(tmp_path: Path) -> None:
    world = World(tmp_path)
    store = world.store
    assert isinstance(store, CountingStore)
    writer = world.writer()
    for n in range(40):
        writer.log({"n": n})
    writer.put()
    writer.merge(0, 40)
    store.delete([writer.key(0, 40)])
    for n in range(40, 44):
        writer.log({"n": n}).put()
    store.asked.clear()
    writer.end()
    records = follow(world, [], last=3)
    assert [row["n"] for _, row in records] == [41, 42, 43]
    assert not any("/h-" in key for verb, key in store.asked if verb == "get")  # the merged history is not fetched


def test_unfinished_lines_come_when_they_are_finished_or_the_run_has_ended(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = world.writer()

    def printed(stream: str, text: str) -> MadeWriter:
        return writer.add(Points(writer._tick(), writer.now_us, "console", {stream: pack_value(text)}))

    printed("stdout", "a\nb\nc")
    printed("stdout_open", "prompt> ").put()
    records = follow(
        world,
        [lambda: printed("stderr", "warned").put(), lambda: printed("stderr_open", "half").put(), lambda: writer.end()],
        streams=("console",),
        last=2,
    )
    assert [(line["stream"], line["text"]) for _, line in records] == [
        ("stdout", "b"), ("stdout", "c"), ("stderr", "warned"), ("stdout", "prompt> "), ("stderr", "half"),
    ]  # fmt: skip


def test_several_streams_come_by_time(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = world.writer()

    def say(n: int) -> MadeWriter:
        writer.log({"n": n, "m": n}).system({"cpu": n})
        return writer.add(Points(writer._tick(), writer.now_us, "console", {"stdout": pack_value(str(n))}))

    say(0)
    say(1).put()
    end: list[Any] = [lambda: say(2) and say(3).end()]
    records = follow(world, end, streams=("console", "history", "system"), keys=("n",), last=5)
    assert [(stream, record.get("n", record.get("system.cpu", record.get("text")))) for stream, record in records] == [
        found for n in range(4) for found in (("history", n), ("system", n), ("console", str(n)))
    ]
    assert records[0] == ("history", {"n": 0})


def test_pauses_grow_while_nothing_comes_and_a_store_that_is_away_is_asked_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    writer = world.writer().put()
    store = world.store
    assert isinstance(store, CountingStore)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 2))
        world.seconds += seconds
        if len(pauses) == 5:
            writer.log({"n": 1}).put()
        store.away = 8 <= len(pauses) <= 11
        if len(pauses) == 14:
            writer.log({"n": 2}).end()

    options = FollowOptions()
    clocks: dict[str, Any] = {"monotonic_s": lambda: world.seconds, "now_us": world.now_us}
    found = list(follow_run(world.open, "r", options, sleep=sleep, **clocks))
    assert [row["n"] for _, row in found] == [1, 2]
    assert pauses == [0.38, 0.39, 0.41, 0.43, 0.46, 0.38, 0.39, 0.41, 0.83, 1.65, 3.31, 6.62, 0.38, 0.39]
    assert follow_module.EVERY_S == 0.75

    def stay_away(seconds: float) -> None:
        world.seconds += seconds
        store.away = True

    world.writer(opens=False).put()
    gone_s = world.seconds
    with pytest.raises(StorageUnavailable, match="the network is gone"):
        list(follow_run(world.open, "r", options, sleep=stay_away, **clocks))
    assert 60 < world.seconds - gone_s < 90


def test_what_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    for wrong in ({"streams": ("histories",)}, {"streams": ()}, {"last": -1}, {"last": True}, {"every_s": 0.0}):
        with pytest.raises(UsageError):
            FollowOptions(**wrong)  # type: ignore[arg-type]
