"""docs/format.md describes the code, and its snippets read a store without tracker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tracker.storage import events
from tracker.storage.derived import BUCKETS_MAX, DERIVED_SCHEMA, Record
from tracker.storage.events import Type, encode_cell, family_of
from tracker.storage.names import FAMILIES, FORMAT_KEY, PartName, RunRef, run_prefix
from tracker.storage.rollup import BUCKETED_POINTS
from tracker.storage.schema import FORMAT_VERSION, SCHEMA, PartFooter, write_events

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text()


def table_after(heading: str, nth: int = 0) -> list[list[str]]:
    """Rows of the nth table below a heading, cells stripped, without its header."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, flags=re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in tables[nth].splitlines()[2:]]


def snippets(language: str, store: Path) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return [code.replace("STORE", str(store)) for code in found]


def test_columns_are_those_of_the_schema() -> None:
    rows = table_after("Columns")
    documented = {row[0].strip("`"): (row[1].split()[0].rstrip(","), "null" in row[1]) for row in rows}
    assert list(documented) == SCHEMA.names
    for field in SCHEMA:
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        assert documented[field.name] == (str(plain), field.nullable)


def test_types_kinds_families_and_footer_are_those_of_the_code() -> None:
    (types,) = [row[2] for row in table_after("Columns") if row[0] == "`t`"]
    assert re.findall(r"(\d) (\w+)", types.lower()) == [(str(int(t)), t.name.lower()) for t in Type]
    (families,) = [row[1] for row in table_after("Names") if row[0] == "`family`"]
    assert set(re.findall(r"`(\w)`", families)) == FAMILIES
    assert FORMAT_KEY in PAGE
    assert f"This page describes format {FORMAT_VERSION}," in PAGE
    footer = PAGE.split("## Footer", 1)[1].split("##", 1)[0]
    assert set(re.findall(r"`tracker\.(\w+)`", footer)) == set(PartFooter.__dataclass_fields__)


def test_rollups_are_described_column_by_column() -> None:
    section = PAGE.split("\n## Rollups\n", 1)[1].split("\n## ", 1)[0]
    assert {row[0].strip("`") for row in table_after("Rollups")} == {
        value for name, value in vars(Record).items() if not name.startswith("_")
    }
    named = set(re.findall(r"`(\w+)`", section))
    assert set(DERIVED_SCHEMA.names) - set(SCHEMA.names) <= named
    assert f"{BUCKETED_POINTS:,} points" in section
    assert f"at most {BUCKETS_MAX:,} a series" in section


def event(
    kind: str, seq: int, value: Any, key: str | None, row: int | None = None, step: int | None = None
) -> dict[str, Any]:
    t, v, i, s = encode_cell(value)
    hlc = 1_700_000_000_000_000 + seq
    return {"seq": seq, "row": row, "hlc": hlc, "ts": 0, "kind": kind, "subject": None, "step": step, "key": key,
            "t": int(t), "v": v, "i": i, "s": s}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two runs of one writer each; the first run's frames 0..1 stand in two files, as during a merge."""
    for number, run_id in enumerate(("a", "b")):
        writer = f"01hf{number:022d}"
        ref = RunRef("main", "digits", run_id)
        events = [
            event("config", 0, 0.1 * (number + 1), "lr"),
            event("config", 0, "adam", "opt"),
            event("history", 1, 1.0, "loss", row=0, step=0),
            event("row", 1, 0.5, None, row=0, step=0),
            event("history", 2, 0.25, "loss", row=1, step=1),
            event("history", 3, 0.5, "loss", row=1, step=1),
            event("row", 3, 0.6, None, row=1, step=1),
            event("history", 4, 9.0, "loss", row=2, step=2),
            event("config", 5, "sgd", "opt"),
        ]
        ranges = [(0, 5), (0, 1)] if run_id == "a" else [(0, 5)]
        for first, last in ranges:
            footer = PartFooter(entity="main", project="digits", run_id=run_id, writer_id=writer, family="e",
                                first=first, last=last, mark=f"{last:016x}")  # fmt: skip
            part = PartName(run_id, writer, "e", first, last, footer.mark)
            path = tmp_path / f"{run_prefix(ref)}{writer}/{part.file_name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            chosen = [row for row in events if first <= row["seq"] <= last]
            path.write_bytes(write_events(pa.Table.from_pylist(chosen, SCHEMA), footer))
    return tmp_path


def test_the_duckdb_snippet_answers_committed_rows_once(store: Path) -> None:
    (sql,) = snippets("sql", store)
    rows = duckdb.sql(sql).fetchall()
    assert [row[:3] for row in rows] == [("a", 0, 1.0), ("a", 1, 0.5), ("b", 0, 1.0), ("b", 1, 0.5)]
    assert rows[0][3].year == 2023


def test_the_polars_snippet_answers_the_config(store: Path) -> None:
    space: dict[str, Any] = {}
    exec(snippets("python", store)[0], space)  # the page's own code
    rows = sorted(space["config"].rows())
    assert rows == [("a", "lr", "0.1"), ("a", "opt", "sgd"), ("b", "lr", "0.2"), ("b", "opt", "sgd")]


def test_the_pandas_snippet_reads_one_file(store: Path) -> None:
    space: dict[str, Any] = {}
    exec(snippets("python", store)[1], space)  # the page's own code
    assert list(space["points"].columns) == ["loss"]
    assert space["points"].index.tolist()[:1] == [0]


def test_kinds_have_the_families_that_the_page_gives_them() -> None:
    points = {row[0].strip("`") for row in table_after("Kinds", 0)}
    facts = {row[0].strip("`") for row in table_after("Kinds", 1)}
    assert {kind: family_of(kind) for kind in points} == {"history": "h", "row": "h", "system": "s", "console": "c"}
    assert {family_of(kind) for kind in facts} == {"f"}
    assert facts == {kind for name, kind in vars(events).items() if name.startswith("KIND_")}
