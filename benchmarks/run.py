"""Print every figure that is claimed, measured on this machine.

`python benchmarks/run.py [--only NAME] [--quick] [--json FILE] [--install-peers]`

`--install-peers` first makes the virtual environment with the other trackers (benchmarks/requirements-peers.txt);
without it their columns stay empty. The table goes to stdout, progress to stderr; the exit code is 1 when a claim
does not hold.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from figures import Figure, render
from interpreters import Bench, Failed, find_peers, install_peers

BENCHMARKS: Final = (
    "process",
    "store_size",
    "query",
    "memory",
    "writer",
    "many_runs",
    "run_table",
    "many_points",
    "long_run",
    "branches",
    "compaction",
    "latency",
    "files",
    "init",
    "beside",
    "s3",
    "log",
    "metrics",
    "watch",
    "tail",
    "diff",
)


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    if options.install_peers:
        install_peers(options.peers)
    peers_python, peers = find_peers(options.peers)
    _say(
        "peers: " + (", ".join(f"{name} {version}" for name, version in peers.items()) or "none (see --install-peers)")
    )
    work = Path(tempfile.mkdtemp(prefix="tracker-bench-", dir=options.work))
    bench = Bench(python=options.python, peers_python=peers_python, peers=peers, work=work, quick=options.quick)
    figures: list[Figure] = []
    try:
        for name in options.only or BENCHMARKS:
            began = time.perf_counter()
            try:
                for figure in importlib.import_module(f"bench_{name}").figures(bench):
                    figures.append(figure)
                    _say(f"{figure.benchmark}: {figure.name}: {figure.shown(figure.value)} {figure.verdict()}")
            except Failed as error:
                bench.failures.append(f"{name}: {error}")
                figures.append(Figure(benchmark=name, name="could not be measured", value=None, unit="s", limit=0.0))
            _say(f"{name} took {time.perf_counter() - began:.0f} s")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(render(figures))
    missed = [figure for figure in figures if figure.misses()]
    print(
        f"\n{os.cpu_count()} processors; {len(figures)} figures, {len(missed)} missed. (loaded): others used over 15 %."
    )
    for failure in bench.failures:
        _say(f"failed: {failure}")
    if options.json:
        document = {"peers": peers, "quick": options.quick, "figures": [figure.as_json() for figure in figures]}
        options.json.write_text(json.dumps(document | {"failures": bench.failures}, indent=1) + "\n")
    return 1 if missed else 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="this benchmark alone (may be repeated)")
    parser.add_argument(
        "--quick", action="store_true", help="a minute in all: smaller scales, for a look, not for a claim"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument(
        "--install-peers", action="store_true", help="make or complete the peers' virtual environment first"
    )
    parser.add_argument("--peers", type=Path, default=root / ".venv-peers", help="the peers' virtual environment")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the interpreter that has tracker")
    parser.add_argument(
        "--work", type=Path, help="a folder on the disk to measure on (default: the temporary directory)"
    )
    return parser.parse_args(argv)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
