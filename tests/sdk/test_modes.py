"""reinit, finished runs, modes, sessions: RE, MODE."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.errors import UsageError


def test_init_while_a_run_is_active_returns_it(start: Any, writers: Any) -> None:
    """RE-1: arguments are ignored, wrong ones too."""
    run, _ = start(project="one")
    for arguments in ({"project": "two"}, {"reinit": False}, {"reinit": "return_previous"}, {"mode": "nonsense"}):
        assert tracker.init(**arguments) is run
    assert len(writers) == 1


@pytest.mark.parametrize("reinit", [True, "finish_previous", "default"])
def test_reinit_finishes_the_active_run(start: Any, reinit: Any) -> None:
    """RE-2"""
    first, writer = start()
    second, _ = start(reinit=reinit)
    assert writer.own("state") == "finished"
    assert tracker.run is second
    assert second is not first


def test_reinit_from_settings_and_environment(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = start()
    second, _ = start(settings={"reinit": True})
    assert second is not first
    monkeypatch.setenv("WANDB_REINIT", "true")
    third, _ = start()
    assert third is not second
    assert tracker.init(reinit=False) is third


def test_a_finished_run_takes_nothing_more(start: Any, capsys: Any) -> None:
    """RE-3"""
    run, writer = start(config={"a": 1})
    run.finish()
    frames = len(writer.frames)
    for use in (
        lambda: run.log({"a": 1}),
        lambda: run.mark_preempting(),
        lambda: run.flush(),
        lambda: setattr(run, "name", "x"),
        lambda: setattr(run, "notes", "x"),
        lambda: setattr(run, "tags", ["x"]),
        lambda: run.config.update({"b": 1}),
        lambda: run.config.__setitem__("b", 1),
        lambda: run.define_metric("m"),
        lambda: run.save("*"),
        lambda: run.alert("a", "b"),
        lambda: run.log_code(),
        lambda: run.status(),
    ):
        with pytest.raises(UsageError, match="finished"):
            use()
    assert run.config.a == 1
    assert "b" not in run.config
    capsys.readouterr()
    assert run.summary == {}
    assert "is finished" in capsys.readouterr().err
    run.finish()
    run.finish(exit_code=7)
    assert len(writer.frames) == frames


def test_a_summary_kept_from_before_takes_nothing_after_the_end(start: Any) -> None:
    """RE-3"""
    run, _ = start()
    summary = run.summary
    run.finish()
    with pytest.raises(UsageError, match="finished"):
        summary["a"] = 1


def test_context_manager(start: Any) -> None:
    """RE-6"""
    with start()[0] as run:
        writer = run.recorder.writer
    assert (writer.own("state"), writer.own("exit_code")) == ("finished", 0)
    for raised in (ValueError("x"), SystemExit(0)):
        run, writer = start()
        with pytest.raises(type(raised)), run:
            raise raised
        assert (writer.own("state"), writer.own("exit_code")) == ("failed", 1)
    assert tracker.run is None


def test_a_pickled_copy_is_refused_where_the_run_lives(start: Any) -> None:
    """RE-5"""
    run, writer = start(config={"a": 1})
    copy = pickle.loads(pickle.dumps(run))
    assert (copy.id, copy.name, copy.config.a) == (run.id, run.name, 1)
    with pytest.raises(RuntimeError, match="original"):
        copy.log({"a": 1})
    run.log({"a": 1})
    assert len(writer.rows()) == 1


@pytest.mark.parametrize("mode", ["online", "run", "shared", "offline", "dryrun", "disabled"])
def test_modes(start: Any, writers: Any, mode: str) -> None:
    """MODE-1"""
    run = tracker.init(project="p", mode=mode)
    assert run.offline == (mode in ("offline", "dryrun"))
    assert run.mode == ("dryrun" if run.offline else "run")
    assert len(writers) == (mode != "disabled")


def test_offline_stays_here(start: Any, tmp_path: Path, capsys: Any) -> None:
    """MODE-2"""
    run, writer = start(mode="offline", resume="must", id="x")
    assert writer.store_url == str(tmp_path / "tracker-runs" / "offline")
    assert writer.own("generation") is not None
    run.finish()
    said = capsys.readouterr().err
    assert "resume has no effect offline" in said
    assert f"tracker sync {tmp_path}/tracker-runs --to URL" in said


def test_disabled_writes_nothing(writers: Any, tmp_path: Path) -> None:
    """MODE-3, MODE-4"""
    run = tracker.init(
        project="p", mode="disabled", config={"a": 1}, resume="must", id="x", save_code=True, monitor_gym=True
    )
    assert (run.name, run.entity, run.project, run.path) == (
        f"dummy-{run.id}",
        "dummy",
        "dummy",
        f"dummy/dummy/{run.id}",
    )
    assert run.disabled
    assert run.config.a == 1
    tracker.log({"m": 1, "t": {"x": 2}})
    assert run.summary["m"] == 1
    assert run.summary["t"]["x"] == 2
    assert (run.step, run.url, run.get_project_url()) == (0, None, None)
    with pytest.raises(ValueError, match="dict"):
        run.log(5)
    run.config.b, run.summary["s"], run.name = 2, 3, "new"
    run.mark_preempting()
    assert run.flush() is True
    assert (run.config.b, run.summary["s"]) == (2, 3)
    assert tracker.init() is run
    for metric in (tracker.define_metric("m", summary="max"), tracker.define_metric("", summary="nonsense", goal="up")):
        assert metric.name in ("m", "")
    assert run.save("*") is False
    for answer in (run.status(), run.watch(object()), run.alert("a", "b", level="nonsense"), run.log_code()):
        assert answer is None
    run.finish()
    assert tracker.run is None
    run.log({"after": 1})
    assert run.summary["after"] == 1
    assert writers == []
    assert list(tmp_path.iterdir()) == []


def test_differs_disabled_with_block_unbinds(writers: Any) -> None:
    """MODE-5: the reference leaves `run` bound."""
    with tracker.init(mode="disabled") as run:
        assert tracker.run is run
    assert tracker.run is None


def test_setup_and_teardown(start: Any) -> None:
    """MODE-6"""
    assert tracker.setup() is tracker.setup({"project": "from setup"})
    run, writer = start(project=None)
    assert run.project == "from setup"
    tracker.teardown(exit_code=4)
    assert (writer.own("exit_code"), tracker.run) == (4, None)
    with pytest.raises(ValueError, match="nope"):
        tracker.setup({"nope": 1})
    assert start(project=None)[0].project != "from setup"
