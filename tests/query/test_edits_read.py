"""Edits and tombstones from the store to what a reader shows, of one run and of a project alike."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from store_maker import T0, MadeWriter, made_run

from tracker.query.edits import read_edits
from tracker.query.filter_tree import Filter
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter
from tracker.query.readable_parts import StartOver
from tracker.query.runs import find_runs, load_runs, visible_files
from tracker.query.snapshot import Snapshot, open_project
from tracker.storage.cache import PartCache
from tracker.storage.clock import HybridClock, wall_us
from tracker.storage.edits import EditWriter, delete_edit, restore_edit
from tracker.storage.local import LocalStore
from tracker.storage.manifest import Manifest, PurgedRun, publish_manifest
from tracker.storage.names import RunRef, edits_prefix, parse_edit_key
from tracker.storage.schema import PartFooter, read_events, write_events

S = 1_000_000
NOW = T0 + 1_000 * S


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def opened(store: LocalStore, tmp_path: Path) -> Callable[..., Snapshot]:
    def run(run_id: str | None = None, **options: Any) -> Snapshot:
        cache = PartCache(tmp_path / "cache", 1 << 30)
        warn = options.pop("warn", pytest.fail)
        return open_project(store, "main", "p", cache=cache, now_us=NOW, warn=warn, run_id=run_id, **options)

    return run


def editor(store: LocalStore, start_us: int = T0 + 100 * S) -> EditWriter:
    seconds = count()
    return EditWriter(store, "main", "p", clock=HybridClock(), wall=lambda: start_us + next(seconds) * S)


def shown(opened: Callable[..., Snapshot], run_id: str = "r") -> Any:
    """The record of one run, which both forms of the fold agree on; None where there is none."""
    alone, among = (load_runs(snapshot, [run_id]) for snapshot in (opened(run_id), opened()))
    assert [record.live for record in alone] == [record.live for record in among]
    return alone[0] if alone else None


def ids(snapshot: Snapshot, where: Filter | None = None) -> list[str]:
    return find_runs(snapshot, where or parse_filter(None), parse_order("+created_at"))[0]


def test_an_edit_shows_at_once_and_can_be_filtered(store: LocalStore, opened: Callable[..., Snapshot]) -> None:
    for run_id in ("r", "q"):
        made_run(store, run_id, [{"loss": 1.0}], config={"lr": 0.1, "m": {"x": 1}})
    assert shown(opened).config == {"lr": 0.1, "m": {"x": 1}}
    writer = editor(store)
    writer.write([("config", "r", "lr", 0.5), ("config", "r", "m", 3), ("attr", "r", "tags", ["good"])])
    record = shown(opened)
    assert (record.config, record.tags) == ({"lr": 0.5, "m": 3}, ["good"])
    assert ids(opened(), parse_filter({"config.lr": 0.5})) == ["r"]
    assert ids(opened(), parse_filter({"tags": "good"})) == ["r"]
    assert shown(opened, "q").config == {"lr": 0.1, "m": {"x": 1}}
    assert shown(opened).heartbeat_at_us == shown(opened, "q").heartbeat_at_us


def test_an_edited_summary_beats_what_was_logged_before_and_gives_way_to_what_comes_later(
    store: LocalStore, opened: Callable[..., Snapshot]
) -> None:
    run = MadeWriter(store, RunRef("main", "p", "r")).begin()
    run.log({"loss": 1.0}).put()
    made_run(store, "q")
    editor(store, T0 + 10 * S).write([("summary", "r", "loss", 7.0)])
    assert shown(opened).summary["loss"] == 7.0
    run.now_us = T0 + 20 * S
    run.log({"loss": 0.5}).put()
    assert shown(opened).summary["loss"] == 0.5


def test_a_deleted_run_is_in_no_answer_until_it_is_restored(store: LocalStore, opened: Callable[..., Snapshot]) -> None:
    for run_id in ("r", "q"):
        made_run(store, run_id, [{"loss": 1.0}])
    writer = editor(store)
    writer.write(delete_edit("r"))
    assert ids(opened()) == ["q"]
    assert shown(opened) is None
    assert ids(opened("r")) == []
    writer.write(restore_edit("r"))
    assert sorted(ids(opened())) == ["q", "r"]
    assert shown(opened).summary["loss"] == 1.0


def test_history_after_a_deletion_is_that_of_the_new_life(store: LocalStore, opened: Callable[..., Snapshot]) -> None:
    old = MadeWriter(store, RunRef("main", "p", "r"), 1).begin(config={"lr": 1})
    old.log({"loss": 1.0}).end()
    made_run(store, "q")
    editor(store).write(delete_edit("r"))
    new = MadeWriter(store, RunRef("main", "p", "r"), 2, T0 + 200 * S, opens=False).begin()
    new.log({"loss": 9.0}).end()
    record = shown(opened)
    assert (record.config, record.summary["loss"], record.created_at_us) == ({}, 9.0, T0 + 200 * S)
    for snapshot in (opened("r"), opened()):
        assert {part.writer_id for part in visible_files(snapshot, ["r"])[0].parts} == {new.id}


def test_late_files_of_a_deleted_run_stay_hidden(store: LocalStore, opened: Callable[..., Snapshot]) -> None:
    """A rank whose disk was synced a week later, and the opener itself."""
    made_run(store, "q")
    rank = MadeWriter(store, RunRef("main", "p", "r"), 1, opens=False, rank="1").begin()
    rank.log({"loss": 1.0}).put()
    editor(store).write(delete_edit("r"))
    rank.now_us = T0 + 900 * S
    rank.log({"loss": 2.0}).end()
    assert shown(opened) is None
    MadeWriter(store, RunRef("main", "p", "r"), 2, rank="0").begin(config={"lr": 1}).end()
    assert shown(opened) is None
    assert ids(opened()) == ["q"]


def test_a_damaged_edit_is_a_warning_and_the_others_count(store: LocalStore, opened: Callable[..., Snapshot]) -> None:
    made_run(store, "r")
    writer = editor(store)
    for name in ("a", "b", "c"):
        writer.write([("config", "r", name, 1)])
    keys = [info.key for info in store.list(edits_prefix("main", "p"))]
    path = store.local_path(keys[1])
    path.write_bytes(path.read_bytes()[:-20])
    said: list[str] = []
    assert load_runs(opened(warn=said.append), ["r"])[0].config == {"a": 1, "c": 1}
    assert len(said) == 1
    assert keys[1] in said[0]


def test_a_missing_edit_is_an_error_and_never_a_shorter_answer(store: LocalStore, tmp_path: Path) -> None:
    writer = editor(store)
    for name in ("a", "b", "c"):
        writer.write([("config", "r", name, 1)])
    listed = store.list(edits_prefix("main", "p"))
    with pytest.raises(StartOver, match="Frame 1 of the edits"):
        read_edits(store, PartCache(tmp_path / "cache", 1 << 30), [listed[0], listed[2]])


def test_a_merged_file_of_edits_counts_once(store: LocalStore, tmp_path: Path) -> None:
    """Whoever merges an edit writer's files writes one `e` file of the whole range; cut where packs hold the start."""

    writer = editor(store)
    for name in ("a", "b", "c"):
        writer.write([("config", "r", name, 1)])
    listed = store.list(edits_prefix("main", "p"))
    tables = [read_events(store.local_path(info.key), info.key)[1] for info in listed]
    last = parse_edit_key(listed[-1].key)
    assert last is not None
    footer = PartFooter(
        entity="main", project="p", run_id="", writer_id=last.writer_id, family="e", first=0, last=2, mark=last.mark
    )
    key = f"{edits_prefix('main', 'p')}{last.writer_id}/e-{0:012d}-{2:012d}-{last.mark}.parquet"
    store.put_if_absent(key, write_events(pa.concat_tables(tables).unify_dictionaries(), footer))
    cache = PartCache(tmp_path / "cache", 1 << 30)
    listed = store.list(edits_prefix("main", "p"))
    assert read_edits(store, cache, listed).table["key"].to_pylist() == ["a", "b", "c"]
    cut = read_edits(store, cache, listed, {("", last.writer_id): 0})
    assert cut.table["key"].to_pylist() == ["b", "c"]


