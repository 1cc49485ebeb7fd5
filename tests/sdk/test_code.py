"""Repositories, patches and code that are kept with a run. Every repository is made by the `git` command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from run_view import run_script, view_run

import tracker
from tracker.sdk import git_diff
from tracker.sdk.git import read_branch, read_setting, without_credentials
from tracker.sdk.git_diff import read_diff, upstream_commit
from tracker.sdk.saved_code import code_name, find_code
from tracker.storage.events import KIND_FILE, split_path

IDENTITY = {
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c",
    "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(command, env=os.environ | IDENTITY, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def repository(folder: Path, **files: str) -> Path:
    """A repository on branch `main` with one commit of these files (`__` in a name stands for a dot)."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def stored_files(root: Path) -> dict[str, bytes]:
    """Name to content of the one run's files."""
    blobs = {path.name: path.read_bytes() for path in root.glob("*/*/blobs/*/*")}
    facts = view_run(root).state.live.get(KIND_FILE, {})
    named = {path: fact["sha256"] for path, fact in facts.items() if "sha256" in fact}
    return {"".join(split_path(path)): blobs[sha256] for path, sha256 in named.items()}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:token@host.org/team/repo.git", "https://host.org/team/repo.git"),
        ("https://token@host.org:8443/r?x=1", "https://host.org:8443/r?x=1"),
        ("https://us%40er:p%2Fw@host/r", "https://host/r"),
        ("ssh://git:secret@host:22/r", "ssh://git@host:22/r"),
        ("git@host.org:team/repo.git", "git@host.org:team/repo.git"),
        ("/srv/repo.git", "/srv/repo.git"),
        ("https://[broken:token@host/r", ""),
    ],
)
def test_remotes_are_shown_without_credentials(url: str, shown: str) -> None:
    """META-3"""
    assert without_credentials(url) == shown


def test_settings_are_read_as_git_reads_them(tmp_path: Path, clean_environment: Path) -> None:
    folder = repository(tmp_path / "r", a="1")
    git(folder, "remote", "add", "origin", "https://host/r.git")
    git(folder, "remote", "add", "other", "https://host/o.git")
    git(folder, "config", "user.email", "repo@b.c")
    (clean_environment / ".gitconfig").write_text('[User]\n\tname = "A; B" # c\n\temail = user@b.c ; mine\n')
    for section, key in (("remote.origin", "url"), ("remote.other", "url"), ("user", "email"), ("user", "name")):
        assert read_setting(folder, section, key) == git(folder, "config", f"{section}.{key}"), section
    assert read_setting(folder, "remote.none", "url") is None
    git(folder, "worktree", "add", "-q", "-b", "side", str(tmp_path / "tree"))
    assert read_setting(tmp_path / "tree", "remote.origin", "url") == "https://host/r.git"
    assert (read_branch(folder), read_branch(tmp_path / "tree")) == ("main", "side")
    git(folder, "checkout", "-q", "--detach")
    assert read_branch(folder) is None
    assert read_setting(tmp_path / "nowhere", "user", "email") is None


def test_a_diff_has_staged_and_unstaged_changes(tmp_path: Path) -> None:
    """CODE-3. Applied to a clean checkout it gives the working tree, binary files too."""
    folder = repository(tmp_path / "r", a="1\n", b="2\n", c="3\n")
    (folder / "a").write_text("one\n")
    git(folder, "add", "a")
    (folder / "b").write_text("two\n")
    (folder / "c").write_bytes(bytes(range(256)))
    (folder / "untracked").write_text("x")
    patch = read_diff(folder)
    clean = tmp_path / "clean"
    git(tmp_path, "clone", "-q", str(folder), str(clean))
    subprocess.run(["git", "-C", str(clean), "apply"], input=patch, check=True)
    assert [(clean / name).read_bytes() for name in "abc"] == [(folder / name).read_bytes() for name in "abc"]
    assert b"untracked" not in patch


def test_a_diff_shows_what_changed_inside_of_submodules(tmp_path: Path) -> None:
    """CODE-3: dirty submodules"""
    inner = repository(tmp_path / "inner", lib="1\n")
    folder = repository(tmp_path / "r", a="1\n")
    git(folder, "submodule", "--quiet", "add", str(inner), "sub")
    git(folder, "commit", "-q", "-m", "sub")
    assert read_diff(folder) == b""
    (folder / "sub" / "lib").write_text("changed inside\n")
    assert b"+changed inside" in read_diff(folder)


