"""The bound of the local cache: a setting, kept by many processes at once, and what lies there."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker.storage import cache_space
from tracker.storage.cache import PartCache
from tracker.storage.cache_space import (
    CACHE_BYTES_DEFAULT,
    CacheSpace,
    cache_limit_bytes,
    parse_size,
    set_cache_limit,
    write_whole,
)
from tracker.storage.errors import CredentialsMissing, UsageError
from tracker.storage.memory import MemoryStore, forget_memory

ADD = """
import sys
from pathlib import Path
from tracker.storage.cache_space import CacheSpace
space = CacheSpace(Path(sys.argv[1]))
for _ in range(200):
    space.added(7, 1 << 60)
"""


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    made = MemoryStore("space")
    for number in range(4):
        made.put_if_absent(f"p/{number}", b"x" * 1000)
    yield made
    forget_memory("space")


def test_a_size_is_written_in_many_ways() -> None:
    sizes = {"0": 0, "1500": 1500, "20GB": 20 * 10**9, "512 MiB": 512 << 20, "1.5g": 1_500_000_000, "2ti": 2 << 40}
    assert {text: parse_size(text) for text in sizes} == sizes
    for wrong in ("", "GB", "-1", "1 EB", "ten", "1..5k", "5 kk"):
        with pytest.raises(UsageError, match="is no size"):
            parse_size(wrong)


def test_the_limit_is_a_variable_or_kept_beside_the_files_or_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "cache"
    assert cache_limit_bytes(directory) == CACHE_BYTES_DEFAULT
    set_cache_limit(directory, 12_345)
    assert cache_limit_bytes(directory) == 12_345
    assert PartCache(directory).size_bytes_max == 12_345
    monkeypatch.setenv("TRACKER_CACHE_LIMIT", "1 MiB")
    assert cache_limit_bytes(directory) == 1 << 20
    monkeypatch.setenv("TRACKER_CACHE_LIMIT", "much")
    with pytest.raises(UsageError, match="TRACKER_CACHE_LIMIT: 'much' is no size"):
        PartCache(directory)
    monkeypatch.delenv("TRACKER_CACHE_LIMIT")
    (directory / "limit").write_text("broken")
    assert cache_limit_bytes(directory) == CACHE_BYTES_DEFAULT


def test_a_limit_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CredentialsMissing, match="TRACKER_CACHE_LIMIT"):
        set_cache_limit(tmp_path / "file" / "cache", 1)


def test_what_many_processes_add_at_once_is_all_counted(tmp_path: Path) -> None:
    """Without the lock about every second sum is lost, and the bound is passed for a day."""
    directory = tmp_path / "cache"
    CacheSpace(directory).added(0, 1 << 60)
    (directory / "size").write_text(f"0 {int(time.time())}")
    command = [sys.executable, "-c", ADD, str(directory)]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert int((directory / "size").read_text().split()[0]) == 4 * 200 * 7


def test_a_process_that_sleeps_on_the_lock_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_space, "_LOCK_WAIT_S", 0.05)
    space = CacheSpace(tmp_path)
    with open(tmp_path / "lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()
        space.added(10, 1 << 30)
        assert 0.05 <= time.monotonic() - began < 5
    assert (tmp_path / "size").exists()


def test_what_lies_in_the_cache_is_told_by_root(tmp_path: Path, store: MemoryStore) -> None:
    cache = PartCache(tmp_path / "cache")
    cache.fetch(store, store.list("p/"))
    (tmp_path / "cache" / "spill").mkdir()
    (tmp_path / "cache" / "spill" / "tmp.block").write_bytes(b"y" * 10)
    first, second = CacheSpace(cache.directory).roots()
    assert (first.url, first.files, first.size_bytes) == ("memory://space", 4, 4000)
    assert abs(first.used_at_us / 1e6 - time.time()) < 60
    assert (second.url, second.folder, second.files, second.size_bytes) == ("", "spill", 1, 10)
    assert CacheSpace(tmp_path / "nothing").roots() == []


def test_clearing_deletes_every_copy_and_keeps_the_limit(tmp_path: Path, store: MemoryStore) -> None:
    set_cache_limit(tmp_path / "cache", 1 << 30)
    cache = PartCache(tmp_path / "cache")
    infos = store.list("p/")
    paths = cache.fetch(store, infos)
    space = CacheSpace(cache.directory)
    assert space.clear() == (4, 4000)
    assert space.roots() == []
    assert not any(path is not None and path.exists() for path in paths)
    assert space.clear() == (0, 0)
    assert cache_limit_bytes(cache.directory) == 1 << 30
    assert cache.fetch(store, infos) == paths
    assert CacheSpace(tmp_path / "nothing").clear() == (0, 0)


def test_what_a_living_process_spills_is_left_alone_and_what_a_dead_one_left_goes(tmp_path: Path) -> None:
    """A reader's temporary files are not copies: without them its query fails."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    living, dead = (tmp_path / f"spill-{pid}-ab12" / "block" for pid in (os.getpid(), gone.pid))
    for path in (living, dead):
        path.parent.mkdir()
        path.write_bytes(b"x" * 100)
        os.utime(path, (1, 1))
    space = CacheSpace(tmp_path)
    assert [root.folder for root in space.roots()] == [dead.parent.name]
    assert space.evict(50) == 0
    assert (living.exists(), dead.exists()) == (True, False)
    dead.write_bytes(b"x")
    assert space.clear() == (1, 1)
    assert (living.exists(), dead.parent.exists()) == (True, False)


def test_what_is_not_ours_to_delete_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "cache" / "root" / "file", b"x")

    def denied(path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(cache_space.os, "unlink", denied)
    with pytest.raises(CredentialsMissing, match=r"Cannot delete .*root/file: Permission denied"):
        CacheSpace(tmp_path / "cache").clear()
