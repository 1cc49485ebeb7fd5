"""The SQL itself, reviewed as diffs: one file of `golden/` per question, its values as `-- params`.

A change of the compiler shows here. `python tests/query/test_filter_golden.py` rewrites the files; review the diff.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracker.query.compile_duckdb import compile_query
from tracker.query.order import parse_order
from tracker.query.parse_filter import parse_filter

FILES = sorted((Path(__file__).parent / "golden").glob("*.sql"))


def rendered(text: str) -> str:
    """The file as it should be, made anew from its question."""
    head = [line for line in text.splitlines() if line.startswith(("-- filter: ", "-- order: ", "-- limit: "))]
    asked = {name: json.loads(value) for name, value in (line[3:].split(": ", 1) for line in head)}
    query = compile_query(parse_filter(asked["filter"]), parse_order(asked.get("order")), limit=asked.get("limit"))
    tail = [f"-- params: {json.dumps(query.params)}", f"-- paths: {json.dumps(query.paths)}", ""]
    return "\n".join([*head, query.sql, *tail])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_sql_is_the_reviewed_one(path: Path) -> None:
    text = path.read_text()
    assert rendered(text) == text


def test_there_are_golden_files() -> None:
    assert len(FILES) >= 12


if __name__ == "__main__":
    for golden in FILES:
        golden.write_text(rendered(golden.read_text()))