def test_the_users_programs_are_not_run_for_a_diff(tmp_path: Path) -> None:
    """A repository that names an external diff, a text converter or a file monitor gets none of them run."""
    folder = repository(tmp_path / "r", a="1\n", __gitattributes="* diff=evil\n")
    mark = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    (folder / "a").write_text("2\n")
    for key in ("diff.external", "diff.evil.command", "diff.evil.textconv", "core.fsmonitor"):
        git(folder, "config", key, str(program))
    assert b"+2" in read_diff(folder)
    assert not mark.exists()


def test_what_was_published_is_where_the_branch_left_it(tmp_path: Path) -> None:
    """CODE-3: the commit that `diff_<sha>.patch` is against."""
    origin = repository(tmp_path / "origin", a="1\n")
    folder = tmp_path / "r"
    assert upstream_commit(origin, "origin") is None
    git(tmp_path, "clone", "-q", str(origin), str(folder))
    published = git(folder, "rev-parse", "HEAD")
    (folder / "a").write_text("2\n")
    git(folder, "commit", "-q", "-a", "-m", "mine")
    assert upstream_commit(folder, "origin") == published
    git(folder, "checkout", "-q", "-b", "untracked-branch")
    assert upstream_commit(folder, "origin") == published
    assert upstream_commit(folder, "nowhere") is None


def test_a_diff_that_is_too_long_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository(tmp_path / "r", a="1\n")
    (folder / "a").write_text("x" * 100_000)
    monkeypatch.setattr(git_diff, "BYTES_MAX", 50_000)
    with pytest.raises(git_diff.TooLong):
        read_diff(folder)
    git(folder, "checkout", "-q", "a")
    (folder / "a").write_bytes(os.urandom(100_000))
    assert b"Binary files a/a and b/a differ" in read_diff(folder)


def test_no_git_no_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository(tmp_path / "r", a="1\n")
    assert read_diff(tmp_path) == b""
    (folder / "a").write_text("2\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_diff(folder) == b""
    assert upstream_commit(folder, "origin") is None


def test_a_run_in_a_repository(tmp_path: Path) -> None:
    """META-1, META-3, CODE-3: git, code path, program, diffs of a real process in a clone with changes."""
    origin = repository(tmp_path / "origin", a="1\n")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(origin), str(clone))
    published = git(clone, "rev-parse", "HEAD")
    git(clone, "remote", "set-url", "origin", "https://me:token@host/team/r.git")
    git(clone, "config", "user.email", "dev@host")
    (clone / "a").write_text("2\n")
    git(clone, "commit", "-q", "-a", "-m", "mine")
    (clone / "a").write_text("3\n")
    (clone / "sub").mkdir()
    (clone / "sub" / "lib.py").write_text("x = 1\n")
    env = {"TRACKER_X_DISABLE_META": "false"}
    code = "tracker.init(save_code=True, settings={'code_dir': '.', 'x_disable_machine_info': True}).finish()"
    process = run_script(code, clone / "sub", env=env)
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    (script,) = (clone / "sub").glob("script_*.py")
    (run,) = tracker.Api(overrides={"base_url": str(clone / "sub" / "root")}).runs("main/p")
    assert run.metadata is not None
    assert run.metadata["git"] == {
        "remote": "https://host/team/r.git", "commit": git(clone, "rev-parse", "HEAD"), "branch": "main",
    }  # fmt: skip
    assert (run.metadata["codePath"], run.metadata["codePathLocal"]) == (f"sub/{script.name}", script.name)
    assert run.metadata["email"] == "dev@host"
    assert b"token" not in str(run.metadata).encode()
    files = stored_files(clone / "sub" / "root")
    assert files[f"code/sub/{script.name}"] == script.read_bytes()
    assert files["code/lib.py"] == b"x = 1\n"
    assert b"-2\n+3\n" in files["diff.patch"]
    assert b"-1\n+3\n" in files[f"diff_{published}.patch"]


@pytest.mark.parametrize("setting", [{"save_code": False}, {"save_code": True, "disable_code": True}])
def test_code_is_kept_only_when_asked_for(start: Any, setting: dict[str, bool]) -> None:
    """CODE-3, NB-2: nothing without save_code, or with disable_code."""
    run, writer = start(settings=setting)
    run.finish()
    assert not [fact for fact in writer.facts() if fact.kind == KIND_FILE and fact.path.startswith("code/")]


