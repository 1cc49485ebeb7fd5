"""The local cache: fetched once, bounded, shared by processes, never stale."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tracker.storage import cache as cache_module
from tracker.storage import cache_space as space_module
from tracker.storage.cache import PartCache, default_cache_dir
from tracker.storage.errors import CredentialsMissing, StorageUnavailable, UsageError
from tracker.storage.local import LocalStore
from tracker.storage.memory import MemoryStore, forget_memory
from tracker.storage.port import ObjectInfo
from tracker.storage.stores import open_store

MB = 1 << 20


class CountingStore(MemoryStore):
    """Counts what is asked of it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked: list[str] = []

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.asked += keys
        return super().get_many(keys)


@pytest.fixture
def store() -> Iterator[CountingStore]:
    yield CountingStore("cache")
    forget_memory("cache")


@pytest.fixture
def cache(tmp_path: Path) -> PartCache:
    return PartCache(tmp_path / "cache", 100 * MB)


def fill(store: MemoryStore, count: int, size_bytes: int = 10) -> list[ObjectInfo]:
    for number in range(count):
        store.put_if_absent(f"p/{number:04d}", bytes([number % 256]) * size_bytes)
    return store.list("p/")


def files_in(cache: PartCache) -> list[Path]:
    """All but our notes."""
    notes = {"size", "lock", "limit", ".url"}
    return sorted(path for path in cache.directory.rglob("*") if path.is_file() and path.name not in notes)


def age(cache: PartCache, seconds: float) -> None:
    """As if everything in the cache had been used that long ago."""
    for path in files_in(cache):
        used = path.stat().st_atime - seconds
        os.utime(path, (used, used))


def test_each_object_is_fetched_once(store: CountingStore, cache: PartCache) -> None:
    infos = fill(store, 5)
    first = cache.fetch(store, infos)
    assert [path.read_bytes() for path in first if path] == [bytes([number]) * 10 for number in range(5)]
    assert cache.fetch(store, infos[::-1]) == first[::-1]
    assert PartCache(cache.directory, 100 * MB).fetch(store, infos) == first
    assert store.asked == [info.key for info in infos]


@pytest.mark.parametrize("backend", ["s3", "gcs"])
def test_remote_objects_come_in_parallel_and_stay(
    request: pytest.FixtureRequest, backend: str, cache: PartCache
) -> None:
    faulty = request.getfixturevalue(f"{backend}_faults")
    store = open_store(faulty.url)
    for number in range(20):
        store.put_if_absent(f"p/{number}", b"%d" % number)
    infos = store.list("p/")
    faulty.proxy.set_faults()
    paths = cache.fetch(store, infos)
    assert faulty.proxy.count() == {"GET": 20}
    assert [path.read_bytes() for path in paths if path] == [info.key[2:].encode() for info in infos]
    assert cache.fetch(store, infos) == paths
    assert faulty.proxy.count() == {"GET": 20}


def test_a_local_store_answers_with_its_own_files(tmp_path: Path, cache: PartCache) -> None:
    store = LocalStore(tmp_path / "root")
    store.put_if_absent("a/k", b"x")
    infos = [*store.list(""), ObjectInfo("a/gone", 1, 0)]
    assert cache.fetch(store, infos) == [tmp_path / "root/a/k", None]
    assert not cache.directory.exists()
    assert cache.fetch(store, []) == []


def test_what_is_gone_is_none(store: CountingStore, cache: PartCache) -> None:
    infos = fill(store, 3)
    store.delete([infos[1].key])
    paths = cache.fetch(store, infos)
    assert [path is None for path in paths] == [False, True, False]


def test_a_file_that_vanishes_is_fetched_again(store: CountingStore, cache: PartCache) -> None:
    (info,) = fill(store, 1)
    (path,) = cache.fetch(store, [info])
    assert path is not None
    path.unlink()
    path.parent.rmdir()
    assert cache.fetch(store, [info]) == [path]
    assert path.read_bytes() == b"\0" * 10


