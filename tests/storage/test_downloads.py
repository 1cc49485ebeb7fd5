"""Contents on their way to local files: whole or not there, checked, gone on with, in bounded memory."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracker.storage import downloads, read_ahead
from tracker.storage.downloads import Download, download, download_all
from tracker.storage.errors import CorruptData, NotFound, StorageUnavailable
from tracker.storage.local import LocalStore
from tracker.storage.memory import MemoryStore, forget_memory
from tracker.storage.names import blob_key
from tracker.storage.part_file import part_path
from tracker.storage.read_ahead import Space
from tracker.storage.targets import RefusedTarget

PIECE = 1000  # bytes, in these tests


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(downloads, "_COPY_BYTES", PIECE)
    monkeypatch.setattr(downloads, "_SPACE_BYTES", 6 * PIECE)


class Watched(MemoryStore):
    """Remembers what is asked for, and refuses to answer when it is told to."""

    def __init__(self) -> None:
        super().__init__("downloads")
        self.asked: list[tuple[int, int]] = []
        self.answers = 1 << 30
        self._lock = threading.Lock()

    def get_range(self, key: str, start: int, end: int) -> bytes:
        with self._lock:
            self.asked.append((start, end))
            self.answers -= 1
            if self.answers < 0:
                raise StorageUnavailable("the network went away")
        return super().get_range(key, start, end)


@pytest.fixture
def store() -> Iterator[Watched]:
    forget_memory("downloads")
    yield Watched()
    forget_memory("downloads")


def kept(store: Any, data: bytes, target: Path) -> Download:
    """`data` as an object, and what downloads it."""
    sha256 = hashlib.sha256(data).hexdigest()
    if data:
        store.put_if_absent(blob_key("e", "p", sha256), data)
    return Download(target=target, sha256=sha256, size=len(data), key=blob_key("e", "p", sha256))


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 7 * PIECE + 3])
@pytest.mark.parametrize("place", ["memory", "local", "fact"])
def test_a_file_is_what_was_kept(store: Watched, tmp_path: Path, size: int, place: str) -> None:
    data, target = os.urandom(size), tmp_path / "deep" / "x"
    if place == "fact":
        sha256 = hashlib.sha256(data).hexdigest()
        download(store, Download(target=target, sha256=sha256, size=size, key="", text=data), "refuse")
    else:
        one = LocalStore(tmp_path / "root") if place == "local" else store
        download(one, kept(one, data, target), "refuse")
    assert target.read_bytes() == data
    assert os.listdir(target.parent) == ["x"]
    if place == "memory":
        assert sum(end - start for start, end in store.asked) == size
        assert len(store.asked) == -(-size // PIECE)


def test_a_stopped_download_goes_on_where_it_stopped(store: Watched, tmp_path: Path) -> None:
    data, target = os.urandom(10 * PIECE + 7), tmp_path / "x"
    wanted = kept(store, data, target)
    store.answers = 4
    with pytest.raises(StorageUnavailable):
        download(store, wanted, "refuse")
    gathered = part_path(target, wanted.sha256).stat().st_size
    assert not target.exists()
    assert 1 * PIECE <= gathered <= 4 * PIECE
    store.asked.clear()
    store.answers = 100
    download(store, wanted, "refuse")
    assert target.read_bytes() == data
    assert min(start for start, _ in store.asked) == gathered
    assert sum(end - start for start, end in store.asked) == len(data) - gathered


@pytest.mark.parametrize("begun", [b"x" * 2500, b"x" * 99_999], ids=["damaged", "longer"])
@pytest.mark.parametrize("place", ["memory", "local"])
def test_what_a_disk_did_not_keep_is_fetched_anew(
    store: Watched, tmp_path: Path, begun: bytes, place: str
) -> None:
    data, target = os.urandom(5 * PIECE), tmp_path / "x"
    one = LocalStore(tmp_path / "root") if place == "local" else store
    wanted = kept(one, data, target)
    part_path(target, wanted.sha256).write_bytes(begun)
    download(one, wanted, "refuse")
    assert target.read_bytes() == data


def test_a_whole_part_is_only_renamed(store: Watched, tmp_path: Path) -> None:
    """Killed between the last byte and the name."""
    data, target = os.urandom(5 * PIECE), tmp_path / "x"
    wanted = kept(store, data, target)
    part_path(target, wanted.sha256).write_bytes(data)
    download(store, wanted, "refuse")
    assert target.read_bytes() == data
    assert store.asked == []


@pytest.mark.parametrize("stored", [b"y" * 3000, b"y" * 2999, b"x" * 2999, b"x" * 3001], ids=["yy", "y", "x", "xx"])
@pytest.mark.parametrize("place", ["memory", "local"])
def test_other_bytes_never_get_the_name(tmp_path: Path, store: Watched, stored: bytes, place: str) -> None:
    """An object that is longer than was kept and begins with it is taken for damaged on a disk, read whole there."""
    one = LocalStore(tmp_path / "root") if place == "local" else store
    wanted = kept(store, b"x" * 3000, tmp_path / "out" / "x")
    one.delete([wanted.key])
    one.put_if_absent(wanted.key, stored)
    if place == "memory" and len(stored) > 3000:
        download(one, wanted, "refuse")
        assert wanted.target.read_bytes() == b"x" * 3000
        return
    with pytest.raises(CorruptData, match="other bytes"):
        download(one, wanted, "refuse")
    assert os.listdir(wanted.target.parent) == []


@pytest.mark.parametrize("place", ["memory", "local"])
def test_contents_that_are_not_there(store: Watched, tmp_path: Path, place: str) -> None:
    one = LocalStore(tmp_path / "root") if place == "local" else store
    wanted = kept(store, b"x", tmp_path / "out" / "x")
    store.delete([wanted.key])
    with pytest.raises(NotFound):
        download(one, wanted, "refuse")
    assert os.listdir(wanted.target.parent) == []


def test_what_becomes_of_a_target_that_is_there(store: Watched, tmp_path: Path) -> None:
    """FILE-1. Equal contents are not fetched again; a link is replaced, not what it leads to."""
    wanted = kept(store, b"stored", tmp_path / "x")
    wanted.target.write_bytes(b"mine")
    with pytest.raises(RefusedTarget, match="x is there already"):
        download(store, wanted, "refuse")
    download(store, wanted, "keep")
    assert wanted.target.read_bytes() == b"mine"
    assert store.asked == []
    download(store, wanted, "replace")
    assert wanted.target.read_bytes() == b"stored"
    store.asked.clear()
    download(store, wanted, "replace")
    assert store.asked == []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    wanted.target.unlink()
    wanted.target.symlink_to(elsewhere)
    download(store, wanted, "replace")
    assert not wanted.target.is_symlink()
    assert elsewhere.read_bytes() == b"mine"


def test_a_dangling_link_is_there_too(store: Watched, tmp_path: Path) -> None:
    wanted = kept(store, b"stored", tmp_path / "x")
    wanted.target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RefusedTarget, match="there already"):
        download(store, wanted, "refuse")
    download(store, wanted, "replace")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("workers", [1, 3, None])
def test_many_at_once(store: Watched, tmp_path: Path, workers: int | None) -> None:
    contents = {f"{n % 7}/{n}": os.urandom(n * 37 % 4000) for n in range(200)}
    wanted = [kept(store, data, tmp_path / "out" / name) for name, data in contents.items()]
    done: list[Download] = []
    download_all(store, wanted, "refuse", workers=workers, on_done=done.append)
    assert sorted(map(str, done)) == sorted(map(str, wanted))
    assert {name: (tmp_path / "out" / name).read_bytes() for name in contents} == contents
    assert not list((tmp_path / "out").rglob(".*"))


def test_nothing_is_fetched_where_one_is_there(store: Watched, tmp_path: Path) -> None:
    wanted = [kept(store, str(n).encode(), tmp_path / str(n)) for n in range(9)]
    for one in wanted[2:]:
        one.target.write_text("mine")
    with pytest.raises(RefusedTarget, match="6 and 2 more are there already"):
        download_all(store, wanted, "refuse")
    assert store.asked == []
    download_all(store, wanted, "keep")
    assert [one.target.read_text() for one in wanted] == ["0", "1", *["mine"] * 7]


def test_what_has_come_before_an_error_stays_and_the_rest_can_follow(store: Watched, tmp_path: Path) -> None:
    wanted = [kept(store, os.urandom(500), tmp_path / str(n)) for n in range(50)]
    store.answers = 20
    with pytest.raises(StorageUnavailable):
        download_all(store, wanted, "refuse", workers=4)
    assert len(list(tmp_path.iterdir())) == 20
    store.answers = 30
    download_all(store, wanted, "keep", workers=4)
    assert len(list(tmp_path.iterdir())) == 50


def test_two_names_of_the_same_contents_in_one_folder(store: Watched, tmp_path: Path) -> None:
    data = os.urandom(3 * PIECE)
    download_all(store, [kept(store, data, tmp_path / name) for name in "abcdef"], "refuse")
    assert [(tmp_path / name).read_bytes() for name in "abcdef"] == [data] * 6


def test_many_large_files_share_bounded_memory(
    store: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty files of twenty pieces, in space for six: none waits for ever, and no more is held."""
    taken: list[int] = []

    class Counted(Space):
        def take(self, size_bytes: int) -> int:
            got = super().take(size_bytes)
            taken.append(6 * PIECE - self._free)
            return got

        def take_if_free(self, size_bytes: int) -> bool:
            got = super().take_if_free(size_bytes)
            taken.append(6 * PIECE - self._free)
            return got

    monkeypatch.setattr(downloads, "Space", Counted)
    contents = [os.urandom(20 * PIECE) for _ in range(20)]
    wanted = [kept(store, data, tmp_path / str(n)) for n, data in enumerate(contents)]
    download_all(store, wanted, "refuse", workers=20)
    assert [one.target.read_bytes() for one in wanted] == contents
    assert 2 * PIECE <= max(taken) <= 6 * PIECE


