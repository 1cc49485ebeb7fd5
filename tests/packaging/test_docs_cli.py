"""docs/cli.md is what the command says. To renew the help texts: python tests/packaging/test_docs_cli.py"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tracker.cli.exit_codes import EXIT_CODES
from tracker.cli.formats import FORMATS
from tracker.query.run_columns import RUN_COLUMNS
from tracker.query.sql_views import VIEW_COLUMNS, SqlViews
from tracker.storage.fsck_report import FINDINGS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
COMMANDS = [
    "", "query", "runs", "runs list", "runs show", "runs delete", "runs restore", "runs stop", "sync", "status",
    "compact", "vacuum", "fsck", "du", "cache",
    "files", "files ls", "files get", "files put", "files rm",
    "runs tail", "runs update", "runs undelete", "runs export", "projects", "gc", "login",
    "diff", "log", "runs diff",
]  # fmt: skip
GROUPS = ("runs", "files")


def help_text(command: str) -> str:
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    tracker = str(Path(sys.executable).with_name("tracker"))
    done = subprocess.run(
        [tracker, *command.split(), "--help"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def block(command: str) -> str:
    name = f"tracker {command}".strip()
    return f"<!-- help: {name} -->\n```text\n{help_text(command)}\n```\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"tracker {command}".strip())
def test_help_is_documented_word_for_word(command: str) -> None:
    assert block(command) in PAGE.read_text()


def rows_below(heading: str) -> list[list[str]]:
    section = PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1:]]


def test_exit_codes_are_documented() -> None:
    documented = {int(code): meaning for code, meaning in rows_below("Exit codes") if code.isdigit()}
    assert documented == EXIT_CODES


def test_findings_of_fsck_are_documented() -> None:
    rows = [row for row in rows_below("Care of a store") if len(row) == 3 and row[1] in ("error", "warning", "note")]
    assert {row[0].strip("`"): (row[1], row[2]) for row in rows} == FINDINGS


def test_every_command_is_documented() -> None:
    """A new command stands in COMMANDS, so that its help is on the page."""
    shown = re.findall(r"^  ([a-z]+) ", help_text("").split("Commands:")[1], re.MULTILINE)
    assert set(shown) == {command for command in COMMANDS if command and " " not in command}
    for group in GROUPS:
        names = re.findall(r"^  ([a-z]+) ", help_text(group).split("Commands:")[1], re.MULTILINE)
        listed = {command for command in COMMANDS if command.startswith(f"{group} ")}
        assert {f"{group} {name}" for name in names} == listed


def test_formats_are_documented() -> None:
    documented = {row[0].strip("`"): tuple(re.findall(r"`(\.\w+)`", row[1])) for row in rows_below("Formats")}
    assert documented == {form.name: form.suffixes for form in FORMATS.values()}


def test_views_and_their_columns_are_documented() -> None:
    documented = {row[0].strip("`"): re.findall(r"`([\w<>.]+)`", row[2]) for row in rows_below("SQL")}
    assert set(documented) == set(SqlViews.NAMES)
    for name, columns in VIEW_COLUMNS.items():
        assert [column for column in documented[name] if "<" not in column] == list(columns)
    assert [column for column in documented["runs"] if "<" not in column] == list(RUN_COLUMNS)


if __name__ == "__main__":
    text = PAGE.read_text()
    for command in COMMANDS:
        name = re.escape(f"tracker {command}".strip())
        old = rf"<!-- help: {name} -->\n```text\n.*?```\n"
        head, _, tail = re.split(f"({old})", text, maxsplit=1, flags=re.DOTALL)
        text = head + block(command) + tail
    PAGE.write_text(text)