def test_a_file_of_another_size_is_fetched_again(store: CountingStore, cache: PartCache) -> None:
    """A power cut can leave an empty file under its name: the cache does not wait for the disk."""
    (info,) = fill(store, 1)
    (path,) = cache.fetch(store, [info])
    assert path is not None
    path.write_bytes(b"")
    cache.fetch(store, [info])
    assert path.read_bytes() == b"\0" * 10


def test_a_reply_that_was_cut_short_is_not_kept(store: CountingStore, cache: PartCache) -> None:
    (info,) = fill(store, 1)
    with pytest.raises(StorageUnavailable, match="10 bytes, listed were 11"):
        cache.fetch(store, [ObjectInfo(info.key, 11, info.modified_us)])
    assert files_in(cache) == []


def test_roots_do_not_mix(store: CountingStore, cache: PartCache) -> None:
    other = MemoryStore("cache-other")
    other.put_if_absent("p/0000", b"other root")
    infos = fill(store, 1)
    paths = [*cache.fetch(store, infos), *cache.fetch(other, other.list("p/"))]
    assert [path.read_bytes() for path in paths if path] == [b"\0" * 10, b"other root"]
    forget_memory("cache-other")


def test_the_least_recently_used_go_first(store: CountingStore, tmp_path: Path) -> None:
    cache = PartCache(tmp_path / "cache", 5 * MB)
    infos = fill(store, 7, MB)
    old = cache.fetch(store, infos[:4])
    age(cache, 10_000)
    assert cache.fetch(store, infos[:1]) == old[:1]  # used again: the others are older now
    cache.fetch(store, infos[4:6])
    kept = {path.name for path in files_in(cache)}
    assert kept == {"0000", "0003", "0004", "0005"}
    assert sum(path.stat().st_size for path in files_in(cache)) <= 0.8 * 5 * MB


def test_what_was_just_used_is_never_evicted(store: CountingStore, tmp_path: Path) -> None:
    """One call may need more than the bound, and another process may be about to open what it was given."""
    cache = PartCache(tmp_path / "cache", 2 * MB)
    paths = cache.fetch(store, fill(store, 6, MB))
    assert all(path is not None and path.exists() for path in paths)
    age(cache, 10_000)
    store.put_if_absent("p/more", b"x")
    cache.fetch(store, [info for info in store.list("p/") if info.key == "p/more"])
    assert sum(path.stat().st_size for path in files_in(cache)) <= 2 * MB


def test_left_over_temporary_files_are_evicted_too(store: CountingStore, tmp_path: Path) -> None:
    cache = PartCache(tmp_path / "cache", MB)
    cache.directory.mkdir()
    (cache.directory / ".tmp-dead").write_bytes(b"x" * 2 * MB)
    age(cache, 10_000)
    cache.fetch(store, fill(store, 1))
    assert [path.name for path in files_in(cache)] == ["0000"]


