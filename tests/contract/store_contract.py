"""What every store must do: one class, run against each adapter by test_store_contract.py.

Green on an emulator is no proof of the cloud. Quirks of a server are written beside its class there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest
from places import Place

from tracker.storage.clock import wall_us
from tracker.storage.errors import KeyTaken, NotFound, StorageUnavailable, UsageError
from tracker.storage.names import PartName, RunRef, run_prefix
from tracker.storage.port import Store
from tracker.storage.probe import probe_put_if_absent
from tracker.storage.stores import open_store

BAD_KEYS = ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/.tmp-x", ".tmp-", "a\0b", "a\ud800"]
USER_NAMES = ["Größe 7 %41", "日本/../語?&=#+", "a\\b*[c]{d}", "..", "CON", "x" * 300, "é\ud800"]
BAD_PREFIXES = ["a", "/", "/a/", "../", "a/../", "a//"]


class StoreContract:
    """Subclasses say where, by the fixture `place`."""

    enforces: ClassVar[bool] = True  # put-if-absent
    has_pages: ClassVar[bool] = True  # of its own, not those of a class that is tested too
    clock_slack_s: ClassVar[float] = 60.0

    @pytest.fixture
    def store(self, place: Place) -> Iterator[Store]:
        store = open_store(place.url)
        yield store
        store.close()

    def test_opening_makes_no_request_and_no_directory(self, place: Place) -> None:
        before = place.raw.keys()
        assert open_store(f"{place.url}/never/used").url.endswith("/never/used")
        assert place.raw.keys() == before

    def test_what_is_put_is_there_whole(self, store: Store, place: Place) -> None:
        data = bytes(range(256)) * 4096
        store.put_if_absent("a/b/c.bin", data)
        assert place.raw.get("a/b/c.bin") == data
        assert place.raw.keys() == ["a/b/c.bin"]
        assert store.get("a/b/c.bin") == data

    def test_a_file_is_put_whole_and_once(self, store: Store, place: Place, tmp_path: Path) -> None:
        path, other, empty = (tmp_path / name for name in ("a", "b", "c"))
        data = os.urandom(3 << 20)
        path.write_bytes(data)
        other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        empty.write_bytes(b"")
        before_us = wall_us()
        os.utime(path, (1e9, 1e9))
        store.put_file_if_absent("a/b/c.bin", path)
        store.put_file_if_absent("a/b/c.bin", path)
        store.put_if_absent("a/b/c.bin", data)
        with pytest.raises(KeyTaken, match="already holds other bytes"):
            store.put_file_if_absent("a/b/c.bin", other)
        with pytest.raises(UsageError, match="must not be"):
            store.put_file_if_absent("a/e", empty)
        with pytest.raises(FileNotFoundError):
            store.put_file_if_absent("a/e", tmp_path / "missing")
        path.unlink()
        assert place.raw.get("a/b/c.bin") == data
        (info,) = store.list("")
        assert (info.key, info.size_bytes) == ("a/b/c.bin", len(data))
        assert abs(info.modified_us - before_us) < self.clock_slack_s * 1e6
        assert place.raw.keys() == ["a/b/c.bin"]

    @pytest.mark.parametrize("size", [1, 3 << 20, (17 << 20) + 1])
    def test_a_content_is_put_whole_and_may_be_put_again(
        self, store: Store, place: Place, tmp_path: Path, size: int
    ) -> None:
        """The largest goes in two pieces on buckets."""
        path, empty, small = tmp_path / "a", tmp_path / "b", tmp_path / "c"
        small.write_bytes(b"small")
        data = os.urandom(size)
        path.write_bytes(data)
        empty.write_bytes(b"")
        os.utime(path, (1e9, 1e9))
        before_us = wall_us()
        for _ in range(2):
            store.put_contents([("blobs/ab/abc", path), ("blobs/cd/cd", small)])
            assert place.raw.get("blobs/ab/abc") == data
            info, _ = store.list("")
            assert (info.key, info.size_bytes) == ("blobs/ab/abc", size)
            assert abs(info.modified_us - before_us) < self.clock_slack_s * 1e6
        store.put_contents([])
        assert place.raw.keys() == ["blobs/ab/abc", "blobs/cd/cd"]
        assert place.raw.get("blobs/cd/cd") == b"small"
        with pytest.raises(UsageError, match="must not be"):
            store.put_contents([("blobs/e", empty)])
        with pytest.raises(FileNotFoundError):
            store.put_contents([("blobs/e", tmp_path / "missing")])

    def test_what_others_put_is_read(self, store: Store, place: Place) -> None:
        place.raw.put("a/x", b"theirs")
        assert store.get("a/x") == b"theirs"
        assert [info.key for info in store.list("")] == ["a/x"]

    def test_the_same_bytes_again_succeed(self, store: Store, place: Place) -> None:
        store.put_if_absent("k", b"same")
        store.put_if_absent("k", b"same")
        assert place.raw.get("k") == b"same"

    def test_other_bytes_are_refused_and_the_key_stays_as_it_was(self, store: Store, place: Place) -> None:
        store.put_if_absent("k", b"first")
        with pytest.raises(KeyTaken, match="k already holds other bytes"):
            store.put_if_absent("k", b"other")
        assert place.raw.get("k") == b"first"

    def test_one_of_sixteen_racing_threads_wins(self, store: Store, place: Place) -> None:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for number in range(4):
                results = race(store, f"race/{number}", 16)
                winners = [n for n, won in enumerate(results) if won]
                assert len(winners) == 1
                assert place.raw.get(f"race/{number}") == payload(winners[0])
        finally:
            sys.setswitchinterval(interval)

    def test_the_probe_tells_what_the_server_does(self, store: Store, place: Place) -> None:
        assert probe_put_if_absent(store) is self.enforces
        assert store.enforces_put_if_absent() is self.enforces
        assert place.raw.keys() == []

    def test_a_reader_sees_all_or_nothing(self, store: Store) -> None:
        data = os.urandom(1 << 20)
        seen: list[bytes] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                for number in range(5):
                    try:
                        seen.append(store.get(f"big/{number}"))
                    except NotFound:
                        time.sleep(0.001)

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(5):
            store.put_if_absent(f"big/{number}", data)
        done.set()
        reader.join()
        assert all(found == data for found in seen)

    def test_a_missing_key_is_not_found(self, store: Store) -> None:
        store.put_if_absent("here", b"x")
        for read in (store.get, lambda key: store.get_range(key, 0, 1)):
            with pytest.raises(NotFound, match="not/here"):
                read("not/here")

    def test_many_come_in_order_with_none_for_the_missing(self, store: Store) -> None:
        for number in range(5):
            store.put_if_absent(f"n/{number}", b"%d" % number)
        assert store.get_many(["n/4", "n/x", "n/0", "n/4", "y"]) == [b"4", None, b"0", b"4", None]
        assert store.get_many([]) == []

    def test_ranges(self, store: Store) -> None:
        store.put_if_absent("k", b"0123456789")
        asked = [(0, 10), (2, 5), (8, 10), (9, 100), (10, 20), (50, 60), (3, 3)]
        assert [store.get_range("k", start, end) for start, end in asked] == [
            b"0123456789"[start:end] for start, end in asked
        ]
        for start, end in [(-1, 3), (5, 2)]:
            with pytest.raises(UsageError):
                store.get_range("k", start, end)

    def test_a_listing_names_keys_sizes_and_times_in_order(self, store: Store) -> None:
        before_us = wall_us()
        for key, size in {"p/b": 3, "p/a/z": 2, "p/a-/y": 4, "p/a!00": 1, "q": 9, "pp/x": 5}.items():
            store.put_if_absent(key, b"x" * size)
        found = store.list("p/")
        sizes = [(info.key, info.size_bytes) for info in found]
        assert sizes == [("p/a!00", 1), ("p/a-/y", 4), ("p/a/z", 2), ("p/b", 3)]
        assert all(abs(info.modified_us - before_us) < self.clock_slack_s * 1e6 for info in found)
        assert [info.key for info in store.list("")] == ["p/a!00", "p/a-/y", "p/a/z", "p/b", "pp/x", "q"]

    def test_a_listing_is_asked_fresh(self, store: Store, place: Place) -> None:
        store.put_if_absent("p/a", b"x")
        assert len(store.list("p/")) == 1
        assert store.list_dirs("") == ["p"]
        place.raw.put("p/b", b"x")
        place.raw.put("r/b", b"x")
        assert [info.key for info in store.list("p/")] == ["p/a", "p/b"]
        assert store.list_dirs("") == ["p", "r"]

    def test_an_empty_prefix_lists_nothing(self, store: Store) -> None:
        store.put_if_absent("there/x", b"x")
        assert store.list("not/there/") == []
        assert store.list_dirs("not/there/") == []
        assert store.list("ther/") == []

    def test_the_next_segments(self, store: Store) -> None:
        for key in ["r/1/x", "r/1/y/z", "r/20/x", "r/file", "s/x"]:
            store.put_if_absent(key, b"x")
        assert list(store.list_dirs("r/")) == ["1", "20"]
        assert list(store.list_dirs("")) == ["r", "s"]
        assert list(store.list_dirs("r/1/")) == ["y"]
        store.delete(["r/1/x", "r/1/y/z"])
        assert list(store.list_dirs("r/")) == ["20"]

    def test_deleted_keys_are_gone_and_deleting_twice_is_no_error(self, store: Store, place: Place) -> None:
        for key in ["a/1", "a/2", "a/b/3"]:
            store.put_if_absent(key, b"x")
        store.delete(["a/1", "a/b/3", "a/never"])
        store.delete(["a/1"])
        store.delete([])
        assert place.raw.keys() == ["a/2"]
        store.put_if_absent("a/1", b"again")
        assert store.get("a/1") == b"again"

    def test_more_objects_than_a_page(self, store: Store, place: Place) -> None:
        if not self.has_pages:
            pytest.skip("pages are the same as below a prefix")
        keys = sorted(f"many/{number % 7}/{number:05d}" for number in range(1200))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: place.raw.put(key, key.encode()), keys))
        assert [info.key for info in store.list("many/")] == keys
        assert list(store.list_dirs("many/")) == [str(number) for number in range(7)]
        assert store.get_many(keys[:300]) == [key.encode() for key in keys[:300]]

    @pytest.mark.parametrize("name", USER_NAMES)
    def test_names_of_users_make_keys_that_come_back(self, store: Store, name: str) -> None:
        part = PartName("unused", "0" * 26, "e", 0, 9, "0" * 16)
        key = f"{run_prefix(RunRef(name, name, name))}{part.writer_id}/{part.file_name}"
        store.put_if_absent(key, name.encode("utf-8", "surrogatepass"))
        assert [info.key for info in store.list("")] == [key]
        assert store.get(key) == name.encode("utf-8", "surrogatepass")
        store.delete([key])
        assert store.list("") == []

    def test_awkward_bytes(self, store: Store, place: Place) -> None:
        awkward = [b"\0", b"\r\n\r\n", b"x\n--==0==\ny\n--==0==--", b"--==0==", os.urandom(100_000)]
        for number, data in enumerate(awkward):
            store.put_if_absent(f"k/{number}", data)
            assert place.raw.get(f"k/{number}") == data
            store.put_if_absent(f"k/{number}", data)
            with pytest.raises(KeyTaken):
                store.put_if_absent(f"k/{number}", data + b"--==0==")

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_keys_that_leave_the_root_are_refused(self, store: Store, place: Place, key: str) -> None:
        for use in (
            lambda: store.put_if_absent(key, b"x"),
            lambda: store.get(key),
            lambda: store.get_many(["ok", key]),
            lambda: store.get_range(key, 0, 1),
            lambda: store.delete(["ok", key]),
            lambda: store.local_path(key),
        ):
            with pytest.raises(UsageError, match="no key"):
                use()
        assert place.raw.keys() == []

    @pytest.mark.parametrize("prefix", BAD_PREFIXES)
    def test_prefixes_that_leave_the_root_are_refused(self, store: Store, prefix: str) -> None:
        for use in (store.list, store.list_dirs):
            with pytest.raises(UsageError):
                use(prefix)

    def test_nothing_is_not_written(self, store: Store, place: Place) -> None:
        with pytest.raises(UsageError, match="must not be empty"):
            store.put_if_absent("k", b"")
        assert place.raw.keys() == []

    def test_a_store_below_a_store_sees_its_part(self, store: Store, place: Place) -> None:
        below = open_store(f"{place.url}/sub")
        below.put_if_absent("a/k", b"x")
        assert store.get("sub/a/k") == b"x"
        assert [info.key for info in below.list("")] == ["a/k"]
        assert list(below.list_dirs("")) == ["a"]

    def test_a_missing_bucket_is_named(self, place: Place) -> None:
        if place.missing_url is None:
            pytest.skip("this place has no buckets")
        store = open_store(place.missing_url)
        with pytest.raises(NotFound, match="There is no bucket"):
            store.list("")
        with pytest.raises(NotFound, match="There is no bucket"):
            store.put_if_absent("k", b"x")
        with pytest.raises(NotFound):
            store.get("k")

    def test_a_forked_child_works_and_leaves_its_parent_working(self, place: Place) -> None:
        """The child ends as a normal interpreter does, collecting everything; then the parent goes on."""
        if place.url.startswith("memory:"):
            pytest.skip("memory is not shared between processes")
        script = """
