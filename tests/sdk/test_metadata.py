"""What a run records of its program, packages and machine, as facts and as files."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from fake_writer import FakeWriter
from nvml_fake import FakeNvml
from run_view import run_script, view_run

import tracker
from tracker.sdk import metadata_parts
from tracker.sdk.colab import colab_address
from tracker.sdk.distributions import installed, requirements_text
from tracker.sdk.notebook_path import notebook_path
from tracker.sdk.options import RunOptions
from tracker.storage.events import KIND_FILE, KIND_META, split_path

ON = {"x_disable_meta": False, "x_save_requirements": True}


def stored_files(root: Path) -> dict[str, bytes]:
    """Name to content of the one run's files."""
    blobs = {path.name: path.read_bytes() for path in root.glob("*/*/blobs/*/*")}
    facts = view_run(root).state.live.get(KIND_FILE, {})
    return {
        "".join(split_path(path)): fact["text"].encode() if "text" in fact else blobs[fact["sha256"]]
        for path, fact in facts.items()
    }


def read_metadata(root: Path, project: str = "p") -> dict[str, Any] | None:
    (run,) = tracker.Api(overrides={"base_url": str(root)}).runs(f"main/{project}")
    return run.metadata


def test_a_script_is_described(tmp_path: Path) -> None:
    """META-1, META-2, META-4, META-6: a real process with arguments, outside of a repository."""
    (tmp_path / "work").mkdir()
    code = """
    import sys
    sys.argv += ["--lr", "0.1"]
    run = tracker.init(config={"lr": 0.1, "net": {"layers": [1, 2]}}, settings={"email": "a@b.c", "docker": "image:1"})
    run.log({"loss": 2.5})
    run.log({"acc": 0.5}, step=7)
    run.finish()
    """
    env = {"TRACKER_X_DISABLE_META": "false", "TRACKER_X_SAVE_REQUIREMENTS": "true", "SLURM_JOB_ID": "77"}
    before = datetime.now(UTC)
    process = run_script(code, tmp_path, env=env | {"SLURM_JWT": "secret"})
    assert process.returncode == 0, process.err  # type: ignore[attr-defined]
    found = read_metadata(tmp_path / "root")
    assert found is not None
    (script,) = tmp_path.glob("script_*.py")
    started = datetime.fromisoformat(found.pop("startedAt"))
    assert abs((started - before).total_seconds()) < 60
    disk = found.pop("disk")
    assert set(disk) == {"/"}
    assert disk["/"]["total"] == psutil.disk_usage("/").total
    assert 0 < disk["/"]["used"] < disk["/"]["total"]
    cores, threads = psutil.cpu_count(logical=False), psutil.cpu_count(logical=True)
    assert found == {
        "os": platform.platform(aliased=True),
        "python": f"CPython {platform.python_version()}",
        "args": ["--lr", "0.1"],
        "program": str(script),
        "codePath": script.name,
        "codePathLocal": script.name,
        "email": "a@b.c",
        "root": str(tmp_path),
        "host": platform.node(),
        "username": found["username"],
        "executable": sys.executable,
        "docker": "image:1",
        "slurm": {"job_id": "77"},
        "cpu_count": cores,
        "cpu_count_logical": threads,
        "cpu": {"count": cores, "countLogical": threads},
        "memory": {"total": psutil.virtual_memory().total},
    }
    files = stored_files(tmp_path / "root")
    assert set(files) >= {"wandb-metadata.json", "requirements.txt", "config.yaml", "wandb-summary.json"}
    document = json.loads(files["wandb-metadata.json"])
    assert document == found | {"disk": document["disk"], "startedAt": document["startedAt"]}
    assert yaml.safe_load(files["config.yaml"]) == {
        "wandb_version": 1, "lr": {"value": 0.1}, "net": {"value": {"layers": [1, 2]}},
    }  # fmt: skip
    summary = json.loads(files["wandb-summary.json"])
    assert (summary["loss"], summary["acc"], summary["_step"]) == (2.5, 0.5, 7)
    lines = files["requirements.txt"].decode().splitlines()
    assert f"pyarrow=={importlib.metadata.version('pyarrow')}" in lines


def test_a_module_is_described_by_its_name(tmp_path: Path) -> None:
    """META-2: `-m <module>`; its path is that of its file."""
    package = tmp_path / "train_pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "main.py").write_text("import tracker\ntracker.init(project='p').finish()\n")
    env = os.environ | {"TRACKER_BASE_URL": str(tmp_path / "root"), "TRACKER_X_DISABLE_META": "false"}
    subprocess.run([sys.executable, "-m", "train_pkg.main", "a"], cwd=tmp_path, env=env, check=True)
    found = read_metadata(tmp_path / "root")
    assert found is not None
    assert (found["program"], found["codePath"], found["args"]) == (
        "-m train_pkg.main", "train_pkg/main.py", ["a"],
    )  # fmt: skip


