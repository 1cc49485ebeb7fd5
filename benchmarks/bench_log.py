"""`run.log` of 10 scalars: p50 <= 5 us, p99 <= 40 us, p99.9 <= 1 ms, no stall over 20 ms; 3x trackio, 10x wandb.

Scale: a minute at 1,000 calls a second, the shipper at work on a local root. Between two calls the loop computes
(SHA-256 of a buffer, lets go of the interpreter as tensor code does). Beside it, for information, 20 seconds of a
loop that sleeps between its calls (every cache is cold when it wakes; all trackers look two to three times slower) and
100,000 calls one after another. Only the call is timed: its dict is ready.

A step that begins over 20 ms late is counted too, because a background thread that holds the interpreter stalls the
training, not only `log`; a loop without any tracker shows how many of those are the machine's own.
"""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import losses
import subjects
from figures import Figure, percentile
from interpreters import Bench
from machine import OtherLoad

__all__ = ["NAME", "figures", "pace"]

NAME: Final = "log"
_STALL_NS: Final = 20_000_000
_SHOWN: Final = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_LIMITS: Final = {"p50": 5e-6, "p99": 40e-6, "p99.9": 1e-3}
_TIMES_FASTER: Final = {"trackio": 3.0, "wandb": 10.0}


def figures(bench: Bench) -> Iterator[Figure]:
    """The latency of one call in a loop that computes, in one that sleeps, and back to back."""
    load = OtherLoad()
    seconds = 5 if bench.quick else 60
    ours, peers = _all(bench, "steady", seconds=seconds, calls_per_s=1000, computes=True)
    control = bench.call("none", "bench_log", "steady", seconds=seconds, calls_per_s=1000, computes=True)
    share = load.share()
    note = f"{ours['calls']:,} calls in {seconds} s"
    yield from _latencies("steady", ours, peers, _LIMITS, note, share)
    yield Figure(
        benchmark=NAME,
        name="stalls of log over 20 ms",
        value=ours["stalls"],
        unit="stalls",
        limit=0,
        peers={name: answer["stalls"] for name, answer in peers.items()},
        other_load=share,
    )
    yield Figure(
        benchmark=NAME,
        name="steps begun over 20 ms late",
        value=ours["late"],
        unit="steps",
        limit=control["late"],
        peers={name: answer["late"] for name, answer in peers.items()},
        note=f"worst {ours['late_max'] * 1e3:.0f} ms; no tracker: {control['late_max'] * 1e3:.0f} ms",
        other_load=share,
    )

    load = OtherLoad()
    seconds = 3 if bench.quick else 20
    ours, peers = _all(bench, "steady", seconds=seconds, calls_per_s=1000, computes=False)
    yield from _latencies("sleeping loop", ours, peers, {}, f"{ours['calls']:,} calls in {seconds} s", load.share())

    load = OtherLoad()
    ours, peers = _all(bench, "tight", calls=20_000 if bench.quick else 100_000)
    yield from _latencies("back to back", ours, peers, {}, f"{ours['calls']:,} calls", load.share())


def steady(subject: str, seconds: int, calls_per_s: int, computes: bool) -> dict[str, Any]:
    """Child: latency of calls made at a steady pace, in seconds."""
    writer = subjects.subject(subject)
    log = writer.start(f"steady-{subject}", losses.config(0))
    answer = pace(log, seconds=seconds, calls_per_s=calls_per_s, computes=computes)
    writer.finish()
    return answer


def pace(
    log: Callable[[dict[str, float]], object], *, seconds: int, calls_per_s: int, computes: bool = True
) -> dict[str, Any]:
    """Call `log` at a steady pace; percentiles of its latency in seconds, stalls, and steps that began late."""
    pool = losses.rows(5_000)
    calls = seconds * calls_per_s
    took = array("q", bytes(8 * calls))
    late = array("q", bytes(8 * calls))
    clock = time.perf_counter_ns
    interval_ns = 1_000_000_000 // calls_per_s
    due = clock() + interval_ns
    for call in range(calls):
        row = dict(pool[call % len(pool)])
        if computes:
            _compute_until(due)
        else:
            time.sleep(max(0, due - clock()) / 1e9)
        began = clock()
        log(row)
        took[call] = clock() - began
        late[call] = began - due
        due = began + interval_ns if began - due > _STALL_NS else due + interval_ns  # one delay is counted once
    return _summary(took) | {"late": sum(one > _STALL_NS for one in late), "late_max": max(late) / 1e9}


def tight(subject: str, calls: int) -> dict[str, Any]:
    """Child: latency of calls made one after another, in seconds."""
    pool = losses.rows(5_000)
    took = array("q", bytes(8 * calls))
    writer = subjects.subject(subject)
    log = writer.start(f"tight-{subject}", losses.config(0))
    clock = time.perf_counter_ns
    for call in range(calls):
        row = dict(pool[call % len(pool)])
        began = clock()
        log(row)
        took[call] = clock() - began
    writer.finish()
    return _summary(took)


_BUFFER: Final = bytes(64 * 1024)


def _compute_until(due_ns: int) -> None:
    """Keep this processor busy outside the interpreter until the clock says `due_ns`, to about 50 us."""
    clock, digest = time.perf_counter_ns, hashlib.sha256
    while clock() < due_ns:
        digest(_BUFFER)


def _all(bench: Bench, function: str, **params: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    answers = {name: bench.call(name, "bench_log", function, **params) for name in ("tracker", "trackio", "wandb")}
    ours = answers.pop("tracker")
    return ours, {name: answer for name, answer in answers.items() if answer is not None}


def _latencies(
    loop: str,
    ours: Mapping[str, Any],
    peers: Mapping[str, Mapping[str, Any]],
    limits: Mapping[str, float],
    note: str,
    other_load: float,
) -> Iterator[Figure]:
    for shown in _SHOWN:
        yield Figure(
            benchmark=NAME,
            name=f"log of 10 scalars, {loop}, {shown}",
            value=ours[shown],
            unit="us",
            limit=limits.get(shown),
            peers={name: answer[shown] for name, answer in peers.items()},
            times_faster=_TIMES_FASTER if shown == "p50" else {},
            note=note,
            other_load=other_load,
        )


def _summary(took: array[int]) -> dict[str, Any]:
    return {shown: percentile(took, share) / 1e9 for shown, share in _SHOWN.items()} | {
        "calls": len(took),
        "stalls": sum(one > _STALL_NS for one in took),
    }
