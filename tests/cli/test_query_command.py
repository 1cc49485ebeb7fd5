"""`tracker query`, `tracker runs`: what is asked is answered, on a directory, on S3 and on GCS."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Tracker
from store_builder import write_run, write_three_runs


@pytest.fixture
def url(local_url: str) -> str:
    write_three_runs(local_url)
    return local_url


def test_runs_come_in_order_with_config_and_summary(tracker: Tracker, store_url: str) -> None:
    write_three_runs(store_url)
    done = tracker("query", store_url, "--order", "-summary_metrics.acc", "--format", "jsonl")
    assert (done.code, done.err) == (0, "")
    runs = done.records()
    assert [run["id"] for run in runs] == ["b", "a", "c"]
    assert runs[0]["config"] == {"lr": 0.01, "opt": {"name": "sgd"}}
    assert runs[0]["summary"].items() >= {"acc": 0.9, "Z": 2, "_step": 1}.items()
    assert runs[1] | {"config": 0, "summary": 0, "heartbeat_at": 0} == {
        "id": "a",
        "name": "name of a",
        "state": "finished",
        "created_at": "2025-10-09T08:53:20Z",
        "heartbeat_at": 0,
        "duration": 1.5,
        "entity": "main",
        "project": "digits",
        "group": None,
        "job_type": None,
        "username": "ada",
        "host": None,
        "sweep": None,
        "commit": None,
        "notes": None,
        "tags": ["t"],
        "config": 0,
        "summary": 0,
    }


def test_histories_have_a_row_for_every_logged_row(tracker: Tracker, store_url: str) -> None:
    write_three_runs(store_url)
    rows = tracker("query", store_url, "--history", "--format", "jsonl").records()
    assert [(row["run_id"], row["_step"]) for row in rows] == [
        ("a", 0),
        ("a", 1),
        ("a", 2),
        ("b", 0),
        ("b", 1),
        ("c", 0),
    ]
    assert [row.get("Z", "none") for row in rows] == ["none"] * 4 + [2, "none"]
    assert rows[5]["acc"] == "NaN"


def test_sql_joins_the_views(tracker: Tracker, store_url: str) -> None:
    write_three_runs(store_url)
    sql = """
        SELECT id, "config.lr" AS lr, min(loss) AS best,
               (SELECT count(*) FROM facts WHERE run_id = id AND kind = 'config') AS n,
               (SELECT max(value) FROM system WHERE run_id = id AND key = 'system.cpu') AS cpu
        FROM runs JOIN history ON run_id = id GROUP BY ALL ORDER BY id
    """
    rows = tracker("query", store_url, "--sql", sql, "--format", "jsonl").records()
    assert rows == [
        {"id": "a", "lr": 0.1, "best": 0.25, "n": 2, "cpu": 12.5},
        {"id": "b", "lr": 0.01, "best": 1.5, "n": 2, "cpu": None},
        {"id": "c", "lr": None, "best": None, "n": 2, "cpu": None},
    ]


def test_the_filter_and_the_limit_choose_the_runs_that_the_sql_sees(tracker: Tracker, url: str) -> None:
    sql = "SELECT (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM history) AS rows"
    filtered = tracker("query", url, "--sql", sql, "--filter", '{"state": "finished"}', "--format", "jsonl")
    assert filtered.records() == [{"runs": 2, "rows": 5}]
    limited = tracker("query", url, "--sql", sql, "--order", "-created_at", "--limit", "1", "--format", "jsonl")
    assert limited.records() == [{"runs": 1, "rows": 1}]


@pytest.mark.parametrize(
    ("filter", "ids"),
    [
        ("{}", ["a", "b", "c"]),
        ('{"state": "failed"}', ["c"]),
        ('{"config.lr": {"$lt": 0.05}}', ["b"]),
        ('{"$or": [{"config.opt.name": "adam"}, {"group": "g"}]}', ["a", "b"]),
        ('{"summary_metrics.acc": {"$gt": 2}}', []),
    ],
)
def test_filters_choose_runs(tracker: Tracker, url: str, filter: str, ids: list[str]) -> None:
    done = tracker("query", url, "--filter", filter, "--format", "jsonl")
    assert (done.code, [run["id"] for run in done.records()]) == (0, ids)


def test_keys_are_columns_of_runs(tracker: Tracker, url: str) -> None:
    keys = r"id,acc,summary.loss,config.opt.name,no\,such,summary_metrics.Z"
    done = tracker("query", url, "--keys", keys, "--format", "csv")
    header, first, *_ = csv.reader(io.StringIO(done.out))
    assert header == ["id", "summary.acc", "summary.loss", "config.opt.name", "summary.no,such", "summary.Z"]
    assert first == ["a", "0.5", "0.25", "adam", "", ""]
    record = tracker("query", url, "--keys", "id,acc", "--format", "jsonl").records()[1]
    assert record == {"id": "b", "summary.acc": 0.9}


def test_keys_of_a_history_ask_for_rows_that_have_them_all(tracker: Tracker, url: str) -> None:
    rows = tracker("query", url, "--history", "--keys", "loss,Z", "--format", "jsonl").records()
    assert rows == [{"run_id": "b", "_step": 1, "loss": 1.5, "Z": 2}]


def test_samples_bound_the_rows_of_each_run(tracker: Tracker, url: str) -> None:
    rows = tracker("query", url, "--history", "--samples", "2", "--format", "jsonl").records()
    assert [(row["run_id"], row["_step"]) for row in rows] == [("a", 0), ("a", 2), ("b", 0), ("b", 1), ("c", 0)]


def test_every_format_says_the_same(tracker: Tracker, url: str, tmp_path: Path) -> None:
    arguments = ["query", url, "--history", "--keys", "acc"]
    expected = [("a", 0.5)] * 3 + [("b", 0.1), ("b", 0.9), ("c", math.nan)]
    tables = {
        "json": json.loads(tracker(*arguments, "--format", "json").out),
        "csv": list(csv.DictReader(io.StringIO(tracker(*arguments, "--format", "csv").out))),
        "table": list(csv.DictReader(io.StringIO(tracker(*arguments).out), delimiter=" ", skipinitialspace=True)),
    }
    for name in ("parquet", "arrow"):
        path = tmp_path / f"answer.{name}"
        done = tracker(*arguments, "--output", str(path))
        assert (done.code, done.out, done.err) == (0, "", f"wrote {path}\n")
        found = pq.read_table(path) if name == "parquet" else pa.ipc.open_stream(path.read_bytes()).read_all()
        tables[name] = found.to_pylist()
    for rows in tables.values():
        assert str([(row["run_id"], float(row["acc"])) for row in rows]) == str(expected)


def test_a_long_table_is_cut_with_a_word_and_other_formats_are_not(tracker: Tracker, local_url: str) -> None:
    write_run(local_url, "long", rows=[{"x": n} for n in range(150)])
    done = tracker("query", local_url, "--history")
    assert len(done.out.splitlines()) == 101
    assert "The first 100 of 150 rows" in done.err
    assert "For all: --rows 150" in done.err
    assert len(tracker("query", local_url, "--history", "--rows", "150").out.splitlines()) == 151
    assert len(tracker("query", local_url, "--history", "--limit", "1").out.splitlines()) == 101
    assert len(tracker("query", local_url, "--history", "--format", "jsonl").out.splitlines()) == 150


def test_limit_counts_runs_and_rows_counts_rows(tracker: Tracker, local_url: str) -> None:
    for name in ("a", "b", "c"):
        write_run(local_url, name, rows=[{"x": n} for n in range(5)], started_s=ord(name))

    def rows(*options: str) -> list[str]:
        done = tracker("query", local_url, "--history", "--format", "jsonl", *options)
        return [record["run_id"] for record in done.records()]

    assert rows("--limit", "2") == ["a"] * 5 + ["b"] * 5
    assert rows("--rows", "7") == ["a"] * 5 + ["b"] * 2
    assert rows("--rows", "7", "--limit", "1") == ["a"] * 5
    assert rows("--rows", "3", "--samples", "2") == ["a", "a", "b"]
    assert rows("--rows", "100") == ["a"] * 5 + ["b"] * 5 + ["c"] * 5
    assert tracker("query", local_url, "--rows", "3").code == 2
    assert tracker("query", local_url, "--sql", "SELECT 1", "--rows", "3").code == 2


def test_a_table_leaves_out_columns_that_say_nothing(tracker: Tracker, url: str) -> None:
    header = tracker("query", url).out.splitlines()[0].split()
    assert header[:4] == ["id", "name", "state", "created_at"]
    assert "group" in header
    assert not {"job_type", "notes", "entity", "summary._timestamp"} & set(header)


def test_an_answer_without_runs_is_an_empty_answer(tracker: Tracker, url: str) -> None:
    nothing = ["--filter", '{"state": "killed"}']
    assert tracker("query", url, *nothing, "--format", "json").out == "[]\n"
    assert tracker("query", url, *nothing, "--format", "csv").out.startswith("id,name,")
    for more in (["--history"], ["--sql", "SELECT * FROM history"], ["--sql", "SELECT * FROM system, facts"]):
        done = tracker("query", url, *nothing, *more, "--format", "jsonl")
        assert (done.code, done.out) == (0, "")
    assert tracker("query", url, *nothing).code == 0


def test_the_only_project_needs_no_name_and_several_are_listed(tracker: Tracker, url: str) -> None:
    write_run(url, "x", project="other")
    write_run(url, "y", entity="team", project="digits")
    done = tracker("query", url)
    assert done.code == 2
    assert "has 3 projects: main/digits, main/other, team/digits. Choose one with --project." in done.err
    for arguments, ids in [
        (["--project", "other"], ["x"]),
        (["--entity", "team"], ["y"]),
        (["--project", "team/digits"], ["y"]),
        (["--project", "digits", "--entity", "main", "--limit", "1"], ["a"]),
    ]:
        done = tracker("query", url, *arguments, "--format", "jsonl")
        assert [run["id"] for run in done.records()] == ids
    assert "has 2 projects: main/digits, team/digits" in tracker("query", url, "--project", "digits").err


def test_the_environment_names_root_project_and_entity(
    tracker: Tracker, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(url, "x", project="other")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    monkeypatch.setenv("WANDB_PROJECT", "digits")
    assert len(tracker("query", "--format", "jsonl").records()) == 3
    monkeypatch.setenv("TRACKER_PROJECT", "other")
    monkeypatch.setenv("TRACKER_ENTITY", "main")
    assert len(tracker("query", "--format", "jsonl").records()) == 1


def test_runs_list_is_short(tracker: Tracker, url: str) -> None:
    done = tracker("runs", "list", url, "--order", "-created_at", "--limit", "2", "--format", "jsonl")
    runs = done.records()
    assert [run["id"] for run in runs] == ["c", "b"]
    assert list(runs[0]) == ["id", "name", "state", "created_at", "duration", "group", "job_type", "tags"]
    assert tracker("runs", "list", url).out.splitlines()[0].split()[:3] == ["id", "name", "state"]


@pytest.mark.parametrize("run", ["b", "digits/b", "main/digits/b"])
def test_runs_show_tells_all_of_one_run(tracker: Tracker, url: str, run: str) -> None:
    shown = json.loads(tracker("runs", "show", run, url, "--format", "json").out)
    assert (shown["id"], shown["group"], shown["config"]["opt"]) == ("b", "g", {"name": "sgd"})
    lines = dict(line.split(None, 1) for line in tracker("runs", "show", run, url).out.splitlines())
    assert lines.items() >= {"state": "finished", "config.opt.name": "sgd", "summary.Z": "2"}.items()


def test_metrics_that_differ_by_case_only_are_both_there(tracker: Tracker, local_url: str) -> None:
    write_run(local_url, "r", rows=[{"loss": 1.0, "Loss": 2.0}])
    done = tracker("query", local_url, "--sql", "SELECT * FROM history", "--format", "jsonl")
    (row,) = done.records()
    assert {value for key, value in row.items() if key.lower().startswith("loss")} == {1.0, 2.0}
