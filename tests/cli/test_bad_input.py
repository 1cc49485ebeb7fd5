"""Bad input, row by row of docs/errors.md: a clear error, or a warning that names the bad part, and the rest."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Tracker
from store_builder import StoredRun, write_run

from tracker.storage.stores import open_store


@pytest.fixture
def two_runs(local_url: str) -> tuple[str, StoredRun]:
    """A store with the runs `good` and `bad`, and where the bad one's only part lies."""
    write_run(local_url, "good", config={"lr": 0.1}, rows=[{"loss": 1.0}])
    return local_url, write_run(local_url, "bad", config={"lr": 0.2}, rows=[{"loss": 2.0}], started_s=60)


def damaged(path: Path, how: str) -> bytes:
    """The part's bytes, spoiled in one way."""
    data = path.read_bytes()
    table = pq.read_table(path)
    match how:
        case "truncated":
            return data[: len(data) // 2]
        case "empty of sense":
            return b"this is no Parquet file at all, but long enough to look at"
        case "a flipped byte in a page":
            return data[:100] + bytes([data[100] ^ 0xFF]) + data[101:]
        case "a wrong schema":
            return parquet(table.drop_columns(["step"]), pq.read_schema(path).metadata)
        case "a column of another type":
            at = table.schema.get_field_index("v")
            return parquet(table.set_column(at, "v", table["v"].cast(pa.string())), pq.read_schema(path).metadata)
        case "foreign":
            return parquet(table, {})
        case "newer":
            return parquet(table, {**pq.read_schema(path).metadata, b"tracker.format": b"99"})
        case _:
            raise AssertionError(how)


def parquet(table: pa.Table, metadata: dict[bytes, bytes]) -> bytes:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(metadata)
    return sink.getvalue()


DAMAGE = [
    ("truncated", "corrupt-data", "not a whole Parquet file"),
    ("empty of sense", "corrupt-data", "not a whole Parquet file"),
    ("a flipped byte in a page", "corrupt-data", "damaged"),
    ("a wrong schema", "corrupt-data", "lacks the columns step"),
    ("a column of another type", "corrupt-data", "columns v"),
    ("foreign", "corrupt-data", "not written by tracker"),
    ("newer", "format-too-new", "has format 99; this tracker reads up to 1. Run: pip install -U tracker"),
]


@pytest.mark.parametrize(("how", "code", "words"), DAMAGE, ids=[row[0] for row in DAMAGE])
def test_one_bad_part_is_a_warning_that_names_it_and_the_rest_is_answered(
    tracker: Tracker, two_runs: tuple[str, StoredRun], how: str, code: str, words: str
) -> None:
    url, bad = two_runs
    path = Path(url) / bad.key
    path.write_bytes(spoiled := damaged(path, how))
    for more in ([], ["--history"], ["--sql", "SELECT id FROM runs"]):
        done = tracker("query", url, "--format", "jsonl", *more)
        assert done.code == 0
        assert [run.get("id", run.get("run_id")) for run in done.records()] == ["good"]
        assert done.err.startswith("warning: ")
        assert bad.key in done.err
        assert words in done.err
    assert path.read_bytes() == spoiled  # nobody tidied the evidence away


@pytest.mark.parametrize(("how", "code", "words"), DAMAGE, ids=[row[0] for row in DAMAGE])
def test_nothing_but_a_bad_part_is_an_error(tracker: Tracker, local_url: str, how: str, code: str, words: str) -> None:
    bad = write_run(local_url, "bad", rows=[{"loss": 2.0}])
    path = Path(local_url) / bad.key
    path.write_bytes(damaged(path, how))
    done = tracker("query", local_url)
    assert (done.code, done.out) == (5, "")
    assert f"error[{code}]: " in done.err
    assert bad.key in done.err
    assert words in done.err


def test_a_bad_part_is_named_on_every_store(tracker: Tracker, store_url: str) -> None:
    write_run(store_url, "good", rows=[{"loss": 1.0}])
    bad = write_run(store_url, "bad", rows=[{"loss": 2.0}])
    store = open_store(store_url)
    data = store.get(bad.key)
    store.delete([bad.key])
    store.put_if_absent(bad.key, data[:-100])
    store.close()
    done = tracker("query", store_url, "--format", "jsonl")
    assert (done.code, [run["id"] for run in done.records()]) == (0, ["good"])
    assert bad.key in done.err


def test_an_unknown_project_is_told_with_those_that_are_there(tracker: Tracker, store_url: str) -> None:
    write_run(store_url, "x")
    done = tracker("query", store_url, "--project", "nope")
    assert (done.code, done.out) == (3, "")
    assert "error[not-found]: There is no project main/nope in" in done.err
    assert "There are: main/digits." in done.err
    assert tracker("query", store_url, "--entity", "team", "--project", "digits").code == 3


def test_an_unknown_run_is_told(tracker: Tracker, store_url: str) -> None:
    write_run(store_url, "x")
    done = tracker("runs", "show", "nope", store_url)
    assert (done.code, done.out) == (3, "")
    assert 'error[not-found]: There is no run "nope" in main/digits' in done.err


def test_an_empty_store_is_told(tracker: Tracker, tmp_path: Path, s3_url: str) -> None:
    for url in (str(tmp_path), s3_url):
        done = tracker("query", url)
        assert (done.code, done.out) == (3, "")
        assert "error[not-found]: There are no runs in" in done.err


def test_a_missing_root_is_told(tracker: Tracker, tmp_path: Path) -> None:
    done = tracker("query", str(tmp_path / "missing"))
    assert done.code == 3
    assert "error[not-found]: " in done.err
    assert "missing" in done.err


@pytest.mark.parametrize("kind", ["s3", "gcs"])
def test_a_missing_bucket_is_told(tracker: Tracker, kind: str, request: pytest.FixtureRequest) -> None:
    url = str(request.getfixturevalue(f"{kind}_url")).replace("bucket-", "missing-")
    done = tracker("query", url)
    assert done.code == 3
    assert "error[not-found]: " in done.err
    assert "missing-" in done.err


def test_a_root_that_is_a_file_is_told(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("not a directory")
    done = tracker("query", str(tmp_path / "root"))
    assert done.code == 4
    assert "error[storage-unavailable]: " in done.err
    assert str(tmp_path / "root") in done.err


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Without the superuser's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unreadable_root_is_told(tracker: Tracker, local_url: str) -> None:
    write_run(local_url, "x")
    assert tracker("query", local_url).code == 0  # everything that must be imported is, before rights are given up
    Path(local_url).chmod(0)
    with ordinary_user():
        done = tracker("query", local_url)
    Path(local_url).chmod(0o755)
    assert (done.code, done.out) == (4, "")
    assert "error[credentials]: " in done.err
    assert local_url in done.err


def test_missing_credentials_are_told(tracker: Tracker, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    done = tracker("query", s3_url)
    assert (done.code, done.out) == (4, "")
    assert "error[credentials]: " in done.err


@pytest.mark.timeout(120)
def test_an_unreachable_store_is_told(tracker: Tracker, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        done = tracker("query", s3_url)
    assert (done.code, done.out) == (4, "")
    assert "error[storage-unavailable]: " in done.err


@pytest.mark.parametrize(
    ("content", "code", "exit_code"),
    [
        ({"format": 99, "required_features": []}, "format-too-new", 5),
        ([], "corrupt-data", 5),
    ],
)
def test_a_store_of_a_newer_or_no_format_is_refused(
    tracker: Tracker, local_url: str, content: object, code: str, exit_code: int
) -> None:
    write_run(local_url, "x")
    (Path(local_url) / "_format.json").write_text(json.dumps(content))
    done = tracker("query", local_url)
    assert (done.code, done.out) == (exit_code, "")
    assert f"error[{code}]: " in done.err


BAD_CALLS: dict[str, tuple[list[str], list[str]]] = {
    "an unknown operator": (["--filter", '{"config.lr": {"$gtr": 1}}'], ['"$gtr" at config.lr', 'mean "$gt"?', "$nin"]),
    "an operator that the store does not know": (["--filter", '{"tags": {"$all": ["a"]}}'], ["$all", "tags"]),
    "an unknown field": (["--filter", '{"stat": "finished"}'], ['"stat"', 'Did you mean "state"?', "config.<path>"]),
    "a wrong operand": (["--filter", '{"$or": {"state": "x"}}'], ["$or"]),
    "a bad pattern": (["--filter", '{"name": {"$regex": "("}}'], ["pattern", "at name"]),
    "a filter that is a list": (["--filter", "[1]"], ["A filter is a document {field: value}, not [1]"]),
    "a filter that is no JSON": (["--filter", "{state: 1}"], ["no JSON", "character 2", "double quotes"]),
    "a name twice": (["--filter", '{"state": "a", "state": "b"}'], ['"state" twice', "$and"]),
    "an unknown order": (["--order", "-creatd_at"], ['"creatd_at"', 'Did you mean "created_at"?']),
    "an unknown format": (["--format", "xml"], ['"xml"', "table, json, jsonl, csv, parquet, arrow"]),
    "a way out in SQL": (
        ["--sql", "FROM read_csv('x')"],
        ["read_csv is refused", "console, facts, history, runs, system"],
    ),
    "an unknown view in SQL": (["--sql", "SELECT * FROM run"], ['no view "run"', 'Did you mean "runs"?']),
    "an unknown column in SQL": (["--sql", "SELECT nam FROM runs"], ['"nam" not found', '"name"']),
    "SQL that does not parse": (["--sql", "SELEC 1"], ["does not parse"]),
    "a type that the format lacks": (
        ["--sql", "SELECT INTERVAL 1 DAY", "--format", "parquet"],
        ["parquet cannot hold this answer", "Cast the column in the SQL"],
    ),
    "SQL and a history": (["--sql", "SELECT 1", "--history"], ["leave out --history"]),
    "samples without a history": (["--samples", "3"], ["--samples belongs to --history"]),
    "no keys": (["--keys", " , "], ["--keys names nothing"]),
    "an output in a missing folder": (["--output", "/no/such/folder/a.csv"], ["Cannot write /no/such/folder/a.csv"]),
    "a web address": (["https://api.example.org"], ["web address", "no server"]),
}


@pytest.mark.parametrize(("arguments", "words"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_bad_call_says_where_and_what_is_allowed(
    tracker: Tracker, local_url: str, arguments: list[str], words: list[str]
) -> None:
    write_run(local_url, "x", rows=[{"loss": 1.0}])
    place = [] if arguments[0].startswith("https:") else [local_url]
    done = tracker("query", *place, *arguments)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) <= 3
    for word in words:
        assert word in done.err


def test_a_bad_filter_is_refused_without_asking_the_store(tracker: Tracker, tmp_path: Path) -> None:
    done = tracker("query", str(tmp_path / "missing"), "--filter", '{"$bad": 1}')
    assert done.code == 2
    assert "$bad" in done.err


def test_nothing_to_sync_is_told(tracker: Tracker, tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        done = tracker("sync", str(directory))
        assert done.code == 3
        assert "error[not-found]: " in done.err


def test_a_bug_is_one_line_with_a_way_to_see_more(
    tracker: Tracker, local_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("surprise")

    write_run(local_url, "x")
    monkeypatch.setattr("tracker.cli.query_command.matching_table", fails)
    done = tracker("query", local_url)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error[bug]: RuntimeError: surprise")
    assert "TRACKER_DEBUG=1" in done.err
    monkeypatch.setenv("TRACKER_DEBUG", "1")
    with pytest.raises(RuntimeError, match="surprise"):
        tracker("query", local_url)
