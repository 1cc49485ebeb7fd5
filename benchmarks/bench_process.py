"""A whole process that imports, inits, logs once and finishes: <= 0.7 s and below trackio; `import tracker` <= 0.1 s.

Scale: a local root that is empty; the median of 9 processes (3 when quick), trackers by turns, the first round thrown
away. Interpreter start (about 15 ms) and exit are inside the first figure, not inside the second.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from figures import Figure
from interpreters import Bench
from machine import OtherLoad

NAME: Final = "process"
_EMPTY_RUN: Final = {
    "tracker": "import tracker\nrun = tracker.init(project='bench')\nrun.log({'loss': 0.5})\nrun.finish()",
    "trackio": (
        "import trackio\nrun = trackio.init('bench', auto_log_cpu=False, auto_log_gpu=False, embed=False)\n"
        "run.log({'loss': 0.5})\nrun.finish()"
    ),
    "wandb": ("import wandb\nrun = wandb.init(project='bench')\nrun.log({'loss': 0.5})\nrun.finish()"),
}


def figures(bench: Bench) -> Iterator[Figure]:
    """The whole process, then the import alone."""
    load = OtherLoad()
    rounds = 3 if bench.quick else 9
    took: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        for name, code in _EMPTY_RUN.items():
            seconds = bench.wall_s(name, code)
            if turn and seconds is not None:
                took.setdefault(name, []).append(seconds)
    yield _figure("whole process of an empty run", took, limit=0.7, below_trackio=True, load=load)

    load = OtherLoad()
    took = {}
    for turn in range(rounds + 1):
        for name in _EMPTY_RUN:
            answer = bench.call(name, "bench_process", "import_alone")
            if turn and answer is not None:
                took.setdefault(name, []).append(answer)
    yield _figure("import alone", took, limit=0.1, below_trackio=False, load=load)


def import_alone(subject: str) -> float:
    """Child: seconds that the import statement takes in a process of its own, measured in that process."""
    code = f"import time; began = time.perf_counter(); import {subject}; print(time.perf_counter() - began)"
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1]
    )


def _figure(name: str, took: dict[str, list[float]], *, limit: float, below_trackio: bool, load: OtherLoad) -> Figure:
    ours = took.pop("tracker")
    return Figure(
        benchmark=NAME,
        name=name,
        value=statistics.median(ours),
        unit="ms",
        limit=limit,
        peers={peer: statistics.median(values) for peer, values in took.items()},
        times_faster={"trackio": 1.0} if below_trackio else {},
        note=f"median of {len(ours)}, {min(ours) * 1e3:.0f}-{max(ours) * 1e3:.0f} ms",
        other_load=load.share(),
    )
