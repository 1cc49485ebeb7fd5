"""5,000 runs x 1,000 steps x 10 metrics, compacted: one metric of all runs as a polars frame in at most 3 s and 1.5 GB.

Scale: 50,000,000 points (2,500,000 when quick) in packs on a local root. `histories(keys=["loss"], samples=500,
format="polars")`, within 2x of a hand-written DuckDB query over the same files that gives the same rows. Both are asked
in a new process with everything imported; the first answer counts, the median of the others stands beside it. Every
row of both answers is compared with what was written.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from figures import Figure
from interpreters import Bench
from machine import OtherLoad, own_peak_mb

NAME: Final = "many_points"
STEPS: Final = 1_000
SAMPLES: Final = 500
_BIG, _SMALL = "big", "small"


def figures(bench: Bench) -> Iterator[Figure]:
    """First and later answers, and the memory that they took."""
    runs = 250 if bench.quick else 5_000
    work = bench.folder("many-points-tracker")
    filled_s = bench.call("tracker", "bench_many_points", "fill", work=work, runs=runs)
    load = OtherLoad()
    root = str(work / "store")
    ours, theirs = (
        bench.call(name, "bench_many_points", "ask", work=work, runs=runs, root=root) for name in ("tracker", "duckdb")
    )
    share = load.share()
    text = f"{runs * STEPS * 10:,} points, one metric to polars"
    for asked, pick in (("asked first", lambda times: times[0]), ("asked again", lambda t: statistics.median(t[1:]))):
        yield Figure(
            benchmark=NAME,
            name=f"{text}, {asked}",
            value=pick(ours["seconds"]),
            unit="s",
            limit=3.0,
            peers={"duckdb": pick(theirs["seconds"])},
            times_faster={"duckdb": 0.5},
            note=f"{ours['rows']:,} rows; the store was made in {filled_s:.0f} s",
            other_load=share,
        )
    yield Figure(
        benchmark=NAME,
        name=f"{text}, peak memory",
        value=ours["peak_mb"],
        unit="MB",
        limit=1500.0,
        peers={"duckdb": theirs["peak_mb"]},
    )


def fill(subject: str, runs: int) -> float:
    """Child: the project, and a small one for warming up; seconds."""
    from big_stores import make_store
    from like_runs import LikeRuns

    del subject
    root = Path(os.environ["TRACKER_BASE_URL"])
    began = time.perf_counter()
    make_store(root, LikeRuns(runs, STEPS), project=_BIG)
    seconds = time.perf_counter() - began
    make_store(root, LikeRuns(3, STEPS), project=_SMALL)
    return seconds


def ask(subject: str, runs: int, root: str) -> dict[str, Any]:
    """Child: seconds of four answers, rows, and the peak memory behind the first."""
    asked: Callable[[str], Any] = _tracker if subject == "tracker" else _duckdb(Path(root))
    asked(_SMALL)
    seconds, peak_mb = [], 0.0
    for turn in range(4):
        began = time.perf_counter()
        frame = asked(_BIG)
        seconds.append(time.perf_counter() - began)
        peak_mb = peak_mb or own_peak_mb()
        if not turn:
            _check(frame, runs)
        rows = frame.height
        del frame
    return {"seconds": seconds, "rows": rows, "peak_mb": peak_mb}


def _tracker(project: str) -> Any:
    import tracker

    return tracker.Api().runs(project).histories(keys=["loss"], samples=SAMPLES, format="polars")


def _duckdb(root: Path) -> Callable[[str], Any]:
    """Whoever knows the format would write this: rows numbered in each run, evenly spread ones kept."""
    import duckdb

    connection = duckdb.connect()

    def ask_it(project: str) -> Any:
        files = sorted(str(path) for path in (root / "main" / project / "packs").glob("*.h.parquet"))
        return connection.sql(
            f"""
            WITH points AS (
                SELECT run, step, v, row_number() OVER of_run - 1 AS n, count(*) OVER (PARTITION BY run) AS total
                FROM read_parquet({files!r}) WHERE kind = 'history' AND key = 'loss'
                WINDOW of_run AS (PARTITION BY run ORDER BY step, seq)
            )
            SELECT step AS _step, v AS loss, run AS run_id FROM points
            WHERE total <= {SAMPLES}
               OR n = (2 * ((n * ({SAMPLES} - 1) * 2 + total - 1) // (2 * (total - 1))) * (total - 1) + {SAMPLES} - 1)
                      // (2 * ({SAMPLES} - 1))
            ORDER BY run, step
            """
        ).pl()

    return ask_it


def _check(frame: Any, runs: int) -> None:
    """Every row is one that was written; every run has as many as it should, its first and last step among them."""
    import numpy as np
    from like_runs import LikeRuns

    like = LikeRuns(runs, STEPS)
    ordered = frame.sort("run_id", "_step")
    run = ordered["run_id"].str.slice(3).cast(int).to_numpy()
    step, loss = ordered["_step"].to_numpy(), ordered["loss"].to_numpy()
    written = like.values("loss", 0, runs)
    if len(run) != runs * SAMPLES or not np.array_equal(np.unique(run), np.arange(runs)):
        raise AssertionError(f"{len(run)} rows of {len(np.unique(run))} runs, expected {runs} x {SAMPLES}")
    grid = step.reshape(runs, SAMPLES)
    if not (np.array_equal(written[run, step], loss) and (grid[:, 0] == 0).all() and (grid[:, -1] == STEPS - 1).all()):
        raise AssertionError("rows that were not written, or runs without their first or last step")
