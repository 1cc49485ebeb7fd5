"""Contents on their way: in the store before what names them, copied by sync, and vacuumed when nothing names them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from written import read_back

from tracker.storage.blobs import blobs_in_text
from tracker.storage.clock import wall_us
from tracker.storage.errors import StorageUnavailable
from tracker.storage.events import KIND_FILE
from tracker.storage.file_facts import FileFact
from tracker.storage.file_notes import FileNotes
from tracker.storage.format_file import ensure_format
from tracker.storage.frames import Facts, encode_frame, pack_value
from tracker.storage.fsck import check_project
from tracker.storage.memory import MemoryStore, forget_memory
from tracker.storage.names import RunRef, blob_key, new_ulid, parse_blob_key
from tracker.storage.purge import purge_runs
from tracker.storage.recover import ship_all
from tracker.storage.shipper import Shipper
from tracker.storage.side_by_side import run_side_by_side
from tracker.storage.spool import Spool, find_spool_dirs
from tracker.storage.staging import Content, Staging
from tracker.storage.stores import open_store
from tracker.storage.sync import sync_dir
from tracker.storage.vacuum import vacuum_project
from tracker.storage.vacuum_blobs import vacuum_blobs
from tracker.storage.wal import WalWriter

REF = RunRef("main", "p", "r")


def key_of(data: bytes) -> str:
    return blob_key("main", "p", hashlib.sha256(data).hexdigest())


class LoggedStore(MemoryStore):
    """Notes what is put, in order; fails the puts whose key begins with `broken`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.puts: list[str] = []
        self.broken: str | None = None

    def put_if_absent(self, key: str, data: bytes) -> None:
        self._note(key)
        super().put_if_absent(key, data)

    def put_contents(self, contents: Sequence[tuple[str, Path]]) -> None:
        for key, path in contents:
            self._note(key)
            super().put_contents([(key, path)])

    def _note(self, key: str) -> None:
        if self.broken is not None and self.broken in key:
            raise StorageUnavailable("it is away")
        self.puts.append(key)


@pytest.fixture
def store() -> LoggedStore:
    forget_memory("blobs")
    store = LoggedStore("blobs")
    ensure_format(store)
    store.puts.clear()
    return store


class Writer:
    """A spool with a log of file facts, as a process leaves it that dies at any time."""

    def __init__(self, work: Path, url: str) -> None:
        self.spool = Spool.create(work, "t", REF, new_ulid(wall_us()), url)
        self.staging = Staging(self.spool.path)
        self._wal = WalWriter(self.spool.path)

    def name(self, name: str, content: Content) -> None:
        kind, subject, path, value = FileFact.of(name, content, 5, "now").row
        now_us = wall_us()
        self._wal.append(encode_frame(Facts(now_us, now_us, [(kind, subject, path, pack_value(value))])))

    def add(self, name: str, data: bytes) -> None:
        self.name(name, self.staging.add_bytes(data))

    def die(self) -> None:
        self._wal.close()
        self.spool.close()


def shipper_of(spool: Spool, store: LoggedStore, said: Callable[[str, str], None] = lambda *_: None) -> Shipper:
    return Shipper(spool, store, wall=wall_us, monotonic_s=time.monotonic, notify=said, grace_s=0)


def files_in(url: str) -> dict[str, dict[str, object]]:
    """Value of the file facts by name, over all writers."""
    return {
        row["key"]: json.loads(row["s"])
        for events in read_back(open_store(url)).values()
        for row in events.to_pylist()
        if row["kind"] == KIND_FILE
    }


def test_names_of_contents_are_parsed_back() -> None:
    key = key_of(b"x")
    assert parse_blob_key(key) == hashlib.sha256(b"x").hexdigest()
    assert parse_blob_key(key.replace("/blobs/", "/other/")) is None
    assert parse_blob_key(key[:-1]) is None
    fan, sha256 = key.split("/")[-2:]
    assert parse_blob_key(key.replace(f"/{fan}/", "/00/" if fan != "00" else "/11/")) is None
    assert blobs_in_text(json.dumps({"_type": "x", "list": [{"sha256": sha256}]})) == {sha256}
    assert blobs_in_text(json.dumps({"sha256": sha256})) == set()