def test_the_greatest_stamp_that_was_read_is_told_but_for_absurd_ones(
    store: LocalStore, opened: Callable[..., Snapshot]
) -> None:
    """One machine in 2100 must not hide that another one is an hour ahead."""
    now_us = wall_us()
    made_run(store, "r", start_us=now_us + 3_600 * S)
    assert opened().hlc_max_us == opened("r").hlc_max_us > now_us + 3_600 * S
    before = opened().hlc_max_us
    made_run(store, "q", start_us=now_us + 365 * 86_400 * S)
    assert opened().hlc_max_us == before
    assert opened().store_now_us >= now_us - S
    editor(store, now_us + 7_200 * S).write([("config", "r", "lr", 1)])
    assert opened().hlc_max_us == now_us + 7_200 * S + S
    editor(store, now_us + 365 * 86_400 * S).write([("config", "r", "lr", 2)])
    assert opened().hlc_max_us == now_us + 7_200 * S + S


def test_nothing_brings_back_half_of_a_purged_run(store: LocalStore, opened: Callable[..., Snapshot]) -> None:
    """A rank that is synced late, the purged session itself, and a process that it forked after the purge."""
    made_run(store, "q")
    run = MadeWriter(store, RunRef("main", "p", "r"), 1).begin(config={"lr": 1})
    run.log({"loss": 1.0}).put()
    purged = PurgedRun(run_id="r", hlc_us=T0 + 100 * S, writers=(run.id,))
    publish_manifest(store, "main", "p", Manifest(number=0, purged=(purged,)))
    rank = MadeWriter(store, RunRef("main", "p", "r"), 2, T0 + 5 * S, opens=False, rank="1").begin()
    rank.log({"loss": 2.0}).put()
    run.now_us = T0 + 150 * S
    run.log({"loss": 3.0}).put()
    child = MadeWriter(store, RunRef("main", "p", "r"), 3, T0 + 200 * S, opens=False)
    child.begin().facts(("writer", f"{child.id}.parent", run.id)).log({"loss": 4.0}).put()
    assert shown(opened) is None
    assert ids(opened()) == ["q"]
    editor(store, T0 + 300 * S).write([("attr", "r", "name", "back?")])
    assert ids(opened()) == ["q"]
    anew = MadeWriter(store, RunRef("main", "p", "r"), 4, T0 + 400 * S).begin(config={"lr": 2})
    anew.log({"loss": 5.0}).end()
    record = shown(opened)
    assert (record.config, record.summary["loss"], record.generations) == ({"lr": 2}, 5.0, 1)
    for snapshot in (opened("r"), opened()):
        assert {part.writer_id for part in visible_files(snapshot, ["r"])[0].parts} == {anew.id}