def test_files_are_counted_once_a_day_not_once_a_call(
    store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look costs a second where there are 100,000 files. What others added meanwhile is found at the next one."""
    looks: list[Path] = []
    look = space_module._files_below

    def watched(directory: Path) -> Iterator[tuple[float, int, str]]:
        looks.append(directory)
        return look(directory)

    monkeypatch.setattr(space_module, "_files_below", watched)
    infos = fill(store, 8, MB)
    for number in range(4):
        PartCache(tmp_path / "cache", 5 * MB).fetch(store, infos[number : number + 1])
    assert len(looks) == 1
    age(PartCache(tmp_path / "cache", 5 * MB), 10_000)
    for number in range(4, 6):
        PartCache(tmp_path / "cache", 5 * MB).fetch(store, infos[number : number + 1])
    assert len(looks) == 2
    assert len(files_in(PartCache(tmp_path / "cache", 5 * MB))) == 4
    monkeypatch.setattr(space_module, "_LOOK_EVERY_S", -1)
    PartCache(tmp_path / "cache", 5 * MB).fetch(store, infos[6:7])
    assert len(looks) == 3


def test_a_full_disk_makes_room_first(
    store: CountingStore, cache: PartCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    infos = fill(store, 4, MB)
    cache.fetch(store, infos[:3])
    age(cache, 10_000)
    write = space_module._write_new

    def small_disk(path: Path, data: bytes) -> None:
        if len(files_in(cache)) >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(space_module, "_write_new", small_disk)
    (path,) = cache.fetch(store, infos[3:])
    assert path is not None
    assert path.read_bytes() == bytes([3]) * MB

    def no_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(space_module, "_write_new", no_disk)
    with pytest.raises(StorageUnavailable, match="TRACKER_CACHE_DIR"):
        cache.fetch(store, infos[:1])


def test_a_cache_that_is_not_ours_to_write_is_named(
    store: CountingStore, cache: PartCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(space_module, "_write_new", denied)
    with pytest.raises(CredentialsMissing, match="set TRACKER_CACHE_DIR"):
        cache.fetch(store, fill(store, 1))


def test_a_key_cannot_leave_the_cache(store: CountingStore, cache: PartCache) -> None:
    with pytest.raises(UsageError):
        cache.fetch(store, [ObjectInfo("../../escaped", 1, 0)])


def test_many_small_and_some_large_come_in_bounded_batches(
    store: CountingStore, cache: PartCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_BATCH_BYTES", 100)
    monkeypatch.setattr(cache_module, "_BATCH_OBJECTS", 7)
    batches: list[int] = []
    get_many = store.get_many

    def watched(keys: Sequence[str]) -> list[bytes | None]:
        batches.append(len(keys))
        return get_many(keys)

    monkeypatch.setattr(store, "get_many", watched)
    paths = cache.fetch(store, fill(store, 20))
    assert batches == [7, 7, 6]
    assert all(path is not None for path in paths)
    store.put_if_absent("q/large", b"x" * 150)
    cache.fetch(store, [*store.list("q/"), *store.list("q/")])
    assert batches[3:] == [1, 1]


def test_threads_and_processes_share_a_cache(tmp_path: Path, gcs_url: str) -> None:
    """Small enough that they evict all the time; every file is whole when it is there."""
    store = open_store(gcs_url)
    for number in range(30):
        store.put_if_absent(f"p/{number}", bytes([number]) * 20_000)
    script = """
import sys
from pathlib import Path
from tracker.storage import cache_space
from tracker.storage.cache import PartCache
from tracker.storage.stores import open_store
cache_space._IN_USE_S = -1
store = open_store(sys.argv[2])
shared = PartCache(Path(sys.argv[1]), 200_000)
infos, read = store.list("p/"), 0
for turn in range(15):
    some = infos[turn % 3 :: 3]
    for info, path in zip(some, shared.fetch(store, some)):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        assert data == bytes([int(info.key[2:])]) * 20_000, (info, len(data))
        read += 1
print(read)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), gcs_url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert sum(counts) > 100

    cache = PartCache(tmp_path / "cache", 100 * MB)
    infos = store.list("p/")
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: cache.fetch(store, infos), range(8)))
    assert all(result == results[0] for result in results)


def test_a_hit_is_cheap_and_marks_the_file_as_used(store: CountingStore, cache: PartCache) -> None:
    (info,) = fill(store, 1)
    (path,) = cache.fetch(store, [info])
    assert path is not None
    age(cache, 1000)
    cache.fetch(store, [info])
    assert time.time() - path.stat().st_atime < 100


def test_the_default_directory(monkeypatch: pytest.MonkeyPatch, clean_environment: Path) -> None:
    assert default_cache_dir() == clean_environment / ".cache/tracker"
    monkeypatch.delenv("TRACKER_CACHE_DIR")
    assert default_cache_dir() == clean_environment / ".cache/tracker"  # by XDG_CACHE_HOME
    monkeypatch.setenv("WANDB_CACHE_DIR", "/theirs")
    assert default_cache_dir() == Path("/theirs/tracker")
    monkeypatch.setenv("TRACKER_CACHE_DIR", "~/ours")
    assert default_cache_dir() == clean_environment / "ours"
