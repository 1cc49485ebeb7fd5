"""`tracker runs tail` shows a row at most one flush interval and a second after it was logged, wherever the store is.

Scale: a training that logs 10 rows a second for 20 seconds (6 when quick) in a process of its own, with the default
flush interval of a young run, 2 s; the command follows it as another process and prints JSON; each row carries the time
at which it was logged, and its delay is the time at which its line is read less that. To a directory, to moto's server
on this machine, and behind a line that holds every request back for 50 ms. Every row is expected once. The other
trackers follow runs in a browser only, so none stands beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import subjects
from figures import Figure, percentile
from interpreters import Bench
from machine import OtherLoad
from object_store import s3_emulator

NAME: Final = "tail"
_RUN: Final = "followed"
_FLUSH_S: Final = 2.0
_ROWS_A_SECOND: Final = 10

_TRAINING: Final = f"""
import sys, time, tracker
run = tracker.init(project={subjects.PROJECT!r}, id={_RUN!r})
run.log({{"n": -1, "at": 0.0}})
run.flush()
print("ready", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[1])):
    run.log({{"n": n, "at": time.time(), "loss": 1 / (n + 1)}})
    time.sleep(1 / {_ROWS_A_SECOND})
run.finish()
"""


def figures(bench: Bench) -> Iterator[Figure]:
    """A directory, S3, and S3 at 50 ms."""
    yield from _at(bench, "a directory", None, {})
    for place, delay_s in (("S3", 0.0), ("S3 at 50 ms", 0.05)):
        with s3_emulator(bench.python, bench.folder("tail-server"), delay_s=delay_s) as server:
            if server is None:
                yield _figure(f"rows of {place}, latest", None, 0.0, "moto's server is not installed")
                return
            yield from _at(bench, place, server, server.env)


def _at(bench: Bench, place: str, server: Any, env: Mapping[str, str]) -> Iterator[Figure]:
    load = OtherLoad()
    seconds = 6 if bench.quick else 20
    found = bench.call("tracker", "bench_tail", "follow", env=env, rows=seconds * _ROWS_A_SECOND)
    share = load.share()
    asked = "" if server is None else ", ".join(f"{count} {kind}" for kind, count in sorted(server.requests().items()))
    note = f"{found['shown']:,} rows in {found['took_s']:.0f} s" + (f"; training and tail: {asked}" if asked else "")
    yield _figure(f"a row shows after, on {place}, latest", found["max_s"], share, note, limit=_FLUSH_S + 1.0)
    yield _figure(f"a row shows after, on {place}, p50", found["p50_s"], share)
    yield Figure(
        benchmark=NAME,
        name=f"rows missing or twice, on {place}",
        value=found["wrong"],
        unit="rows",
        limit=0,
        other_load=share,
    )


def follow(subject: str, rows: int) -> dict[str, Any]:
    """Child: the training beside the command, and the delay of every row."""
    del subject
    root = os.environ["TRACKER_BASE_URL"]
    command = [sys.executable, "-m", "tracker.cli.main", "runs", "tail", f"{subjects.PROJECT}/{_RUN}", root]
    with subprocess.Popen(
        [sys.executable, "-c", _TRAINING, str(rows)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as training:
        assert training.stdin is not None
        assert training.stdout is not None
        while training.stdout.readline() != "ready\n":
            pass
        delays, numbers = [], []
        with subprocess.Popen([*command, "--json", "--all"], stdout=subprocess.PIPE, text=True) as tail:
            assert tail.stdout is not None
            began = time.time()
            for line in tail.stdout:
                record = json.loads(line)
                if record["stream"] != "history":
                    continue
                if record["row"]["n"] == -1:  # the command is there: the training goes on
                    training.stdin.write("go\n")
                    training.stdin.flush()
                    continue
                numbers.append(record["row"]["n"])
                delays.append(time.time() - record["row"]["at"])
        training.stdout.read()
    missing = len(set(range(rows)) - set(numbers))
    return {
        "shown": len(numbers),
        "took_s": time.time() - began,
        "wrong": missing + len(numbers) - len(set(numbers)),
        "p50_s": percentile(delays, 0.5),
        "max_s": max(delays),
    }


def _figure(name: str, value: float | None, share: float, note: str = "", limit: float | None = None) -> Figure:
    return Figure(benchmark=NAME, name=name, value=value, unit="s", limit=limit, note=note, other_load=share)
