"""The repository speaks of the project alone, promises no later work, and its lock file holds."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "lock.txt"


def repository_files() -> list[Path]:
    """Tracked files, and new ones that git would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in files if path.is_file() and path != Path(__file__).resolve()]


# what a pattern finds, and why it must not be there
FORBIDDEN = {
    r"(?<![\w./}])/(?:work|home|Users|root|farm|mnt)/\w": "a path of somebody's machine",
    r"\.\./shared\b": "a path outside of the repository",
    r"\b(?:TODO|FIXME|XXX)\b": "a promise of later work",
    r"raise NotImplementedError\b": "a stub",
    r"(?:--|\b)(?:extra-)?index-url\b|find-links": "a package index of one machine",
    r"https?://(?:[\w.-]+\.)?pypi\.\w+/simple": "a package index",
}


@pytest.mark.parametrize("pattern", FORBIDDEN, ids=FORBIDDEN.values())
def test_no_file_has(pattern: str) -> None:
    found = []
    for path in repository_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:  # a stored Parquet file
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in re.finditer(pattern, text)]
    assert found == []


def _name(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def lock_pins() -> dict[str, str]:
    lines = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", line), f"not an exact pin: {line}"
    return {_name(line): line.split("==")[1] for line in lines}


def test_the_lock_file_pins_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    missing = {_name(requirement) for requirement in wanted} - set(lock_pins()) - {"tracker"}
    assert missing == set(), "regenerate requirements/lock.txt (see its first lines)"


def test_python_files_stay_readable_in_one_sitting() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for path in repository_files()
        if path.suffix == ".py"
        and "tests" not in path.relative_to(ROOT).parts
        and (count := path.read_text().count("\n")) > 500
    ]
    assert long == []