def test_an_error_of_the_disk_gives_the_memory_back(
    store: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the others would wait for ever for what the failed one holds."""
    space = Space(6 * PIECE)
    wanted = kept(store, os.urandom(20 * PIECE), tmp_path / "x")

    def full(part: Any, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.PartFile, "append", full)
    with pytest.raises(OSError, match="No space left") as raised:
        download(store, wanted, "refuse", space)
    assert space.take_if_free(6 * PIECE), raised


def test_a_size_that_cannot_be_is_damage_not_a_loop(store: Watched, tmp_path: Path) -> None:
    """Facts come from whoever wrote the store."""
    wanted = kept(store, os.urandom(1500), tmp_path / "x")
    for size in (-5, 0, 10**15):
        lying = Download(target=wanted.target, sha256=wanted.sha256, size=size, key=wanted.key)
        with pytest.raises(CorruptData):
            download(store, lying, "refuse")
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, StorageUnavailable])
def test_whoever_stops_one_stops_all_of_them_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Ctrl-C: the others do not fetch their large files to the end, and what they have is kept for the next time."""
    store = LocalStore(tmp_path / "root")
    wanted = [kept(store, os.urandom(50 * PIECE), tmp_path / "out" / str(n)) for n in range(4)]
    all_there = threading.Barrier(4)
    append = downloads.PartFile.append

    def slowly(part: Any, data: bytes) -> None:
        append(part, data)
        if part.size == 2 * PIECE:
            all_there.wait(20)
            if part.target.name == "0":
                raise error("no more")
            time.sleep(0.2)

    monkeypatch.setattr(downloads.PartFile, "append", slowly)
    with pytest.raises(error, match="no more"):
        download_all(store, wanted, "refuse", workers=4)
    assert not any(one.target.exists() for one in wanted)
    gathered = [part_path(one.target, one.sha256).stat().st_size for one in wanted]
    assert gathered == [2 * PIECE] * 4
    monkeypatch.setattr(downloads.PartFile, "append", append)
    download_all(store, wanted, "refuse")
    assert sorted(os.listdir(tmp_path / "out")) == ["0", "1", "2", "3"]
