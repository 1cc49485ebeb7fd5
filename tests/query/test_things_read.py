"""Things from their writers to what a reader shows: folded as every fact is, whoever wrote, in whatever files."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.query.things import Things, read_things
from tracker.storage.cache import PartCache
from tracker.storage.clock import HybridClock
from tracker.storage.errors import CorruptData, FormatTooNew, UsageError
from tracker.storage.events import DELETED, encode_cell
from tracker.storage.format_file import check_format
from tracker.storage.local import LocalStore
from tracker.storage.memory import MemoryStore
from tracker.storage.names import encode_name, thing_prefix
from tracker.storage.packing import compact_project
from tracker.storage.port import ObjectInfo
from tracker.storage.stores import open_store
from tracker.storage.things import ThingWriter, set_changes

T0 = 1_790_000_000_000_000
S = 1_000_000


class World:
    """Writers whose clocks go on by a second for each call."""

    def __init__(self, store: Any, cache: Path) -> None:
        self.store, self.cache = store, PartCache(cache, 1 << 30)
        self.seconds = count()
        self.said: list[str] = []

    def writer(self, thing_id: str = "x", kind: str = "report", clock: HybridClock | None = None) -> ThingWriter:
        return ThingWriter(
            self.store,
            "main",
            "p",
            kind,
            thing_id,
            clock=clock or HybridClock(),
            wall=lambda: T0 + next(self.seconds) * S,
        )

    def read(self, ids: Any = None, **options: Any) -> Things:
        return read_things(
            self.store, self.cache, "main", "p", options.pop("kind", "report"), ids, warn=self.said.append, **options
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(LocalStore(tmp_path / "store"), tmp_path / "cache")


def test_what_is_written_is_there_and_the_root_says_its_format(store_url: str, tmp_path: Path) -> None:
    world = World(open_store(store_url), tmp_path / "cache")
    world.writer("a b/ü").write(set_changes({"title": "one", "spec": {"blocks": [1, {"x": None}], "n": 2**70}}))
    world.writer("second").write([("title", "two")])
    found = world.read()
    assert list(found) == ["a b/ü", "second"]
    assert found["a b/ü"].value == {"title": "one", "spec": {"blocks": [1, {"x": None}], "n": 2**70}}
    assert found["a b/ü"].get("spec", "n") == 2**70
    assert found["a b/ü"].get("spec", "n", "deeper") is None
    assert dict(found["second"].live) == {"title": "two"}
    assert check_format(world.store)
    assert list(world.read(["second", "nobody"])) == ["second"]
    assert dict(world.read(kind="view")) == {}
    assert not world.said
    world.store.close()


def test_the_newest_value_counts_and_a_tree_is_replaced_whole(world: World) -> None:
    one, other = world.writer(), world.writer()
    one.write(set_changes({"a": {"b": 1, "c": 2}, "n": 1}))
    other.write(set_changes({"a": {"d": 3}}))
    assert world.read()["x"].value == {"a": {"d": 3}, "n": 1}
    one.write([("n", DELETED), ("a.e", 4)])
    assert world.read()["x"].value == {"a": {"d": 3, "e": 4}}
    other.write(set_changes({"a": 5}))
    assert world.read()["x"].value == {"a": 5}


def test_two_who_change_different_leaves_lose_nothing(world: World) -> None:
    world.writer().write(set_changes({"members": {"ann": {"admin": True}, "bob": {"admin": False}}}))
    world.writer().write(set_changes({"admin": True}, ("members", "bob")))
    world.writer().write(set_changes({"cy": {"admin": False}}, ("members",)))
    assert world.read()["x"].get("members") == {"ann": {"admin": True}, "bob": {"admin": True}, "cy": {"admin": False}}


def test_times_are_those_of_the_first_and_the_last_fact_that_count(world: World) -> None:
    writer = world.writer()
    first = writer.write([("a", 1)])
    last = writer.write([("a", 2)])
    assert (world.read()["x"].created_us, world.read()["x"].updated_us) == (first, last)
    writer.delete()
    again = writer.write([("b", 3)])
    thing = world.read()["x"]
    assert (thing.value, thing.created_us, thing.updated_us) == ({"b": 3}, again, again)


def test_a_deleted_thing_is_in_no_answer_until_it_is_restored(world: World) -> None:
    writer = world.writer()
    writer.write([("a", 1)])
    deleted = world.writer().delete()
    found = world.read()
    assert dict(found) == {}
    assert found.hlc_max_us == deleted, "who writes next has to be later than the tombstone"
    world.writer().restore()
    assert world.read()["x"].value == {"a": 1}


def test_as_of_a_time_only_what_had_been_written_counts(world: World) -> None:
    writer = world.writer()
    first = writer.write([("a", 1)])
    second = writer.write([("a", 2)])
    writer.delete()
    assert world.read(as_of_us=first)["x"].value == {"a": 1}
    assert world.read(as_of_us=second)["x"].value == {"a": 2}
    assert dict(world.read(as_of_us=first - 1)) == {}


def test_no_kind_and_no_name_are_refused_before_anything_is_put(world: World) -> None:
    for kind in ("edits", "Report", "", "a/b", "history", "tombstone"):
        with pytest.raises(UsageError):
            world.writer(kind=kind).write([("a", 1)])
    with pytest.raises(UsageError, match="empty"):
        world.writer("")
    with pytest.raises(UsageError, match="needs a path"):
        world.writer().write([("", 1)])
    with pytest.raises(UsageError, match="must not be empty"):
        set_changes({"a": {"": 1}})
    with pytest.raises(TypeError):
        world.writer().write([("a", object())])
    with pytest.raises(UsageError):
        world.read(kind="edits")
    assert [info.key for info in world.store.list("") if "/things/" in info.key] == []


def test_a_root_of_a_newer_format_is_not_written(world: World) -> None:
    world.store.put_if_absent("_format.json", b'{"format": 99}')
    with pytest.raises(FormatTooNew):
        world.writer().write([("a", 1)])
    with pytest.raises(FormatTooNew):
        world.read()


def test_a_damaged_or_moved_file_is_a_warning_and_the_others_count(world: World) -> None:
    writer = world.writer()
    for n in range(3):
        writer.write([(f"k{n}", n)])
    world.writer("y").write([("a", 1)])
    keys = [info.key for info in world.store.list(thing_prefix("main", "p", "report", "x"))]
    path = world.store.local_path(keys[1])
    path.write_bytes(path.read_bytes()[:-20])
    (foreign,) = [info.key for info in world.store.list(thing_prefix("main", "p", "report", "y"))]
    world.store.put_if_absent(foreign.replace("/y/", "/z/"), world.store.get(foreign))
    found = world.read()
    assert {one: thing.value for one, thing in found.items()} == {"x": {"k0": 0, "k2": 2}, "y": {"a": 1}}
    assert sorted(keys[1] in text for text in world.said) == [False, True]
    assert any("tells of another thing" in text for text in world.said)


def test_a_missing_file_is_an_error_and_never_a_shorter_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.query.things._PAUSES_S", (0.0, 0.0))
    writer = world.writer()
    for n in range(3):
        writer.write([(f"k{n}", n)])
    keys = [info.key for info in world.store.list(thing_prefix("main", "p", "report", "x"))]
    world.store.delete([keys[1]])
    with pytest.raises(CorruptData, match="Frame 1 of the things"):
        world.read()


class Counted(MemoryStore):
    """Counts what is asked of it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.lists: list[str] = []
        self.fetched = 0

    def list(self, prefix: str) -> list[ObjectInfo]:
        self.lists.append(prefix)
        return super().list(prefix)

    def get_many(self, keys: Any) -> Any:
        self.fetched += len(keys)
        return super().get_many(keys)


