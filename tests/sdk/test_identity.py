"""Who a run is: NAME-1..11, ranks, git."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.errors import UsageError
from tracker.sdk.git import find_git_root, read_commit
from tracker.sdk.identity import default_project, generate_id, generate_name
from tracker.sdk.ranks import Place, find_place
from tracker.sdk.words import ADJECTIVES, NOUNS


def test_generated_ids() -> None:
    """NAME-1: and seeding `random` does not repeat them."""
    import random

    found = []
    for _ in range(200):
        random.seed(1)
        found.append(generate_id())
    assert all(re.fullmatch(r"[a-z0-9]{8}", one) for one in found)
    assert len(set(found)) == 200


def test_differs_generated_names_end_in_the_id(start: Any) -> None:
    """NAME-2 counts the project's runs, which would need the network; here the id makes the name."""
    run, writer = start(id="abcd1234")
    assert re.fullmatch(r"[a-z]+-[a-z]+-abcd", run.name)
    assert run.name == generate_name("abcd1234")
    assert writer.stored("attr")["name"] == run.name


def test_the_words_are_many_and_plain() -> None:
    for words in (ADJECTIVES, NOUNS):
        assert len(words) == len(set(words)) >= 90
        assert all(re.fullmatch(r"[a-z]{3,8}", word) for word in words)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_project_defaults_to_the_repository(tmp_path: Path) -> None:
    """NAME-3"""
    below = tmp_path / "repo?x" / "train" / "deep"
    below.mkdir(parents=True)
    script = below / "script.py"
    script.write_text("")
    assert default_project(str(script)) == "uncategorized"
    git(tmp_path / "repo?x", "init", "-q")
    assert default_project(str(script)) == "repo_x-train_deep"
    (tmp_path / "repo?x" / "top.py").write_text("")
    assert default_project(str(tmp_path / "repo?x" / "top.py")) == "repo_x"
    assert default_project("<python with no main file>") == "uncategorized"
    assert default_project("-m module") == "uncategorized"


def test_the_commit_is_read_from_the_files(tmp_path: Path) -> None:
    """Loose and packed refs, a detached head, a worktree; no commit and broken files give None."""
    git(tmp_path, "init", "-q", "-b", "trunk")
    assert read_commit(tmp_path) is None
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert read_commit(tmp_path) == commit
    git(tmp_path, "worktree", "add", "-q", "-b", "side", str(tmp_path / "tree"))
    assert read_commit(tmp_path / "tree") == commit
    git(tmp_path, "pack-refs", "--all")
    assert read_commit(tmp_path) == commit
    assert read_commit(tmp_path / "tree") == commit
    git(tmp_path, "checkout", "-q", "--detach")
    assert read_commit(tmp_path) == commit
    assert find_git_root(tmp_path / "tree") == tmp_path / "tree"
    (tmp_path / ".git" / "HEAD").write_bytes(b"\xff")
    assert read_commit(tmp_path) is None


