"""User SQL reads the views and nothing else: every way out that DuckDB has is a case here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tracker.query import user_sql
from tracker.query.user_sql import run_user_sql, views_named
from tracker.storage.errors import UsageError

CANARY = "CANARY-must-stay-unread"

VIEWS = {
    "runs": pa.table(
        {"id": ["a", "b"], "acc": [0.5, 0.9], "state": pa.array(["finished", "failed"]).dictionary_encode()}
    ),
    "history": pa.table({"run_id": ["a", "a", "b"], "step": [0, 1, 0], "value": [1.0, float("nan"), 3.0]}),
}

FILE_QUERIES = [
    "FROM 'canary.csv'",
    "FROM 'canary.parquet'",
    'FROM "canary.json"',
    "FROM read_csv('canary.csv')",
    "FROM read_csv_auto('canary.csv')",
    "FROM read_csv(['canary.csv'])",
    "FROM main.read_csv('canary.csv')",
    "FROM sniff_csv('canary.csv')",
    "FROM read_text('canary.txt')",
    "FROM read_blob('canary.txt')",
    "FROM read_json('canary.json')",
    "FROM read_json_auto('canary.json')",
    "FROM read_json_objects('canary.json')",
    "FROM read_ndjson('canary.json')",
    "FROM read_ndjson_objects('canary.json')",
    "FROM read_parquet('canary.parquet')",
    "FROM parquet_scan('canary.parquet')",
    "FROM parquet_metadata('canary.parquet')",
    "FROM parquet_schema('canary.parquet')",
    "FROM parquet_file_metadata('canary.parquet')",
    "FROM parquet_kv_metadata('canary.parquet')",
    "FROM parquet_full_metadata('canary.parquet')",
    "FROM parquet_bloom_probe('canary.parquet', 'a', 'x')",
    "FROM read_duckdb('canary.duckdb', table_name = 't')",
    "FROM glob('*')",
    "SELECT (SELECT content FROM read_text('canary.txt')) FROM runs",
    "WITH c AS (FROM 'canary.csv') FROM c",
    "SELECT * FROM runs WHERE id IN (SELECT a FROM 'canary.csv')",
    "SELECT * FROM runs JOIN 'canary.csv' ON true",
    "SELECT * FROM runs, LATERAL (FROM read_text('canary.txt'))",
    "FROM runs UNION ALL BY NAME FROM 'canary.csv'",
    "DESCRIBE 'canary.csv'",
    "SUMMARIZE 'canary.csv'",
    "PIVOT 'canary.csv' ON a IN ('x') USING count(*)",
    "UNPIVOT 'canary.csv' ON a",
    "FROM query($$FROM 'canary.csv'$$)",
    "FROM query_table('canary.csv')",
    "FROM query_table(['canary.csv'])",
    "FROM histogram('canary.csv', a)",
    "FROM json_execute_serialized_sql(json_serialize_sql($$FROM 'canary.csv'$$))",
    "FROM read_csv('http://127.0.0.1:9/canary.csv')",
    "FROM 'https://127.0.0.1:9/canary.parquet'",
    "FROM 's3://bucket/canary.parquet'",
    "FROM 'gs://bucket/canary.parquet'",
    "FROM 'hf://datasets/x/canary.parquet'",
]

STATEMENTS = [
    "ATTACH 'canary.duckdb'",
    "ATTACH 'made.duckdb'",
    "ATTACH ':memory:' AS other",
    "COPY (SELECT 1) TO 'made.csv'",
    "COPY (SELECT 1) TO 'made.parquet' (FORMAT parquet)",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "COPY runs FROM 'canary.csv'",
    "COPY FROM DATABASE memory TO memory",
    "EXPORT DATABASE 'made'",
    "IMPORT DATABASE 'made'",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs FROM community",
    "LOAD httpfs",
    "LOAD '/tmp/made.duckdb_extension'",
    "UPDATE EXTENSIONS",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET GLOBAL memory_limit = '100GB'",
    "SET temp_directory = '/tmp'",
    "SET python_enable_replacements = true",
    "SET allowed_directories = ['/']",
    "SET profiling_output = 'made.json'",
    "SET VARIABLE x = (SELECT content FROM read_text('canary.txt'))",
    "RESET enable_external_access",
    "PRAGMA enable_profiling = 'json'",
    "PRAGMA profiling_output = 'made.json'",
    "PRAGMA database_list",
    "PRAGMA import_database('made')",
    "PRAGMA json_execute_serialized_sql('x')",
    "CALL enable_logging(storage = 'file', storage_path = 'made')",
    "CALL enable_profiling(format = 'json', save_location = 'made.json')",
    "CALL pragma_version()",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'a')",
    "DROP SECRET s",
    "CREATE TABLE t AS FROM 'canary.csv'",
    "CREATE TABLE t (a INT)",
    "CREATE VIEW v AS FROM 'canary.csv'",
    "CREATE MACRO f() AS TABLE FROM 'canary.csv'",
    "CREATE TYPE e AS ENUM (SELECT a FROM 'canary.csv')",
    "CREATE SEQUENCE s",
    "INSERT INTO runs SELECT 'x', 1, 'y'",
    "UPDATE runs SET acc = 1",
    "DELETE FROM runs",
    "MERGE INTO runs USING history ON true WHEN MATCHED THEN DELETE",
    "DROP VIEW runs",
    "ALTER VIEW runs RENAME TO other",
    "PREPARE p AS FROM 'canary.csv'",
    "EXECUTE p",
    "DEALLOCATE p",
    "EXPLAIN FROM 'canary.csv'",
    "EXPLAIN ANALYZE SELECT 1",
    "BEGIN TRANSACTION",
    "CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "USE memory",
    "DETACH memory",
    "SELECT 1; COPY (SELECT 1) TO 'made.csv'",
    "SELECT 1; SELECT 2",
    "; ATTACH 'made.duckdb'",
    "/* SELECT */ COPY (SELECT 1) TO 'made.csv'",
    "",
    "   -- nothing",
    "not sql at all",
]

OUTLOOKS = [
    "SELECT getenv('HOME')",
    "SELECT current_setting('home_directory')",
    "SELECT getvariable('x')",
    "SELECT current_query()",
    "SELECT write_log('x')",
    "SELECT sleep_ms(60000)",
    "SELECT nextval('s')",
    "SELECT * FROM runs WHERE id = getenv('HOME')",
    "SELECT list_transform(['HOME'], lambda x: getenv(x))",
    "FROM information_schema.tables",
    "FROM pg_catalog.pg_settings",
    "FROM duckdb_settings",
    "FROM system.main.duckdb_settings",
    "FROM sqlite_master",
    "FROM memory.main.runs",
    "SHOW DATABASES",
    "SHOW ALL TABLES",
    "SHOW VARIABLES",
    "SHOW TABLES FROM main",
    "SELECT $1",
    "SELECT ?",
]


@pytest.fixture
def canary_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with readable files of every format; nothing may be read from it or added to it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "canary.csv").write_text(f"a\n{CANARY}\n")
    (tmp_path / "canary.txt").write_text(CANARY)
    (tmp_path / "canary.json").write_text(f'{{"a": "{CANARY}"}}')
    with duckdb.connect("canary.duckdb") as con:
        con.execute(f"CREATE TABLE t AS SELECT '{CANARY}' AS a")
        con.execute("COPY t TO 'canary.parquet'")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    yield tmp_path
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("sql", [*FILE_QUERIES, *STATEMENTS, *OUTLOOKS])
def test_a_way_out_is_refused_before_anything_runs(sql: str, canary_dir: Path) -> None:
    with pytest.raises(UsageError) as caught:
        run_user_sql(sql, VIEWS)
    assert CANARY not in str(caught.value)
    with pytest.raises(UsageError):  # the text alone decides: DuckDB never ran it
        views_named(sql, VIEWS)


def test_the_canary_is_readable_without_the_fences(canary_dir: Path) -> None:
    """Else the refusals above would prove nothing."""
    with duckdb.connect(":memory:") as con:
        for source in ("'canary.csv'", "'canary.parquet'", "(SELECT content FROM read_text('canary.txt'))"):
            sql = f"SELECT * FROM {source}"
            assert con.execute(sql).fetchall() == [(CANARY,)]
        con.execute("ATTACH 'canary.duckdb' (READ_ONLY)")
        assert con.execute("FROM canary.t").fetchall() == [(CANARY,)]


@pytest.mark.parametrize("sql", [*FILE_QUERIES, *(s for s in STATEMENTS if "canary" in s or "made" in s)])
def test_the_locked_connection_refuses_files_by_itself(sql: str, canary_dir: Path) -> None:
    """The second fence, without the first: even a statement that slipped through reads and writes no file."""
    with user_sql._locked_connection(VIEWS, 1 << 28) as con:
        with pytest.raises(duckdb.Error) as caught:
            con.execute(sql)
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize("sql", [s for s in STATEMENTS if s.startswith(("SET", "RESET", "INSTALL", "LOAD", "FORCE"))])
def test_the_locked_connection_refuses_settings_and_extensions_by_itself(sql: str, canary_dir: Path) -> None:
    with user_sql._locked_connection(VIEWS, 1 << 28) as con, pytest.raises(duckdb.Error):
        con.execute(sql)


def test_no_python_variable_is_seen(canary_dir: Path) -> None:
    leak = pa.table({"a": [CANARY]})  # noqa: F841 - seen by DuckDB's replacement scan
    assert duckdb.sql("FROM leak").fetchall() == [(CANARY,)]
    with pytest.raises(UsageError, match='no view "leak"'):
        run_user_sql("FROM leak", VIEWS)
    with user_sql._locked_connection(VIEWS, 1 << 28) as con, pytest.raises(duckdb.CatalogException):
        con.sql("FROM leak")


def test_every_table_function_of_this_duckdb_is_refused_but_the_harmless_ones() -> None:
    """A new DuckDB with a new way to a file fails nothing here: what is not on the list is refused."""
    with duckdb.connect(":memory:") as con:
        kinds = "('table', 'table_macro', 'pragma')"
        found = con.execute(f"SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN {kinds}")
        names = {name for (name,) in found.fetchall()}
    assert {"read_csv", "glob", "enable_logging", "query", "arrow_scan", "python_map_function"} <= names
    for name in names - user_sql._TABLE_FUNCTIONS:
        with pytest.raises(UsageError, match="refused"):
            views_named(f"SELECT * FROM \"{name}\"('x')", VIEWS)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT id FROM runs WHERE acc > 0.6", [{"id": "b"}]),
        ("FROM runs SELECT id ORDER BY acc DESC LIMIT 1", [{"id": "b"}]),
        ("select ID from main.RUNS where State = 'failed'", [{"id": "b"}]),
        ("WITH best AS (SELECT max(acc) AS m FROM runs) SELECT m FROM best", [{"m": 0.9}]),
        ("SELECT (SELECT count(*) FROM history WHERE run_id = r.id) AS n FROM runs r", [{"n": 2}, {"n": 1}]),
        ("PIVOT (SELECT acc, state FROM runs) ON state IN ('failed') USING max(acc)", [{"failed": 0.9}]),
        ("WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 3) FROM t LIMIT 1", [{"n": 1}]),
        ("SELECT unnest([1, 2]) AS n", [{"n": 1}, {"n": 2}]),
        ("SELECT range AS n FROM range(2)", [{"n": 0}, {"n": 1}]),
        ("SHOW TABLES", [{"name": "history"}, {"name": "runs"}]),
        ("VALUES (1)", [{"col0": 1}]),
        ("SELECT 1 AS one;", [{"one": 1}]),
    ],
)
def test_ordinary_questions_are_answered(sql: str, rows: list[dict[str, object]]) -> None:
    assert run_user_sql(sql, VIEWS).to_pylist() == rows


def test_describe_lists_the_columns_of_a_view() -> None:
    answer = run_user_sql("DESCRIBE runs", VIEWS)
    assert answer["column_name"].to_pylist() == ["id", "acc", "state"]


def test_only_the_views_that_are_named_are_loaded() -> None:
    class Lazy(Mapping[str, pa.Table]):
        loaded: list[str] = []  # noqa: RUF012 - one instance, one test

        def __getitem__(self, name: str) -> pa.Table:
            self.loaded.append(name)
            return VIEWS[name]

        def __iter__(self) -> Iterator[str]:
            return iter(VIEWS)

        def __len__(self) -> int:
            return len(VIEWS)

    assert run_user_sql("SELECT count(*) AS n FROM runs", Lazy()).to_pylist() == [{"n": 2}]
    assert Lazy.loaded == ["runs"]


def test_an_unknown_view_or_column_is_told_with_what_is_meant() -> None:
    with pytest.raises(UsageError, match=r'no view "rnus"\. Did you mean "runs"\?.*history, runs'):
        run_user_sql("FROM rnus", VIEWS)
    with pytest.raises(UsageError, match=r'(?s)"accc" not found.*"acc"'):
        run_user_sql("SELECT accc FROM runs", VIEWS)
    with pytest.raises(UsageError, match="refused here"):
        run_user_sql("FROM read_csv('x')", VIEWS)
    with pytest.raises(UsageError, match=r"does not parse.*here: 'runs'"):
        run_user_sql("SELECT '\N{GREEK SMALL LETTER ALPHA}', * fro runs", VIEWS)


def test_a_long_query_is_stopped_at_the_time_limit() -> None:
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"longer than 0\.3 s"):
        run_user_sql("SELECT count(*) FROM range(1000000000000)", VIEWS, timeout_s=0.3)
    assert time.monotonic() - began < 10


def test_a_query_that_grows_is_stopped_at_the_memory_limit() -> None:
    for sql in ("SELECT list(range) FROM range(1000000000)", "FROM range(1000000000)"):
        with pytest.raises(UsageError, match="more than 64 MiB"):
            run_user_sql(sql, VIEWS, memory_limit=64 << 20)


def test_sql_has_a_bound_on_length_and_depth() -> None:
    with pytest.raises(UsageError, match="at most 100,000"):
        run_user_sql("SELECT " + "1" * 100_001, VIEWS)
    with pytest.raises(UsageError, match=r"depth|deep"):
        run_user_sql("SELECT " + "(" * 3000 + "1" + ")" * 3000, VIEWS)
    with pytest.raises(UsageError, match=r"depth|deep"):
        run_user_sql("SELECT " + "(SELECT " * 700 + "1" + ")" * 700, VIEWS)


def test_no_thread_is_left_behind() -> None:
    run_user_sql("SELECT 1", VIEWS, timeout_s=3600)
    with pytest.raises(UsageError):
        run_user_sql("SELECT count(*) FROM range(1000000000000)", VIEWS, timeout_s=0.1)
    assert [thread.name for thread in threading.enumerate() if thread.name == "tracker-sql"] == []
