"""The module surface, reinit, modes: MOD, RE, MODE."""

from __future__ import annotations

import pickle
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.errors import Error, UnsupportedError, UsageError


def test_all_names_what_exists() -> None:
    """MOD-1, as far as this release goes."""
    assert set(tracker.__all__) >= {"__version__", "init", "finish", "setup", "config", "log", "summary", "join", "Api"}
    for name in tracker.__all__:
        assert hasattr(tracker, name), name
    assert set(tracker.__all__) <= set(dir(tracker))


@pytest.mark.parametrize(
    "path",
    ["tracker.sdk.wandb_run.Run", "tracker.wandb_run.Run", "tracker.sdk.lib.RunDisabled", "tracker.sdk.lib.disabled.RunDisabled",
     "tracker.sdk.lib.config_util.ConfigError", "tracker.util.json_dumps_safer", "tracker.apis.public", "tracker.Settings",
     "tracker.Config", "tracker.Error", "tracker.CommError", "tracker.UsageError", "tracker.errors.AuthenticationError",
     "tracker.helper.parse_config", "tracker.login", "tracker.require", "tracker.teardown", "tracker.Run"],
)  # fmt: skip
def test_import_paths_resolve_in_a_fresh_process(path: str) -> None:
    """MOD-2, MOD-3: as an attribute of the package, and as `from ... import`."""
    module, _, name = path.rpartition(".")
    code = f"import tracker; assert {path}; from {module} import {name}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_is_not_there_yet_is_said() -> None:
    with pytest.raises(AttributeError, match="has no Image yet"):
        tracker.Image
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        tracker.nonsense
    assert not hasattr(tracker, "watch")


@pytest.mark.parametrize(
    ("use", "named"),
    [
        (lambda: tracker.log({"a": 1}), "log()"),
        (lambda: tracker.config.lr, "config.lr"),
        (lambda: tracker.config["lr"], "config['lr']"),
        (lambda: tracker.config.__setattr__("lr", 1), "config.lr"),
        (lambda: tracker.config.__setitem__("lr", 1), "config['lr']"),
        (lambda: tracker.config.update({}), "config.update"),
        (lambda: tracker.summary["x"], "summary['x']"),
        (lambda: tracker.mark_preempting(), "mark_preempting()"),
    ],
)
def test_before_init_everything_asks_for_init(use: Any, named: str) -> None:
    """MOD-4"""
    with pytest.raises(Error) as caught:
        use()
    assert f"tracker.init() must be called before tracker.{named}" in str(caught.value)


def test_finish_without_a_run_does_nothing() -> None:
    """MOD-4"""
    tracker.finish()
    tracker.join()
    assert tracker.run is None


def test_errors_derive_from_one() -> None:
    """MOD-5"""
    from tracker import errors

    for name in ("CommError", "UsageError", "AuthenticationError", "UnsupportedError", "ConfigError"):
        assert issubclass(getattr(errors, name), errors.Error)
    assert errors.Error.__base__ is Exception
    cause = ValueError("x")
    assert errors.CommError("text", cause).exc is cause
    assert errors.CommError("text").exc is None


def test_module_names_follow_the_run(start: Any) -> None:
    """MOD-6"""
    run, _ = start(config={"a": 1})
    assert tracker.run is run
    assert tracker.config.a == 1
    tracker.log({"m": 2})
    assert tracker.summary["m"] == 2
    run.finish()
    assert tracker.run is None
    with pytest.raises(Error, match="must be called before"):
        tracker.log({"m": 3})


@pytest.mark.parametrize("name", ["core", "service", "legacy-service", "require", "core:beta", "service@1", ["core", "service"]])
def test_require_knows_old_names(name: Any, capsys: Any) -> None:
    """MOD-7"""
    assert tracker.require(name) is None
    assert ("default" in capsys.readouterr().err) == ("core" in name or name == "core:beta")


def test_require_refuses_others(capsys: Any) -> None:
    """MOD-7"""
    with pytest.raises(UnsupportedError, match="'nope:1'"):
        tracker.require("nope:1")
    assert "no such feature" in capsys.readouterr().err


def test_json_dumps_safer() -> None:
    """MOD-3"""
    import numpy as np

    assert tracker.util.json_dumps_safer({"a": np.arange(2), "b": np.float32(0.5)}) == '{"a": [0, 1], "b": 0.5}'


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
        with pytest.raises(type(raised)), start()[0] as run:
            writer = run.recorder.writer
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
    run = tracker.init(project="p", mode="disabled", config={"a": 1}, resume="must", id="x", save_code=True, monitor_gym=True)
    assert (run.name, run.entity, run.project, run.path) == (f"dummy-{run.id}", "dummy", "dummy", f"dummy/dummy/{run.id}")
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


