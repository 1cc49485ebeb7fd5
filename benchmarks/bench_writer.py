"""One process logs 200,000 points a second to a local root, shipping included; shipping costs at most 2 % of its time.

Scale: rows of 10 scalars. Sustained: 20,000 rows a second for 30 seconds, with the shipper at work; the store must keep
up (what waits at the end is less than two seconds' worth), and every row must be there. Then as fast as one thread can,
until `finish` has returned.

What shipping costs: a training thread does a fixed amount of work and logs, over and over, once with the shipper at
work and once with a shipper that ships nothing before the end; the same number of steps, by turns. The work is SHA-256
of a buffer, outside the interpreter lock as tensor code is; and, for information, plain Python that never lets go of
the lock by itself, the worst that can be. Both at 20,000 rows a second and at 1,000. The figure is the median over the
pairs of (time with shipping) / (time without) - 1; below zero it is noise. Imports, once half a second in each process,
are over before either begins.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import losses
import subjects
from figures import Figure
from interpreters import Bench
from machine import OtherLoad, own_peak_mb

NAME: Final = "writer"
_ROWS_PER_S: Final = 20_000
_NEVER: Final = {"TRACKER_FLUSH_MIN_S": "3600", "TRACKER_FLUSH_MAX_S": "3600", "TRACKER_FLUSH_BYTES": str(1 << 40)}
_COSTS: Final = (
    ("outside the interpreter", _ROWS_PER_S, 2.0),
    ("outside the interpreter", 1_000, 2.0),
    ("plain Python", 1_000, 2.0),
    ("plain Python", _ROWS_PER_S, None),
)
_BUFFER: Final = bytes(4096)


def figures(bench: Bench) -> Iterator[Figure]:
    """Throughput, then what shipping costs."""
    load = OtherLoad()
    seconds = 5 if bench.quick else 30
    paced = bench.call("tracker", "bench_writer", "sustain", seconds=seconds, rows_per_s=_ROWS_PER_S)
    flat_out = bench.call("tracker", "bench_writer", "sustain", seconds=seconds / 3, rows_per_s=None)
    share = load.share()
    yield Figure(
        benchmark=NAME,
        name=f"sustained for {seconds} s, shipped meanwhile",
        value=paced["shipped_per_s"],
        unit="points/s",
        least=190_000,  # of the 200,000 that are logged; the rest waits for the next flush
        note=f"{paced['logged_per_s']:,.0f} logged; finish {paced['finish_s']:.2f} s; peak {paced['peak_mb']:.0f} MB",
        other_load=share,
    )
    yield Figure(
        benchmark=NAME,
        name="as fast as one thread can, until finish is done",
        value=flat_out["all_per_s"],
        unit="points/s",
        least=200_000,
        note=f"finish {flat_out['finish_s']:.2f} s; peak {flat_out['peak_mb']:.0f} MB",
        other_load=share,
    )
    missing = sum(one["rows"] - one["rows_read"] for one in (paced, flat_out))
    yield Figure(benchmark=NAME, name="rows missing in the store", value=missing, unit="rows", limit=0)
    for work, rows_per_s, limit in _COSTS:
        yield _cost(bench, work, rows_per_s, limit)


def _cost(bench: Bench, work: str, rows_per_s: int, limit: float | None) -> Figure:
    load = OtherLoad()
    ratios = []
    pieces = max(1, round(0.85 / rows_per_s / bench.call("none", "bench_writer", "piece_s", kind=work)))
    steps = rows_per_s * (3 if bench.quick else 6)
    for _ in range(2 if bench.quick else 4):
        took = [
            bench.call("tracker", "bench_writer", "train", env=env, kind=work, pieces=pieces, steps=steps)
            for env in (_NEVER, {})
        ]
        ratios.append(took[1] / took[0] - 1)
    return Figure(
        benchmark=NAME,
        name=f"time that shipping costs, {work}, {rows_per_s:,} rows/s",
        value=100 * statistics.median(ratios),
        unit="%",
        limit=limit,
        note=f"of {len(ratios)} pairs, {100 * min(ratios):.1f} to {100 * max(ratios):.1f}",
        other_load=load.share(),
    )


def sustain(subject: str, seconds: float, rows_per_s: int | None) -> dict[str, float]:
    """Child: log at that pace, or without a pause; points a second, and whether every row can be read."""
    import tracker

    del subject
    pool = losses.rows(1_000)
    run: Any = tracker.init(project=subjects.PROJECT, id="sustained")
    log, rows = run.log, 0
    began = time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        due = rows + 1_000 if rows_per_s is None else int(now * rows_per_s)
        for row in range(rows, due):
            log(pool[row % 1_000])
        rows = max(rows, due)
        if rows_per_s is not None:
            time.sleep(0.001)
    logged_s = time.perf_counter() - began
    shipped = run.recorder.writer.shipped_frames
    run.finish()
    all_s = time.perf_counter() - began
    points = len(losses.KEYS)
    peak_mb = own_peak_mb()
    return {
        "rows": rows,
        "rows_read": tracker.Api().run(f"{subjects.PROJECT}/sustained").lastHistoryStep + 1,
        "logged_per_s": points * rows / logged_s,
        "shipped_per_s": points * shipped / logged_s,
        "all_per_s": points * rows / all_s,
        "finish_s": all_s - logged_s,
        "peak_mb": peak_mb,
    }


def train(subject: str, kind: str, pieces: int, steps: int) -> float:
    """Child: seconds of `steps` steps, each of them `pieces` of work and one call of `log`."""
    import tracker

    del subject
    pool = losses.rows(1_000)
    run: Any = tracker.init(project=subjects.PROJECT, id="trained")
    work = _WORK[kind]
    for row in range(1_000):  # everything is imported and warm
        work(1)
        run.log(pool[row])
    time.sleep(1.0)
    began = time.perf_counter()
    for row in range(steps):
        work(pieces)
        run.log(pool[row % 1_000])
    took = time.perf_counter() - began
    run.finish()
    return took


def piece_s(subject: str, kind: str) -> float:
    """Child: seconds of one piece of work, the best of several tries."""
    del subject
    tries = []
    for _ in range(20):
        began = time.perf_counter()
        _WORK[kind](500)
        tries.append((time.perf_counter() - began) / 500)
    return min(tries)


def _outside(pieces: int) -> None:
    digest, data = hashlib.sha256, _BUFFER
    for _ in range(pieces):
        digest(data)  # lets go of the interpreter lock


def _inside(pieces: int) -> int:
    total = 0
    for number in range(pieces * 10):
        total += number
    return total


_WORK: Final[dict[str, Callable[[int], object]]] = {"outside the interpreter": _outside, "plain Python": _inside}
