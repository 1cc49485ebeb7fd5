"""tracker.init: arguments, precedence, environment (INIT, ENV, SET)."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracker
from tracker.errors import UsageError
from tracker.sdk.options import RunOptions, options_from
from tracker.sdk.settings import Settings


def test_parameter_order() -> None:
    """INIT-1"""
    expected = (
        "entity project dir id name notes tags config config_exclude_keys config_include_keys allow_val_change group "
        "job_type mode force anonymous reinit resume resume_from fork_from save_code tensorboard sync_tensorboard "
        "monitor_gym settings"
    )
    assert list(inspect.signature(tracker.init).parameters) == expected.split()


def test_unknown_keyword() -> None:
    """INIT-1"""
    with pytest.raises(TypeError):
        tracker.init(proyect="p")


def test_what_is_written_first_is_one_frame(start: Any) -> None:
    """Writer, attributes and config hold together or not at all."""
    run, writer = start(
        entity="e",
        project="p",
        id="x1",
        name="n",
        notes="some",
        tags=["t"],
        config={"lr": 1},
        group="g",
        job_type="train",
        settings={"host": "here", "username": "me", "program": "prog.py"},
    )
    assert len(writer.frames) == 1
    assert writer.stored("attr") == {
        "name": "n",
        "notes": "some",
        "tags": ["t"],
        "group": "g",
        "job_type": "train",
        "host": "here",
        "username": "me",
        "program": "prog.py",
    }
    assert writer.stored("config") == {"lr": 1}
    assert (writer.own("host"), writer.own("pid"), writer.own("state")) == ("here", os.getpid(), "running")
    assert writer.own("started_at") == int(run.start_time * 1e6)
    assert (writer.ref.entity, writer.ref.project, writer.ref.run_id) == ("e", "p", "x1")


@pytest.mark.parametrize(
    "arguments",
    [
        {"notes": 5},
        {"name": 5},
        {"group": 3},
        {"dir": 5},
        {"mode": "x"},
        {"resume": "x"},
        {"id": 5},
        {"tags": [5]},
        {"settings": {"nope": 1}},
        {"settings": {"silent": "perhaps"}},
        {"anonymous": "x"},
        {"resume_from": "x"},
        {"fork_from": "r?_step=x"},
        {"resume_from": "r?epoch=1"},
        {"resume": "allow", "fork_from": "r?_step=1"},
        {"resume_from": "a?_step=1", "fork_from": "b?_step=1"},
        {"id": "other", "resume_from": "r?_step=1"},
        {"id": "r", "fork_from": "r?_step=1"},
    ],
    ids=repr,
)
def test_wrong_arguments_are_value_errors(start: Any, writers: Any, arguments: dict[str, Any]) -> None:
    """INIT-3, INIT-5, INIT-10, INIT-11; INIT-15: no run is active afterwards."""
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's own message
        start(**arguments)
    assert tracker.run is None
    assert writers == []


@pytest.mark.parametrize("arguments", [{"tags": 5}, {"config": 5}], ids=repr)
def test_wrong_arguments_are_type_errors(start: Any, arguments: dict[str, Any]) -> None:
    """INIT-5"""
    with pytest.raises(TypeError):
        start(**arguments)
    assert tracker.run is None


@pytest.mark.parametrize("char", list("/\\#?%:"))
def test_names_with_forbidden_characters(start: Any, char: str) -> None:
    """INIT-6, INIT-7"""
    for arguments in ({"project": f"a{char}b"}, {"id": f"a{char}b"}, {"entity": f"a{char}b"}):
        with pytest.raises(UsageError) as caught:
            start(**arguments)
        assert repr(char) in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [{"project": "p" * 129}, {"id": "i" * 65}, {"id": ""}, {"id": " x"}, {"id": "x\n"}]
)
def test_names_that_are_too_long_or_blank(start: Any, arguments: dict[str, Any]) -> None:
    """INIT-6, INIT-7"""
    with pytest.raises(UsageError):
        start(**arguments)
    assert tracker.run is None


def test_names_that_are_fine(start: Any) -> None:
    run, _ = start(project="p q" + "x" * 125, id="ünï" + "x" * 61)
    assert run.path == f"main/p q{'x' * 125}/ünï{'x' * 61}"


@pytest.mark.parametrize(
    ("tags", "kept"), [(["a", "a", ""], ("a", "a", "")), (("x",), ("x",)), (iter("ab"), ("a", "b"))]
)
def test_tags(start: Any, tags: Any, kept: tuple[str, ...]) -> None:
    """INIT-8"""
    run, writer = start(tags=tags)
    assert run.tags == kept
    assert writer.stored("attr")["tags"] == list(kept)


def test_differs_a_bare_string_is_one_tag(start: Any) -> None:
    """INIT-8: the reference splits it into characters."""
    run, _ = start(tags="one tag")
    assert run.tags == ("one tag",)
    run.tags = "other tag"
    assert run.tags == ("other tag",)


def test_differs_the_environment_is_read_at_each_init(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-5"""
    for name in ("first", "second"):
        monkeypatch.setenv("WANDB_NAME", name)
        assert start(reinit=True)[0].name == name