import os, sys
from tracker.storage.stores import open_store
store = open_store(sys.argv[1])
store.put_if_absent("parent/1", b"x")
child = os.fork()
if child == 0:
    assert store.get("parent/1") == b"x"
    store.put_if_absent("child/1", b"y")
    other = open_store(sys.argv[1])
    assert len(other.list("")) == 2
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert store.get_many(["parent/1", "child/1"]) == [b"x", b"y"]
store.put_if_absent("parent/2", b"z")
del store
"""
        script = f"{place.prelude}\n{script}"
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, place.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert place.raw.keys() == ["child/1", "parent/1", "parent/2"]

    def test_the_last_records_of_a_run_are_shipped_while_python_exits(self, place: Place) -> None:
        """A handler that runs at exit puts for the first time: threads and executors are refused by then."""
        if place.url.startswith("memory:"):
            pytest.skip("memory is not shared between processes")
        script = """
import atexit, sys
from tracker.storage.stores import open_store, warm_up
store = open_store(sys.argv[1])
warm_up(store)
atexit.register(lambda: store.put_if_absent("last", b"words"))
"""
        named = {  # a host name has to be looked up, in a thread
            name: value.replace("127.0.0.1", "localhost") if value.startswith("http") else value
            for name, value in os.environ.items()
        }
        command = [sys.executable, "-c", f"{place.prelude}\n{script}", place.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=named)
        assert (done.returncode, done.stderr) == (0, "")
        assert place.raw.get("last") == b"words"

    def test_a_closed_store_says_so(self, place: Place) -> None:
        store = open_store(place.url)
        store.put_if_absent("k", b"x")
        store.close()
        store.close()
        if not isinstance(store.local_path("k"), Path):
            with pytest.raises(StorageUnavailable, match="was closed"):
                store.get("k")


def payload(number: int) -> bytes:
    return f"payload of thread {number}".encode() * 50


def race(store: Store, key: str, threads: int) -> list[bool]:
    """Whether each thread's put succeeded."""
    barrier = threading.Barrier(threads)

    def put(number: int) -> bool:
        barrier.wait()
        try:
            store.put_if_absent(key, payload(number))
        except KeyTaken:
            return False
        return True

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(put, range(threads)))
