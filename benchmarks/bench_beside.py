"""Console capture, system metrics and metadata together take at most 1 % of the training's time.

Scale: a minute of steps that compute 10 ms each, print one line and log 10 scalars; sampling at its default interval
of 15 s. What is counted is processor time, which other programs do not change much: that of every thread that the
tracker runs beside the training, as if each second of it were a second that the training waits (it is at most that:
where processors are free the training waits only while another thread holds the interpreter), and what the calls of
`print` take longer. Taken off is the same with console, metrics and metadata switched off: the shipper and `log` have
figures of their own. Beside it, for information: one sample, and one printed line.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import losses
from figures import Figure
from interpreters import Bench
from machine import OtherLoad

__all__ = ["NAME", "figures", "samples", "training"]

NAME: Final = "beside"
_STEP_S: Final = 0.01
_BUFFER: Final = bytes(64 * 1024)
_OFF: Final = {"console": "off", "x_disable_stats": True, "x_disable_meta": True, "x_save_requirements": False}


def figures(bench: Bench) -> Iterator[Figure]:
    """The share of the training's time, and its parts."""
    load = OtherLoad()
    length = 10 if bench.quick else 60
    env = {"TRACKER_X_DISABLE_STATS": "false", "TRACKER_CONSOLE": "auto"}
    on = bench.call("tracker", "bench_beside", "training", env=env, seconds=length, settings={})
    off = bench.call("tracker", "bench_beside", "training", env=env, seconds=length, settings=_OFF)
    share = load.share()
    more = {part: max(0.0, on[part] - off[part]) for part in ("beside", "shipper", "print")}
    lines_s = more["print"] * on["steps"]
    spent = {"threads": more["beside"], "shipper": more["shipper"], "print": lines_s}
    parts = ", ".join(f"{part} {seconds * 1e3:.0f} ms" for part, seconds in spent.items())
    yield Figure(
        benchmark=NAME,
        name="console, system metrics and metadata, share of the training",
        value=100 * (more["beside"] + more["shipper"] + lines_s) / on["wall"],
        unit="%",
        limit=1.0,
        note=f"{on['steps']:,} steps in {on['wall']:.0f} s; more than without: {parts}",
        other_load=share,
    )
    yield Figure(
        benchmark=NAME,
        name="what a printed line takes longer",
        value=more["print"],
        unit="us",
        note=f"a line without capture: {off['print'] * 1e6:.1f} us",
        other_load=share,
    )
    answer = bench.call("tracker", "bench_beside", "samples", count=20 if bench.quick else 200)
    yield Figure(
        benchmark=NAME,
        name="one sample of the machine",
        value=answer["sample"],
        unit="ms",
        limit=15.0 / 100,
        note=f"{answer['keys']} keys; once in 15 s; opening the devices {answer['open'] * 1e3:.0f} ms, once",
        other_load=load.share(),
    )


def training(subject: str, seconds: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Child: a loop of steps; processor seconds of the shipper, of all other threads but this, and of one `print`."""
    import tracker

    del subject
    pool = losses.rows(1_000)
    began, process_s, own_s = time.perf_counter(), time.process_time(), time.thread_time()
    run = tracker.init(project="bench", settings=settings)
    prints: list[float] = []
    steps = 0
    while time.perf_counter() - began < seconds:
        _compute(_STEP_S)
        started = time.thread_time()
        print(f"step {steps}: loss {1 / (steps + 1):.5f}")
        prints.append(time.thread_time() - started)
        run.log(dict(pool[steps % len(pool)]))
        steps += 1
    wall = time.perf_counter() - began
    shipper = sum(_processor_s(thread) for thread in threading.enumerate() if thread.name == "tracker-shipper")
    others = (time.process_time() - process_s) - (time.thread_time() - own_s) - shipper
    run.finish()
    line = statistics.fmean(sorted(prints)[: -len(prints) // 100])
    return {"beside": others, "shipper": shipper, "print": line, "steps": steps, "wall": wall}


def samples(subject: str, count: int) -> dict[str, Any]:
    """Child: processor seconds of opening the devices of this machine, and of one reading of all of them."""
    from tracker.sdk.options import RunOptions
    from tracker.sdk.system.sources import open_sources

    del subject
    began = time.thread_time()
    sources = open_sources(RunOptions(x_stats_pid=os.getpid()), lambda *_: None)
    opened = time.thread_time()
    keys = 0
    for _ in range(count):
        keys = sum(len(source.read()) for source in sources.values())
    ended = time.thread_time()
    for source in sources.values():
        source.close()
    return {"open": opened - began, "sample": (ended - opened) / count, "keys": keys}


def _compute(seconds: float) -> None:
    """Keep a processor busy, outside of the interpreter, as tensor code does."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        hashlib.sha256(_BUFFER)


def _processor_s(thread: threading.Thread) -> float:
    """Processor time that a live thread has used so far."""
    if thread.ident is None or not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    except OSError:  # it has just ended
        return 0.0