def test_accepted_without_effect(start: Any) -> None:
    """INIT-13."""
    start(force=True, anonymous="allow", save_code=False, sync_tensorboard=False, monitor_gym=False, resume=False)


def test_a_plain_init_opens_a_generation(start: Any) -> None:
    from tracker.storage.names import is_ulid

    _, first = start(id="x")
    tracker.finish()
    _, second = start(id="x", resume=False)
    assert is_ulid(first.own("generation"))
    assert is_ulid(second.own("generation"))
    assert first.own("generation") != second.own("generation")


def test_resume_auto_remembers_an_unfinished_run(start: Any, capsys: Any) -> None:
    """RES-3, INIT-9"""
    run, writer = start(resume=True)
    assert writer.own("generation") is not None, "nothing to go on with: a run of its own"
    run.finish(exit_code=1)
    again, writer = start(resume="auto")
    assert again.id == run.id
    again.finish(exit_code=3)
    other, writer = start(resume="auto", id="other")
    assert other.id == "other"
    assert "is used" in capsys.readouterr().err
    other.finish()
    last, _ = start(resume="auto")
    assert last.id not in (run.id, "other"), "a run that ended well is not gone on with"


def test_unreadable_resume_file_is_ignored(start: Any, tmp_path: Path) -> None:
    """RES-3"""
    (tmp_path / "tracker-runs").mkdir()
    for text in ("{", "[]", '{"id": 1}', '{"run_id": 5}'):
        (tmp_path / "tracker-runs" / "resume.json").write_text(text)
        run, _ = start(resume="auto")
        assert len(run.id) == 8
        run.finish()


