"""Logging to S3 is as fast as to a directory: p50 <= 5 us, p99 <= 40 us, p99.9 <= 1 ms, no stall over 20 ms.

Scale: 20 seconds at 1,000 calls a second of 10 scalars, to moto's server on this machine, bare and behind a line that
holds every request back for 50 ms; then `finish`, and every row is read again through a fresh `Api`. Requests are
counted. The emulator is a Python process on the same processors, so times with it are upper bounds; the requests are
what they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import bench_log
import subjects
from figures import Figure
from interpreters import Bench
from machine import OtherLoad
from object_store import s3_emulator

NAME: Final = "s3"
_RUN: Final = "steady-s3"


def figures(bench: Bench) -> Iterator[Figure]:
    """Bare, then behind 50 ms."""
    for place, delay_s in (("S3", 0.0), ("S3 at 50 ms", 0.05)):
        if bench.quick and delay_s:
            return
        load = OtherLoad()
        seconds = 5 if bench.quick else 20
        with s3_emulator(bench.python, bench.folder("s3-server"), delay_s=delay_s) as server:
            if server is None:
                yield _figure(f"log to {place}", None, "us", None, 0.0, "moto's server is not installed")
                return
            answer = bench.call("tracker", "bench_s3", "train", env=server.env, seconds=seconds)
            written = server.requests()
            read = bench.call("tracker", "bench_s3", "read", env=server.env)
            asked = server.requests() - written
        share = load.share()
        text = f"{answer['calls']:,} calls in {seconds} s"
        yield _figure(f"log to {place}, p50", answer["p50"], "us", 5e-6, share, text)
        yield _figure(f"log to {place}, p99", answer["p99"], "us", 40e-6, share)
        yield _figure(f"log to {place}, p99.9", answer["p99.9"], "us", 1e-3, share)
        yield _figure(f"stalls of log to {place} over 20 ms", answer["stalls"], "stalls", 0, share)
        yield _figure(f"init on {place}", answer["init_s"], "ms", 0.3, share)
        yield _figure(f"finish on {place}", answer["finish_s"], "ms", None, share)
        yield _figure(f"requests of the run on {place}", written.total(), "requests", None, share, _kinds(written))
        yield _figure(
            f"scan {read['rows']:,} rows from {place}, cold",
            read["cold_s"],
            "ms",
            None,
            share,
            f"warm {read['warm_s'] * 1e3:.0f} ms; both {_kinds(asked)}",
        )
        yield _figure(f"rows missing on {place}", answer["calls"] - read["rows"], "rows", 0, share)


def train(subject: str, seconds: int) -> dict[str, Any]:
    """Child: a steady loop against the emulator."""
    import tracker

    del subject
    began = time.perf_counter()
    run: Any = tracker.init(project=subjects.PROJECT, id=_RUN)
    init_s = time.perf_counter() - began
    answer = bench_log.pace(run.log, seconds=seconds, calls_per_s=1000)
    began = time.perf_counter()
    run.finish()
    return answer | {"init_s": init_s, "finish_s": time.perf_counter() - began}


def read(subject: str) -> dict[str, Any]:
    """Child: every row of the run twice, each time through an `Api` of its own."""
    import tracker

    del subject
    took = []
    for _ in range(2):
        began = time.perf_counter()
        rows = sum(1 for _ in tracker.Api().run(f"{subjects.PROJECT}/{_RUN}").scan_history())
        took.append(time.perf_counter() - began)
    return {"rows": rows, "cold_s": took[0], "warm_s": took[1]}


def _kinds(requests: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(requests.items())) or "no request"


def _figure(name: str, value: float | None, unit: str, limit: float | None, share: float, note: str = "") -> Figure:
    return Figure(benchmark=NAME, name=name, value=value, unit=unit, limit=limit, note=note, other_load=share)
