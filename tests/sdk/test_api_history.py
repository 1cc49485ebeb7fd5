"""history, scan_history and histories. Rules HQ-*, SCAN-*, HISTS-*, examples HX-*."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from store_maker import T0, MadeWriter, made_run

from tracker.apis.public import Api, Run, Runs
from tracker.errors import CommError, Error
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    return url


@pytest.fixture
def runs(root: str) -> Runs:
    """Section 7: run a has two rows, run b none, run c one."""
    made_run(root, "a", [{"loss": 1.0}, {"loss": 0.5, "Z": 2}], start_us=T0)
    made_run(root, "b", [], start_us=T0 + 1)
    made_run(root, "c", [{"acc": 1}], start_us=T0 + 2)
    return Api().runs("p")


@pytest.fixture
def a(runs: Runs) -> Run:
    return runs[0]


def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in ("_runtime", "_timestamp")} for row in rows]


# history


@pytest.mark.parametrize("keys", ["loss", ("loss",), {"loss"}, [5], [["loss"]], ["loss", 5]])
def test_bad_keys_print_an_error_line_and_give_an_empty_list(
    a: Run, keys: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """HQ-1, HX-9, SCAN-4."""
    assert a.history(keys=keys) == []
    assert a.scan_history(keys=keys) == []
    assert capsys.readouterr().err.count("tracker: error: keys must be") == 2


def test_keys_with_another_stream_are_refused(a: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """HQ-1."""
    assert a.history(keys=["loss"], stream="system") == []
    assert "default stream" in capsys.readouterr().err


@pytest.mark.parametrize("keys", [None, []])
def test_without_keys_rows_come_as_logged(a: Run, keys: Any) -> None:
    """HQ-2, HQ-6, HIST-13."""
    rows = a.history(keys=keys, pandas=False)
    assert [list(row) for row in rows] == [
        ["_step", "loss", "_runtime", "_timestamp"],
        ["_step", "loss", "Z", "_runtime", "_timestamp"],
    ]
    frame = a.history(keys=keys)
    assert list(frame.columns) == ["_step", "loss", "_runtime", "_timestamp", "Z"]
    assert math.isnan(frame["Z"][0])
    assert list(frame.index) == [0, 1]


def test_with_keys_only_whole_rows_and_only_these_columns(a: Run) -> None:
    """HX-6, HX-7, HX-8, HQ-3."""
    assert a.history(keys=["loss"]).to_dict("list") == {"_step": [0, 1], "loss": [1.0, 0.5]}
    assert a.history(keys=["loss", "Z"]).to_dict("list") == {"_step": [1], "loss": [0.5], "Z": [2]}
    assert a.history(keys=["loss"], x_axis="Z").to_dict("list") == {"Z": [2], "loss": [0.5]}
    assert a.history(keys=["Z", "_step", "loss"], pandas=False) == [{"_step": 1, "Z": 2, "loss": 0.5}]
    assert a.history(keys=["loss", "acc"]).shape == (0, 0)
    assert list(a.history(keys=["loss", "_timestamp"]).columns) == ["_step", "loss", "_timestamp"]


@pytest.mark.parametrize(
    ("count", "samples", "steps"), [(10, 4, [0, 3, 6, 9]), (5, 2, [0, 4]), (5, 1, [4]), (5, 9, range(5))]
)
def test_samples_are_evenly_spread(root: str, count: int, samples: int, steps: Any) -> None:
    """HX-13, HX-14, HQ-4."""
    made_run(root, "s", [{"x": n} for n in range(count)])
    run = Api().run("p/s")
    for keys in (None, ["x"]):
        assert [row["_step"] for row in run.history(samples=samples, keys=keys, pandas=False)] == list(steps)


def test_samples_are_taken_of_the_rows_that_qualify(root: str) -> None:
    """HQ-4."""
    made_run(root, "s", [{"x": n} if n % 2 else {"y": n} for n in range(20)])
    assert [row["_step"] for row in Api().run("p/s").history(samples=3, keys=["x"], pandas=False)] == [1, 11, 19]


def test_rows_are_in_step_order(root: str) -> None:
    """HQ-5."""
    made_run(root, "s", [{"x": 3, "_step": 5}, {"x": 1, "_step": 2}, {"x": 2, "_step": 7}])
    run = Api().run("p/s")
    assert [row["_step"] for row in run.history(pandas=False)] == [2, 5, 7]
    assert [row["x"] for row in run.history(keys=["x"], x_axis="x", pandas=False)] == [1, 3, 2]


def test_dtypes(root: str) -> None:
    """HQ-7, HQ-9."""
    made_run(
        root, "s", [{"i": 1, "g": 1, "m": {"_type": "image", "n": 1}, "t": {"a": {"c": 1}}}, {"i": 2, "f": math.inf}]
    )
    run = Api().run("p/s")
    frame = run.history()
    assert (frame["i"].dtype, frame["g"].dtype, frame["f"].dtype) == ("int64", "float64", "float64")
    assert frame["m"][0] == {"_type": "image", "n": 1}
    assert run.history(keys=["t.a.c"], pandas=False) == [{"_step": 0, "t.a.c": 1}]
    assert frame["f"][1] == math.inf


def test_frames_equal_what_pandas_makes_of_the_dicts(a: Run) -> None:
    """HQ-6."""
    pd.testing.assert_frame_equal(a.history(), pd.DataFrame.from_records(a.history(pandas=False)))


def test_without_pandas_there_is_a_list_and_a_warning(
    a: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """HQ-6."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert a.history(keys=["loss"]) == [{"_step": 0, "loss": 1.0}, {"_step": 1, "loss": 0.5}]
    assert "pandas is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("samples", [0, -5])
