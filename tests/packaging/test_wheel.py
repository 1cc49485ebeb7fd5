"""What lands in site-packages: one name, every room in it, and it works from there."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"tracker": "tracker", "query": "tracker.query", "storage": "tracker.storage", "cli": "tracker.cli"}


def packages_on_disk() -> set[str]:
    """Every folder of the rooms that has an `__init__.py`, by its installed name."""
    found = set()
    for room, name in ROOMS.items():
        for init in (ROOT / room).rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(ROOT / room).parts]))
    return found


def test_the_wheel_has_a_single_top_level_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tracker"}


def test_every_folder_with_an_init_is_declared_and_in_the_wheel(wheel: Path) -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    assert packages_on_disk() == declared
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.replace(".", "/") + "/__init__.py" for name in declared} <= names


def test_every_module_of_the_rooms_is_in_the_wheel(wheel: Path) -> None:
    """Also those in a folder whose `__init__.py` was forgotten."""
    wanted = {
        (Path(*name.split(".")) / path.relative_to(ROOT / room)).as_posix()
        for room, name in ROOMS.items()
        for path in (ROOT / room).rglob("*.py")
        if not (room == "tracker" and path.relative_to(ROOT / room).parts[0] in ROOMS)
    }
    with zipfile.ZipFile(wheel) as archive:
        assert wanted <= set(archive.namelist())
        assert "tracker/py.typed" in archive.namelist()


def test_the_wheel_carries_license_readme_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        (entry_points,) = [name for name in names if name.endswith("/entry_points.txt")]
        text = archive.read(metadata).decode()
        parser = configparser.ConfigParser()
        parser.read_string(archive.read(entry_points).decode())
        assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in text
    assert text.rstrip().endswith((ROOT / "README.md").read_text().rstrip())
    assert dict(parser["console_scripts"]) == {"tracker": "tracker.cli.main:main"}


def run_installed(installed: Path, code: str, cwd: Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_rooms_come_from_the_unpacked_wheel(installed: Path, tmp_path: Path) -> None:
    code = (
        "import json, tracker, tracker.query, tracker.storage.names, tracker.cli\n"
        "print(json.dumps([m.__file__ for m in (tracker, tracker.query, tracker.storage.names, tracker.cli)]))"
    )
    files = json.loads(run_installed(installed, code, tmp_path))
    assert all(Path(name).is_relative_to(installed / "tracker") for name in files)


def test_a_users_own_modules_of_the_same_names_are_not_taken_for_ours(installed: Path, tmp_path: Path) -> None:
    """A `storage.py` beside the training script stays the user's, and ours stays ours."""
    for room in ("storage", "query", "cli"):
        (tmp_path / f"{room}.py").write_text("OWNER = 'user'\n")
    (tmp_path / "train.py").write_text(
        "import storage, query, cli, tracker.storage.names, tracker.query, tracker.cli\n"
        "print(storage.OWNER, query.OWNER, cli.OWNER, tracker.storage.names.encode_name('a'))"
    )
    env = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, str(tmp_path / "train.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["user", "user", "user", "a"], done.stderr


def test_import_directions_hold_in_the_installed_package(installed: Path, tmp_path: Path) -> None:
    """The contracts stand in pyproject.toml: cli -> tracker, query -> storage; fsspec in one file."""
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--no-cache",
        "--config",
        str(ROOT / "pyproject.toml"),
    ]
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
