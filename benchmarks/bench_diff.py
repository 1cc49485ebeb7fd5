"""Two long runs are compared step by step in less time than it takes to read both and join them, in bounded memory.

Scale: two merged runs of 1,000,000 steps x 10 metrics (100,000 when quick) on a local root, asked in a new process each
with everything imported; the best of three answers. `api.diff(a, b).metrics` against what a script would do without it:
both histories as Arrow, a full join on the step by polars, and a count of unequal values of each metric. Both find the
same counts. And the events of one of these runs, which reads none of its rows. The other trackers compare runs in a
browser only, so none stands beside it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from figures import Figure
from interpreters import Bench
from machine import OtherLoad, own_peak_mb

NAME: Final = "diff"
_PROJECT, _SMALL = "wide", "small"
_TIMES: Final = 3
_RUNS: Final = ("run0000000", "run0000001")


def figures(bench: Bench) -> Iterator[Figure]:
    """Seconds, a share of the join's, and megabytes."""
    steps = 100_000 if bench.quick else 1_000_000
    work = bench.folder("diff-tracker")
    bench.call("tracker", "bench_diff", "fill", work=work, steps=steps)
    load = OtherLoad()
    ours, join = (bench.call("tracker", "bench_diff", ask, work=work) for ask in ("compare", "join"))
    common: dict[str, Any] = {"benchmark": NAME, "other_load": load.share()}
    assert ours["differing"] == join["differing"], "both ways count the same"
    yield Figure(
        name=f"metrics of two runs of {steps:,} steps, of the time to read and join them",
        value=100 * ours["took_s"] / join["took_s"],
        unit="%",
        limit=100.0,
        note=f"{ours['took_s']:.2f} s against {join['took_s']:.2f} s; {ours['differing']:,} values differ",
        **common,
    )
    yield Figure(
        name="its memory, of what the join takes",
        value=100 * ours["peak_mb"] / join["peak_mb"],
        unit="%",
        limit=60.0 if steps == 1_000_000 else None,
        note=f"{ours['peak_mb']:.0f} MB against {join['peak_mb']:.0f} MB, the interpreter with it",
        **common,
    )
    yield Figure(name=f"events of a run of {steps:,} steps", value=ours["events_s"], unit="ms", limit=0.25, **common)


def fill(subject: str, steps: int) -> None:
    """Child: the runs, and a small project for warming up."""
    from big_stores import make_store
    from like_runs import LikeRuns

    del subject
    root = Path(os.environ["TRACKER_BASE_URL"])
    make_store(root, LikeRuns(2, steps), "sets", project=_PROJECT)
    make_store(root, LikeRuns(2, 1_000), "sets", project=_SMALL)


def compare(subject: str) -> dict[str, Any]:
    """Child: `api.diff`, and the events of a run."""
    from tracker.apis.public import Api

    del subject

    def metrics(project: str) -> int:
        a, b = (f"{project}/{run}" for run in _RUNS)
        return sum(one.differing for one in api.diff(a, b, sections=["metrics"]).metrics.all)

    api = Api()
    metrics(_SMALL)
    found = _best(lambda: metrics(_PROJECT))
    return found | {"events_s": _best(lambda: len(api.events(f"{_PROJECT}/{_RUNS[0]}")))["took_s"]}


def join(subject: str) -> dict[str, Any]:
    """Child: both histories as frames, joined."""
    import polars

    from tracker.apis.public import Api

    del subject

    def metrics(project: str) -> int:
        a, b = (
            polars.from_arrow(api.run(f"{project}/{run}").scan_history().arrow_reader().read_all()) for run in _RUNS
        )
        assert isinstance(a, polars.DataFrame)
        assert isinstance(b, polars.DataFrame)
        keys = [name for name in a.columns if not name.startswith("_")]
        both = a.join(b, on="_step", how="full", suffix=" of b")
        return sum(int((both[key] != both[f"{key} of b"]).sum()) for key in keys)

    api = Api()
    metrics(_SMALL)
    return _best(lambda: metrics(_PROJECT))


def _best(ask: Callable[[], int]) -> dict[str, Any]:
    """Of several times: others use this machine too. The peak is that of all."""
    times = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        found = ask()
        times.append(time.perf_counter() - began)
    return {"took_s": min(times), "differing": found, "peak_mb": own_peak_mb()}
