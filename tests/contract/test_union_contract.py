"""What every store must do, several roots together must do too; and what only they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from places import LocalRaw, MemoryRaw, Place
from store_contract import StoreContract

from tracker.storage import memory
from tracker.storage.cache import PartCache
from tracker.storage.errors import NotFound, StorageUnavailable, UsageError
from tracker.storage.local import LocalStore
from tracker.storage.memory import MemoryStore
from tracker.storage.port import ObjectInfo, Store
from tracker.storage.stores import open_roots, open_store
from tracker.storage.union_store import UnionStore


class TestUnionOfMemory(StoreContract):
    """What is new goes to the first root, so that is where the contract looks."""

    @pytest.fixture
    def place(self) -> Iterator[Place]:
        yield Place("memory://united/root", MemoryRaw("united", "root/"), None)
        memory.forget_memory("united")

    @pytest.fixture
    def store(self, place: Place) -> Store:
        return UnionStore([open_store(place.url), MemoryStore("beside")])


class TestUnionOfFolders(StoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place(str(tmp_path / "root"), LocalRaw(tmp_path / "root"), None)

    @pytest.fixture
    def store(self, place: Place, tmp_path: Path) -> Store:
        for name in ("root", "beside"):
            (tmp_path / name).mkdir()
        return UnionStore([open_store(place.url), LocalStore(tmp_path / "beside")])


@pytest.fixture
def pair() -> Iterator[UnionStore]:
    first, second = MemoryStore("first"), MemoryStore("second")
    first.put_if_absent("p/a", b"1")
    first.put_if_absent("p/both", b"22")
    second.put_if_absent("p/both", b"22")
    second.put_if_absent("p/z/b", b"333")
    yield UnionStore([first, second])
    for name in ("first", "second"):
        memory.forget_memory(name)


def test_each_object_is_listed_once_with_the_root_that_it_is_read_from(pair: UnionStore) -> None:
    found = [(info.key, info.size_bytes, info.root) for info in pair.list("p/")]
    assert found == [("p/a", 1, "memory://first"), ("p/both", 2, "memory://first"), ("p/z/b", 3, "memory://second")]
    assert pair.list_dirs("p/") == ["z"]
    assert pair.list("p/z/")[0].shown_in(pair.url) == "memory://second/p/z/b"
    assert ObjectInfo("k", 1, 0).shown_in("memory://x") == "memory://x/k"


def test_objects_are_read_from_whoever_has_them(pair: UnionStore) -> None:
    assert pair.get("p/z/b") == b"333"
    assert pair.get_range("p/z/b", 1, 3) == b"33"
    assert pair.get_many(["p/z/b", "nothing", "p/a"]) == [b"333", None, b"1"]
    pair.roots[0].put_if_absent("p/z/c", b"4")
    assert pair.get("p/z/c") == b"4"
    with pytest.raises(NotFound, match=r"first \+ memory://second"):
        pair.get("nothing")


def test_what_moved_to_another_root_is_found_again(pair: UnionStore) -> None:
    assert pair.get("p/a") == b"1"
    pair.roots[0].delete(["p/a"])
    pair.roots[1].put_if_absent("p/a", b"1")
    assert pair.get("p/a") == b"1"


def test_what_is_deleted_is_in_no_root(pair: UnionStore) -> None:
    pair.delete(["p/both", "p/z/b"])
    assert [[info.key for info in root.list("")] for root in pair.roots] == [["p/a"], []]


def test_home_is_the_first_root_that_has_it(pair: UnionStore) -> None:
    homes = {name: pair.home_of(name).url for name in ("p/a", "p/both", "p/z/b", "p/z/", "p/", "nothing/", "")}
    assert [name for name, url in homes.items() if url == "memory://second"] == ["p/z/b", "p/z/"]
    assert pair.home_of("p/z/elsewhere/").url == "memory://second", "else that of the project"


def test_copies_are_those_of_each_root(pair: UnionStore, tmp_path: Path) -> None:
    cache = PartCache(tmp_path, 1 << 20)
    mixed = UnionStore([*pair.roots, LocalStore(tmp_path / "third")])
    mixed.roots[2].put_if_absent("p/c", b"55555")
    infos = [*mixed.list("p/"), ObjectInfo("p/z/b", 3, 0), ObjectInfo("gone", 1, 0)]
    paths = cache.fetch(mixed, infos)
    assert [path.read_bytes() if path else None for path in paths] == [b"1", b"22", b"55555", b"333", b"333", None]
    alone = cache.fetch(pair.roots[1], [ObjectInfo("p/z/b", 3, 0)])
    assert alone == [paths[3]] == [paths[4]]
    assert paths[2] == tmp_path / "third" / "p" / "c"


def test_one_root_that_fails_fails_by_name(pair: UnionStore, tmp_path: Path) -> None:
    pair.roots[1].close()
    with pytest.raises(StorageUnavailable, match="memory://second, one of 2 roots"):
        pair.list("p/")
    missing = UnionStore([pair.roots[0], LocalStore(tmp_path / "missing")])
    with pytest.raises(UsageError, match=r"missing, one of the 2"):
        missing.list_dirs("")


def test_the_same_place_twice_is_one_root(tmp_path: Path) -> None:
    assert isinstance(open_roots([str(tmp_path), f"file://{tmp_path}/"]), LocalStore)
    both = open_roots([str(tmp_path), "memory://m", str(tmp_path)])
    assert isinstance(both, UnionStore)
    assert both.url == f"{tmp_path} + memory://m"
    with pytest.raises(UsageError, match="No root"):
        open_roots([])
