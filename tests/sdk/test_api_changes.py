"""What is changed on a public Run and not stored yet stays, whatever else is stored. Rules RUN-4, RUN-8, RUN-15."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from store_maker import made_run

from tracker.apis.public import Api, Run
from tracker.apis.public.three_ways import alike, as_tags, copy_tree, merge_into, merge_tags
from tracker.errors import CommError
from tracker.storage.events import KIND_ATTR
from tracker.storage.local import LocalStore


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    made_run(
        url,
        "r",
        [{"loss": 1.0}],
        config={"lr": 0.1, "opt": {"name": "adam", "eps": 1e-8}},
        attrs={"name": "cat", "notes": "n", "tags": ["x"], "group": "g", "job_type": "j"},
    )
    return Api().run("p/r")


def test_a_config_that_was_taken_once_is_stored_at_each_update(run: Run) -> None:
    config, optimizer, tags = run.config, run.config["opt"], run.tags
    config["a"] = 1
    run.update()
    optimizer["name"] = "sgd"
    config["b"] = 2
    tags.append("y")
    run.update()
    assert run.config is config
    assert run.tags is tags
    fresh = Api().run("p/r")
    assert fresh.config == {"lr": 0.1, "opt": {"name": "sgd", "eps": 1e-8}, "a": 1, "b": 2} == config
    assert fresh.tags == ["x", "y"]


def test_storing_the_summary_keeps_the_other_changes_for_update(run: Run) -> None:
    """RUN-4, RUN-8."""
    run.name, run.config["a"] = "dog", 1
    run.tags.append("y")
    run.summary.update({"best": 0.5})
    stored = Api().run("p/r")
    assert (stored.name, stored.config.get("a"), stored.tags, stored.summary["best"]) == ("cat", None, ["x"], 0.5)
    run.update()
    stored = Api().run("p/r")
    assert (stored.name, stored.config["a"], stored.tags, stored.summary["best"]) == ("dog", 1, ["x", "y"], 0.5)


def test_uploading_a_file_keeps_the_changes_for_update(run: Run, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    run.notes, run.summary["best"] = "later", 0.25
    run.upload_file(str(tmp_path / "note.txt"), str(tmp_path))
    assert (run.notes, run.summary["best"]) == ("later", 0.25)
    run.update()
    stored = Api().run("p/r")
    assert (stored.notes, stored.summary["best"]) == ("later", 0.25)


def test_after_an_update_the_run_shows_what_others_stored_too(run: Run) -> None:
    other = Api().run("p/r")
    other.config["theirs"], other.group, other.summary["theirs"] = 1, "h", {"a": 1}
    del other.config["lr"]
    other.update()
    run.config["mine"], run.summary["mine"] = 2, 2
    run.update()
    assert (run.config, run.group) == ({"opt": {"name": "adam", "eps": 1e-8}, "theirs": 1, "mine": 2}, "h")
    assert (run.summary["theirs"]["a"], run.summary["mine"], run.summary["loss"]) == (1, 2, 1.0)


def test_load_drops_what_was_not_stored(run: Run) -> None:
    """RUN-15."""
    run.name, run.config["a"], run.summary["a"] = "dog", 1, 1
    run.load()
    assert (run.name, run.config["a"]) == ("dog", 1)
    run.load(force=True)
    assert run.name == "cat"
    assert "a" not in run.config
    assert "a" not in run.summary
    run.update()
    assert Api().run("p/r").config == {"lr": 0.1, "opt": {"name": "adam", "eps": 1e-8}}


def test_other_spellings_of_fields_can_be_set(run: Run) -> None:
    """API-13, RUN-2, RUN-8: as scripts of the reference set them."""
    assert (run.display_name, run.displayName, run.jobType, run.description) == ("cat", "cat", "j", "n")
    run.display_name, run.jobType, run.description = "dog", "eval", "words"
    assert (run.name, run.job_type, run.notes) == ("dog", "eval", "words")
    run.displayName = "cow"
    run.update()
    stored = Api().run("p/r")
    assert (stored.name, stored.job_type, stored.notes) == ("cow", "eval", "words")


def test_a_config_may_be_replaced(run: Run) -> None:
    run.config = {"only": 1}
    run.update()
    assert Api().run("p/r").config == {"only": 1}


@pytest.mark.parametrize(
    ("given", "stored"), [("a b", ["a b"]), (("a", "b"), ["a", "b"]), (None, []), (["a", "a"], ["a"])]
)
def test_tags_in_any_form(run: Run, given: Any, stored: list[str]) -> None:
    run.tags = given
    run.update()
    assert Api().run("p/r").tags == stored
    run.tags = stored
    run.update()
    assert Api().run("p/r").tags == stored


def test_tags_of_two_who_loaded_before_are_put_together(run: Run) -> None:
    other = Api().run("p/r")
    run.tags.append("mine")
    other.tags.append("theirs")
    other.tags.remove("x")
    other.update()
    run.update()
    assert Api().run("p/r").tags == ["theirs", "mine"] == run.tags


def test_tags_that_are_written_at_the_same_moment_are_put_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one reads before this one writes, and writes after it: this one's tag is brought back."""
    from tracker.apis.public import tag_edits

    write, other = tag_edits.write_edits, Api().run("p/r")
    other.load()

    def write_between(*args: Any, **kwargs: Any) -> int:
        monkeypatch.setattr(tag_edits, "write_edits", write)
        written_us = write(*args, **kwargs)
        other.store_edits([(KIND_ATTR, "r", "tags", ["x", "theirs"])])  # has not seen `mine`
        return written_us

    monkeypatch.setattr(tag_edits, "write_edits", write_between)
    run.tags.append("mine")
    run.update()
    assert sorted(Api().run("p/r").tags) == ["mine", "theirs", "x"]


