"""Peak memory of the whole training process on a local root: <= 120 MB, and no growth over 1,000,000 log calls.

Scale: the peak is that of a process that logs 10,000 rows of 10 scalars at 1,000 a second and finishes; for trackers
with helper processes the peak of those is added. Growth: 1,000,000 rows back to back; the resident memory is read
every 20,000 calls, and the median of the last fifth may be at most 10 MB above the median of the second fifth (the
first one warms up). Everything of the interpreter is inside: the bare loop, with its values, holds about 15 MB.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any, Final

import losses
import subjects
from figures import Figure
from interpreters import Bench
from machine import OtherLoad, children_peak_mb, own_peak_mb, own_rss_mb

NAME: Final = "memory"


def figures(bench: Bench) -> Iterator[Figure]:
    """The peak against the peers, then the growth of ours."""
    load = OtherLoad()
    calls = 3_000 if bench.quick else 10_000
    answers = {
        name: bench.call(name, "bench_memory", "peak", calls=calls) for name in ("tracker", "trackio", "wandb", "none")
    }
    ours, control = answers.pop("tracker"), answers.pop("none")
    peers = {name: answer for name, answer in answers.items() if answer is not None}
    beside = ", ".join(f"{name} {one['children_mb']:.0f} MB" for name, one in peers.items() if one["children_mb"] > 0)
    yield Figure(
        benchmark=NAME,
        name="peak of the process",
        value=ours["own_mb"] + ours["children_mb"],
        unit="MB",
        limit=120.0,
        peers={name: one["own_mb"] + one["children_mb"] for name, one in peers.items()},
        note=f"bare loop {control['own_mb']:.0f} MB; helper processes of {beside or 'nobody'} included",
        other_load=load.share(),
    )

    load = OtherLoad()
    calls = 100_000 if bench.quick else 1_000_000
    grown = bench.call("tracker", "bench_memory", "growth", calls=calls)
    yield Figure(
        benchmark=NAME,
        name=f"growth over {calls:,} log calls",
        value=max(0.0, grown["growth_mb"]),
        unit="MB",
        limit=10.0,
        note=f"{grown['early_mb']:.0f} -> {grown['late_mb']:.0f} MB in {grown['seconds']:.0f} s",
        other_load=load.share(),
    )
    yield Figure(
        benchmark=NAME,
        name=f"peak with {calls:,} calls back to back",
        value=grown["peak_mb"],
        unit="MB",
        limit=120.0,
        note=f"finish took {grown['finish_s']:.1f} s",
        other_load=load.share(),
    )


def peak(subject: str, calls: int) -> dict[str, float]:
    """Child: a short training; peaks of this process and of its helpers, in MB."""
    pool = losses.rows(1_000)
    writer = subjects.subject(subject)
    log = writer.start(f"peak-{subject}", losses.config(0))
    children_mb = 0.0
    for call in range(calls):
        log(pool[call % len(pool)])
        time.sleep(0.001)
        if call % 1_000 == 999:
            children_mb = max(children_mb, children_peak_mb())
    writer.finish()
    return {"own_mb": own_peak_mb(), "children_mb": children_mb}


def growth(subject: str, calls: int) -> dict[str, Any]:
    """Child: resident memory while logging without a pause, in MB."""
    pool = losses.rows(1_000)
    writer = subjects.subject(subject)
    log = writer.start(f"growth-{subject}", losses.config(0))
    resident: list[float] = []
    every = max(1, calls // 50)
    began = time.perf_counter()
    for call in range(calls):
        log(pool[call % len(pool)])
        if call % every == every - 1:
            resident.append(own_rss_mb())
    seconds = time.perf_counter() - began
    fifth = len(resident) // 5
    early, late = statistics.median(resident[fifth : 2 * fifth]), statistics.median(resident[-fifth:])
    began = time.perf_counter()
    writer.finish()
    return {
        "early_mb": early,
        "late_mb": late,
        "growth_mb": late - early,
        "peak_mb": own_peak_mb(),
        "seconds": seconds,
        "finish_s": time.perf_counter() - began,
        "resident_mb": resident,
    }