def test_reading_is_one_listing_and_what_was_read_is_not_fetched_again(tmp_path: Path) -> None:
    store = Counted(str(tmp_path))
    world = World(store, tmp_path / "cache")
    for n in range(30):
        world.writer(f"t{n}").write([("n", n)])
    store.lists.clear()
    assert len(world.read()) == 30
    assert (len(store.lists), store.fetched) == (1, 30)
    world.writer("t5").write([("n", 500)])
    store.lists.clear()
    assert world.read()["t5"].value == {"n": 500}
    assert (len(store.lists), store.fetched) == (1, 31)
    store.lists.clear()
    assert len(world.read(["t1", "t2"])) == 2
    assert store.lists == [thing_prefix("main", "p", "report", one) for one in ("t1", "t2")]
    store.lists.clear()
    assert len(world.read([f"t{n}" for n in range(20)])) == 20
    assert len(store.lists) == 1


ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 2),  # who
        st.sampled_from(["set", "tree", "drop", "delete", "restore"]),
        st.sampled_from(["a", "a.b", "a.b.c", "d"]),
        st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["x", ""]), st.just([1, {"q": 2}])),
    ),
    max_size=12,
)


def model(actions: list[tuple[int, str, str, Any]]) -> dict[str, Any] | None:
    """The same changes made to a dict of leaves, one after the other; the last `delete` hides those before it."""
    turns = [n for n, (_, verb, _, _) in enumerate(actions) if verb in ("delete", "restore")]
    begin = turns[-1] + 1 if turns and actions[turns[-1]][1] == "delete" else 0
    leaves: dict[str, Any] = {}
    for _, verb, path, value in actions[begin:]:
        if verb in ("set", "tree", "drop"):
            tree = {path: value} if verb == "set" else {f"{path}.t": value} if verb == "tree" else {}
            leaves = {one: held for one, held in leaves.items() if not _related(one, path)} | tree
    return leaves or None


