"""1,000,000 steps x 10 metrics: `scan_history` gives 250,000 rows/s as dicts, 1,000,000 rows/s as Arrow batches.

Scale: one merged run of 1,000,000 steps (100,000 when quick) on a local root, every row and every metric of it, read in
a new process with everything imported and a small run scanned before; the better of two. Each answer is summed and
compared with what was written. The peak memory of either process is bounded by a claim of ours, 400 MB.

A chart: `buckets` of one metric of a run of 10,000,000 steps (1,000,000 when quick): seconds, and whether the greatest
and the least value are in it (how many bytes it reads of a bucket is in bench_latency.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import losses
from figures import Figure
from interpreters import Bench
from machine import OtherLoad, own_peak_mb

NAME: Final = "long_run"
_WIDE, _LONG, _SMALL = "wide", "long", "small"
_RUN: Final = "run0000000"


def figures(bench: Bench) -> Iterator[Figure]:
    """Rows a second, memory, and the chart."""
    steps, long_steps = (100_000, 1_000_000) if bench.quick else (1_000_000, 10_000_000)
    work = bench.folder("long-run-tracker")
    bench.call("tracker", "bench_long_run", "fill", work=work, steps=steps, long_steps=long_steps)
    for form, least in (("dicts", 250_000), ("Arrow", 1_000_000)):
        load = OtherLoad()
        answer = bench.call("tracker", "bench_long_run", "scan", work=work, steps=steps, form=form)
        share = load.share()
        yield Figure(
            benchmark=NAME,
            name=f"scan_history of {steps:,} x 10 as {form}",
            value=steps / min(answer["seconds"]),
            unit="rows/s",
            least=least,
            note="; ".join(f"{one:.2f} s" for one in answer["seconds"]),
            other_load=share,
        )
        yield Figure(
            benchmark=NAME,
            name=f"scan_history of {steps:,} x 10 as {form}, peak memory",
            value=answer["peak_mb"],
            unit="MB",
            limit=400.0,
        )
    load = OtherLoad()
    answer = bench.call("tracker", "bench_long_run", "chart", work=work, steps=long_steps)
    yield Figure(
        benchmark=NAME,
        name=f"chart of {long_steps:,} steps in 500 buckets, asked first",
        value=answer["seconds"][0],
        unit="ms",
        limit=0.5,
        note=f"again {answer['seconds'][-1] * 1e3:.0f} ms; peak {answer['peak_mb']:.0f} MB",
        other_load=load.share(),
    )


def fill(subject: str, steps: int, long_steps: int) -> None:
    """Child: three projects of one run each."""
    from big_stores import make_store
    from like_runs import LikeRuns

    del subject
    root = Path(os.environ["TRACKER_BASE_URL"])
    make_store(root, LikeRuns(1, steps), "sets", project=_WIDE)
    make_store(root, LikeRuns(1, long_steps, ("loss",)), "sets", project=_LONG)
    make_store(root, LikeRuns(1, 40_000), "sets", project=_SMALL)


def scan(subject: str, steps: int, form: str) -> dict[str, Any]:
    """Child: seconds of two scans of every row, and the peak memory."""
    from like_runs import LikeRuns

    del subject
    sums = _sums_of_dicts if form == "dicts" else _sums_of_batches
    sums(_SMALL)
    seconds, totals = [], []
    for _ in range(2):
        began = time.perf_counter()
        totals.append(sums(_WIDE))
        seconds.append(time.perf_counter() - began)
    peak_mb = own_peak_mb()
    like = LikeRuns(1, steps)
    wanted = {key: float(like.values(key, 0, 1).sum()) for key in (losses.KEYS[0], losses.KEYS[-1])}
    for rows, last_step, found in totals:
        if (rows, last_step) != (steps, steps - 1) or any(
            abs(found[key] - value) > 1e-6 * abs(value) for key, value in wanted.items()
        ):
            raise AssertionError(f"{rows} rows, last step {last_step}, {found}; expected {steps}, {wanted}")
    return {"seconds": seconds, "peak_mb": peak_mb}


_Sums = tuple[int, int, dict[str, float]]  # rows, last step, sum of two metrics


def _sums_of_dicts(project: str) -> _Sums:
    import tracker

    first, last = losses.KEYS[0], losses.KEYS[-1]
    rows, a, b, step = 0, 0.0, 0.0, -1
    for row in tracker.Api().run(f"{project}/{_RUN}").scan_history():
        rows += 1
        a += row[first]
        b += row[last]
        step = row["_step"]
    return rows, step, {first: a, last: b}


def _sums_of_batches(project: str) -> _Sums:
    import pyarrow.compute as pc

    import tracker

    rows, step, totals = 0, -1, {losses.KEYS[0]: 0.0, losses.KEYS[-1]: 0.0}
    for batch in tracker.Api().run(f"{project}/{_RUN}").scan_history().arrow_reader():
        rows += batch.num_rows
        step = batch["_step"][-1].as_py()
        for key in totals:
            totals[key] += pc.sum(batch[key]).as_py()
    return rows, step, totals


def chart(subject: str, steps: int) -> dict[str, Any]:
    """Child: seconds of four charts."""
    from like_runs import LikeRuns

    import tracker

    del subject
    tracker.Api().run(f"{_SMALL}/{_RUN}").buckets(keys=["loss"], format="arrow")
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        found = tracker.Api().run(f"{_LONG}/{_RUN}").buckets(keys=["loss"], buckets=500, format="arrow")
        seconds.append(time.perf_counter() - began)
    peak_mb = own_peak_mb()
    written = LikeRuns(1, steps, ("loss",)).values("loss", 0, 1)
    points, low, high = (found[name].to_pylist() for name in ("count", "min", "max"))
    if (sum(points), min(low), max(high)) != (steps, float(written.min()), float(written.max())):
        raise AssertionError(f"{sum(points)} points from {min(low)} to {max(high)}")
    return {"seconds": seconds, "peak_mb": peak_mb}
