"""`tracker runs export`: what leaves is what the other readers answer, in every format, whole or not at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Tracker
from store_builder import write_run, write_three_runs

from tracker.apis.public import Api
from tracker.cli import export_parts, export_sinks
from tracker.cli.export_command import EXPORT_FORMATS, PARTS
from tracker.query import runs_table
from tracker.query.history import PartsGone
from tracker.storage.format_file import ensure_format
from tracker.storage.stores import open_store


@pytest.fixture
def url(local_url: str) -> str:
    write_three_runs(local_url)
    return local_url


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a table of any format; null where a row has nothing."""
    match path.suffix:
        case ".parquet":
            return list(pq.read_table(path).to_pylist())
        case ".arrow":
            return list(pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist())
        case ".csv":
            csv.field_size_limit(10_000_000)
            with path.open(encoding="utf-8", newline="") as lines:
                return list(csv.DictReader(lines))
        case _:
            return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_holds_runs_and_their_rows(tracker: Tracker, store_url: str, tmp_path: Path) -> None:
    write_three_runs(store_url)
    done = tracker("runs", "export", store_url, "--output", str(tmp_path / "out" / "deep"), "--order", "-state,+name")
    assert (done.code, done.out) == (0, "")
    folder = tmp_path / "out" / "deep"
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "history.parquet", "runs.parquet"]
    runs = pq.read_table(folder / "runs.parquet")
    listed = tracker("query", store_url, "--order", "-state,+name", "--format", "jsonl").records()
    assert runs["id"].to_pylist() == [run["id"] for run in listed]
    assert runs["config.lr"].to_pylist() == [run["config"].get("lr") for run in listed]
    history = pq.read_table(folder / "history.parquet")
    assert history.column_names[:4] == ["run_id", "_step", "_runtime", "_timestamp"]
    rows = tracker("query", store_url, "--order", "-state,+name", "--history", "--format", "jsonl").records()
    assert [(row["run_id"], row["_step"]) for row in history.to_pylist()] == [
        (row["run_id"], row["_step"]) for row in rows
    ]


@pytest.mark.parametrize("form", EXPORT_FORMATS)
def test_every_format_holds_the_same(tracker: Tracker, url: str, tmp_path: Path, form: str) -> None:
    given = ["--output", str(tmp_path / "out"), "--format", form, "--what", "all"]
    assert tracker("runs", "export", url, *given).code == 0
    report = json.loads((tmp_path / "out" / "export.json").read_text())
    assert [table["name"] for table in report["tables"]] == [name for name in PARTS if name != "files"]
    of = {table["name"]: read(tmp_path / "out" / table["path"]) for table in report["tables"]}
    assert {name: len(rows) for name, rows in of.items()} == {one["name"]: one["rows"] for one in report["tables"]}
    for one in report["tables"]:
        assert (tmp_path / "out" / one["path"]).stat().st_size == one["size"]
    assert [row["id"] for row in of["runs"]] == ["a", "b", "c"]
    wanted = every_row(tracker, url)
    for key in ("run_id", "_step", "acc"):
        assert [text_of(row.get(key)) for row in of["history"]] == [text_of(row.get(key)) for row in wanted], key
    assert {row["path"] for row in of["facts"]} >= {"lr", "opt.name"}
    if form == "jsonl":
        assert of["runs"] == tracker("query", url, "--format", "jsonl").records()
        assert of["history"] == wanted


def text_of(value: Any) -> str:
    return "" if value is None else str(value).lower()


def every_row(tracker: Tracker, url: str) -> list[dict[str, Any]]:
    return tracker("query", url, "--history", "--format", "jsonl").records()


def test_only_the_runs_that_were_asked_for(tracker: Tracker, url: str, tmp_path: Path) -> None:
    chosen = ["--filter", '{"config.lr": {"$lt": 0.05}}', "--order", "-created_at", "--limit", "1"]
    done = tracker("runs", "export", url, "--output", str(tmp_path / "out"), "--json", *chosen)
    report = json.loads(done.out)
    assert report == json.loads((tmp_path / "out" / "export.json").read_text())
    assert (report["runs"], report["limit"], report["filter"]) == (1, 1, {"config.lr": {"$lt": 0.05}})
    assert pq.read_table(tmp_path / "out" / "runs.parquet")["id"].to_pylist() == ["b"]
    assert set(pq.read_table(tmp_path / "out" / "history.parquet")["run_id"].to_pylist()) == {"b"}


def test_files_of_runs_come_with_the_names_that_they_have(
    tracker: Tracker, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "from" / "sub" / "weights.bin"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"w" * 5000)
    api = Api({"base_url": url})
    api.run("digits/a").upload_file(source, tmp_path / "from")
    (tmp_path / "from" / "note.txt").write_text("short")
    api.run("digits/c").upload_file(tmp_path / "from" / "note.txt", tmp_path / "from")
    done = tracker("runs", "export", url, "--output", str(tmp_path / "out"), "--what", "files", "--json")
    assert done.code == 0
    assert json.loads(done.out)["files"] == {"count": 2, "size": 5005, "failed": 0}
    assert (tmp_path / "out" / "files" / "a" / "sub" / "weights.bin").read_bytes() == b"w" * 5000
    assert (tmp_path / "out" / "files" / "c" / "note.txt").read_text() == "short"