def test_no_samples_give_no_rows(a: Run, samples: int) -> None:
    """HQ-9."""
    assert a.history(samples=samples, pandas=False) == []
    assert a.history(samples=samples).shape == (0, 0)


@pytest.mark.parametrize("samples", ["5", 2.0])
def test_samples_must_be_an_integer(a: Run, runs: Runs, samples: Any) -> None:
    """HQ-9, API-8."""
    for call in (a.history, runs.histories):
        with pytest.raises(TypeError, match="samples must be an integer") as caught:
            call(samples=samples)
        assert isinstance(caught.value, CommError)
        assert isinstance(caught.value.exc, TypeError)


def test_every_row_with_samples_none(root: str) -> None:
    made_run(root, "s", [{"x": n} for n in range(700)])
    run = Api().run("p/s")
    assert len(run.history()) == 500
    assert len(run.history(samples=None)) == 700
    assert len(Api().runs("p").histories(samples=None)) == 700


def test_history_is_read_fresh(root: str) -> None:
    writer = made_run(root, "s", [{"x": 1}], state="crashed")
    run = Api().run("p/s")
    assert len(run.history()) == 1
    writer.log({"x": 2}).put()
    assert len(run.history()) == 2
    assert len(list(run.scan_history())) == 2


# scan_history


def test_a_scan_can_be_iterated_again_and_with_next(a: Run) -> None:
    """SCAN-1, HX-10."""
    scan = a.scan_history(keys=["loss"])
    assert list(scan) == list(scan) == [{"loss": 1.0}, {"loss": 0.5}]
    assert next(iter(scan)) == {"loss": 1.0}
    assert next(scan) == {"loss": 0.5}
    with pytest.raises(StopIteration):
        next(scan)
    assert a.scan_history(keys=["loss"]).next() == {"loss": 1.0}


def test_a_scan_between_steps(a: Run) -> None:
    """SCAN-2, HX-11, HX-12."""
    assert bare(list(a.scan_history(min_step=1))) == [{"_step": 1, "loss": 0.5, "Z": 2}]
    assert bare(list(a.scan_history(max_step=1))) == [{"_step": 0, "loss": 1.0}]
    assert len(list(a.scan_history(min_step=0, max_step=1000))) == 2
    assert list(a.scan_history(min_step=5)) == []


