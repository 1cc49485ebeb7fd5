"""The README's code runs, its tables are those of the code, and its commands are those that CI runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tracker
from tracker.apis.public import Api, Run, Runs
from tracker.query.fields import FIELD_NAMES
from tracker.query.parse_filter import OPERATORS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def supported(part: str) -> list[str]:
    """The names in backticks of one row of the table."""
    (row,) = re.findall(rf"^\| {part} \| (.*) \|$", README, flags=re.MULTILINE)
    return re.findall(r"`([^`]+)`", row)


def test_the_ten_lines_run(tmp_path: Path) -> None:
    (code,) = code_blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    environment = {**os.environ, "TRACKER_BASE_URL": str(tmp_path / "store")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, *frame = done.stdout.splitlines()
    assert first.split()[1:] == ["finished", "0.99"]
    assert frame[0] == "shape: (5, 4)"
    assert f"its data goes to {tmp_path / 'store'}" in done.stderr


def test_there_are_two_commands_and_ci_runs_the_second() -> None:
    example, tests = code_blocks("bash")
    for command in (example, tests):
        assert len(command.splitlines()) == 1
        assert "python3 -m venv .venv" in command
        assert "requirements/lock.txt" in command
    assert example.strip().endswith(".venv/bin/python examples/digits.py")
    assert tests.strip().endswith(".venv/bin/python -m pytest -n auto")
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize(
    ("part", "prefix", "owner"),
    [
        ("module", "tracker", tracker),
        ("run", "run", tracker.Run),
        ("api", "api", Api),
        ("runs", "runs", Runs),
        ("run of the api", "apirun", Run),
    ],
)
def test_what_is_called_supported_is_there(part: str, prefix: str, owner: object) -> None:
    names = [name.split(".", 1) for name in supported(part) if "." in name]
    assert names
    for first, name in names:
        assert first == prefix
        assert hasattr(owner, name) or name in getattr(owner, "__annotations__", {}), name


def test_operators_and_fields_are_those_of_the_code() -> None:
    assert set(supported("filter operators")) == set(OPERATORS)
    assert set(supported("filter and order fields")) == set(FIELD_NAMES)


def test_the_commands_are_those_of_the_code() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("tracker")), "--help"], capture_output=True, text=True, check=True
    )
    listed = set(re.findall(r"^  (\w+)  ", done.stdout.split("Commands:")[1], flags=re.MULTILINE))
    assert {name.split()[1] for name in supported("command")} == listed


def test_what_is_called_missing_is_refused_by_name() -> None:
    section = README.split("## What it does not do", 1)[1].split(":", 1)[1].split("(media", 1)[0]
    names = re.findall(r"`(\w+)`", section)
    assert "Artifact" in names
    for name in names:
        with pytest.raises(AttributeError, match="README"):
            getattr(tracker, name)


def test_the_promise_is_said_as_it_is() -> None:
    promise = (
        "Killing the process loses nothing that `log` returned from; "
        "losing the machine's disk loses at most the flush interval"
    )
    assert promise in README


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