def test_tags_that_came_just_before_without_having_been_seen_are_brought_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one's list is in the store when this one writes, but was not when it read."""
    from tracker.apis.public import tag_edits

    write, other = tag_edits.write_edits, Api().run("p/r")

    def write_before(*args: Any, **kwargs: Any) -> int:
        monkeypatch.setattr(tag_edits, "write_edits", write)
        other.store_edits([(KIND_ATTR, "r", "tags", ["x", "theirs"])])
        return write(*args, **kwargs)

    monkeypatch.setattr(tag_edits, "write_edits", write_before)
    run.tags.append("mine")
    run.update()
    assert sorted(Api().run("p/r").tags) == ["mine", "theirs", "x"]


def test_what_changes_while_an_update_is_under_way_is_left_for_the_next(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread shares the object, as it does when both ask one Api."""
    from tracker.apis.public import run_changes

    write = run_changes.write_edits

    def change_meanwhile(*args: Any, **kwargs: Any) -> int:
        run.notes, run.config["late"], run.summary["late"], run.config["opt"]["eps"] = "late", 1, 1, 0.5
        return write(*args, **kwargs)

    monkeypatch.setattr(run_changes, "write_edits", change_meanwhile)
    run.config["early"] = 1
    run.update()
    monkeypatch.setattr(run_changes, "write_edits", write)
    assert "late" not in Api().run("p/r").config
    run.update()
    stored = Api().run("p/r")
    assert (stored.notes, stored.config["early"], stored.config["late"], stored.summary["late"]) == ("late", 1, 1, 1)
    assert stored.config["opt"]["eps"] == 0.5


def test_an_update_is_one_put_and_a_look_or_two(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run, edits and manifests are listed once to see what came of it; once more before tags are changed."""
    made_run(run.client.base_url, "another")
    asked: list[str] = []

    def count(name: str) -> None:
        call = getattr(LocalStore, name)

        def counted(*args: Any) -> Any:
            asked.append(name)
            return call(*args)

        monkeypatch.setattr(LocalStore, name, counted)

    count("list")
    count("put_if_absent")
    run.notes, run.config["a"], run.summary["b"] = "x", 1, 2
    run.update()
    assert (asked.count("put_if_absent"), asked.count("list")) == (1, 3)
    asked.clear()
    run.tags.append("y")
    run.update()
    assert (asked.count("put_if_absent"), asked.count("list")) == (1, 6)
    asked.clear()
    run.update()
    assert asked == []


def test_an_array_in_the_config_is_stored_once(run: Run) -> None:
    import numpy as np

    run.config["array"], run.config["scalar"] = np.arange(3), np.float32(0.5)
    run.update()
    assert (run.config["array"], run.config["scalar"]) == ([0, 1, 2], 0.5)
    run.config["bad"] = 1j
    with pytest.raises(CommError, match="complex"):
        run.update()
    assert run.config["bad"] == 1j


leaves = st.one_of(st.integers(0, 3), st.sampled_from(["a", "b"]), st.just([1]))
trees = st.recursive(leaves, lambda below: st.dictionaries(st.sampled_from("xyz"), below, max_size=3), max_leaves=6)
dicts = st.dictionaries(st.sampled_from("xyz"), trees, max_size=3)


@settings(max_examples=200, deadline=None)
@given(settled=dicts, mine=dicts, theirs=dicts)
@example(settled={"x": {"y": 1}}, mine={"x": {"y": 1, "z": 2}}, theirs={})
def test_where_one_side_changed_nothing_the_other_one_is_the_result(
    settled: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    merged = copy.deepcopy(mine)
    merge_into(merged, settled, theirs)
    if settled == theirs:
        assert merged == mine, "nothing changed there"
    alone = copy.deepcopy(mine)
    merge_into(alone, settled, settled)
    assert alone == mine
    unchanged = copy.deepcopy(settled)
    merge_into(unchanged, settled, theirs)
    assert unchanged == theirs, "nothing changed here"


flat = st.dictionaries(st.sampled_from("vwxyz"), leaves, max_size=5)


@settings(max_examples=200, deadline=None)
@given(settled=flat, mine=flat, theirs=flat)
def test_each_key_is_mine_where_it_was_changed_here_else_theirs(
    settled: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    merged = {"deep": copy.deepcopy(mine)}
    merge_into(merged, {"deep": settled}, {"deep": theirs})
    nothing = object()
    expected = {
        key: (mine if mine.get(key, nothing) != settled.get(key, nothing) else theirs).get(key, nothing)
        for key in settled | mine | theirs
    }
    assert merged.get("deep", {}) == {key: value for key, value in expected.items() if value is not nothing}


@settings(max_examples=100, deadline=None)
@given(
    settled=st.lists(st.sampled_from("abcd"), unique=True),
    mine=st.lists(st.sampled_from("abcd"), unique=True),
    theirs=st.lists(st.sampled_from("abcd"), unique=True),
)
def test_tags_merge_as_sets_do(settled: list[str], mine: list[str], theirs: list[str]) -> None:
    merged = merge_tags(settled, mine, theirs)
    expected = (set(theirs) - (set(settled) - set(mine))) | (set(mine) - set(settled))
    assert len(merged) == len(set(merged))
    assert set(merged) == (set(mine) if settled == theirs else expected)


def test_alike_minds_types_and_copies_share_nothing() -> None:
    nan = float("nan")
    assert alike({"a": [1, nan]}, {"a": [1, nan]})
    assert not alike(1, True)
    assert not alike(1, 1.0)
    assert not alike({"a": 1}, {"b": 1})
    tree = {"a": [{"b": 1}]}
    twin = copy_tree(tree)
    twin["a"][0]["b"] = 2
    assert tree == {"a": [{"b": 1}]}
    assert as_tags("one tag") == ["one tag"]
