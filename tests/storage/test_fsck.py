"""What a check finds in a project, and what a repair moves aside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pytest
from store_maker import T0, MadeWriter, made_run

from tracker.storage import fsck
from tracker.storage.errors import StorageUnavailable
from tracker.storage.events import JsonText
from tracker.storage.fsck import check_project
from tracker.storage.fsck_report import FINDINGS, FsckReport
from tracker.storage.memory import MemoryStore, forget_memory
from tracker.storage.names import RunRef
from tracker.storage.quarantine import QUARANTINE, repair
from tracker.storage.things import ThingWriter


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    monkeypatch.setattr(fsck, "_PAUSES_S", (0.0, 0.0))
    yield MemoryStore("fsck")
    forget_memory("fsck")


def replace(store: MemoryStore, key: str, change: Callable[[bytes], bytes]) -> None:
    data = change(store.get(key))
    store.delete([key])
    store.put_if_absent(key, data)


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


def found(report: FsckReport) -> dict[str, list[str]]:
    """Keys by code."""
    codes: dict[str, list[str]] = {}
    for finding in report.findings:
        codes.setdefault(finding.code, []).append(finding.key)
    return codes


def check(store: MemoryStore) -> FsckReport:
    return check_project(store, "main", "p")


def writer_of_three_parts(store: MemoryStore, run: str = "r") -> MadeWriter:
    """Frames 0..2, 3..5, 6..8."""
    writer = MadeWriter(store, RunRef("main", "p", run)).begin({"name": run})
    for step in range(8):
        writer.log({"loss": 1 / (step + 1), "note": "x" * step})
    return writer.put(0, 2).put(3, 5).put(6, 8)


def test_a_sound_project_has_no_findings(store: MemoryStore) -> None:
    writer = made_run(store, "a", [{"loss": float(n), "acc": n, "text": "t", "none": None} for n in range(20)])
    writer.merge(0, 15)
    writer_of_three_parts(store, "b")
    report = check(store)
    assert report.findings == []
    assert report.is_sound
    assert report.runs == 2
    assert report.objects == len(store.list(""))
    assert report.size_bytes == sum(info.size_bytes for info in store.list(""))
    assert check_project(store, "main", "nothing").objects == 0


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-1], lambda data: data[: len(data) // 2], flip(300), flip(0), lambda data: b"no Parquet"],
    ids=["last byte", "half", "flipped", "magic", "foreign"],
)
def test_a_damaged_part_is_found(store: MemoryStore, change: Callable[[bytes], bytes]) -> None:
    writer = writer_of_three_parts(store)
    key = writer.key(3, 5)
    replace(store, key, change)
    report = check(store)
    assert found(report) == {"damaged": [key]}
    assert not report.is_sound
    assert key in report.findings[0].text


def test_a_missing_part_is_a_gap_and_a_lost_tail_is_none(store: MemoryStore) -> None:
    writer = writer_of_three_parts(store)
    store.delete([writer.key(3, 5)])
    report = check(store)
    assert found(report) == {"gap": [writer.prefix]}
    assert "Frame 3 " in report.findings[0].text
    store.delete([writer.key(6, 8)])
    assert check(store).findings == []


def test_a_part_under_another_name_is_found(store: MemoryStore) -> None:
    a, b = writer_of_three_parts(store, "a"), made_run(store, "b", [{"x": 1}])
    moved = b.key(0, 2).replace("/b/", "/zzz/")
    data = store.get(b.key(0, 2))
    store.put_if_absent(moved, data)
    renamed = a.key(6, 8).replace(a.mark(8), "0" * 16)
    store.put_if_absent(renamed, store.get(a.key(6, 8)))
    store.delete([a.key(6, 8)])
    report = check(store)
    assert set(found(report)["misplaced"]) == {moved, renamed}
    assert "of run 'b' of main/p" in next(one.text for one in report.findings if one.key == moved)


def test_two_histories_are_found(store: MemoryStore) -> None:
    writer = writer_of_three_parts(store)
    twin = MadeWriter(store, writer.ref).begin({"name": "twin"})
    for _ in range(8):
        twin.log({"loss": 2.0})
    twin.put(6, 8)
    assert found(check(store)) == {"two-histories": [writer.prefix]}


def test_a_set_that_lost_a_file_is_found_and_one_without_its_commit_is_a_note(store: MemoryStore) -> None:
    writer = writer_of_three_parts(store)
    keys = writer.merge(0, 8)
    history, commit = (next(key for key in keys if f"/{letter}-" in key) for letter in "hf")
    store.delete([history])
    report = check(store)
    assert found(report) == {"torn": [commit]}
    store.put_if_absent(history, writer_history(store, writer))
    store.delete([commit])
    report = check(store)
    assert found(report) == {"uncommitted": [history]}
    assert report.is_sound


def writer_history(store: MemoryStore, writer: MadeWriter) -> bytes:
    """The h file of frames 0..8 again."""
    other = MemoryStore("fsck-other")
    copy = MadeWriter(other, writer.ref, frames=writer.frames, shipped=9)
    keys = copy.merge(0, 8)
    data = other.get(next(key for key in keys if "/h-" in key))
    forget_memory("fsck-other")
    return data


def test_names_that_mean_nothing_are_told(store: MemoryStore) -> None:
    writer = writer_of_three_parts(store)
    newer = f"{writer.prefix}z-000000000000-000000000001-{'0' * 16}.parquet"
    odd = ["main/p/readme.txt", "main/p/runs/0/r/notes", newer]
    for key in odd:
        store.put_if_absent(key, b"?")
    report = check(store)
    assert sorted(found(report)["unknown"]) == sorted(odd)
    assert report.is_sound


def test_blobs_are_compared_with_their_names_and_with_what_names_them(store: MemoryStore) -> None:
    good, bad, unnamed = (hashlib.sha256(text).hexdigest() for text in (b"good", b"bad", b"unnamed"))
    gone = hashlib.sha256(b"gone").hexdigest()
    for digest, data in ((good, b"good"), (bad, b"BAD"), (unnamed, b"unnamed")):
        store.put_if_absent(f"main/p/blobs/{digest[:2]}/{digest}", data)
    image = '{{"_type": "image-file", "sha256": "{}", "size": 4}}'
    rows = [{"image": JsonText(image.format(digest))} for digest in (good, bad, gone)]
    made_run(store, "r", rows)
    report = check(store)
    assert found(report) == {
        "damaged": [f"main/p/blobs/{bad[:2]}/{bad}"],
        "unnamed-blob": [f"main/p/blobs/{unnamed[:2]}/{unnamed}"],
        "missing-blob": [f"blobs/{gone[:2]}/{gone}"],
    }
    assert found(check_project(store, "main", "p", blobs=False)) == {}


def test_stamps_far_ahead_of_the_stores_clock_are_told(store: MemoryStore) -> None:
    now_us = store_now_us(store)
    made_run(store, "ahead", start_us=now_us + 25 * 3_600_000_000)
    made_run(store, "little", start_us=now_us + 23 * 3_600_000_000)
    report = check(store)
    assert [finding.code for finding in report.findings] == ["clock-ahead"]
    assert "/ahead/" in report.findings[0].key
    assert "25 hours ahead" in report.findings[0].text


def store_now_us(store: MemoryStore) -> int:
    store.put_if_absent("clock", b"x")
    return next(info.modified_us for info in store.list("") if info.key == "clock")


def test_what_changes_during_the_check_is_looked_at_again(store: MemoryStore) -> None:
    writer = writer_of_three_parts(store)
    listing = store.list("main/p/")
    listings = []

    class Merging(MemoryStore):
        """Between the first listing and the first read the writer merges and deletes."""

        def list(self, prefix: str) -> list[fsck.ObjectInfo]:
            found = super().list(prefix)
            if prefix == "main/p/":
                listings.append(found)
                if len(listings) == 1:
                    writer.merge(0, 8)
                    self.delete([info.key for info in listing])
            return found

    assert check(Merging("fsck")).findings == []
    assert len(listings) == 2


def test_a_repair_moves_what_nobody_needs_and_keeps_what_would_leave_a_gap(store: MemoryStore) -> None:
    first, middle = writer_of_three_parts(store, "covered"), writer_of_three_parts(store, "middle")
    last, merged = writer_of_three_parts(store, "last"), writer_of_three_parts(store, "merged")
    first.merge(0, 8)
    replace(store, first.key(3, 5), flip(300))
    replace(store, middle.key(3, 5), flip(300))
    replace(store, last.key(6, 8), flip(300))
    files = merged.merge(0, 8)
    history = next(key for key in files if "/h-" in key)
    replace(store, history, lambda data: data[:-100])
    before = {info.key: store.get(info.key) for info in store.list("main/")}

    dry = check(store)
    repair(store, dry, now_us=T0, dry_run=True)
    assert {info.key: store.get(info.key) for info in store.list("main/")} == before
    report = check(store)
    repair(store, report, now_us=T0, dry_run=False)
    assert report.moved == dry.moved
    assert {old for old, _ in report.moved} == {first.key(3, 5), last.key(6, 8), *files}
    assert [key for key, _ in report.kept] == [middle.key(3, 5)]
    for old, new in report.moved:
        assert new == f"{QUARANTINE}2026-09-21T14-13-20Z/{old}"
        assert store.get(new) == before.pop(old)
    assert {info.key: store.get(info.key) for info in store.list("main/")} == before
    again = check(store)
    assert found(again) == {"damaged": [middle.key(3, 5)], "quarantine": [QUARANTINE]}
    repair(store, again, now_us=T0 + 1_000_000, dry_run=False)
    assert again.moved == []


def test_the_commit_file_leaves_first(store: MemoryStore) -> None:
    """Else a reader between two moves would see a set that lost a file."""
    writer = writer_of_three_parts(store)
    files = writer.merge(0, 8)
    replace(store, next(key for key in files if "/h-" in key), flip(200))
    report = check(store)
    repair(store, report, now_us=T0, dry_run=False)
    letters = [old.rsplit("/", 1)[1][0] for old, _ in report.moved]
    assert letters[0] == "f"
    assert len(letters) == len(files)
    assert check(store).is_sound


def test_a_copy_that_is_not_the_same_deletes_nothing(store: MemoryStore) -> None:
    writer = writer_of_three_parts(store)
    replace(store, writer.key(6, 8), flip(300))
    report = check(store)

    class Forgetful(MemoryStore):
        def put_if_absent(self, key: str, data: bytes) -> None:
            super().put_if_absent(key, data[:-1])

    with pytest.raises(StorageUnavailable, match="Nothing was deleted"):
        repair(Forgetful("fsck"), report, now_us=T0, dry_run=False)
    assert store.get(writer.key(6, 8))


def test_every_code_is_one_that_is_documented(store: MemoryStore) -> None:
    with pytest.raises(KeyError):
        FsckReport("e", "p").add("surprise", "k", "t")
    assert {level for level, _ in FINDINGS.values()} == {"error", "warning", "note"}


def test_a_thing_is_checked_like_a_run_and_in_another_things_folder_it_is_misplaced(store: MemoryStore) -> None:
    thing = ThingWriter(store, "main", "p", "report", "one")
    thing.write([("title", "x")])
    thing.delete()
    made_run(store, "r", [{"a": 1}])
    assert (found(check(store)), check(store).runs) == ({}, 1)
    key = next(info.key for info in store.list("main/p/things/"))
    moved = key.replace("/one/", "/two/")
    store.put_if_absent(moved, store.get(key))
    assert found(check(store)) == {"misplaced": [moved]}
    replace(store, key, flip(200))
    assert found(check(store)) == {"misplaced": [moved], "damaged": [key]}