def test_precedence(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """INIT-2: files, environment, setup, init(settings=), arguments; None never overrides."""
    config = Path(os.environ["TRACKER_CONFIG_DIR"])
    config.mkdir(parents=True, exist_ok=True)
    (config / "settings").write_text(
        "[default]\nrun_group = user\nrun_notes = user\nentity = user\nrun_job_type = user\n"
    )
    (tmp_path / "tracker-runs").mkdir()
    (tmp_path / "tracker-runs" / "settings").write_text(
        "[default]\nrun_notes = work\nentity = work\nrun_job_type = work\n"
    )
    assert start()[0].notes == "work"
    tracker.finish()
    monkeypatch.setenv("WANDB_ENTITY", "environment")
    monkeypatch.setenv("WANDB_JOB_TYPE", "environment")
    run, _ = start()
    assert (run.group, run.notes, run.entity, run.job_type) == ("user", "work", "environment", "environment")
    run.finish()
    tracker.setup({"run_job_type": "setup"})
    assert start()[0].job_type == "setup"
    tracker.finish()
    assert start(settings={"run_job_type": "settings"})[0].job_type == "settings"
    tracker.finish()
    assert start(settings=tracker.Settings(run_job_type="settings"), job_type="argument")[0].job_type == "argument"
    tracker.finish()
    assert start(settings={"run_job_type": None}, job_type=None)[0].job_type == "setup"


def test_settings_files_are_checked(start: Any, tmp_path: Path) -> None:
    """INIT-4"""
    (tmp_path / "tracker-runs").mkdir()
    file = tmp_path / "tracker-runs" / "settings"
    file.write_text("[default]\nnonsense = 1\n")
    with pytest.raises(ValueError, match="nonsense"):
        start()
    file.write_text("no section\n")
    with pytest.raises(UsageError, match="can not be read"):
        start()
    file.write_text("[other]\nnonsense = 1\n[default]\nsilent = true\n")
    assert start()[0].settings.silent is True


def test_environment(start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ENV-1, ENV-2; TRACKER_ wins over WANDB_."""
    for name, value in {
        "WANDB_NAME": "n",
        "WANDB_NOTES": "some notes",
        "WANDB_TAGS": "a, b",
        "WANDB_RUN_GROUP": "theirs",
        "TRACKER_RUN_GROUP": "ours",
        "WANDB_RUN_ID": "id1",
        "WANDB_PROJECT": "proj",
        "WANDB_X_LABEL": "lab",
        "WANDB__DISABLE_STATS": "true",
        "WANDB_NONSENSE": "1",
        "WANDB_DIR": str(tmp_path / "elsewhere"),
        "TRACKER_FLUSH_MAX_S": "4.5",
        "WANDB_CONSOLE": "off",
        "WANDB_API_KEY": "k" * 40,
        "WANDB_CACHE_DIR": "/nowhere",
        "WANDB_QUIET": "1",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "elsewhere").mkdir()
    run, writer = start(project=None)
    assert (run.name, run.notes, run.tags, run.group, run.id, run.project) == (
        "n",
        "some notes",
        ("a", "b"),
        "ours",
        "id1",
        "proj",
    )
    assert (run.settings.x_label, run.settings.x_disable_stats, run.settings.console) == ("lab", True, "off")
    assert writer.options.flush_max_s == 4.5
    assert writer.spool_dir.parent == tmp_path / "elsewhere" / "tracker-runs"


def test_empty_environment_variables(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3"""
    for name in ("PROJECT", "NAME", "TAGS", "MODE", "ENTITY"):
        monkeypatch.setenv(f"WANDB_{name}", "")
    run, _ = start(project=None)
    assert run.tags == ()
    run.finish()
    monkeypatch.setenv("WANDB_RUN_ID", "")
    with pytest.raises(UsageError, match="WANDB_RUN_ID"):
        start()


@pytest.mark.parametrize(
    ("name", "value"), [("MODE", "bad"), ("RESUME", "true"), ("SILENT", "perhaps"), ("CONSOLE", "bad")]
)
def test_bad_environment_variables(start: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """ENV-3"""
    monkeypatch.delenv(f"TRACKER_{name}", raising=False)
    monkeypatch.setenv(f"WANDB_{name}", value)
    with pytest.raises(ValueError, match=name.lower()):
        start()


def test_explicit_mode_beats_the_environment(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-4"""
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert start(mode="online")[0].offline is False


def test_wandb_disabled_is_not_read(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-7"""
    monkeypatch.setenv("WANDB_DISABLED", "true")
    assert start()[0].disabled is False


def test_settings_are_validated() -> None:
    """SET-5, INIT-3"""
    assert Settings(silent="true").silent is True
    assert Settings(_disable_stats=True).x_disable_stats is True
    settings = Settings()
    settings._disable_meta = True
    assert settings.x_disable_meta is True
    for name, value in {"nope": 1, "mode": "bad", "silent": "perhaps"}.items():
        with pytest.raises(ValueError, match=name):
            setattr(settings, name, value)


def test_settings_of_a_run_can_not_be_changed(start: Any) -> None:
    """NAME-11"""
    run, _ = start(settings={"x_stats_sampling_interval": 3.0})
    assert (run.settings.run_id, run.settings.project, run.settings.x_stats_sampling_interval) == (run.id, "p", 3.0)
    with pytest.raises(UsageError, match="can not be changed"):
        run.settings.silent = True


def test_options_have_the_defaults_of_settings() -> None:
    """Two ways in, one meaning."""
    settings, options = Settings(), RunOptions()
    for name in RunOptions.__slots__:
        if name not in ("given", "root_dir", "allow_val_change"):
            assert getattr(options, name) == getattr(settings, name), name


_text = st.text(max_size=5)
_given = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("entity", "project", "run_id", "run_name", "run_notes", "base_url", "host", "program"), _text),
        **dict.fromkeys(("quiet", "silent", "x_primary", "save_code"), st.booleans()),
        "run_tags": st.lists(_text),
        "mode": st.sampled_from(["online", "offline", "dryrun", "shared"]),
        "x_shipper": st.sampled_from(["thread", "process"]),
        "config_paths": st.tuples(_text),
    },
)


@given(_given)
def test_what_is_taken_without_pydantic_is_what_pydantic_makes_of_it(given_settings: dict[str, Any]) -> None:
    validated = options_from(given_settings | {"heartbeat_seconds": 30})  # not plain: goes through Settings
    assert options_from(given_settings) == validated


def test_init_does_not_load_pydantic() -> None:
    """It costs 0.15 s. Nor does it load what only readers need."""
    import subprocess
    import sys

    code = (
        "import sys, tracker\n"
        "run = tracker.init(project='p', config={'a': 1}, tags=['x']); run.log({'a': 1}); run.finish()\n"
        "heavy = ('pydantic', 'duckdb', 'polars', 'pandas', 'fsspec', 's3fs', 'rich', 'typer')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
