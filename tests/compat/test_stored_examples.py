"""Files of every release are kept and read by every build: names, schema, encodings and meaning are final."""

import json
import math
from pathlib import Path

import pytest
from make_store import VALUES
from written import history, read_back

from tracker.apis.public import Runs
from tracker.apis.public.client import RetryingClient
from tracker.storage.stores import open_store

STORE = Path(__file__).with_name("store_1")


@pytest.fixture(scope="module")
def cells():
    found = {}
    for writer, rows in history(open_store(str(STORE))).items():
        for row, key, value in rows:
            found[writer, row, key] = value
    return found


def test_every_kind_of_value_comes_back_exactly(cells):
    read = {key: value for (_, _, key), value in cells.items() if key in VALUES}
    assert set(read) == set(VALUES)
    for key, wanted in VALUES.items():
        got = read[key]
        assert type(got) is type(wanted), key
        if isinstance(wanted, float):
            assert math.copysign(1, got) == math.copysign(1, wanted), key
            assert got == wanted or (math.isnan(got) and math.isnan(wanted)), key
        else:
            assert got == wanted, key


def test_merged_ranked_and_late_rows_come_back(cells):
    losses = sorted(value for (_, _, key), value in cells.items() if key == "loss")
    assert losses == sorted([0.0, 1.0, 2.0, 0.1, 1.1, 2.1, *(1 / (n + 1) for n in range(20))])
    assert sorted(value for (_, _, key), value in cells.items() if key == "acc") == [0.0, 0.2, 0.5]
    families = {path.name[0] for path in STORE.rglob("*.parquet")}
    assert families == {"e", "f", "h"}


def test_the_format_file_names_version_one():
    assert json.loads((STORE / "_format.json").read_text())["format"] == 1


def test_facts_keep_kind_path_and_order():
    facts = [
        (row["kind"], row["key"], row["t"])
        for events in read_back(open_store(str(STORE))).values()
        for row in sorted(events.to_pylist(), key=lambda row: (row["hlc"], row["seq"]))
        if row["kind"] in ("config", "summary")
    ]
    assert facts[:2] in ([("config", "lr", 0), ("config", "m.d", 1)], [("config", "m.d", 1), ("config", "lr", 0)])
    assert sorted(facts[2:]) == [("config", "m", 6), ("config", "m.e", 4), ("summary", "best", 0)]


def test_the_public_api_reads_it(clean_environment):
    client = RetryingClient(str(STORE))
    runs = Runs(client=client, entity="Main Team", project="proj/x")
    assert sorted(run.id for run in runs) == ["Values", "late", "merged", "ranks"]
    by_id = {run.id: run for run in runs}
    assert by_id["Values"].config == {"lr": 0.1, "m": {"e": [1]}}
    assert by_id["Values"].summary["best"] == 0.5
    assert {run.state for run in runs} == {"finished"}
    assert [row["_step"] for row in by_id["late"].scan_history(keys=["_step", "acc"])] == [0, 2, 5]
    assert len(list(by_id["merged"].scan_history(keys=["loss"]))) == 20
    assert len(list(by_id["ranks"].scan_history(keys=["loss"]))) == 6
    (row,) = by_id["Values"].scan_history()
    assert row["dotted.key"] == "literal"
    assert row["big"] == 10**40
    matching = Runs(client=client, entity="Main Team", project="proj/x", filters={"config.lr": {"$exists": True}})
    assert [run.id for run in matching] == ["Values"]
