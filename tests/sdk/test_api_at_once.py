"""Several who change one run at once, one of them the run itself: nobody loses a field. Rules RUN-4, RUN-8."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from store_maker import MadeWriter

from tracker.apis.public import Api, Run
from tracker.storage.clock import wall_us
from tracker.storage.names import RunRef
from tracker.storage.stores import open_store

NAMES = {0: "name", 1: "notes", 2: "group"}  # a field of each one's own
_stores = itertools.count()

editors = st.integers(0, 2)
values = st.one_of(st.integers(0, 9), st.sampled_from(["a", "b"]), st.just([1, 2]), st.just({"x": 1}))
steps = st.one_of(
    st.tuples(st.just("field"), editors, st.sampled_from(["u", "v", "w"])),
    st.tuples(st.just("config"), editors, st.integers(0, 2), values),
    st.tuples(st.just("nested"), editors, st.integers(0, 2), values),
    st.tuples(st.just("summary"), editors, st.integers(0, 2), values),
    st.tuples(st.just("unset"), editors, st.integers(0, 2)),
    st.tuples(st.just("tag"), editors, st.integers(0, 2)),
    st.tuples(st.just("update"), editors),
    st.tuples(st.just("store summary"), editors),
    st.tuples(st.just("look"), editors),
    st.tuples(st.just("log"), st.integers(0, 9)),
)


class Model:
    """What each editor has said in the end: its own names, in every place where there are several."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.config: dict[str, Any] = {}
        self.nested: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.tags: set[str] = set()


def play(step: tuple[Any, ...], runs: list[Run], live: MadeWriter, model: Model) -> None:
    match step:
        case ("log", value):
            live.log({"loss": value}).put()
            model.summary["loss"] = value
        case ("field", who, text):
            setattr(runs[who], NAMES[who], text)
            model.fields[NAMES[who]] = text
        case ("config", who, n, value):
            runs[who].config[f"c{who}{n}"] = value
            model.config[f"c{who}{n}"] = value
        case ("nested", who, n, value):
            runs[who].config["nested"][f"n{who}{n}"] = value
            model.nested[f"n{who}{n}"] = value
        case ("summary", who, n, value):
            runs[who].summary[f"s{who}{n}"] = value
            model.summary[f"s{who}{n}"] = value
        case ("unset", who, n):
            runs[who].config.pop(f"c{who}{n}", None)
            model.config.pop(f"c{who}{n}", None)
        case ("tag", who, n):
            if f"t{who}{n}" not in runs[who].tags:
                runs[who].tags.append(f"t{who}{n}")
            model.tags.add(f"t{who}{n}")
        case ("update", who):
            runs[who].update()
        case ("store summary", who):
            runs[who].summary.update()
        case ("look", who):
            assert runs[who].config.keys() >= {"nested"}


@settings(max_examples=30, deadline=None)
@given(script=st.lists(steps, max_size=14), order=st.permutations([0, 1, 2]))
@example(
    script=[("nested", 0, 0, 1), ("nested", 1, 0, 2), ("update", 0), ("nested", 0, 1, {"x": 1}), ("update", 1)],
    order=[2, 1, 0],
)
@example(script=[("summary", 0, 0, 1), ("field", 0, "u"), ("store summary", 0), ("tag", 0, 0)], order=[1, 0, 2])
def test_whoever_changes_what_and_in_whichever_order_every_field_is_kept(
    script: list[tuple[Any, ...]], order: list[int]
) -> None:
    """Three Apis that loaded the run before, and the run, which goes on logging."""
    url = f"memory://at-once-{os.getpid()}-{next(_stores)}"
    live = MadeWriter(open_store(url), RunRef("main", "p", "r"), start_us=wall_us() - 60_000_000)
    live.begin({"name": "first"}, {"nested": {"mine": 0}}).put()
    runs = [Api({"base_url": url}).run("p/r") for _ in range(3)]
    model = Model()
    for step in script:
        play(step, runs, live, model)
    for who in order:
        runs[who].update()
    stored = Api({"base_url": url}).run("p/r")
    assert {name: getattr(stored, name) for name in model.fields} == model.fields
    assert stored.config == model.config | {"nested": {"mine": 0} | model.nested}
    assert stored.summary_metrics.keys() - {"_step", "_runtime", "_timestamp"} == model.summary.keys()
    assert {name: stored.summary_metrics[name] for name in model.summary} == model.summary
    assert set(stored.tags) == model.tags
    assert stored.history(pandas=False, keys=["loss"]) == [
        {"_step": n, "loss": step[1]} for n, step in enumerate(one for one in script if one[0] == "log")
    ]


EDITOR = """
import sys, time
from tracker.apis.public import Api
who, rounds = sys.argv[1], int(sys.argv[2])
run = Api().run("p/live")
print("ready", flush=True)
sys.stdin.readline()
for n in range(rounds):
    run.config[f"{who}{n}"] = n
    run.config["nested"][f"{who}{n}"] = n
    run.summary[f"{who}{n}"] = n
    run.tags.append(f"{who}{n}")
    setattr(run, "notes" if who == "a" else "group", f"{who}{n}")
    run.update()
"""

LIVE = """
import sys, time, tracker
with tracker.init(id="live", project="p", config={"nested": {"begun": 0}}) as run:
    run.log({"loss": 0})
    run.flush()
    print("ready", flush=True)
    n = 0
    for line in sys.stdin:
        if line.strip() == "end":
            break
    for n in range(1, 60):
        run.log({"loss": n})
        run.config[f"own{n}"] = n
        run.summary[f"own{n}"] = n
        time.sleep(0.01)
    sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("place", "rounds"),
    [("local", 3), ("s3", 2), *(pytest.param(place, 20, marks=pytest.mark.slow) for place in ("s3", "gcs"))],
)
def test_processes_that_change_a_run_while_it_logs_lose_nothing(
    place: str, rounds: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two processes with Apis, and the one that writes the run: on a directory and on S3."""
    monkeypatch.setenv("TRACKER_BASE_URL", request.getfixturevalue(f"{place}_url"))
    monkeypatch.setenv("TRACKER_DATA_DIR", str(tmp_path / "data"))

    def start(code: str, *words: str) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=tmp_path, **pipes)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    live = start(LIVE)
    others = [start(EDITOR, who, str(rounds)) for who in "ab"]
    for process in (live, *others):
        process.stdin.write("end\n" if process is live else "go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    for process in others:
        process.communicate(timeout=120)
        assert process.returncode == 0
    live.communicate("\n", timeout=120)
    assert live.returncode == 0
    run = Api().run("p/live")
    edits = {f"{who}{n}": n for who in "ab" for n in range(rounds)}
    own = {f"own{n}": n for n in range(1, 60)}
    assert run.config == edits | own | {"nested": {"begun": 0} | edits}
    assert json.loads(json.dumps({name: run.summary[name] for name in edits | own})) == edits | own
    assert run.summary["loss"] == 59
    assert sorted(run.tags) == sorted(edits)
    assert (run.notes, run.group, run.state) == (f"a{rounds - 1}", f"b{rounds - 1}", "finished")
    assert [row["loss"] for row in run.scan_history(keys=["loss"])] == list(range(60))