def test_login(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """MODE-7, and the root that it remembers, for this user alone."""
    from tracker.sdk.places import config_dir

    assert tracker.login() is True
    assert tracker.login(key="secret" * 8) is True
    assert tracker.login(host=str(tmp_path / "root")) is True
    file = config_dir() / "login.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "secret" not in file.read_text()
    _, writer = start()
    assert writer.store_url == str(tmp_path / "root")
    capsys.readouterr()
    assert tracker.login(host="s3://other") is True
    assert "already active" in capsys.readouterr().err
    tracker.teardown()
    assert start()[1].store_url == str(tmp_path / "root"), "also in the next session"
    tracker.finish()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tracker.login() is False
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert tracker.login() is True
    with pytest.raises(UsageError, match="no server"):
        tracker.login(host="https://example.org")
    with pytest.raises(UsageError, match="anonymous"):
        tracker.login(anonymous="perhaps")  # type: ignore[arg-type]


def test_login_that_can_not_be_stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRACKER_CONFIG_DIR", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="TRACKER_BASE_URL"):
        tracker.login(host=str(tmp_path))


def test_where_the_data_goes(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, setting, TRACKER_BASE_URL, WANDB_BASE_URL unless it is a server, login, the user's data directory."""
    from tracker.base_url import resolve_base_url

    def root(**arguments: Any) -> str:
        _, writer = start(**arguments)
        tracker.finish()
        return writer.store_url

    assert root() == str(tmp_path / "data")
    tracker.login(host="memory://login")
    tracker.teardown()
    assert root() == "memory://login"
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.example.org")
    assert root() == "memory://login"
    monkeypatch.setenv("WANDB_BASE_URL", "gs://theirs/x/")
    assert root() == "gs://theirs/x"
    monkeypatch.setenv("TRACKER_BASE_URL", "s3://ours")
    assert root() == resolve_base_url() == "s3://ours"
    assert root(settings={"base_url": "relative"}) == str(tmp_path / "relative")
    assert root(settings={"base_url": "relative"}, dir="s3://argument/x") == "s3://argument/x"
    assert root(dir=tmp_path) == "s3://ours"
    with pytest.raises(UsageError, match="no server"):
        root(settings={"base_url": "http://localhost:8080"})
    assert tracker.run is None


def test_a_remote_dir_leaves_the_local_files_here(start: Any, tmp_path: Path) -> None:
    _, writer = start(dir="s3://bucket/runs")
    assert writer.spool_dir.parent == tmp_path / "tracker-runs"


def test_the_first_and_last_lines_say_where_and_how(start: Any, tmp_path: Path, capsys: Any) -> None:
    """On stderr; CON-2 silences them."""
    run, writer = start(settings={"base_url": str(tmp_path / "my root")})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"its data goes to {tmp_path}/my root" in captured.err
    assert f"tracker query '{tmp_path}/my root' --project main/p" in captured.err
    from tracker.storage.writer import FinishReport

    writer.report = FinishReport(False, 12, "no route to host")
    run.finish()
    said = capsys.readouterr().err
    assert "12 records wait on this machine: no route to host" in said
    assert f"tracker sync {tmp_path}/tracker-runs" in said
    start(settings={"silent": True})
    tracker.finish()
    assert capsys.readouterr() == ("", "")


def test_quiet_shows_only_errors(capsys: Any) -> None:
    """CON-2"""
    from tracker.sdk import term

    term.configure(silent=False, quiet=True)
    term.info("i")
    term.warn("w")
    term.error("two\nlines")
    assert capsys.readouterr().err == "tracker: error: two\ntracker: lines\n"


def test_import_is_light_and_quick() -> None:
    """Without pydantic, msgspec, numpy and their like; 0.05 s at most beyond a bare interpreter."""
    code = (
        "import sys, time; before = set(sys.modules); t = time.perf_counter(); import tracker; t = time.perf_counter() - t;"
        "print(t, *sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
        seconds, *loaded = done.stdout.split()
        times.append(float(seconds))
        assert not set(loaded) & {"pydantic", "msgspec", "numpy", "pyarrow", "duckdb", "polars", "pandas", "fsspec", "platformdirs"}
    assert min(times) < 0.05
