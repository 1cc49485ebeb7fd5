"""What happened to a run, told from facts: loose and packed, deleted, of several lives and writers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_maker import T0, MadeWriter

from tracker.query.cells import MISSING
from tracker.query.event_kinds import EVENT_KINDS, SHOWN_KINDS, check_kinds
from tracker.query.known_values import KnownValues
from tracker.query.run_events import RunEvent, run_events
from tracker.query.snapshot import open_project
from tracker.storage.cache import PartCache
from tracker.storage.clock import HybridClock
from tracker.storage.edits import EditWriter, delete_edit, restore_edit
from tracker.storage.errors import UsageError
from tracker.storage.events import DELETED, Fact, JsonText, path_text
from tracker.storage.fold import fold_facts
from tracker.storage.format_file import ensure_format
from tracker.storage.names import RunRef
from tracker.storage.packing import compact_project
from tracker.storage.port import Store
from tracker.storage.stops import request_stop
from tracker.storage.stores import open_store

S = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = open_store(str(tmp_path / "store"))
    ensure_format(made)
    return made


def writer_of(store: Store, number: int = 0, start_us: int = T0, **more: Any) -> MadeWriter:
    return MadeWriter(store, RunRef("main", "p", "r"), number, start_us, **more)


def editor(store: Store, at_us: int, user: str, monkeypatch: pytest.MonkeyPatch) -> EditWriter:
    monkeypatch.setenv("TRACKER_USERNAME", user)
    return EditWriter(store, "main", "p", clock=HybridClock(), wall=lambda: at_us)


def events(store: Store, *kinds: str, now_us: int = T0 + 10**9, **more: Any) -> list[RunEvent]:
    cache = PartCache(Path(store.url) / "cache")
    as_of_us = more.pop("as_of_us", None)
    snapshot = open_project(
        store, "main", "p", cache=cache, now_us=now_us, warn=pytest.fail, run_id="r", as_of_us=as_of_us
    )
    return list(run_events(snapshot, "r", check_kinds(kinds or None), **more))


def told(found: list[RunEvent]) -> list[tuple[str, str]]:
    return [(event.kind, event.text) for event in found]


def test_a_session_from_its_beginning_to_its_end(store: Store) -> None:
    writer = writer_of(store, rank="3").begin({"name": "x", "tags": ["a"]}, {"lr": 0.1, "opt": {"name": "adam"}})
    writer.facts(("writer", f"{writer.id}.host", "node7"), ("writer", f"{writer.id}.user", "ada"))
    writer.log({"loss": 1.0}).facts(("config", "lr", 0.2), ("summary", "best", 1))
    writer.facts(("alert", "01a", JsonText('{"title": "hot", "text": "t", "level": "WARN", "time": 1}')))
    file = JsonText('{"_type": "file", "sha256": "ab", "size": 3, "mtime_us": 0, "policy": "now"}')
    writer.facts(("file", "model\\.pt", file), ("metric", "loss", JsonText('{"summary": ["min"]}')))
    writer.facts(("writer", f"{writer.id}.heartbeat", 1)).end("failed", 3)
    assert told(events(store)) == [
        ("started", "began (rank 3)"),
        ("fields", "set fields name, tags"),
        ("config", "set config lr, opt.name"),
        ("state", "is changed"),
        ("config", "set config lr"),
        ("summary", "set summary best"),
        ("alert", "WARN: hot"),
        ("metric", "set metrics loss"),
        ("file", "set files model.pt"),
        ("ended", "ended as failed, exit code 3"),
    ]
    (first, second) = events(store, "config")
    assert [change.to_dict() for change in second.changes] == [
        {"path": "lr", "change": "changed", "a": 0.1, "b": 0.2}
    ]
    assert (first.by, first.writer, first.host, first.user, first.life) == ("run", writer.id, "node7", "ada", writer.id)
    assert first.to_dict()["time"] == "2026-09-21T14:13:21.000000Z"
    (kept,) = events(store, "file")
    assert kept.changes[0].b == {"sha256": "ab", "size": 3}
    assert told(events(store, "rows", "heartbeat")) == [
        ("heartbeat", "is alive"),
        ("rows", "logged 1 rows, steps 0 to 0"),
    ]


def test_edits_name_who_made_them_and_a_deleted_run_still_tells(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writer_of(store).begin({"name": "x", "notes": "n"}).end()
    ada = editor(store, T0 + 100 * S, "ada", monkeypatch)
    ada.write([("attr", "r", "name", "y"), ("attr", "r", "notes", DELETED), ("attr", "other", "name", "z")])
    bob = editor(store, T0 + 200 * S, "bob", monkeypatch)
    bob.write(delete_edit("r"))
    found = events(store, "fields", "deleted", "restored")[1:]
    assert [(event.kind, event.by, event.user) for event in found] == [
        ("fields", "edit", "ada"),
        ("deleted", "edit", "bob"),
    ]
    assert [change.to_dict() for change in found[0].changes] == [
        {"path": "name", "change": "changed", "a": "x", "b": "y"},
        {"path": "notes", "change": "removed", "a": "n"},
    ]
    assert all(event.host for event in found)
    bob.write(restore_edit("r"))
    assert told(events(store))[-1] == ("restored", "restored the run")
    assert told(events(store, "deleted", as_of_us=T0 + 150 * S)) == []


def test_what_stays_as_it_was_is_no_event(store: Store) -> None:
    writer = writer_of(store).begin(config={"lr": 0.1, "n": 1})
    writer.facts(("config", "lr", 0.1)).facts(("config", "n", 1.0)).end()
    assert [[change.path for change in event.changes] for event in events(store, "config")] == [["lr", "n"], ["n"]]


def test_lives_and_writers_are_told_apart(store: Store) -> None:
    first = writer_of(store, 0, rank="0").begin(config={"lr": 1})
    joined = writer_of(store, 1, T0 + 500_000, opens=False, rank="1").begin()
    for writer in (first, joined):
        writer.log({"loss": 1.0}).log({"loss": 2.0}).end()
    again = writer_of(store, 2, T0 + 60 * S).branch(first, 0, {first.id: 2})
    again.facts(("config", "lr", 1)).end()
    found = events(store, "started", "forked", "config")
    assert [(event.kind, event.text, event.life) for event in found] == [
        ("started", "began (rank 0)", first.id),
        ("config", "set config lr", first.id),
        ("started", "joined (rank 1)", first.id),
        ("started", "began", again.id),
        ("forked", "rewound to step 0", again.id),
        ("config", "set config lr", again.id),
    ]


def test_who_falls_silent_and_who_was_asked_to_stop(store: Store) -> None:
    writer = writer_of(store).begin().log({"n": 1}).put()
    request_stop(store, "main", "p", writer.id, by="eve on vm", now_us=T0 + 50 * S)
    alive = events(store, "silent", "stop", now_us=T0 + 10 * S)
    assert told(alive) == [("stop", "was asked to stop by eve on vm")]
    assert alive[0].time_us == T0 + 50 * S
    silent = events(store, "silent", "stop")
    assert [event.kind for event in silent] == ["silent", "stop"]
    assert silent[0].by == "reader"


def test_packed_runs_tell_the_same_without_reading_a_point(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = writer_of(store).begin({"name": "x"}, {"lr": 0.1})
    for n in range(5):
        writer.log({"loss": float(n)}).facts(("config", "lr", n + 0.5), ("summary", "best", n))
    writer.end()
    editor(store, T0 + 100 * S, "ada", monkeypatch).write([("attr", "r", "name", "y")])
    loose = events(store, *SHOWN_KINDS)
    assert len(loose) == 3 + 2 * 5 + 1 + 1
    compact_project(store, "main", "p", now_us=T0 + 10**12, quiet_s=0, finished_quiet_s=0, grace_s=0)
    monkeypatch.setattr("tracker.query.point_reader._read", pytest.fail)
    assert events(store, *SHOWN_KINDS) == loose


def test_packed_runs_tell_of_the_past_as_loose_ones_do(store: Store) -> None:
    writer = writer_of(store).begin({"name": "x"}, {"lr": 0})
    for n in range(1, 6):
        writer.log({"loss": float(n)}).facts(("config", "lr", n))
    writer.end()
    moments = [T0 + seconds * S for seconds in (2, 5, 8, 30)]
    loose = [events(store, "config", "fields", "started", "ended", as_of_us=moment) for moment in moments]
    assert [len(found) for found in loose] == [3, 5, 6, 9]
    compact_project(store, "main", "p", now_us=T0 + 10**12, quiet_s=0, finished_quiet_s=0, grace_s=0)
    packed = [events(store, "config", "fields", "started", "ended", as_of_us=moment) for moment in moments]
    assert packed == loose


def test_a_log_asks_little_of_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the project holds: the run, edits, manifests; then requests to stop, and edits for who made them."""
    writer_of(store).begin().end()
    for n in range(20):
        MadeWriter(store, RunRef("main", "p", f"other{n}"), n + 1).begin().end()
    editor(store, T0 + 100 * S, "ada", monkeypatch).write([("attr", "r", "name", "y")])
    asked: list[str] = []
    listed = type(store).list
    monkeypatch.setattr(type(store), "list", lambda self, prefix: asked.append(prefix) or listed(self, prefix))
    assert events(store)[-1].user == "ada"
    assert len(asked) == 5
    assert not any(prefix.rstrip("/").endswith("/runs") for prefix in asked)