def test_contents_are_put_before_the_events_that_name_them(store: LoggedStore, tmp_path: Path) -> None:
    """A reader never finds a name without its bytes: at each put, what is named so far is there."""
    writer = Writer(tmp_path, store.url)
    shipper = shipper_of(writer.spool, store)
    for number in range(40):
        writer.add(f"f{number}", b"data %d" % (number % 30))
        if number % 7 == 6:
            shipper.ship_once()
            assert check_project(store, "main", "p").is_sound
    shipper.ship_once()
    kinds = ["blob" if "/blobs/" in key else "part" for key in store.puts]
    assert kinds.count("part") == 6
    assert kinds.index("blob") == 0
    assert kinds[-1] == "part"
    assert kinds.count("blob") == 40, "contents named again after they were sent are sent again: they may be old"
    assert writer.staging.waiting() == set(), "what the store has is not kept twice"
    assert check_project(store, "main", "p").findings == []


def test_a_store_that_is_away_in_between_gets_each_part_after_its_contents(
    store: LoggedStore, tmp_path: Path
) -> None:
    writer = Writer(tmp_path, store.url)
    writer.add("a", b"one")
    writer.add("b", b"two")
    shipper = shipper_of(writer.spool, store)
    for broken in (key_of(b"two"), "/runs/"):
        store.broken = broken
        with pytest.raises(StorageUnavailable):
            shipper.ship_once()
        assert not [key for key in store.puts if "/runs/" in key]
        assert writer.staging.waiting() == {key.rpartition("/")[2] for key in (key_of(b"one"), key_of(b"two"))}
    store.broken = None
    assert shipper.ship_once() == 2
    assert writer.staging.waiting() == set()


@pytest.mark.parametrize("moment", ["nothing", "contents", "part"])
def test_whoever_takes_over_ships_contents_and_events(store: LoggedStore, tmp_path: Path, moment: str) -> None:
    """The process dies between staging and shipping, between contents and events, or before it noted the last."""
    root = tmp_path / "root"
    writer = Writer(tmp_path / "work", str(root))
    writer.add("a", b"one")
    local = open_store(str(root))
    ensure_format(local)
    if moment == "contents":
        local.put_contents([(key_of(b"one"), writer.staging.path(hashlib.sha256(b"one").hexdigest()))])
    if moment == "part":
        shipper_of(writer.spool, local).ship_once()  # type: ignore[arg-type]
        (writer.spool.path / "ship.json").unlink()
    writer.staging.add_bytes(b"that nothing names")
    writer.die()
    report = sync_dir(tmp_path / "work")
    assert report.failed == []
    assert local.get(key_of(b"one")) == b"one"
    assert files_in(str(root))["a"]["size"] == 3
    assert check_project(local, "main", "p").findings == []
    assert find_spool_dirs(tmp_path / "work") == []


def test_files_of_a_dead_process_are_kept(tmp_path: Path) -> None:
    """SAVE-2, SAVE-6: what was declared for the end, what lies in the run's directory, what was promised."""
    root, outside = tmp_path / "root", tmp_path / "outside.txt"
    writer = Writer(tmp_path / "work", str(root))
    notes, files = FileNotes(writer.spool.path), writer.spool.files_dir
    outside.write_text("outside")
    (files / "deep").mkdir()
    for name in ("deep/own.txt", "logged.txt", "changed.txt", "skip.ckpt", "once.txt"):
        (files / name).write_text(name)
    (files / "link.txt").symlink_to(outside)
    notes.ignore(("*.ckpt",))
    notes.declared("outside.txt", outside, "end")
    notes.declared("gone.txt", tmp_path / "gone.txt", "end")
    for name, policy in (("logged.txt", "end"), ("changed.txt", "live"), ("once.txt", "now")):
        content = writer.staging.add_file(files / name)
        writer.name(name, content)
        stat = (files / name).stat()
        notes.logged(FileFact.of(name, content, 0, policy), stat.st_mtime_ns)  # type: ignore[arg-type]
    (files / "changed.txt").write_text("changed since")
    (files / "once.txt").write_text("changed since, and only wanted as it was")
    notes.promised(FileFact.of("large.bin", writer.staging.add_bytes(b"large"), 7, "now"))
    with open(writer.spool.path / "files.jsonl", "ab") as torn:
        torn.write(b'["declared", "torn')
    writer.die()
    said: list[str] = []
    report = sync_dir(tmp_path / "work", notify=lambda _, text: said.append(text))
    assert report.failed == []
    assert said == []
    found = files_in(str(root))
    assert sorted(found) == [
        "changed\\.txt",
        "deep/own\\.txt",
        "large\\.bin",
        "link\\.txt",
        "logged\\.txt",
        "once\\.txt",
        "outside\\.txt",
    ]
    assert found["changed\\.txt"]["sha256"] == hashlib.sha256(b"changed since").hexdigest()
    assert found["once\\.txt"]["sha256"] == hashlib.sha256(b"once.txt").hexdigest()
    assert check_project(open_store(str(root)), "main", "p").findings == []
    assert (files / "deep" / "own.txt").exists(), "the user's files stay"