def test_git_can_be_switched_off(start: Any, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    script = str(tmp_path / "s.py")
    Path(script).write_text("")
    assert start(settings={"program": script})[1].stored("attr")["commit"] == git(tmp_path, "rev-parse", "HEAD")
    tracker.finish()
    assert "commit" not in start(settings={"program": script, "disable_git": True})[1].stored("attr")


def test_path_and_entity(start: Any) -> None:
    """NAME-4; the default entity is main."""
    assert start(id="r")[0].path == "main/p/r"
    tracker.finish()
    assert start(id="r", entity="team")[0].path == "team/p/r"


def test_directories(start: Any, tmp_path: Path) -> None:
    """NAME-5: run.dir can be written to."""
    run, writer = start(dir=tmp_path)
    assert writer.spool_dir.parent == tmp_path / "tracker-runs"
    assert re.match(rf"run-\d{{8}}_\d{{6}}-{run.id}", writer.spool_dir.name)
    (Path(run.dir) / "note.txt").write_text("x")


@pytest.mark.parametrize("folder", ["missing/folder", "file.txt"])
def test_a_directory_that_can_not_be_written_to(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, folder: str
) -> None:
    """NAME-6"""
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    _, writer = start(dir=str(tmp_path / folder))
    assert writer.spool_dir.parent == tmp_path / "tmp" / "tracker-runs"
    assert folder in capsys.readouterr().err


def test_a_current_directory_that_was_removed(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME-6"""
    (tmp_path / "gone").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    _, writer = start()
    assert writer.spool_dir.parent == tmp_path / "tmp" / "tracker-runs"


def test_attributes_that_are_not_set(start: Any) -> None:
    """NAME-7, NAME-9, NAME-10"""
    run, _ = start()
    assert (run.group, run.job_type, run.notes, run.tags, run.sweep_id) == ("", "", None, (), None)
    assert (run.starting_step, run.step, run.resumed, run.offline, run.disabled, run.mode) == (
        0,
        0,
        False,
        False,
        False,
        "run",
    )
    assert isinstance(run.start_time, float)
    assert run.project_name() == "p"
    assert run.get_sweep_url() is None
    assert run.display() is False
    assert run.name in run.to_html()
    assert "<details>" in run.to_html(height=100, hidden=True)


def test_name_notes_and_tags_can_be_set(start: Any) -> None:
    """NAME-8"""
    run, writer = start()
    run.name, run.notes, run.tags = "other", "long text", ["a", "b"]
    assert (run.name, run.notes, run.tags) == ("other", "long text", ("a", "b"))
    run.tags += ("c",)
    assert {key: writer.stored("attr")[key] for key in ("name", "notes", "tags")} == {
        "name": "other",
        "notes": "long text",
        "tags": ["a", "b", "c"],
    }
    for name, value in {"name": 5, "notes": None, "tags": [5]}.items():
        with pytest.raises(TypeError):
            setattr(run, name, value)


def test_other_attributes_can_not_be_set(start: Any) -> None:
    """NAME-8"""
    run, _ = start()
    with pytest.raises(UsageError, match="'foo' is not supported"):
        run.foo = 1
    for name in ("id", "project", "step", "summary"):
        with pytest.raises(AttributeError):
            setattr(run, name, 1)


def test_the_url_says_where_the_data_is(start: Any, tmp_path: Path, capsys: Any) -> None:
    """NAME-9"""
    from tracker.storage.names import RunRef, run_prefix

    run, _ = start(id="r", dir="s3://bucket/pre")
    below = run_prefix(RunRef("main", "p", "r")).rstrip("/")
    assert run.url == f"s3://bucket/pre/{below}"
    assert run.get_project_url() == "s3://bucket/pre/main/p"
    run.finish()
    run, _ = start(id="r", settings={"base_url": str(tmp_path / "root")})
    assert run.url == f"file://{tmp_path}/root/{below}"
    run.finish()
    run, _ = start(mode="offline")
    capsys.readouterr()
    assert run.url is None
    assert "no address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, Place(None, None)),
        ({"RANK": "3"}, Place(None, "3")),
        ({"RANK": "0", "TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "a", "MASTER_PORT": "29"}, Place(None, "0")),
        (
            {"RANK": "1", "TORCHELASTIC_RUN_ID": "u1", "TORCHELASTIC_RESTART_COUNT": "2"},
            Place("TORCHELASTIC_RUN_ID=u1,TORCHELASTIC_RESTART_COUNT=2", "1"),
        ),
        ({"RANK": "1", "TORCHELASTIC_RESTART_COUNT": "0"}, Place(None, "1")),
        (
            {"SLURM_PROCID": "2", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"},
            Place("SLURM_JOB_ID=77,SLURM_STEP_ID=0", "2"),
        ),
        ({"RANK": "5", "SLURM_PROCID": "0", "SLURM_JOB_ID": "77"}, Place("SLURM_JOB_ID=77", "5")),
        ({"OMPI_COMM_WORLD_RANK": "1", "PMIX_NAMESPACE": "ns"}, Place("PMIX_NAMESPACE=ns", "1")),
        ({"PMI_RANK": "4"}, Place(None, "4")),
        ({"RANK": "first", "PMI_RANK": "02"}, Place(None, "2")),
        ({"RANK": ""}, Place(None, None)),
    ],
    ids=repr,
)
def test_places_in_a_job(environ: dict[str, str], place: Place) -> None:
    assert find_place(environ) == place


def test_ranks_above_0_join_one_run(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one id given, only rank 0 opens a generation and describes the run; others say only what they were given."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for rank in ("3", "0", "1"):
        monkeypatch.setenv("RANK", rank)
        run, writer = start(id="x", config={"lr": 1}, tags=["t"])
        assert (writer.own("rank"), writer.own("job")) == (rank, "SLURM_JOB_ID=7")
        assert (writer.own("generation") is not None) == (rank == "0")
        assert ("name" in writer.stored("attr")) == (rank == "0")
        assert writer.stored("attr")["tags"] == ["t"]
        assert writer.stored("config") == {"lr": 1}
        run.finish()


def test_ranks_without_an_id_have_runs_of_their_own(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    _, writer = start()
    assert writer.own("generation") is not None


def test_shared_mode_opens_a_run_only_without_an_id(start: Any) -> None:
    """MODE-1: whoever is first with an id joins too, and describes the run, because nobody else will."""
    assert start(mode="shared")[1].own("generation") is not None
    run, writer = start(mode="shared", id="x", reinit=True)
    assert writer.own("generation") is None
    assert writer.stored("attr")["name"] == run.name


def test_shared_mode_joins_under_a_label(start: Any) -> None:
    """MODE-1, SET-6"""
    run, writer = start(
        id="x",
        settings={"mode": "shared", "x_label": "node-1", "x_primary": False, "x_update_finish_state": False},
        config={"a": 1},
    )
    assert (writer.own("generation"), writer.own("rank"), writer.own("state")) == (None, "node-1", "finished")
    assert writer.stored("config") == {}
    assert writer.stored("attr") == {}
    run.finish(exit_code=3)
    assert (writer.own("state"), writer.own("exit_code")) == ("finished", 0)
