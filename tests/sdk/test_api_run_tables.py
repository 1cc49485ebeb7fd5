"""Runs as frames: `to_arrow`, `to_polars`, `to_pandas` and batches, in the collection's order, without Run objects."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pytest
from store_maker import T0, made_run

from tracker.apis.public import Api, Runs
from tracker.apis.public import runs_pages as pages
from tracker.apis.public.failures import NoSuchProject
from tracker.errors import Error
from tracker.query import runs_table as table_module
from tracker.query.history import PartsGone
from tracker.query.run_columns import RUN_COLUMNS

ROWS = [
    ({"lr": 0.1, "layers": 2, "opt": {"name": "adam"}, "amp": True}, {"acc": 0.5, "n": 2**53 + 1}),
    ({"lr": 1, "layers": 3, "opt": {"name": "sgd"}}, {"acc": 0.9}),
    ({"lr": 0.2, "layers": "deep"}, {"acc": float("nan"), "n": 7}),
]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """c, b and a, made in this order."""
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    for n, (name, (config, row)) in enumerate(zip("cba", ROWS, strict=True)):
        made_run(url, name, [row], config=config, attrs={"tags": [name, "t"]}, start_us=T0 + n * 60_000_000)
    return Api().runs("p")


def test_a_table_has_a_row_for_each_run_in_order(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "load_runs", lambda *_: pytest.fail("no run is loaded for a table"))
    table = runs.to_arrow()
    assert table["id"].to_pylist() == ["c", "b", "a"]
    assert table.column_names[: len(RUN_COLUMNS)] == list(RUN_COLUMNS)
    assert table["config.lr"].to_pylist() == [0.1, 1.0, 0.2]
    assert table["config.layers"].to_pylist() == ["2", "3", "deep"]
    assert table["tags"].to_pylist() == [["c", "t"], ["b", "t"], ["a", "t"]]
    assert runs.objects == []


def test_filter_and_order_are_those_of_the_collection(runs: Runs) -> None:
    found = Api().runs("p", filters={"config.lr": {"$lt": 0.5}}, order="-config.lr").to_arrow(["id", "config.lr"])
    assert found.to_pylist() == [{"id": "a", "config.lr": 0.2}, {"id": "c", "config.lr": 0.1}]


def test_polars_keeps_types_and_tells_missing_from_nan(runs: Runs) -> None:
    frame = runs.to_polars(["id", "created_at", "config.amp", "acc", "summary.n"])
    assert dict(frame.schema) == {
        "id": polars.String(),
        "created_at": polars.Datetime("us", "UTC"),
        "config.amp": polars.Boolean(),
        "summary.acc": polars.Float64(),
        "summary.n": polars.Int64(),
    }
    assert frame["summary.n"].to_list() == [2**53 + 1, None, 7]
    assert frame["summary.acc"].is_nan().to_list() == [False, False, True]
    assert frame["config.amp"].to_list() == [True, None, None]


def test_pandas_keeps_every_digit_of_integers_with_holes(runs: Runs) -> None:
    frame = runs.to_pandas(["id", "n", "config.amp", "acc", "created_at", "config.layers"])
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert kinds["summary.n"] == "Int64"
    assert kinds["config.amp"] == "boolean"
    assert kinds["summary.acc"] == "float64"
    assert kinds["created_at"] == "datetime64[us, UTC]"
    assert frame["summary.n"].tolist()[0] == 2**53 + 1
    assert frame["config.amp"].tolist()[0] is True
    assert frame.index.tolist() == [0, 1, 2]


def test_batches_have_the_types_of_the_whole(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_BATCH_RUNS", (1, 1))
    reader = runs.to_arrow_reader(["id", "config.layers", "n"])
    assert isinstance(reader, pa.RecordBatchReader)
    batches = list(reader)
    assert [batch.num_rows for batch in batches] == [1, 1, 1]
    assert pa.Table.from_batches(batches) == runs.to_arrow(["id", "config.layers", "n"])


def test_batches_go_on_where_files_are_replaced_meanwhile(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_BATCH_RUNS", (1, 1))
    reader = runs.to_arrow_reader(["id"])
    first = reader.read_next_batch()
    read, gone = table_module._read, iter([True])

    def fails_once(*args: Any) -> Any:
        if next(gone, False):
            raise PartsGone("merged meanwhile")
        return read(*args)

    monkeypatch.setattr(table_module, "_read", fails_once)
    Api().run("p/b").delete()
    rest = [batch["id"][0].as_py() for batch in reader]
    assert (first["id"].to_pylist(), rest) == (["c"], ["a"])


def test_a_run_that_was_deleted_since_it_was_found_is_left_out(runs: Runs) -> None:
    assert len(runs) == 3
    Api().run("p/b").delete()
    assert runs.to_arrow(["id"])["id"].to_pylist() == ["c", "a"]


def test_nothing_that_matches_has_the_run_fields(runs: Runs) -> None:
    none = Api().runs("p", filters={"state": "failed"})
    assert none.to_arrow().schema.names == list(RUN_COLUMNS)
    assert none.to_polars().height == 0
    assert none.to_pandas().shape == (0, len(RUN_COLUMNS))
    with pytest.raises(NoSuchProject):
        Api().runs("other").to_arrow()


def test_columns_are_names(runs: Runs) -> None:
    with pytest.raises(TypeError, match="list of names"):
        runs.to_arrow("lr")


@pytest.mark.parametrize("package", ["polars", "pandas"])
def test_a_frame_of_a_package_that_is_not_there(runs: Runs, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Error, match=f"pip install {package}"):
        getattr(runs, f"to_{package}")()
