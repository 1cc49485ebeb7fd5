"""Going on with a run in another process: `_attach`, RE-5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_view import run_script, view_run

import tracker
from tracker.errors import UsageError

CHILD = """
import json, sys
run = tracker._attach({argument})
assert tracker.run is run
print(json.dumps([run.id, run.project, run.entity, run.name, dict(run.config), run.settings.base_url]))
tracker.log({{"child": 1}})
tracker.finish()
assert tracker.run is None
"""


def attach_in_child(folder: Path, argument: str) -> Any:
    import json

    child = run_script(CHILD.format(argument=argument), folder)
    assert child.returncode == 0, child.err
    return json.loads(child.out)


def test_a_run_is_attached_by_what_its_owner_hands_on(tmp_path: Path) -> None:
    """RE-5: rows of the child are in the run; its end does not end the run."""
    root = str(tmp_path / "root")
    run = tracker.init(project="p", config={"lr": 0.1}, settings={"base_url": root})
    said = attach_in_child(tmp_path, repr(run._attach_id))
    assert said == [run.id, "p", "main", run.name, {"lr": 0.1}, root]
    run.flush()
    assert view_run(tmp_path / "root").state.state == "running"
    run.log({"parent": 2})
    run.finish(exit_code=3)
    view = view_run(tmp_path / "root")
    assert view.all_rows == [(0, {"child": 1}), (0, {"parent": 2})]
    assert (view.state.state, len(view.own)) == ("failed", 2)


@pytest.mark.parametrize("how", ["{id!r}", "run_id={id!r}"])
def test_a_run_is_attached_by_its_id_on_the_same_machine(tmp_path: Path, how: str) -> None:
    """RE-5: the log of its owner in the working directory says where it goes."""
    root = str(tmp_path / "root")
    run = tracker.init(project="other", entity="team", name="night", config={"lr": 1}, settings={"base_url": root})
    run.flush()
    said = attach_in_child(tmp_path, how.format(id=run.id))
    assert said == [run.id, "other", "team", "night", {"lr": 1}, root]
    run.finish()
    view = view_run(tmp_path / "root")
    assert view.all_rows == [(0, {"child": 1})]
    assert len(view.own) == 2


def test_what_can_not_be_attached(start: Any, tmp_path: Path) -> None:
    """RE-5"""
    with pytest.raises(UsageError, match="needs a run"):
        tracker._attach()
    with pytest.raises(UsageError, match="No process writes run 'nope'"):
        tracker._attach("nope")
    for damaged in ("run:", "run:%%%", "run:Z2FyYmFnZQ=="):
        with pytest.raises(UsageError, match="attach id"):
            tracker._attach(damaged)
    run, _ = start()
    with pytest.raises(RuntimeError, match="this very process"):
        tracker._attach(run.id)
    with pytest.raises(RuntimeError, match="original"):
        tracker._attach(run._attach_id)
    assert tracker.run is run


def test_a_run_of_a_dead_owner_is_not_attached(tmp_path: Path) -> None:
    run_script("tracker.init(id='gone', mode='online'); import os; os._exit(0)", tmp_path)
    with pytest.raises(UsageError, match="No process writes run 'gone'"):
        tracker._attach("gone")


def test_a_run_that_has_shipped_nothing_is_attached_without_its_config(tmp_path: Path) -> None:
    """RE-5: which is said."""
    settings = {"base_url": str(tmp_path / "root"), "x_flush_min_s": 60, "x_flush_max_s": 60}
    run = tracker.init(project="p", config={"lr": 1}, settings=settings)
    child = run_script(CHILD.format(argument=repr(run.id)), tmp_path)
    assert child.returncode == 0, child.err
    assert "is not known here and reads as empty" in child.err
    run.finish()
    assert view_run(tmp_path / "root").all_rows == [(0, {"child": 1})]
