"""10,000 `define_metric` globs and 10,000 metric names: `run.log` of 10 scalars p50 <= 20 us.

Scale: each glob names one group of metrics and asks for min, max and mean in the summary; each call logs the next 10 of
10,000 keys, so every key has a glob of its own, and step metrics are filled in from the latest epoch. Calls one after
another: 100,000 timed ones, when each key was logged once before. Beside it, for information, the same calls without
definitions, and how long the definitions took.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from typing import Any, Final

import subjects
from figures import Figure, percentile
from interpreters import Bench
from machine import OtherLoad

__all__ = ["NAME", "figures"]

NAME: Final = "metrics"
_NAMES: Final = 10_000
_A_CALL: Final = 10


def figures(bench: Bench) -> Iterator[Figure]:
    """The latency with and without definitions."""
    load = OtherLoad()
    calls = 20_000 if bench.quick else 100_000
    defined = bench.call("tracker", "bench_metrics", "logged", calls=calls, globs=_NAMES, step_metric=False)
    stepped = bench.call("tracker", "bench_metrics", "logged", calls=calls, globs=_NAMES, step_metric=True)
    plain = bench.call("tracker", "bench_metrics", "logged", calls=calls, globs=0, step_metric=False)
    share = load.share()
    for name, answer, limit in (
        ("10,000 globs", defined, 20e-6),
        ("10,000 globs with a step metric", stepped, 20e-6),
        ("nothing defined", plain, None),
    ):
        note = f"p99 {answer['p99'] * 1e6:.0f} us" + (f"; defined in {answer['define_s']:.2f} s" if limit else "")
        yield Figure(
            benchmark=NAME,
            name=f"log of 10 of 10,000 names, {name}, p50",
            value=answer["p50"],
            unit="us",
            limit=limit,
            note=note,
            other_load=share,
        )


def logged(subject: str, calls: int, globs: int, step_metric: bool) -> dict[str, Any]:
    """Child: latency of calls made one after another, in seconds."""
    import tracker

    writer = subjects.subject(subject)
    log = writer.start("metrics", {})
    began = time.perf_counter()
    for number in range(globs):
        step = {"step_metric": "epoch"} if step_metric else {}
        tracker.run.define_metric(f"group{number:05d}/*", summary="min,max,mean", **step)
    define_s = time.perf_counter() - began
    if globs:
        tracker.run.define_metric("epoch")
    log({"epoch": 1})
    rows = [
        {f"group{number:05d}/loss": number / 7 for number in range(first, first + _A_CALL)}
        for first in range(0, _NAMES, _A_CALL)
    ]
    for row in rows:
        log(row)
    took = array("q", bytes(8 * calls))
    clock = time.perf_counter_ns
    for call in range(calls):
        row = dict(rows[call % len(rows)])
        begin = clock()
        log(row)
        took[call] = clock() - begin
    writer.finish()
    return {"p50": percentile(took, 0.5) / 1e9, "p99": percentile(took, 0.99) / 1e9, "define_s": define_s}