def test_git_can_be_switched_off(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """META-3: DISABLE_GIT"""
    folder = repository(tmp_path / "r", a="1")
    monkeypatch.chdir(folder)
    (folder / "a").write_text("2")
    shown = []
    for disable in (False, True):
        monkeypatch.setenv("WANDB_DISABLE_GIT", str(disable).lower())
        settings = {"x_disable_meta": False, "x_disable_machine_info": True, "program": "a", "save_code": True}
        run, writer = start(settings=settings, reinit=True)
        run.finish()
        files = [fact.path for fact in writer.facts() if fact.kind == KIND_FILE]
        shown.append((writer.stored("meta").get("git"), r"diff\.patch" in files))
    assert shown == [({"commit": git(folder, "rev-parse", "HEAD"), "branch": "main"}, True), (None, False)]


# log_code


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with code and with what is no code."""
    root = tmp_path / "tree"
    for name in (
        "train.py", "requirements.txt", "requirements-dev.txt", "Dockerfile", "notes.txt", "pkg/model.py",
        "pkg/__pycache__/model.cpython-311.py", ".venv/pyvenv.cfg", ".venv/lib/x.py", "env/conda-meta/history",
        "env/y.py", "wandb/z.py", "tracker-runs/run-1/files/code/q.py", ".git/hooks/h.py",
    ):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    return root


def test_log_code_takes_code_and_leaves_environments_and_working_directories(start: Any, tree: Path) -> None:
    """CODE-1, CODE-2"""
    run, writer = start(project="my project")
    kept = run.log_code(str(tree))
    run.finish()
    assert kept.files == ("Dockerfile", "pkg/model.py", "requirements-dev.txt", "requirements.txt", "train.py")
    assert kept.type == "code"
    assert kept.name.startswith("source-my_project-")
    names = ["".join(split_path(fact.path)) for fact in writer.facts() if fact.kind == KIND_FILE]
    assert sorted(names) == [f"code/{name}" for name in kept.files]


def test_log_code_asks_functions_of_one_or_two_arguments(start: Any, tree: Path) -> None:
    """CODE-1: `(path)` or `(path, root)`, absolute."""
    run, _ = start()
    asked: list[tuple[str, str]] = []

    def include(path: str, root: str) -> bool:
        asked.append((path, root))
        return path.endswith(".txt")

    kept = run.log_code(str(tree), include_fn=include, exclude_fn=lambda path: path.endswith("notes.txt"))
    assert kept.files == ("requirements-dev.txt", "requirements.txt")
    assert (str(tree / "notes.txt"), str(tree)) in asked
    assert run.log_code(str(tree), include_fn=lambda path, up=1: path.endswith("model.py")).files == ("pkg/model.py",)


def test_log_code_says_when_nothing_matches(start: Any, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CODE-2: None, with a warning."""
    run, _ = start()
    assert run.log_code(str(tree), include_fn=lambda path: False) is None
    assert run.log_code(str(tree / "missing")) is None
    assert capsys.readouterr().err.count("log_code found no file below") == 2


def test_log_code_takes_a_name(start: Any, tree: Path) -> None:
    """CODE-2"""
    run, _ = start()
    assert run.log_code(str(tree), name="my-code_1.0").name == "my-code_1.0"
    with pytest.raises(ValueError, match="may have letters"):
        run.log_code(str(tree), name="my code/!")
    run.finish()
    with pytest.raises(tracker.UsageError, match="finished"):  # RE-3
        run.log_code(str(tree))


def test_names_of_code() -> None:
    """CODE-2: unsafe characters become `_`, at most 128 of them."""
    assert code_name("a b", "sub/train.py") == "source-a_b-sub_train.py"
    assert len(code_name("p", "x" * 300)) == 128


def test_code_below_a_link_that_leads_upwards_ends(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert find_code(str(tmp_path), lambda path: path.endswith(".py"), lambda path: False) == ["a.py"]


def test_disabled_runs_keep_no_code(tree: Path) -> None:
    """MODE-4: None"""
    with tracker.init(mode="disabled") as run:
        assert run.log_code(str(tree)) is None
