"""Edits: durable when written, numbered without a hole, safe to repeat, one identity a process."""

from __future__ import annotations

import io
import os
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from pack_world import HOUR_US, compact, make_world

from tracker.storage.choose import choose_files
from tracker.storage.clock import HybridClock
from tracker.storage.edits import EditWriter, delete_edit, edit_writer, restore_edit
from tracker.storage.errors import CredentialsMissing, StorageUnavailable, UsageError
from tracker.storage.events import DELETED, KIND_ATTR, decode_cell
from tracker.storage.memory import MemoryStore
from tracker.storage.names import edits_prefix, parse_edit_key
from tracker.storage.schema import read_events

NOW = 1_790_000_000_000_000


class Flaky(MemoryStore):
    """Refuses as often as told; `lost` more times it does what is asked, and the reply is lost."""

    refused, lost, credentials = 0, 0, False

    def put_if_absent(self, key: str, data: bytes) -> None:
        if self.credentials:
            raise CredentialsMissing("who are you?")
        if self.refused > 0:
            self.refused -= 1
            raise StorageUnavailable("not now")
        super().put_if_absent(key, data)
        if self.lost > 0:
            self.lost -= 1
            raise StorageUnavailable("what did you say?")


@pytest.fixture
def store() -> Flaky:
    return Flaky(uuid.uuid4().hex)


def writer_of(store: Flaky, clock: HybridClock | None = None) -> EditWriter:
    seconds = count()
    return EditWriter(
        store,
        "main",
        "p",
        clock=clock or HybridClock(),
        wall=lambda: NOW,
        sleep=lambda _: None,
        monotonic_s=lambda: float(next(seconds)),
    )


def stored(store: Any) -> list[tuple[str, int, str, str, str, Any]]:
    """(writer, seq, kind, subject, path, value) of all edits, through the choice of files."""
    return [one for one in said(store) if one[3] is not None]


def said(store: Any) -> list[tuple[str, int, str, Any, str, Any]]:
    """The same with what writers say of themselves, which has no subject."""
    found = []
    listed = {parse_edit_key(info.key): info.key for info in store.list(edits_prefix("main", "p"))}
    choice = choose_files(name for name in listed if name is not None)
    assert not choice.holes
    assert not choice.divergences
    for pick in choice.picks:
        footer, events = read_events(io.BytesIO(store.get(listed[pick.parts[0]])), "edit")
        assert (footer.run_id, footer.writer_id) == ("", pick.parts[0].writer_id)
        for row in events.to_pylist():
            value = decode_cell(row["t"], row["v"], row["i"], row["s"])
            found.append((footer.writer_id, row["seq"], row["kind"], row["subject"], row["key"], value))
    return sorted(found, key=lambda one: (*one[:3], one[3] or "", one[4]))


def test_what_is_written_is_in_the_store_and_names_its_run(store: Flaky) -> None:
    writer = writer_of(store)
    stamp = writer.write([(KIND_ATTR, "r1", "tags", ["x"]), ("config", "r2", "a.b", 2**70)])
    later = writer.write([(KIND_ATTR, "r1", "notes", None)])
    assert NOW == stamp < later
    one = writer.writer_id
    assert stored(store) == [
        (one, 0, KIND_ATTR, "r1", "tags", ["x"]),
        (one, 0, "config", "r2", "a.b", 2**70),
        (one, 1, KIND_ATTR, "r1", "notes", None),
    ]