def test_times_bound_what_is_told_and_before_is_known_all_the_same(store: Store) -> None:
    writer = writer_of(store).begin(config={"lr": 0})
    for n in range(1, 4):
        writer.facts(("config", "lr", n))
    writer.end()
    (event,) = events(store, "config", since_us=T0 + 3 * S, until_us=T0 + 4 * S)
    assert [change.to_dict() for change in event.changes] == [{"path": "lr", "change": "changed", "a": 1, "b": 2}]


def test_an_unknown_kind_is_refused_and_facts_of_a_newer_release_are_told(store: Store) -> None:
    with pytest.raises(UsageError, match="'confg'"):
        check_kinds(["confg"])
    assert check_kinds("rows") == {"rows"}
    writer_of(store).begin(extra=[("banner", "x", 1)]).end()
    assert ("banner", "set banner x") in told(events(store))
    assert set(SHOWN_KINDS) < set(EVENT_KINDS)


paths = st.sampled_from(["a", "a.b", "a.b.c", "a.d", "b", "x\\.y"])
frames = st.lists(
    st.dictionaries(paths, st.one_of(st.integers(0, 2), st.just(DELETED)), min_size=1, max_size=3), max_size=12
)


@settings(deadline=None)
@given(frames=frames)
def test_changes_frame_after_frame_come_to_what_the_fold_says(frames: list[dict[str, Any]]) -> None:
    known, state = KnownValues(), dict[str, Any]()
    written: list[Any] = []
    for n, frame in enumerate(frames):
        for change in known.apply(frame):
            assert state.pop(change.path, MISSING) == change.a
            if change.b is not MISSING:
                state[change.path] = change.b
        written += [
            ((0, n, "w", n), Fact(kind="config", subject="r", path=path, value=value, hlc_us=n, writer_id="w", seq=n))
            for path, value in frame.items()
        ]
    live = fold_facts(written).get("config", {})
    assert known.apply({}) == []
    assert dict(known.values) == dict(live)
    assert set(state) == {path_text(path) for path in live}