def test_recovering_again_adds_nothing(store: LoggedStore, tmp_path: Path) -> None:
    """A store that goes away while a dead process's files are kept: the next attempt goes on."""
    writer = Writer(tmp_path, store.url)
    (writer.spool.files_dir / "own.txt").write_text("own")
    writer.add("a", b"one")
    writer.die()
    spool = Spool.load(writer.spool.path)
    assert spool is not None
    assert spool.try_adopt()
    store.broken = key_of(b"own")
    with pytest.raises(StorageUnavailable):
        ship_all(spool, shipper_of(spool, store), lambda *_: None)
    store.broken = None
    for _ in range(2):
        ship_all(spool, shipper_of(spool, store), lambda *_: None)
    (events,) = read_back(store).values()
    assert [row["key"] for row in events.to_pylist()] == ["a", "own\\.txt"]
    spool.close()


def test_a_run_that_ended_by_itself_keeps_nothing_of_what_came_later(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "work", str(tmp_path / "root"))
    writer.add("a", b"one")
    FileNotes(writer.spool.path).finished()
    (writer.spool.files_dir / "later.txt").write_text("later")
    writer.die()
    assert sync_dir(tmp_path / "work").failed == []
    assert sorted(files_in(str(tmp_path / "root"))) == ["a"]
    assert [path.name for path in writer.spool.path.iterdir()] == ["files"], "the user's files stay, and are no spool"


def test_a_log_sent_elsewhere_takes_its_contents_along(tmp_path: Path) -> None:
    """`sync --to` after a part of the log was sent: contents that are no longer here come from the former root."""
    root, other = tmp_path / "root", tmp_path / "other"
    writer = Writer(tmp_path / "work", str(root))
    local = open_store(str(root))
    ensure_format(local)
    writer.add("a", b"one")
    shipper_of(writer.spool, local).ship_once()  # type: ignore[arg-type]
    writer.add("b", b"two")
    writer.die()
    report = sync_dir(tmp_path / "work", to=str(other))
    assert report.failed == []
    moved = open_store(str(other))
    assert [moved.get(key_of(data)) for data in (b"one", b"two")] == [b"one", b"two"]
    assert check_project(moved, "main", "p").findings == []


def test_an_offline_root_is_copied_contents_first(tmp_path: Path) -> None:
    """And old contents of the target are put again when something new may name them."""
    offline, target = tmp_path / "tracker-runs" / "offline", tmp_path / "target"
    writer = Writer(tmp_path / "tracker-runs", str(offline))
    writer.add("a", b"one")
    writer.add("b", b"x" * 300_000)
    writer.die()
    there = open_store(str(target))
    ensure_format(there)
    old = tmp_path / "old"
    old.write_bytes(b"one")
    there.put_contents([(key_of(b"one"), old)])
    os.utime(target / key_of(b"one"), (time.time() - 6.5 * 86400,) * 2)
    report = sync_dir(tmp_path, default_to=str(target))
    assert report.failed == []
    assert report.copied_objects == 3
    assert time.time() - (target / key_of(b"one")).stat().st_mtime < 60
    assert check_project(there, "main", "p").findings == []
    assert sync_dir(tmp_path, default_to=str(target)).copied_objects == 0