def test_an_interactive_program_has_no_path(tmp_path: Path) -> None:
    """META-2"""
    env = os.environ | {"TRACKER_BASE_URL": str(tmp_path / "root"), "TRACKER_X_DISABLE_META": "false"}
    code = "import tracker; tracker.init(project='p', settings={'x_disable_machine_info': True}).finish()"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
    found = read_metadata(tmp_path / "root")
    assert found is not None
    assert found["program"] == "<python with no main file>"
    assert not {"codePath", "codePathLocal", "git"} & set(found)
    assert not {"cpu", "memory", "disk", "cpu_count"} & set(found), "META-5: the hardware part is switched off"


def test_a_notebook_is_described_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """META-2: a kernel is told its notebook by settings, by VS Code, or by Jupyter's server."""
    path = tmp_path / "train.ipynb"
    path.write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert notebook_path(str(path), {}) is None, "not in a notebook"
    monkeypatch.setattr("tracker.sdk.notebook_path.in_notebook", lambda: True)
    assert notebook_path(None, {}) is None
    assert notebook_path(None, {"JPY_SESSION_NAME": str(tmp_path / "gone.ipynb")}) is None
    assert notebook_path(None, {"JPY_SESSION_NAME": str(path)}) == path
    assert notebook_path("other.ipynb", {"JPY_SESSION_NAME": str(path)}) == tmp_path / "other.ipynb"
    monkeypatch.setattr(sys.modules["__main__"], "__vsc_ipynb_file__", str(path), raising=False)
    assert notebook_path(None, {}) == path
    found = metadata_parts.program_part(RunOptions(program="<python with no main file>"), 0, {})
    assert (found["program"], found["codePath"], found["codePathLocal"]) == (str(path), path.name, path.name)


@pytest.mark.parametrize(
    ("sessions", "shown"),
    [
        ('[{"path": "fileId=1aBc", "name": "n.ipynb"}]', "https://colab.research.google.com/notebook#fileId=1aBc"),
        ('[{"path": "content/n.ipynb"}]', None),
        ("no json", None),
    ],
)
def test_a_colab_notebook_has_its_address(sessions: str, shown: str | None) -> None:
    """META-1: colab"""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/sessions" else 404)
            self.end_headers()
            self.wfile.write(sessions.encode())

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        colab = {"COLAB_RELEASE_TAG": "release-colab_20261101", "COLAB_JUPYTER_IP": "127.0.0.1"}
        try:
            assert colab_address(colab, server.server_port) == shown
        finally:
            server.shutdown()
            thread.join()
    assert colab_address(colab, server.server_port) is None, "nobody answers any more"
    assert colab_address({"COLAB_JUPYTER_IP": "127.0.0.1"}) is None


def collected(start: Any, **settings: Any) -> FakeWriter:
    """The writer of a run that is over, with what its metadata came to."""
    run, writer = start(settings=ON | {"x_save_requirements": False} | settings)
    run.finish()
    assert isinstance(writer, FakeWriter)
    return writer


def test_switched_off_there_is_neither_fact_nor_file(start: Any) -> None:
    """META-5: x_disable_meta"""
    writer = collected(start, x_disable_meta=True)
    assert not [fact for fact in writer.facts() if fact.kind == KIND_META]
    assert not [fact for fact in writer.facts() if fact.kind == KIND_FILE and "metadata" in fact.path]


def test_a_writer_that_is_not_primary_says_nothing(start: Any) -> None:
    """SET-6: no metadata, requirements or config from a writer with x_primary=False."""
    writer = collected(start, x_primary=False)
    assert not [fact for fact in writer.facts() if fact.kind == KIND_META]
    names = {"".join(split_path(fact.path)) for fact in writer.facts() if fact.kind == KIND_FILE}
    assert not names & {"wandb-metadata.json", "config.yaml", "requirements.txt", "wandb-summary.json"}


