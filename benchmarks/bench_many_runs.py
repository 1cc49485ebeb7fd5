"""100,000 runs x 30 facts, compacted: filter + order + first page in at most 0.5 s warm and 1.5 s cold, local root.

Scale: one project of 100,000 finished runs (10,000 when quick), 30 facts and 5 metrics each, in packs with a
checkpoint. The question: config and state filtered, ordered by a summary value, the first page of 50 runs with config
and summary.

Cold: a new process and an empty cache directory, modules imported and another project of three runs read; the median of
5 processes. Warm: a fresh `Api()` in a process that has asked before; the median of 7. The answer is checked against
what the runs were made from. `len(api.runs(...))` of the whole project stands beside it, and the peak memory.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from figures import Figure
from interpreters import Bench
from machine import OtherLoad, own_peak_mb

NAME: Final = "many_runs"
KEYS: Final = ("loss", "accuracy", "val/loss", "val/accuracy", "grad_norm")
STEPS: Final = 3
PAGE: Final = 50
_BIG, _SMALL = "big", "small"
_LEAST: Final = 0.3


def figures(bench: Bench) -> Iterator[Figure]:
    """Cold, warm, and the size of the store."""
    runs = 10_000 if bench.quick else 100_000
    work = bench.folder("many-runs-tracker")
    filled = bench.call("tracker", "bench_many_runs", "fill", work=work, runs=runs)
    load = OtherLoad()
    cold = []
    for _ in range(2 if bench.quick else 5):
        shutil.rmtree(work / "cache", ignore_errors=True)
        cold.append(_ask(bench, work, runs, repeats=1))
    warm = _ask(bench, work, runs, repeats=8)
    share = load.share()
    for text, times, limit in (
        ("filter, order, first page, cold", [one["page_s"][0] for one in cold], 1.5),
        ("filter, order, first page, warm", warm["page_s"][1:], 0.5),
        ("len(runs), cold", [one["len_s"][0] for one in cold], None),
        ("len(runs), warm", warm["len_s"][1:], None),
    ):
        yield Figure(
            benchmark=NAME,
            name=f"{runs:,} runs: {text}",
            value=statistics.median(times),
            unit="ms",
            limit=limit,
            note=f"median of {len(times)}, {min(times) * 1e3:,.0f}-{max(times) * 1e3:,.0f} ms",
            other_load=share,
        )
    yield Figure(
        benchmark=NAME,
        name=f"{runs:,} runs: peak memory, cold",
        value=max(one["peak_mb"] for one in cold),
        unit="MB",
        note=f"store {filled['store_mb']:.0f} MB, made in {filled['seconds']:.0f} s",
    )


def _ask(bench: Bench, work: Path, runs: int, repeats: int) -> dict[str, Any]:
    env = {"TRACKER_CACHE_DIR": str(work / "cache")}
    answer: dict[str, Any] = bench.call(
        "tracker", "bench_many_runs", "ask", work=work, env=env, runs=runs, repeats=repeats
    )
    return answer


def fill(subject: str, runs: int) -> dict[str, float]:
    """Child: the project, and a small one for warming up."""
    from big_stores import make_store
    from like_runs import LikeRuns
    from machine import tree_size

    del subject
    root = Path(os.environ["TRACKER_BASE_URL"])
    began = time.perf_counter()
    make_store(root, LikeRuns(runs, STEPS, KEYS), project=_BIG)
    seconds = time.perf_counter() - began
    make_store(root, LikeRuns(3, STEPS, KEYS), project=_SMALL)
    return {"seconds": seconds, "store_mb": tree_size(root)[0] / 1e6}


def ask(subject: str, runs: int, repeats: int) -> dict[str, Any]:
    """Child: seconds of the first page and of `len`, `repeats` times with an Api of their own each."""
    del subject
    _page(_SMALL)
    page_s, len_s = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        found = _page(_BIG)
        page_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        count = _count()
        len_s.append(time.perf_counter() - began)
        if found != expected_page(runs) or count != runs:
            raise AssertionError(f"{count} runs, page {found[:3]}, expected {runs}, {expected_page(runs)[:3]}")
    return {"page_s": page_s, "len_s": len_s, "peak_mb": own_peak_mb()}


def expected_page(runs: int) -> list[tuple[str, int, float]]:
    """Id, layers and accuracy of the first page's runs, from what they were made from."""
    import numpy as np
    from like_runs import LikeRuns

    like = LikeRuns(runs, STEPS, KEYS)
    last = like.values("accuracy", 0, runs, slice(STEPS - 1, STEPS))[:, 0]
    number = np.arange(runs)
    chosen = number[(number % 3 == 0) & (last > _LEAST)]  # optimizer adam
    best = chosen[np.argsort(-last[chosen], kind="stable")][:PAGE]
    return [(like.run_id(n), 2 + int(n) % 7, float(last[n])) for n in best]


def _page(project: str) -> list[tuple[str, int, float]]:
    import tracker

    wanted = {"config.optimizer": "adam", "state": "finished", "summary_metrics.accuracy": {"$gt": _LEAST}}
    runs = tracker.Api().runs(project, filters=wanted, order="-summary_metrics.accuracy", per_page=PAGE)
    return [(run.id, run.config["model"]["layers"], run.summary["accuracy"]) for run in runs[:PAGE]]


def _count() -> int:
    import tracker

    return len(tracker.Api().runs(_BIG))