def test_contents_that_are_missing_are_told_when_all_else_is_there(tracker: Tracker, url: str, tmp_path: Path) -> None:
    for name in ("gone", "kept"):
        (tmp_path / name).write_bytes(name.encode() * 3000)
        Api({"base_url": url}).run(f"digits/{'a' if name == 'gone' else 'b'}").upload_file(tmp_path / name, tmp_path)
    store = open_store(url)
    for blob in store.list("main/digits/blobs/"):
        if store.get(blob.key).startswith(b"gone"):
            store.delete([blob.key])
    done = tracker("runs", "export", url, "--output", str(tmp_path / "out"), "--what", "runs,files")
    assert done.code == 3
    assert "files of a" in done.err
    assert (tmp_path / "out" / "files" / "b" / "kept").exists()
    report = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (report["files"]["count"], report["files"]["failed"]) == (1, 1)


def test_what_a_folder_holds_is_not_mixed_with_an_export(tracker: Tracker, url: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    refused = tracker("runs", "export", url, "--output", str(tmp_path))
    assert refused.code == 2
    assert "not empty" in refused.err
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".parquet"] == []
    assert tracker("runs", "export", url, "--output", str(tmp_path), "--replace").code == 0
    assert (tmp_path / "mine.txt").read_text() == "x"
    assert tracker("runs", "export", url, "--output", str(tmp_path / "mine.txt")).code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--output DIR"),
        (["--output", "out", "--what", "runs,rows"], 'Unknown part "rows"'),
        (["--output", "out", "--what", ","], "names nothing"),
        (["--output", "out", "--format", "table"], 'Unknown format "table"'),
        (["--output", "out", "--filter", "{"], "no JSON"),
    ],
)
def test_a_wrong_call_is_told_before_anything_is_read(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = tracker("runs", "export", str(tmp_path / "nowhere"), *arguments)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_an_export_that_fails_leaves_no_half_of_a_file(
    tracker: Tracker, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(schema: pa.Schema, batches: Any, sink: Any) -> None:
        sink.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(export_sinks.TABLE_FORMATS, "csv", breaks)
    done = tracker("runs", "export", url, "--output", str(tmp_path / "out"), "--format", "csv")
    assert done.code == 2
    assert "No space left" in done.err
    assert list((tmp_path / "out").iterdir()) == []


def test_reading_goes_on_where_files_are_replaced_meanwhile(
    tracker: Tracker, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_parts, "_PAGE_EVENTS", 1)
    asked, facts = list[int](), export_parts.SqlViews.__getitem__

    def fails_once(views: export_parts.SqlViews, name: str) -> pa.Table:
        asked.append(1)
        if len(asked) == 2:
            raise PartsGone("merged meanwhile")
        return facts(views, name)

    monkeypatch.setattr(export_parts.SqlViews, "__getitem__", fails_once)
    assert tracker("runs", "export", url, "--output", str(tmp_path / "out"), "--what", "facts").code == 0
    assert len(asked) == 4, "three runs, one of them twice"
    found = pq.read_table(tmp_path / "out" / "facts.parquet").select(["run_id", "writer", "seq", "path"]).to_pylist()
    assert len({tuple(row.values()) for row in found}) == len(found)
    assert {row["run_id"] for row in found} == {"a", "b", "c"}


@pytest.mark.parametrize("form", ["parquet", "csv", "arrow"])
def test_memory_is_that_of_a_few_batches(
    tracker: Tracker, local_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(runs_table, "_BATCH_RUNS", (1, 1))
    monkeypatch.setattr(export_sinks, "_GROUP_BYTES", 1_000_000)
    ensure_format(open_store(local_url))
    for n in range(16):
        write_run(local_url, f"r{n:02d}", config={"text": f"{n:02d}" * 500_000}, started_s=n)
    held, make = list[int](), runs_table._batch

    def seen(*given: Any) -> pa.RecordBatch:
        held.append(pa.total_allocated_bytes())
        return make(*given)

    monkeypatch.setattr(runs_table, "_batch", seen)
    done = tracker("runs", "export", local_url, "--what", "runs", "--format", form, "--output", str(tmp_path / "out"))
    assert done.code == 0
    assert len(held) == 16
    assert max(held) - held[0] < 8_000_000, "16 MB are exported, 1 MB a batch"
    assert len(read(next((tmp_path / "out").glob("runs.*")))) == 16


def test_several_places_leave_as_one(tracker: Tracker, url: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    write_run(other, "d", config={"lr": 1}, rows=[{"acc": 0.1}], started_s=300)
    for root, run_id in ((url, "a"), (other, "d")):
        (tmp_path / f"{run_id}.bin").write_bytes(run_id.encode() * 5000)
        Api({"base_url": root}).run(f"digits/{run_id}").upload_file(tmp_path / f"{run_id}.bin", tmp_path)
    given = ["--output", str(tmp_path / "out"), "--what", "runs,history,facts,files"]
    assert tracker("runs", "export", url, other, *given).code == 0
    assert pq.read_table(tmp_path / "out" / "runs.parquet")["id"].to_pylist() == ["a", "b", "c", "d"]
    assert set(pq.read_table(tmp_path / "out" / "history.parquet")["run_id"].to_pylist()) == {"a", "b", "c", "d"}
    for run_id in "ad":
        assert (tmp_path / "out" / "files" / run_id / f"{run_id}.bin").read_bytes() == run_id.encode() * 5000
