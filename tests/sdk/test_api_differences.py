"""Where the public classes differ from the reference on purpose: docs/differences.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_maker import T0, MadeWriter, made_run

from tracker.apis.public import Api
from tracker.apis.public import run_endings as endings
from tracker.storage.clock import wall_us
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    for n in range(3):
        made_run(url, f"r{n}", attrs={"username": "ada", "tags": ["x"]}, start_us=T0 + n * 1_000_000)
    return url


def test_differs_positions_and_slices_are_over_all_matches(root: str) -> None:
    """RUNS-4."""
    runs = Api().runs("p", per_page=1)
    assert (runs[-1].id, [run.id for run in runs[1:]]) == ("r2", ["r1", "r2"])


def test_differs_the_username_is_who_made_the_run(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    """RUN-1."""
    assert Api().run("p/r0").username == "ada"
    assert capsys.readouterr().err == ""


def test_differs_description_and_notes_are_one(root: str) -> None:
    run = Api().run("p/r0")
    run.description = "words"
    run.update()
    assert Api().run("p/r0").notes == "words"


def test_differs_tags_of_two_who_update_are_put_together(root: str) -> None:
    """RUN-8."""
    one, other = Api().run("p/r0"), Api().run("p/r0")
    one.tags.append("one")
    other.tags.append("other")
    one.update()
    other.update()
    assert Api().run("p/r0").tags == ["x", "one", "other"]


def test_differs_only_what_was_changed_is_stored(root: str) -> None:
    """RUN-8."""
    one, other = Api().run("p/r0"), Api().run("p/r0")
    one.notes, one.config["a"] = "one", 1
    other.group, other.config["b"] = "other", 2
    one.update()
    other.update()
    stored = Api().run("p/r0")
    assert (stored.notes, stored.group, stored.config) == ("one", "other", {"a": 1, "b": 2})


def test_differs_waiting_ends_for_killed_runs_too(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUN-10."""
    live = MadeWriter(open_store(root), RunRef("main", "p", "live"), start_us=wall_us() - 9_000_000).begin().put()
    monkeypatch.setattr(endings.time, "sleep", lambda _: live.end("killed"))
    run = Api().run("p/live")
    run.wait_until_finished()
    assert run.state == "killed"


def test_differs_a_summary_without_the_name_has_no_such_attribute(root: str) -> None:
    """RUN-4."""
    summary = Api().run("p/r0").summary
    assert not hasattr(summary, "nothing")
    with pytest.raises(KeyError):
        _ = summary.nothing
    with pytest.raises(AttributeError):
        del summary.nothing
