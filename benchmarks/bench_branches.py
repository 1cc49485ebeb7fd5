"""Forks cost what they show: a fork at 1 % of a run is read in a fraction of the run's time, 50 forks as 50 runs.

Scale: one merged run of 1,000,000 steps x 10 metrics (100,000 when quick) on a local root; forks of it made by
`init(fork_from=...)`, each of which logs 100 steps more: one at 1 % of its steps, 50 at 10 % of them. A fork that is
rewound 20 times: each life logs 10 steps, of which the next keeps 5. Asked in a new process, with everything imported
and another project read before; the best of five answers. Rows are counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from figures import Figure
from interpreters import Bench
from machine import OtherLoad

NAME: Final = "branches"
_PROJECT, _SMALL = "wide", "small"
_RUN: Final = "run0000000"
_KEY: Final = "loss"
_FORKS, _LOGGED = 50, 100
_REWINDS: Final = 20


def figures(bench: Bench) -> Iterator[Figure]:
    """Seconds, and shares of what the same rows cost in a run that logged them itself."""
    steps = 100_000 if bench.quick else 1_000_000
    work = bench.folder("branches-tracker")
    bench.call("tracker", "bench_branches", "fill", work=work, steps=steps)
    load = OtherLoad()
    found = bench.call("tracker", "bench_branches", "ask", work=work, steps=steps)
    share = load.share()
    common: dict[str, Any] = {"benchmark": NAME, "other_load": share}
    whole, first = found["whole"], found["fork"]
    yield Figure(
        name=f"every value of a metric, fork at 1 % of {steps:,} steps, of the time for the run",
        value=100 * first / whole,
        unit="%",
        limit=50.0,
        note=f"{first * 1e3:.1f} ms against {whole * 1e3:.1f} ms",
        **common,
    )
    yield Figure(
        name=f"every value of a metric, {_FORKS} forks at 10 %, of the time for as many rows of the run",
        value=100 * found["forks"] / (whole * _FORKS / 10),
        unit="%",
        limit=200.0,
        note=f"{found['forks'] * 1e3:.0f} ms",
        **common,
    )
    yield Figure(
        name=f"a metric of a run that was rewound {_REWINDS} times",
        value=found["chain"],
        unit="ms",
        limit=0.3,
        **common,
    )


def fill(subject: str, steps: int) -> None:
    """Child: the run, its forks, and a small project for warming up."""
    from big_stores import make_store
    from like_runs import LikeRuns

    del subject
    root = Path(os.environ["TRACKER_BASE_URL"])
    make_store(root, LikeRuns(1, steps), "sets", project=_PROJECT)
    make_store(root, LikeRuns(1, 40_000), "sets", project=_SMALL)
    _log(_LOGGED, id="early", fork_from=f"{_RUN}?_step={steps // 100 - 1}")
    for number in range(_FORKS):
        _log(_LOGGED, id=f"fork{number}", name=f"fork {number}", fork_from=f"{_RUN}?_step={steps // 10 - 1}")
    step = steps // 100 - 1
    _log(10, id="chain", fork_from=f"{_RUN}?_step={step}")
    for _ in range(_REWINDS):
        step += 5
        _log(10, resume_from=f"chain?_step={step}")


def _log(rows: int, **arguments: Any) -> None:
    import tracker

    quiet = {"silent": True, "console": "off", "x_disable_stats": True, "x_disable_meta": True}
    run = tracker.init(project=_PROJECT, settings=quiet, **arguments)
    for value in range(rows):
        run.log({_KEY: float(value)})
    run.finish()


def ask(subject: str, steps: int) -> dict[str, float]:
    """Child: seconds of the best of five answers, by what was asked."""
    import tracker

    del subject
    api = tracker.Api()
    api.run(f"{_SMALL}/{_RUN}").history(keys=[_KEY], samples=None, pandas=False)

    def rows_of(run_id: str) -> Callable[[], int]:
        run = api.run(f"{_PROJECT}/{run_id}")
        return lambda: _rows(run.scan_history(keys=[_KEY]).arrow_reader())

    forks = api.runs(_PROJECT, {"display_name": {"$regex": "^fork"}})

    def together() -> int:
        return _rows(forks.histories(keys=[_KEY], samples=None, format="arrow_reader"))

    return {
        "whole": _best(rows_of(_RUN), steps),
        "fork": _best(rows_of("early"), steps // 100 + _LOGGED),
        "forks": _best(together, _FORKS * (steps // 10 + _LOGGED)),
        "chain": _best(rows_of("chain"), steps // 100 + 5 * _REWINDS + 10),
    }


def _rows(reader: Any) -> int:
    return sum(batch.num_rows for batch in reader)


def _best(answer: Callable[[], int], expected: int) -> float:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        rows = answer()
        seconds.append(time.perf_counter() - began)
        if rows != expected:
            raise AssertionError(f"{rows} rows; expected {expected}")
    return min(seconds)
