"""10,000 steps of 10 metrics: <= 1.5 MB in the store after finish (trackio 7.1 MB, wandb 8.0 MB), finish <= 0.5 s.

Scale: one run on a local root, logged back to back (all of it still waits when `finish` is called, its worst case)
and once at 500 calls a second (parts of every few seconds, that finish merges; timestamps that do not compress as
well). Counted are the bytes of all files below the root, and, apart, what is left outside it (the spool).
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from typing import Any, Final

import losses
import subjects
from figures import Figure
from interpreters import Bench
from machine import OtherLoad, tree_size

NAME: Final = "store_size"
_STEPS: Final = 10_000


def figures(bench: Bench) -> Iterator[Figure]:
    """Size and finish, back to back and at a steady pace."""
    for pace, calls_per_s, repeats in (("back to back", None, 1 if bench.quick else 3), ("500 a second", 500.0, 1)):
        if bench.quick and calls_per_s:
            return
        load = OtherLoad()
        answers: dict[str, list[dict[str, Any]]] = {}
        for _ in range(repeats):
            for name in ("tracker", "trackio", "wandb"):
                answer = _once(bench, name, calls_per_s)
                if answer is not None:
                    answers.setdefault(name, []).append(answer)
        share = load.share()
        ours = answers.pop("tracker")
        yield Figure(
            benchmark=NAME,
            name=f"10,000 x 10 in the store, {pace}",
            value=statistics.median(one["store_mb"] for one in ours),
            unit="MB",
            limit=1.5,
            peers={peer: statistics.median(one["store_mb"] for one in all_) for peer, all_ in answers.items()},
            note=f"{ours[0]['files']} files; {ours[0]['outside_kb']:.0f} kB outside the root",
        )
        yield Figure(
            benchmark=NAME,
            name=f"finish after 10,000 x 10, {pace}",
            value=statistics.median(one["finish_s"] for one in ours),
            unit="ms",
            limit=0.5,
            peers={peer: statistics.median(one["finish_s"] for one in all_) for peer, all_ in answers.items()},
            note=f"median of {len(ours)}",
            other_load=share,
        )


def _once(bench: Bench, name: str, calls_per_s: float | None) -> dict[str, Any] | None:
    work = bench.folder(f"size-{name}")
    answer: dict[str, Any] | None = bench.call(name, "bench_store_size", "write", work=work, calls_per_s=calls_per_s)
    if answer is None:
        return None
    size_bytes, files = tree_size(subjects.store_of(work))
    outside = (
        tree_size(work)[0] - size_bytes - sum((work / name).stat().st_size for name in ("params.json", "result.json"))
    )
    return answer | {"store_mb": size_bytes / 1e6, "files": files, "outside_kb": outside / 1e3}


def write(subject: str, calls_per_s: float | None) -> dict[str, Any]:
    """Child: log the run; answers the seconds that finish took."""
    pool = losses.rows(_STEPS)
    chance = random.Random(1)
    writer = subjects.subject(subject)
    log = writer.start(f"size-{subject}", losses.config(0))
    due = time.perf_counter()
    for row in pool:
        log(row)
        if calls_per_s:  # steps of uneven length, as real ones are
            due += (0.5 + chance.random()) / calls_per_s
            time.sleep(max(0.0, due - time.perf_counter()))
    began = time.perf_counter()
    writer.finish()
    took = time.perf_counter() - began
    return {"finish_s": took}