def test_the_first_frame_says_who_edits_once(store: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_USERNAME", "ada")
    writer = writer_of(store)
    for name in ("x", "y"):
        writer.write([(KIND_ATTR, "r1", "name", name)])
    one = writer.writer_id
    assert [found for found in said(store) if found[3] is None] == [
        (one, 0, "writer", None, f"{one}.host", socket.gethostname()),
        (one, 0, "writer", None, f"{one}.pid", os.getpid()),
        (one, 0, "writer", None, f"{one}.user", "ada"),
    ]


def test_an_edit_of_a_run_is_a_file_of_the_project_and_of_no_run(store: Flaky) -> None:
    writer_of(store).write([(KIND_ATTR, "r1", "name", "x")])
    (key,) = (info.key for info in store.list(""))
    assert key.startswith("main/p/things/edits/")


def test_of_two_edits_of_one_path_the_later_counts(store: Flaky) -> None:
    writer = writer_of(store)
    writer.write([(KIND_ATTR, "r1", "name", "a"), (KIND_ATTR, "r1", "name", "b"), (KIND_ATTR, "r2", "name", "c")])
    assert [(subject, value) for _, _, _, subject, _, value in stored(store)] == [("r1", "b"), ("r2", "c")]


def test_nothing_to_write_puts_nothing_and_an_edit_needs_a_run(store: Flaky) -> None:
    writer_of(store).write([])
    with pytest.raises(UsageError, match="id of a run"):
        writer_of(store).write([(KIND_ATTR, "", "name", "x")])
    with pytest.raises(TypeError):
        writer_of(store).write([(KIND_ATTR, "r", "name", object())])
    assert store.list("") == []


@pytest.mark.parametrize(("refused", "lost"), [(3, 0), (0, 3)])
def test_a_store_that_does_not_answer_is_asked_again_and_the_edit_is_there_once(
    store: Flaky, refused: int, lost: int
) -> None:
    store.refused, store.lost = refused, lost
    writer = writer_of(store)
    writer.write([(KIND_ATTR, "r1", "name", "x")])
    assert len(stored(store)) == 1


@pytest.mark.parametrize("lost", [False, True])
def test_after_a_failure_nothing_follows_under_the_same_identity(store: Flaky, lost: bool) -> None:
    """The failed frame may be there or not: behind it there would be a hole, or an edit that was never acknowledged."""
    writer = writer_of(store)
    writer.write([(KIND_ATTR, "r1", "name", "first")])
    before = writer.writer_id
    setattr(store, "lost" if lost else "refused", 1_000)
    with pytest.raises(StorageUnavailable):
        writer.write([(KIND_ATTR, "r1", "name", "failed")], patience_s=5)
    store.lost = store.refused = 0
    writer.write([(KIND_ATTR, "r1", "name", "third")])
    assert writer.writer_id != before
    assert sorted(value for *_, value in stored(store)) == (
        ["failed", "first", "third"] if lost else ["first", "third"]
    )


def test_a_store_that_refuses_us_is_not_asked_again(store: Flaky) -> None:
    store.credentials = True
    with pytest.raises(CredentialsMissing):
        writer_of(store).write([(KIND_ATTR, "r1", "name", "x")])


def test_an_edit_is_later_than_all_that_the_process_has_seen(store: Flaky) -> None:
    clock = HybridClock(NOW + 3_600_000_000, wall=lambda: NOW)
    assert writer_of(store, clock).write([(KIND_ATTR, "r1", "name", "x")]) == NOW + 3_600_000_001


def test_threads_share_one_sequence(store: Flaky) -> None:
    writer = writer_of(store)
    with ThreadPoolExecutor(8) as pool:
        stamps = list(pool.map(lambda n: writer.write([(KIND_ATTR, f"r{n}", "name", n)]), range(40)))
    assert len(set(stamps)) == 40
    found = stored(store)
    assert [seq for _, seq, *_ in found] == list(range(40))
    assert {writer_id for writer_id, *_ in found} == {writer.writer_id}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_has_an_identity_of_its_own(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by the process id: no real fork beside the threads of a test run."""
    store = Flaky(uuid.uuid4().hex)
    writer = writer_of(store)
    writer.write([(KIND_ATTR, "r1", "name", "parent")])
    parent = writer.writer_id
    real = os.getpid()
    monkeypatch.setattr("tracker.storage.fact_writer.os.getpid", lambda: real + 1)
    writer.write([(KIND_ATTR, "r1", "name", "child")])
    assert writer.writer_id != parent
    assert {(writer_id == parent, seq) for writer_id, seq, *_ in stored(store)} == {(True, 0), (False, 0)}


def test_a_process_has_one_writer_a_project(store: Flaky) -> None:
    assert edit_writer(store, "main", "p") is edit_writer(store, "main", "p")
    assert edit_writer(store, "main", "p") is not edit_writer(store, "main", "q")
    assert edit_writer(store, "main", "p") is not edit_writer(Flaky(uuid.uuid4().hex), "main", "p")


def test_deleting_and_restoring_are_edits(store: Flaky) -> None:
    writer = writer_of(store)
    writer.write(delete_edit("r1", ["w1"]))
    writer.write(restore_edit("r1"))
    assert [(kind, path, value) for _, _, kind, _, path, value in stored(store)] == [
        ("tombstone", "deleted", True),
        ("tombstone", "deleted.w1", True),
        ("tombstone", "deleted", DELETED),
    ]


@pytest.mark.parametrize("packs", [True, False])
def test_compaction_leaves_one_file_a_silent_process_and_every_edit(packs: bool) -> None:
    world, _ = make_world(1)
    if not packs:
        world.objects["_format.json"] = (b'{"format": 1}', world.now_us)
    for edits in (5, 1, 40):
        writer = EditWriter(world, "main", "p", clock=HybridClock(), wall=lambda: world.now_us)
        for n in range(edits):
            writer.write([(KIND_ATTR, f"r{n}", "name", n)])
            world.now_us += 1_000_000
    before = stored(world)
    compact(world)
    assert stored(world) == before
    assert len(world.keys("things")) == 46, "nobody was silent for long enough"
    for _ in range(3):
        world.now_us += 2 * HOUR_US
        compact(world)
        assert stored(world) == before
    assert len(world.keys("things")) == 3
    assert len(before) == 46
