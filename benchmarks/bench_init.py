"""The endpoint is a black hole: `init` returns in 0.3 s, `log` stays fast, the script ends with 0 in bounded time.

Scale: an S3 root whose endpoint accepts connections and never answers (the worst kind: a refused connection fails at
once); 10 seconds of logging at 1,000 calls a second; `finish` gives up after 15 s without progress (a setting, its
default). Then the endpoint is forgotten, the spool is shipped to a local root by `tracker sync`, and the rows are
counted.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import bench_log
import subjects
from figures import Figure
from interpreters import Bench, Failed
from machine import OtherLoad

NAME: Final = "init"
_S3: Final = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_REGION": "us-east-1"}


def figures(bench: Bench) -> Iterator[Figure]:
    """Times inside the script, then whether the data is still there."""
    load = OtherLoad()
    seconds = 3 if bench.quick else 10
    work = bench.folder("init-tracker")
    with socket.create_server(("127.0.0.1", 0), backlog=128) as hole:
        address = f"http://127.0.0.1:{hole.getsockname()[1]}"
        env = _S3 | {"TRACKER_BASE_URL": "s3://hole/root", "AWS_ENDPOINT_URL": address}
        began = time.perf_counter()
        answer = bench.call("tracker", "bench_init", "train", work=work, env=env, seconds=seconds)
        whole_s = time.perf_counter() - began
    share = load.share()
    yield _figure("init with a black-holed endpoint", answer["init_s"], "ms", 0.3, share)
    yield _figure("log meanwhile, p50", answer["p50"], "us", 5e-6, share)
    yield _figure("log meanwhile, p99", answer["p99"], "us", 40e-6, share)
    yield _figure("log meanwhile, p99.9", answer["p99.9"], "us", 1e-3, share)
    yield _figure("stalls of log over 20 ms meanwhile", answer["stalls"], "stalls", 0, share)
    yield _figure("finish gives up", answer["finish_s"], "s", 20.0, share)
    yield _figure("exit after finish", whole_s - answer["ended_s"], "s", 2.0, share)
    lost = answer["calls"] - _rows_after_sync(bench, work, f"steady-{NAME}")
    yield _figure("rows lost after tracker sync", lost, "rows", 0, share, note=f"of {answer['calls']:,}")


def train(subject: str, seconds: int) -> dict[str, Any]:
    """Child: init, a steady loop and finish against the black hole."""
    import tracker

    process_began = time.perf_counter()
    began = time.perf_counter()
    run: Any = tracker.init(project=subjects.PROJECT, id=f"steady-{NAME}")
    init_s = time.perf_counter() - began
    answer = bench_log.pace(run.log, seconds=seconds, calls_per_s=1000)
    began = time.perf_counter()
    run.finish()
    ended = time.perf_counter()
    del subject
    return answer | {"init_s": init_s, "finish_s": ended - began, "ended_s": ended - process_began}


def count(subject: str, run: str) -> int:
    """Child: rows of `run` in the root that the environment names."""
    import tracker

    del subject
    return sum(1 for _ in tracker.Api().run(f"{subjects.PROJECT}/{run}").scan_history())


def _rows_after_sync(bench: Bench, work: Path, run: str) -> int:
    """Ship what lies in the working directory of the black-holed script to a local root, and count the rows there."""
    env = bench.environment("tracker", work, {})
    code = "import sys; from tracker.cli.main import main; sys.exit(main())"
    command = [str(bench.python), "-c", code, "sync", str(work / "local"), "--to", str(work / "store")]
    done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise Failed(f"tracker sync ended with {done.returncode}: {done.stderr[-1500:]}")
    counted: int = bench.call("tracker", "bench_init", "count", work=work, run=run)
    return counted


def _figure(name: str, value: float, unit: str, limit: float, share: float, note: str = "") -> Figure:
    return Figure(benchmark=NAME, name=name, value=value, unit=unit, limit=limit, note=note, other_load=share)
