"""The commands that keep a store in order: compact, vacuum, fsck, du, cache, runs delete."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Tracker
from store_maker import made_run

from tracker.storage.format_file import ensure_format
from tracker.storage.names import ENTITY_PROJECT
from tracker.storage.stores import open_store
from tracker.storage.things import ThingWriter

OLD_S = 10 * 24 * 3600.0


@pytest.fixture
def url(local_url: str) -> str:
    """Three finished runs a, b, c of main/p, written ten days ago, and one of main/q."""
    store = open_store(local_url)
    ensure_format(store)
    for name in "abc":
        made_run(store, name, [{"loss": 1 / (n + 1), "acc": n} for n in range(20)], config={"name": name})
    made_run(store, "other", [{"x": 1}], project="q")
    age(local_url)
    return local_url


def age(url: str) -> None:
    """As if all files had been written ten days ago."""
    then = time.time() - OLD_S
    for path in Path(url).rglob("*"):
        os.utime(path, (then, then))


def files(url: str) -> dict[str, bytes]:
    return {str(path.relative_to(url)): path.read_bytes() for path in Path(url).rglob("*") if path.is_file()}


def loose(url: str) -> list[str]:
    return sorted(name for name in files(url) if "/runs/" in name)


def of_json(done: Done) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)


def spoil(url: str, name: str) -> Path:
    """Cut a part of run `name` short."""
    path = Path(url, next(one for one in loose(url) if f"/{name}/" in one))
    path.write_bytes(path.read_bytes()[:-20])
    return path


def test_compacting_packs_and_a_later_one_deletes_what_packs_cover(tracker: Tracker, url: str) -> None:
    asked = ("runs", "list", url, "-p", "p", "--format", "json")
    before, answer = files(url), tracker(*asked).out
    dry = of_json(tracker("compact", url, "--dry-run", "--json"))
    assert [(one["project"], one["dry_run"], one["packed_writers"]) for one in dry] == [("p", True, 3), ("q", True, 1)]
    assert files(url) == before
    done = tracker("compact", url)
    assert done.code == 0, done.err
    assert "main/p: 3 loose files" in done.out
    assert "packed 3 writers into 1 pack" in done.out
    assert loose(url) == sorted(name for name in before if "/runs/" in name)
    assert tracker(*asked).out == answer
    age(url)
    (report,) = of_json(tracker("compact", url, "-p", "p", "--json"))
    assert report["deleted_objects"] == 3
    assert [name for name in loose(url) if "main/p/" in name] == []
    assert tracker(*asked).out == answer
    assert tracker("fsck", url).code == 0


def test_vacuum_says_what_it_would_delete_and_deletes_it(tracker: Tracker, url: str) -> None:
    assert tracker("compact", url, "-p", "p").code == 0
    age(url)
    before = files(url)
    (dry,) = of_json(tracker("vacuum", url, "-p", "p", "--dry-run", "--json"))
    assert (dry["loose_objects"], dry["dry_run"]) == (3, True)
    assert files(url) == before
    done = tracker("vacuum", url, "-p", "p")
    assert "deleted 3 files that packs or merged files cover" in done.out
    assert [name for name in loose(url) if "main/p/" in name] == []
    assert "nothing to delete" in tracker("vacuum", url, "-p", "q").out
    assert tracker("vacuum", url, "--grace", "-1").code == 2


def test_compacting_one_run_or_what_finished_just_now(tracker: Tracker, local_url: str) -> None:
    store = open_store(local_url)
    ensure_format(store)
    made_run(store, "a", [{"x": 1}])
    made_run(store, "b", [{"x": 1}])
    assert "nothing to do" in tracker("compact", local_url).out
    (report,) = of_json(tracker("compact", local_url, "--run", "a", "--finished-for", "0", "--json"))
    assert report["packed_writers"] == 1


def test_a_sound_store_is_said_to_be_sound(tracker: Tracker, url: str) -> None:
    done = tracker("fsck", url)
    assert done.code == 0
    assert done.out.count("  sound") == 2
    assert done.err == ""
    reports = of_json(tracker("fsck", url, "--json", "-p", "p"))
    assert [(one["sound"], one["runs"], one["findings"]) for one in reports] == [(True, 3, [])]


def test_damage_is_named_and_a_repair_moves_it_aside(tracker: Tracker, url: str) -> None:
    path = spoil(url, "b")
    key = str(path.relative_to(url))
    done = tracker("fsck", url)
    assert done.code == 5
    assert f"error    damaged        {key}" in done.out
    assert "error[corrupt-data]: 1 thing that was written is damaged or missing" in done.err
    assert "tracker fsck --repair" in done.err
    before = files(url)
    dry = tracker("fsck", url, "--repair", "--dry-run")
    assert (dry.code, files(url)) == (5, before)
    assert f"would move  {key}" in dry.out
    repaired = tracker("fsck", url, "--repair")
    assert repaired.code == 0
    assert "1 object moved to _quarantine/" in repaired.err
    after = files(url)
    (moved,) = after.keys() - before.keys()
    assert moved.startswith("_quarantine/")
    assert moved.endswith(f"/{key}")
    assert sorted(after.values()) == sorted(before.values())
    again = tracker("fsck", url, "--json", "-p", "p")
    assert [one["code"] for one in of_json(again)[0]["findings"]] == ["quarantine"]
    listed = tracker("runs", "list", url, "-p", "p", "--format", "jsonl")
    assert [record["id"] for record in listed.records()] == ["a", "c"]
    assert listed.err == ""


def test_fsck_with_json_says_all_and_still_ends_with_5(tracker: Tracker, url: str) -> None:
    spoil(url, "b")
    done = tracker("fsck", url, "--json")
    assert done.code == 5
    first, second = json.loads(done.out)
    assert (first["project"], first["sound"], second["sound"]) == ("p", False, True)
    assert first["findings"][0]["level"] == "error"


def test_a_dry_run_belongs_to_a_repair(tracker: Tracker, url: str) -> None:
    done = tracker("fsck", url, "--dry-run")
    assert done.code == 2
    assert "--dry-run belongs to --repair" in done.err


def test_du_counts_by_project_family_and_run(tracker: Tracker, url: str) -> None:
    shown = of_json(tracker("du", url, "--json"))
    total = sum(len(data) for data in files(url).values())
    assert (shown["objects"], shown["size_bytes"]) == (len(files(url)), total)
    assert [one["project"] for one in shown["projects"]] == ["p", "q"]
    text = tracker("du", url).out
    assert text.splitlines()[0].split() == ["project", "objects", "size", "loose", "packs", "other"]
    assert f"{len(files(url))} objects" in text
    assert "e (everything)" in tracker("du", url, "--by", "family").out
    runs = of_json(tracker("du", url, "--by", "run", "--json", "-n", "3"))["runs"]
    assert sorted(one["run"] for one in runs) == ["a", "b", "c"]
    one = tracker("du", url, "--by", "run", "-n", "1")
    assert "3 smaller ones are not shown" in one.err
    assert of_json(tracker("du", url, "-p", "q", "--json"))["projects"][0]["project"] == "q"
    assert tracker("du", url, "--by", "colour").code == 2
    assert tracker("du", url, "-p", "nope").code == 3


def test_du_shares_packs_among_their_runs(tracker: Tracker, url: str) -> None:
    assert tracker("compact", url, "-p", "p").code == 0
    age(url)
    assert tracker("vacuum", url, "-p", "p").code == 0
    shown = of_json(tracker("du", url, "-p", "p", "--by", "run", "--json"))
    assert [one["loose_objects"] for one in shown["runs"]] == [0, 0, 0]
    assert all(one["packed_bytes"] > 0 for one in shown["runs"])
    assert sum(one["packed_bytes"] for one in shown["runs"]) <= shown["projects"][0]["areas"]["packs"]["size_bytes"]


def test_the_cache_is_shown_bounded_and_emptied(
    tracker: Tracker, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_run(s3_url, "r", [{"x": 1}])
    assert of_json(tracker("cache", "--json"))["size_bytes"] == 0
    assert tracker("query", s3_url).code == 0
    shown = of_json(tracker("cache", "--json"))
    assert [root["url"] for root in shown["roots"]] == [s3_url]
    assert shown["size_bytes"] > 0
    assert s3_url in tracker("cache").out
    dry = tracker("cache", "--clear", "--dry-run")
    assert "would delete" in dry.err
    assert of_json(tracker("cache", "--json"))["size_bytes"] == shown["size_bytes"]
    assert tracker("cache", "--limit", "1MiB", "--dry-run").code == 0
    assert of_json(tracker("cache", "--json"))["limit_bytes"] == 8 << 30
    assert "limit      1 MiB" in tracker("cache", "--limit", "1MiB").out
    assert of_json(tracker("cache", "--json"))["limit_bytes"] == 1 << 20
    monkeypatch.setenv("TRACKER_CACHE_LIMIT", "2MiB")
    assert "wins over" in tracker("cache", "--limit", "3MiB").err
    assert "deleted" in tracker("cache", "--clear").err
    assert of_json(tracker("cache", "--json"))["roots"] == []
    assert tracker("cache", "--limit", "lots").code == 2


def ids(tracker: Tracker, url: str) -> list[str]:
    done = tracker("runs", "list", url, "-p", "p", "--format", "jsonl")
    return [record["id"] for record in done.records()]


def test_runs_are_hidden_and_shown_again(tracker: Tracker, url: str) -> None:
    before = files(url)
    dry = tracker("runs", "delete", "a", "b", "--url", url, "-p", "p", "--dry-run")
    assert (dry.code, dry.out.split(), files(url)) == (0, ["a", "b"], before)
    done = of_json(tracker("runs", "delete", "a", "b", "--url", url, "-p", "p", "--json"))
    assert (done["runs"], done["purged"]) == (["a", "b"], False)
    assert ids(tracker, url) == ["c"]
    assert before.items() <= files(url).items()
    assert tracker("fsck", url).code == 0
    restored = tracker("runs", "restore", "a", "--url", url, "-p", "p")
    assert restored.code == 0
    assert ids(tracker, url) == ["a", "c"]


def test_runs_are_chosen_by_a_filter(tracker: Tracker, url: str) -> None:
    where = '{"config.name": {"$in": ["a", "c"]}}'
    done = tracker("runs", "delete", "--filter", where, "--url", url, "-p", "p")
    assert done.code == 0, done.err
    assert ids(tracker, url) == ["b"]
    assert "No run of main/p matches" in tracker("runs", "delete", "-f", where, "--url", url, "-p", "p").err


def test_a_run_that_is_not_there_deletes_none(tracker: Tracker, url: str) -> None:
    done = tracker("runs", "delete", "a", "nope", "--url", url, "-p", "p")
    assert done.code == 3
    assert "nope" in done.err
    assert ids(tracker, url) == ["a", "b", "c"]
    assert tracker("runs", "delete", "--url", url, "-p", "p").code == 2
    assert tracker("runs", "delete", "a", "-f", "{}", "--url", url, "-p", "p").code == 2


def test_a_purge_needs_a_yes_and_removes_for_good(tracker: Tracker, url: str) -> None:
    before = files(url)
    done = tracker("runs", "delete", "a", "--purge", "--url", url, "-p", "p")
    assert done.code == 2
    assert "Add --yes" in done.err
    dry = of_json(tracker("runs", "delete", "a", "--purge", "--dry-run", "--json", "--url", url, "-p", "p"))
    assert (dry["purged"], dry["waiting_objects"], files(url)) == (False, 1, before)
    done = tracker("runs", "delete", "a", "--purge", "--yes", "--url", url, "-p", "p")
    assert done.code == 0, done.err
    assert ids(tracker, url) == ["b", "c"]
    notes = of_json(tracker("fsck", url, "-p", "p", "--json"))[0]["findings"]
    assert [one["code"] for one in notes] == ["purged"]
    age(url)
    assert tracker("vacuum", url, "-p", "p").code == 0
    assert not any("/a/" in name for name in files(url))
    assert tracker("fsck", url, "-p", "p").out.endswith("  sound\n")
    assert tracker("runs", "delete", "nope", "--purge", "--yes", "--url", url, "-p", "p").code == 3


def test_a_bucket_is_checked_repaired_and_measured_alike(tracker: Tracker, s3_url: str) -> None:
    store = open_store(s3_url)
    ensure_format(store)
    for name in "ab":
        made_run(store, name, [{"x": n} for n in range(5)])
    key = next(info.key for info in store.list("main/p/runs/") if "/b/" in info.key)
    data = store.get(key)
    store.delete([key])
    store.put_if_absent(key, data[:-20])
    assert tracker("fsck", s3_url).code == 5
    assert tracker("fsck", s3_url, "--repair").code == 0
    (moved,) = [info.key for info in store.list("_quarantine/")]
    assert store.get(moved) == data[:-20]
    assert tracker("fsck", s3_url).code == 0
    assert ids(tracker, s3_url) == ["a"]
    assert of_json(tracker("du", s3_url, "--json"))["elsewhere"]["objects"] == 2
    (report,) = of_json(tracker("compact", s3_url, "--finished-for", "0", "--json"))
    assert report["packed_writers"] == 1
    assert ids(tracker, s3_url) == ["a"]


def test_the_things_of_an_entity_are_cared_for_with_the_rest(tracker: Tracker, url: str) -> None:
    """A user's record is changed five times; the project it stands in is no project of runs."""
    user = ThingWriter(open_store(url), "main", ENTITY_PROJECT, "user", "ann")
    for n in range(5):
        user.write([("username", f"ann{n}")])
    age(url)
    reports = of_json(tracker("fsck", url, "--json"))
    assert [(one["project"], one["sound"], one["runs"]) for one in reports] == [
        (ENTITY_PROJECT, True, 0),
        ("p", True, 3),
        ("q", True, 1),
    ]
    assert tracker("compact", url).code == 0
    age(url)
    assert tracker("compact", url).code == 0
    assert len([name for name in files(url) if "/things/" in name]) == 1
    (usage,) = [one for one in of_json(tracker("du", url, "--json"))["projects"] if one["project"] == ENTITY_PROJECT]
    assert usage["areas"]["things"]["objects"] == 1
    assert "has 2 projects: main/p, main/q." in tracker("runs", "list", url).err