@pytest.mark.parametrize("step", ["1", True, [1]])
def test_steps_must_be_numbers(a: Run, step: Any) -> None:
    """SCAN-2, API-8."""
    for call in (lambda: a.scan_history(min_step=step), lambda: a.buckets(["loss"], max_step=step)):
        with pytest.raises(CommError, match="must be a step") as caught:
            call()
        assert isinstance(caught.value.exc, TypeError)


def test_a_scan_has_every_row_and_with_keys_nothing_else(root: str) -> None:
    """SCAN-3."""
    made_run(root, "s", [{"x": n, "y": n} if n % 2 else {"x": n} for n in range(1200)])
    run = Api().run("p/s")
    rows = list(run.scan_history())
    assert len(rows) == 1200
    assert list(rows[1]) == ["_step", "x", "y", "_runtime", "_timestamp"]
    both = list(run.scan_history(keys=["y", "x"]))
    assert both == [{"y": n, "x": n} for n in range(1, 1200, 2)]
    assert list(run.scan_history(keys=["x", "_step"]))[3] == {"x": 3, "_step": 3}


@pytest.mark.parametrize("page_size", [1, 3, 10_000])
def test_the_page_size_of_a_scan_never_changes_its_rows(a: Run, page_size: int) -> None:
    """SCAN-4."""
    assert list(a.scan_history(page_size=page_size)) == list(a.scan_history())


# histories


def test_the_default_is_a_flat_list_with_run_ids(runs: Runs) -> None:
    """HX-1, HISTS-2, HISTS-3."""
    rows = runs.histories()
    assert bare(rows) == [
        {"_step": 0, "loss": 1.0, "run_id": "a"},
        {"_step": 1, "loss": 0.5, "Z": 2, "run_id": "a"},
        {"_step": 0, "acc": 1, "run_id": "c"},
    ]
    assert list(rows[0])[-1] == "run_id"


def test_pandas(runs: Runs) -> None:
    """HX-2, HISTS-4."""
    frame = runs.histories(format="pandas").drop(columns=["_runtime", "_timestamp"])
    assert list(frame.columns) == ["Z", "_step", "acc", "loss", "run_id"]
    assert list(frame.index) == [0, 1, 2]
    assert [str(frame[name].dtype) for name in ("Z", "_step", "acc", "loss")] == [
        "float64",
        "int64",
        "float64",
        "float64",
    ]
    assert frame["run_id"].tolist() == ["a", "a", "c"]


def test_polars_and_arrow(runs: Runs) -> None:
    """HX-3, HISTS-5: missing columns are nulls, not a failure."""
    frame = runs.histories(format="polars")
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["Z", "_runtime", "_step", "_timestamp", "acc", "loss", "run_id"]
    assert frame["Z"].to_list() == [None, 2, None]
    assert frame["acc"].dtype == pl.Int64
    table = runs.histories(format="arrow")
    assert isinstance(table, pa.Table)
    assert pl.from_arrow(table).equals(frame)


def test_nothing_in_each_format(root: str, runs: Runs) -> None:
    """HX-4, HISTS-4, HISTS-5."""
    for nothing in (Api().runs("p", filters={"state": "killed"}), Api().runs("p", filters={"name": "b"})):
        assert nothing.histories() == []
        for format in ("pandas", "polars", "arrow"):
            assert nothing.histories(format=format).shape == (0, 0)


@pytest.mark.parametrize("format", ["x", "Pandas", "", None, "default "])
def test_an_unknown_format_is_refused_before_anything_is_read(runs: Runs, format: Any) -> None:
    """HX-5, HISTS-1."""
    fresh = Api().runs("no such project")
    with pytest.raises(CommError) as caught:
        fresh.histories(format=format)
    assert isinstance(caught.value.exc, ValueError)
    for word in (repr(format), "default", "pandas", "polars"):
        assert word in str(caught.value)


def test_samples_count_per_run_and_runs_keep_the_collections_order(root: str) -> None:
    """HISTS-2."""
    for n, name in enumerate(("x", "y", "z")):
        made_run(root, name, [{"v": n} for _ in range(10)], start_us=T0 + n)
    rows = Api().runs("p", order="-created_at").histories(samples=3, keys=["v"])
    assert [(row["run_id"], row["_step"]) for row in rows] == [
        (name, step) for name in ("z", "y", "x") for step in (0, 5, 9)
    ]


