"""docs/errors.md lists every code there is, and each of its rows has a test that exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tracker.cli.exit_codes import exit_code_of
from tracker.storage import errors

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text()


def rows_below(heading: str) -> list[list[str]]:
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1:]]


@cache
def codes_in_the_code() -> dict[str, str]:
    """Class name to code, of every class of the rooms that sets one of its own."""
    found = {}
    for room in ("storage", "query", "tracker", "cli"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ClassDef):
                    continue
                for statement in node.body:
                    match statement:
                        case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                            found[node.name] = code
    return found


@cache
def function_names(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_code_is_documented_and_no_other() -> None:
    documented = {row[0].strip("`") for row in rows_below("Codes")}
    assert documented == set(codes_in_the_code().values())


def test_exit_codes_are_those_of_the_command() -> None:
    classes = {kind.code: kind for kind in vars(errors).values() if isinstance(kind, type)}
    for code, _, _, exit_code in rows_below("Codes"):
        if code.strip("`") in classes:
            assert exit_code_of(classes[code.strip("`")]("x")) == int(exit_code), code


@pytest.mark.parametrize("row", rows_below("Bad input"), ids=lambda row: row[0][:60])
def test_a_row_has_known_codes_and_a_test(row: list[str]) -> None:
    _, code, message, remedy, test = row
    known = set(codes_in_the_code().values())
    assert set(re.findall(r"`([\w-]+)`", code)) <= known | {"lost"}
    assert message
    assert remedy
    path, name = test.split("::")
    assert name in function_names(ROOT / path)