def _related(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS)
def test_whoever_changes_what_the_thing_is_what_the_changes_make_of_it(
    actions: list[tuple[int, str, str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The fold against a dict."""
    folder = tmp_path_factory.mktemp("things")
    world = World(MemoryStore(str(folder)), folder / "cache")
    clock = HybridClock()
    writers = [world.writer(clock=clock) for _ in range(3)]
    for who, verb, path, value in actions:
        key = path.split(".")
        if verb == "set":
            writers[who].write(set_changes({key[-1]: value}, key[:-1]))
        elif verb == "tree":
            writers[who].write(set_changes({key[-1]: {"t": value}}, key[:-1]))
        elif verb == "drop":
            writers[who].write([(path, DELETED)])
        else:
            getattr(writers[who], verb)()
    found = world.read()
    shown = {one: repr(encode_cell(value)) for one, value in found["x"].live.items()} if "x" in found else None
    wanted = model(actions)
    assert shown == (None if wanted is None else {one: repr(encode_cell(value)) for one, value in wanted.items()})


def test_compaction_leaves_one_file_a_writer_and_the_same_things(tmp_path: Path, monkeypatch: Any) -> None:
    world = World(LocalStore(tmp_path / "store"), tmp_path / "cache")
    chance = random.Random(5)
    for thing_id in ("x", "Y z"):
        writer = world.writer(thing_id)
        for n in range(20):
            writer.write([(chance.choice("abc"), n)])
    before = {one: thing for one, thing in world.read().items()}
    for _ in range(2):
        compact_project(world.store, "main", "p", now_us=T0, grace_s=0.0, quiet_s=0.0, finished_quiet_s=0.0)
    keys = [info.key for info in world.store.list("main/p/things/")]
    assert len(keys) == 2
    assert {key.split("/")[4] for key in keys} == {"x", encode_name("Y z")}
    assert dict(world.read()) == before