def test_ranks_above_zero_describe_only_runs_of_their_own(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """META-1: rank 0 speaks for a run that the ranks share."""
    monkeypatch.setenv("RANK", "1")
    own = collected(start)
    shared = collected(start, run_id="shared")
    assert [fact for fact in own.facts() if fact.kind == KIND_META]
    assert not [fact for fact in shared.facts() if fact.kind == KIND_META]


def test_init_waits_for_none_of_it(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is slow to describe delays neither init nor log; finish waits for it."""
    asked, answered = threading.Event(), threading.Event()

    def slow(options: RunOptions) -> dict[str, Any]:
        asked.set()
        time.sleep(0.3)
        answered.set()
        return {"cpu_count": 4}

    monkeypatch.setattr(metadata_parts, "machine_part", slow)
    began = time.monotonic()
    run, writer = start(settings=ON | {"x_save_requirements": False})
    run.log({"a": 1})
    assert asked.wait(5)
    assert not answered.is_set() or time.monotonic() - began > 0.3
    run.finish()
    assert answered.is_set()
    assert writer.stored(KIND_META)["cpu_count"] == 4


def test_a_part_that_fails_leaves_the_others(
    start: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(options: RunOptions) -> dict[str, Any]:
        raise OSError("no such driver")

    monkeypatch.setattr(metadata_parts, "machine_part", broken)
    writer = collected(start)
    assert writer.stored(KIND_META)["python"]
    assert capsys.readouterr().err.count("the machine could not be recorded: OSError: no such driver") == 1


def test_gpus_are_described(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """META-1: gpu, gpu_count, gpu_nvidia, cudaVersion"""
    monkeypatch.setattr("tracker.sdk.system.nvidia.load_nvml", lambda: FakeNvml(2))
    found = collected(start).stored(KIND_META)
    assert (found["gpu"], found["gpu_count"], found["cudaVersion"]) == ("NVIDIA H100 80GB HBM3", 2, "12.4")
    assert [gpu["uuid"] for gpu in found["gpu_nvidia"]] == ["GPU-00000000", "GPU-00000001"]


def test_the_summary_file_has_the_row_that_is_still_open(tmp_path: Path) -> None:
    """SUM-8"""
    root = tmp_path / "root"
    run = tracker.init(project="p", settings=ON | {"base_url": str(root), "x_save_requirements": False})
    run.log({"loss": float("nan")}, step=3)
    run.summary["best"] = {"at": 2}
    run.finish()
    summary = json.loads(stored_files(root)["wandb-summary.json"])
    assert summary["loss"] is None or summary["loss"] != summary["loss"]
    assert (summary["_step"], summary["best"]) == (3, {"at": 2})
    assert summary["_wandb"]["runtime"] == int(summary["_runtime"])


def test_the_config_file_can_be_loaded_again(tmp_path: Path) -> None:
    """META-6, CFG-2: `config.yaml` of one run is the config of the next."""
    root = tmp_path / "root"
    config = {"lr": 0.1, "name": "ü", "layers": [1, 2], "opt": {"b": [0.9], "inf": float("inf")}, "none": None}
    run = tracker.init(project="p", config=config, settings=ON | {"base_url": str(root), "x_save_requirements": False})
    run.finish()
    path = tmp_path / "config.yaml"
    path.write_bytes(stored_files(root)["config.yaml"])
    again = tracker.init(project="p", config=str(path), settings={"base_url": str(tmp_path / "other")})
    assert again.config.as_dict() == config
    again.finish()


def test_metadata_of_a_run_without_any_is_none(tmp_path: Path) -> None:
    """RUN-5: parsed metadata, or None."""
    run = tracker.init(project="p", settings={"base_url": str(tmp_path / "root")})
    run.finish()
    assert read_metadata(tmp_path / "root") is None


def test_differs_sizes_in_the_metadata_are_numbers(start: Any) -> None:
    """W&B's file has memory and disk sizes as text."""
    found = collected(start).stored(KIND_META)
    assert isinstance(found["memory"]["total"], int)
    assert isinstance(found["disk"]["/"]["used"], int)


def test_a_resumed_session_on_another_machine_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    """RES-9, META-1: metadata are those of the session that runs."""
    settings = ON | {"base_url": str(tmp_path / "root"), "x_save_requirements": False}
    first = tracker.init(project="p", id="r", settings=settings | {"docker": "image:1", "email": "a@b.c"})
    first.finish()
    again = tracker.init(project="p", id="r", resume="must", settings=settings | {"email": "d@e.f"})
    again.finish()
    found = read_metadata(tmp_path / "root")
    assert found is not None
    assert found["email"] == "d@e.f"
    assert "docker" not in found


# installed distributions


def test_requirements_are_what_python_itself_finds() -> None:
    """META-4: one line `name==version` for each installed distribution."""
    expected: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        expected.setdefault(name.lower().replace("_", "-").replace(".", "-"), f"{name}=={distribution.version}")
    lines = requirements_text().splitlines()
    assert sorted(lines) == sorted(expected.values())
    names = [line.partition("==")[0].lower() for line in lines]
    assert names == sorted(names)


def test_the_first_of_two_installations_counts(tmp_path: Path) -> None:
    for place, version in (("a", "1.0"), ("b", "2.0")):
        folder = tmp_path / place / "some_pkg-x.dist-info"
        folder.mkdir(parents=True)
        name = "some-pkg" if place == "a" else "Some_Pkg"
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nVersion: 9\n")
    (tmp_path / "b" / "old-1.egg-info").write_text("Name: old\nVersion: 1\n")
    (tmp_path / "b" / "broken-1.dist-info").mkdir()
    paused: list[int] = []
    places = [str(tmp_path / "a"), str(tmp_path / "missing.zip"), str(tmp_path / "b")]
    assert installed(places, lambda: paused.append(1)) == {"some-pkg": "1.0", "old": "1"}