def filled(tmp_path: Path) -> tuple[Path, Writer]:
    """A root with contents `named` and `free`."""
    root = tmp_path / "root"
    writer = Writer(tmp_path / "work", str(root))
    writer.add("a", b"named")
    writer.die()
    assert sync_dir(tmp_path / "work").failed == []
    free = tmp_path / "free"
    free.write_bytes(b"free")
    open_store(str(root)).put_contents([(key_of(b"free"), free)])
    return root, writer


def test_vacuum_takes_contents_that_nothing_names_once_they_are_old(tmp_path: Path) -> None:
    root, _ = filled(tmp_path)
    store = open_store(str(root))
    now_us = wall_us()
    young = vacuum_blobs(store, "main", "p", store_now_us=now_us)
    assert (young.blobs, young.young) == (0, 1)
    week_us = 7 * 24 * 3600 * 1_000_000
    would = vacuum_blobs(store, "main", "p", store_now_us=now_us + week_us, dry_run=True)
    assert (would.blobs, would.blob_bytes) == (1, 4)
    assert store.get(key_of(b"free")) == b"free"
    assert vacuum_blobs(store, "main", "p", store_now_us=now_us + week_us).blobs == 1
    assert [info.key for info in store.list("main/p/blobs/")] == [key_of(b"named")]
    assert check_project(store, "main", "p").findings == []


def test_vacuum_takes_nothing_where_what_names_it_cannot_be_read(tmp_path: Path) -> None:
    root, _ = filled(tmp_path)
    (part,) = root.rglob("e-*.parquet")
    data = bytearray(part.read_bytes())
    data[20] ^= 0xFF
    part.write_bytes(data)
    report = vacuum_blobs(open_store(str(root)), "main", "p", store_now_us=wall_us(), age_s=-1)
    assert report.blobs == 0
    assert "cannot be read as a whole" in report.notes[0]
    assert (root / key_of(b"free")).exists()


def test_contents_of_a_purged_run_go_with_a_vacuum(tmp_path: Path) -> None:
    root, _ = filled(tmp_path)
    store = open_store(str(root))
    purge_runs(store, "main", "p", ["r"], now_us=wall_us() + 10_000_000, grace_s=0)
    time.sleep(0.01)
    vacuum_project(store, "main", "p", now_us=wall_us(), grace_s=0)
    report = vacuum_blobs(store, "main", "p", store_now_us=wall_us(), age_s=-1)
    assert report.notes == []
    assert report.blobs == 2
    assert store.list("main/p/blobs/") == []


def test_fsck_hashes_large_remote_contents_in_pieces(
    store: LoggedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And finds damaged and missing ones; empty contents have no object."""
    monkeypatch.setattr("tracker.storage.fsck._WHOLE_BYTES", 10)
    monkeypatch.setattr("tracker.storage.contents._PIECE_BYTES", 7)
    writer = Writer(tmp_path, store.url)
    good, bad, gone = b"good" * 10, b"bad!" * 10, b"gone" * 10
    for name, data in (("a", good), ("b", bad), ("c", gone), ("d", b"")):
        writer.add(name, data)
    shipper_of(writer.spool, store).ship_once()
    assert check_project(store, "main", "p").findings == []
    store.delete([key_of(bad), key_of(gone)])
    store.put_if_absent(key_of(bad), b"worse" * 8)
    found = {finding.key: finding.code for finding in check_project(store, "main", "p").findings}
    assert found == {key_of(bad): "damaged", key_of(gone).removeprefix("main/p/"): "missing-blob"}


def test_calls_side_by_side_all_run_and_tell_the_first_error() -> None:
    done: list[int] = []
    run_side_by_side([lambda number=number: done.append(number) for number in range(50)], 8)  # type: ignore[misc]
    assert sorted(done) == list(range(50))
    run_side_by_side([], 8)
    with pytest.raises(ZeroDivisionError):
        run_side_by_side([lambda: done.clear(), lambda: [][1 // 0]], 2)  # type: ignore[list-item]
    assert done == []


def test_calls_are_made_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Python exits."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("threading.Thread.start", refuse)
    done: list[int] = []
    run_side_by_side([lambda: done.append(1), lambda: done.append(2)], 8)
    assert done == [1, 2]
