"""A bucket 50 ms away: 10,000 compacted runs open (`len`, first page) with at most 10 requests and an empty cache.

Scale: 10,000 finished runs (1,000 when quick) of 30 facts, 5 metrics and 20 steps in packs, and one merged run of
10,000,000 steps (1,000,000 when quick), put into moto's server on this machine; readers reach it by a line that holds
every request back for 50 ms and counts bytes, headers too. Cold is a new process with an empty cache directory, warm a
new process with what the one before left there. Requests and bytes are exact; times are upper bounds, because the
emulator is a Python process on the same processors. LIST is counted apart from GET; one answers at most 1,000 keys.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from figures import Figure
from interpreters import Bench
from machine import OtherLoad, tree_size
from object_store import S3, s3_emulator

NAME: Final = "latency"
KEYS: Final = ("loss", "accuracy", "val/loss", "val/accuracy", "grad_norm")
STEPS: Final = 20
PAGE: Final = 50
_RUNS, _LONG = "runs", "long"
_DELAY_S: Final = 0.05


def figures(bench: Bench) -> Iterator[Figure]:
    """Each question cold and warm: seconds, requests, bytes."""
    runs, steps = (1_000, 1_000_000) if bench.quick else (10_000, 10_000_000)
    work = bench.folder("latency-tracker")
    bench.call("tracker", "bench_latency", "fill", work=work, runs=runs, steps=steps)
    store_mb = tree_size(work / "store")[0] / 1e6
    with s3_emulator(bench.python, bench.folder("latency-server"), delay_s=_DELAY_S) as server:
        if server is None:
            yield Figure(
                benchmark=NAME, name="requests", value=None, unit="requests", note="moto's server is not installed"
            )
            return
        source = str(work / "store")
        bench.call("tracker", "bench_latency", "upload", env=server.bare_env, source=source)
        for question, (text, requests_max) in _QUESTIONS.items():
            name = text.format(runs=f"{runs:,}", steps=f"{steps:,}")
            yield from _ask(bench, server, question, name, requests_max, {"runs": runs, "steps": steps}, store_mb)


def _ask(
    bench: Bench, server: S3, question: str, name: str, requests_max: int | None, scale: dict[str, int], store_mb: float
) -> Iterator[Figure]:
    work = bench.folder(f"latency-{question}")
    for state in ("cold", "warm"):
        load = OtherLoad()
        before = server.traffic()
        seconds = bench.call("tracker", "bench_latency", "ask", work=work, env=server.env, question=question, **scale)
        traffic = server.traffic() - before
        yield Figure(
            benchmark=NAME,
            name=f"{name}, {state}",
            value=traffic.requests.total(),
            unit="requests",
            limit=requests_max,
            note=f"{traffic.kinds()}; {traffic.received_bytes / 1e6:.2f} MB of {store_mb:.0f}; {seconds:.2f} s",
            other_load=load.share(),
        )


_QUESTIONS: Final = {
    "open": ("{runs} runs: len and first page", 10),
    "filter": ("{runs} runs: filter, order, first page", 10),
    "rows": ("{runs} runs: all rows of one", None),
    "histories": ("{runs} runs: one metric of all of them", None),
    "last": ("run of {steps} steps: state and summary", 10),
    "chart": ("run of {steps} steps: chart of one metric, 500 buckets", 10),
    "sample": ("run of {steps} steps: 500 rows of one metric", None),
}


def fill(subject: str, runs: int, steps: int) -> None:
    """Child: the two projects in a local root."""
    from big_stores import make_store
    from like_runs import LikeRuns

    del subject
    root = Path(os.environ["TRACKER_BASE_URL"])
    make_store(root, LikeRuns(runs, STEPS, KEYS), project=_RUNS)
    make_store(root, LikeRuns(1, steps, KEYS[:1]), "sets", project=_LONG)


def upload(subject: str, source: str) -> None:
    """Child: every file of the local root `source`, under the same names."""
    from tracker.storage.stores import open_store

    del subject
    store = open_store(os.environ["TRACKER_BASE_URL"])
    for path in sorted(Path(source).rglob("*")):
        if path.is_file():
            store.put_file_if_absent(str(path.relative_to(source)), path)


def ask(subject: str, question: str, runs: int, steps: int) -> float:
    """Child: seconds of one question in a process that has asked nothing of this store. The answer is checked."""
    import duckdb
    import polars

    import tracker

    del subject
    duckdb.connect().execute("SELECT 1").fetchall()
    polars.DataFrame({"a": [1]})
    began = time.perf_counter()
    _ASKED[question](tracker.Api(), runs, steps)
    return time.perf_counter() - began


def _open(api: Any, runs: int, steps: int) -> None:
    del steps
    found = api.runs(_RUNS, per_page=PAGE)
    _expect(len(found), runs)
    _expect(len({run.config["seed"] for run in found[:PAGE]}), PAGE)


def _filter(api: Any, runs: int, steps: int) -> None:
    del steps
    wanted = {"config.optimizer": "adam", "state": "finished"}
    found = api.runs(_RUNS, filters=wanted, order="-summary_metrics.accuracy", per_page=PAGE)
    _expect(len(found), -(-runs // 3))
    values = [run.summary["accuracy"] for run in found[:PAGE]]
    _expect(values, sorted(values, reverse=True))


def _rows(api: Any, runs: int, steps: int) -> None:
    del steps
    _expect(sum(1 for _ in api.run(f"{_RUNS}/run{runs // 2:07d}").scan_history()), STEPS)


def _histories(api: Any, runs: int, steps: int) -> None:
    del steps
    _expect(api.runs(_RUNS).histories(keys=["loss"], samples=500, format="polars").height, runs * STEPS)


def _last(api: Any, runs: int, steps: int) -> None:
    del runs
    run = api.run(f"{_LONG}/run0000000")
    _expect((run.state, run.summary["_step"]), ("finished", steps - 1))


def _chart(api: Any, runs: int, steps: int) -> None:
    del runs
    found = api.run(f"{_LONG}/run0000000").buckets(keys=["loss"], buckets=500, format="arrow")
    _expect(sum(found["count"].to_pylist()), steps)


def _sample(api: Any, runs: int, steps: int) -> None:
    del runs
    rows = api.run(f"{_LONG}/run0000000").history(samples=500, keys=["loss"], pandas=False)
    _expect((len(rows), rows[0]["_step"], rows[-1]["_step"]), (500, 0, steps - 1))


_ASKED: Final[dict[str, Callable[[Any, int, int], None]]] = {
    "open": _open,
    "filter": _filter,
    "rows": _rows,
    "histories": _histories,
    "last": _last,
    "chart": _chart,
    "sample": _sample,
}


def _expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{str(found)[:200]}, expected {str(wanted)[:200]}")