def test_bad_keys_give_nothing_and_an_error_line(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    """HISTS-2."""
    assert runs.histories(keys="loss") == []  # type: ignore[arg-type]
    assert runs.histories(keys="loss", format="pandas").shape == (0, 0)  # type: ignore[arg-type]
    assert "keys must be a list" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_missing_package_is_named(runs: Runs, package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """HISTS-6."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Error, match=f"pip install {package}"):
        runs.histories(format=package)


def test_histories_of_a_collection_that_was_already_looked_at_are_fresh(root: str) -> None:
    writer = made_run(root, "s", [{"x": 1}], state="crashed")
    runs = Api().runs("p")
    assert len(runs) == 1
    writer.log({"x": 2}).put()
    assert len(runs.histories()) == 2


def test_runs_that_were_deleted_meanwhile_are_skipped(root: str) -> None:
    store = open_store(root)
    gone = made_run(store, "a", [{"x": 1}], start_us=T0)
    made_run(store, "b", [{"x": 2}], start_us=T0 + 1)
    runs = Api().runs("p")
    assert len(runs) == 2
    store.delete([gone.key(0, len(gone.frames) - 1)])
    assert [(row["run_id"], row["x"]) for row in runs.histories()] == [("b", 2)]


def test_runs_with_different_keys_and_many_parts(root: str) -> None:
    for n in range(3):
        writer = MadeWriter(open_store(root), RunRef("main", "p", f"r{n}"), n, start_us=T0 + n).begin()
        for step in range(4):
            writer.log({f"only{n}": step, "shared": 10 * n + step}).put()
        writer.end()
    frame = Api().runs("p").histories(format="polars")
    assert frame["shared"].to_list() == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    assert frame["only1"].to_list() == [None] * 4 + [0, 1, 2, 3] + [None] * 4
    assert Api().runs("p").histories(keys=["only1"], format="polars").columns == ["_step", "only1", "run_id"]


@pytest.mark.parametrize("kind", ["s3_url", "gcs_url"])
def test_buckets_answer_as_directories_do(kind: str, request: pytest.FixtureRequest, runs: Runs) -> None:
    url: str = request.getfixturevalue(kind)
    store = open_store(url)
    made_run(store, "a", [{"loss": 1.0}, {"loss": 0.5, "Z": 2}], start_us=T0)
    made_run(store, "b", [], start_us=T0 + 1)
    made_run(store, "c", [{"acc": 1}], start_us=T0 + 2)
    found = Api({"base_url": url}).runs("p")
    assert [run.id for run in found] == ["a", "b", "c"]
    assert found.histories() == runs.histories()
    assert found[0].url.startswith(f"{url}/main/p/runs/")


# buckets and record batches


def test_buckets_of_a_run_are_a_chart_of_its_keys(root: str) -> None:
    made_run(root, "s", [{"x": float(n % 7), "y": n} for n in range(100)] + [{"x": math.nan}, {"x": "text"}])
    run = Api().run("p/s")
    rows = run.buckets(["x", "y", "none"], buckets=10)
    assert {row["width"] for row in rows} == {16}
    assert [row["step"] for row in rows if row["key"] == "y"] == list(range(0, 112, 16))
    assert rows[0] == {
        "key": "x",
        "step": 0,
        "width": 16,
        "count": 16,
        "nan_count": 0,
        "first_step": 0,
        "last_step": 15,
        "first": 0.0,
        "last": 1.0,
        "min": 0.0,
        "max": 6.0,
        "mean": 43 / 16,
        "min_step": 0,
        "max_step": 6,
    }
    last = [row for row in rows if row["key"] == "x"][-1]
    assert (last["count"], last["nan_count"], last["last"], last["last_step"]) == (6, 1, None, 101)
    (one,) = run.buckets(["y"], buckets=1, min_step=3, max_step=5)
    assert (one["min"], one["max"], one["count"]) == (3.0, 4.0, 2)
    assert run.buckets(["y"], min_step=500) == []


def test_buckets_come_in_each_format_and_name_their_run(runs: Runs) -> None:
    rows = runs.buckets(["loss", "acc"])
    assert [(row["run_id"], row["key"], row["first"]) for row in rows] == [
        ("a", "loss", 1.0),
        ("a", "loss", 0.5),
        ("c", "acc", 1.0),
    ]
    table = runs.buckets(["loss", "acc"], format="arrow")
    assert table.to_pylist() == rows
    assert runs.buckets(["loss", "acc"], format="polars").equals(pl.from_arrow(table))
    assert runs.buckets(["loss", "acc"], format="pandas")["last"].tolist() == [1.0, 0.5, 1.0]


def test_buckets_that_cannot_be_made_are_refused(a: Run, runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    for call in (a.buckets, runs.buckets):
        with pytest.raises(CommError, match="buckets must be an integer"):
            call(["loss"], buckets="many")  # type: ignore[arg-type]
        with pytest.raises(CommError, match="format must be one of"):
            call(["loss"], format="csv")  # type: ignore[arg-type]
        assert call("loss") == []  # type: ignore[arg-type]
    assert "keys must be a list" in capsys.readouterr().err


def test_a_scan_gives_record_batches_of_the_same_rows(root: str) -> None:
    made_run(root, "s", [{"x": n, "y": n / 2} if n % 2 else {"x": n, "z": [n], "m": n or "none"} for n in range(50)])
    scan = Api().run("p/s").scan_history(min_step=5)
    reader = scan.arrow_reader()
    assert isinstance(reader, pa.RecordBatchReader)
    types = {field.name: field.type for field in reader.schema}
    assert (types["x"], types["y"], types["z"], types["m"]) == (pa.int64(), pa.float64(), pa.string(), pa.string())
    assert list(types) == ["_step", "x", "z", "m", "y", "_runtime", "_timestamp"]
    found = [{name: value for name, value in row.items() if value is not None} for row in reader.read_all().to_pylist()]
    want = [row | {name: json.dumps(row[name]) for name in ("z", "m") if name in row} for row in scan]
    assert found == want
    assert Api().run("p/s").scan_history(keys=["y"]).arrow_reader().read_all().column_names == ["y"]


def test_histories_as_a_reader_hold_what_the_table_holds(root: str, runs: Runs) -> None:
    made_run(root, "big", [{"loss": float(n)} for n in range(900)], start_us=T0 + 9)
    runs = Api().runs("p")
    for keys in (None, ["loss"]):
        table = runs.histories(keys=keys, format="arrow")
        found = runs.histories(keys=keys, format="arrow_reader").read_all()
        assert found.column_names == table.column_names
        assert found.cast(table.schema).equals(table.combine_chunks())
    assert runs.histories(keys="loss", format="arrow_reader").read_all().num_rows == 0  # type: ignore[arg-type]
    with pytest.raises(CommError, match="default stream"):
        runs.histories(stream="system", format="arrow_reader")


def test_a_reader_says_what_it_has_no_type_for(root: str) -> None:
    made_run(root, "s", [{"x": 2**70}])
    reader = Api().runs("p").histories(format="arrow_reader")
    with pytest.raises(Exception, match="beyond 64 bits"):
        reader.read_all()


def test_a_reader_goes_on_where_files_were_merged_and_deleted_meanwhile(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracker.query.history._BATCH_CELLS", 3)
    store = open_store(root)
    writers = []
    for number in range(4):
        writer = MadeWriter(store, RunRef("main", "p", f"r{number}"), number, start_us=T0 + number).begin()
        for value in range(6):
            writer.log({"a": 10 * number + value}).put()
        writers.append(writer)
    reader = Api().runs("p").histories(keys=["a"], format="arrow_reader", samples=None)
    found = reader.read_next_batch()["a"].to_pylist()
    for writer in writers:
        writer.merge(0, len(writer.frames) - 1)
        store.delete([writer.key(seq, seq) for seq in range(len(writer.frames))])
        store.delete([writer.key(0, 1)])
    for batch in reader:
        found += batch["a"].to_pylist()
    assert found == [10 * number + value for number in range(4) for value in range(6)]
