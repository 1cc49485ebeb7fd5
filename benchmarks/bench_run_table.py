"""10,000 runs x 100 config and summary columns to polars in at most 1 s warm, local root; 10x as fast as MLflow.

Scale: one project of 10,000 finished runs (1,000 when quick), packed, with 12 config values and 88 summary values
each (85 metrics and the last row's own); the same 100 columns of 2,000 runs (200) as writers leave them, one file a
run. The question: `api.runs(...).to_polars()`, all columns, in the order of creation.

Cold: a new process and an empty cache directory, modules imported and another project of three runs read; the median
of 3 processes. Warm: a fresh `Api()` in a process that has asked before; the median of 7. The frame is checked
against what the runs were made from. Beside it: the way through one dict a run, as a script without tables would go;
the same table in record batches; and its peak memory.

The peer is `mlflow.search_runs` over SQLite, which makes such a frame too, warm. Writing it takes 0.1 s a run, so it
has 500 runs (100), and so have we beside it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from figures import Figure
from interpreters import Bench
from machine import OtherLoad, own_peak_mb

NAME: Final = "run_table"
KEYS: Final = tuple(f"group{n % 5}/metric{n:02d}" for n in range(85))
COLUMNS: Final = 100
_SMALL: Final = "small"
_FACTOR: Final = 10.0
_LIMIT_S: Final = 1.0


def figures(bench: Bench) -> Iterator[Figure]:
    """Packed and loose, cold and warm; other ways to the same; and beside MLflow."""
    packed, loose, beside = (1_000, 200, 100) if bench.quick else (10_000, 2_000, 500)
    for form, runs in (("packs", packed), ("parts", loose)):
        work = bench.folder(f"run-table-{form}")
        bench.call("tracker", "bench_run_table", "fill", work=work, runs=runs, form=form)
        yield from _measured(bench, work, runs, form)
    yield from _beside(bench, beside)


def _measured(bench: Bench, work: Path, runs: int, form: str) -> Iterator[Figure]:
    text = f"{runs:,} {'packed' if form == 'packs' else 'loose'} runs x {COLUMNS} columns to polars"
    load = OtherLoad()
    cold = []
    for _ in range(2 if bench.quick else 3):
        shutil.rmtree(work / "cache", ignore_errors=True)
        cold.append(_ask(bench, work, runs, repeats=1))
    warm = _ask(bench, work, runs, repeats=8, ways=form == "packs")
    share = load.share()
    limit = _LIMIT_S if form == "packs" else None
    for shown, times, most in (("warm", warm["table"][1:], limit), ("cold", [one["table"][0] for one in cold], None)):
        yield Figure(
            benchmark=NAME,
            name=f"{text}, {shown}",
            value=statistics.median(times),
            unit="ms",
            limit=most,
            note=f"median of {len(times)}, {min(times) * 1e3:,.0f}-{max(times) * 1e3:,.0f} ms",
            other_load=share,
        )
    for way in ("batches", "columns", "dicts"):
        if way in warm:
            value = statistics.median(warm[way])
            yield Figure(benchmark=NAME, name=f"{text}: {_WAYS[way][0]}", value=value, unit="ms", other_load=share)
    yield Figure(
        benchmark=NAME, name=f"{text}: peak memory, cold", value=max(one["peak_mb"] for one in cold), unit="MB"
    )


def _beside(bench: Bench, runs: int) -> Iterator[Figure]:
    found: dict[str, float] = {}
    load = OtherLoad()
    for name in ("tracker", "mlflow"):
        work = bench.folder(f"run-table-beside-{name}")
        if bench.call(name, "bench_run_table", "fill", work=work, runs=runs, form="parts") is None:
            continue
        answer = bench.call(name, "bench_run_table", "ask", work=work, runs=runs, repeats=6)
        if answer is not None:
            found[name] = statistics.median(answer["table"][1:])
    yield Figure(
        benchmark=NAME,
        name=f"{runs:,} loose runs x {COLUMNS} columns to a frame, warm",
        value=found.pop("tracker"),
        unit="ms",
        peers=found,
        times_faster={"mlflow": _FACTOR},
        note="mlflow.search_runs makes a pandas frame",
        other_load=load.share(),
    )


def _ask(bench: Bench, work: Path, runs: int, repeats: int, ways: bool = False) -> dict[str, Any]:
    env = {"TRACKER_CACHE_DIR": str(work / "cache")}
    answer: dict[str, Any] = bench.call(
        "tracker", "bench_run_table", "ask", work=work, env=env, runs=runs, repeats=repeats, ways=ways
    )
    return answer


def fill(subject: str, runs: int, form: str) -> float:
    """Child: the runs, and a small project for warming up; answers the seconds it took."""
    began = time.perf_counter()
    if subject == "mlflow":
        _fill_mlflow(runs)
        return time.perf_counter() - began
    from big_stores import PROJECT, make_store
    from like_runs import LikeRuns

    root = Path(os.environ["TRACKER_BASE_URL"])
    make_store(root, LikeRuns(runs, 1, KEYS), form, PROJECT)
    make_store(root, LikeRuns(3, 1, KEYS), form, _SMALL)
    return time.perf_counter() - began


def ask(subject: str, runs: int, repeats: int, ways: bool = False) -> dict[str, Any]:
    """Child: seconds of the frame, `repeats` times with an Api of its own each; with `ways` of the other ways too."""
    if subject == "mlflow":
        return {"table": [_timed(lambda: _mlflow_frame(runs)) for _ in range(repeats)]}
    from big_stores import PROJECT

    _frame(_SMALL, 3)
    found: dict[str, Any] = {"table": [_timed(lambda: _frame(PROJECT, runs)) for _ in range(repeats)]}
    found["peak_mb"] = own_peak_mb()
    if ways:
        found |= {way: [_timed(lambda ask=ask: ask(PROJECT)) for _ in range(3)] for way, (_, ask) in _WAYS.items()}
    return found


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _frame(project: str, runs: int) -> None:
    """All columns, checked by their sums."""
    import numpy as np
    from like_runs import LikeRuns

    import tracker

    frame = tracker.Api().runs(project).to_polars()
    named = [name for name in frame.columns if name.startswith(("config.", "summary."))]
    seeds = frame["config.seed"].sum()
    total = float(LikeRuns(runs, 1, KEYS).values(KEYS[-1], 0, runs).sum())
    same = np.isclose(frame[f"summary.{KEYS[-1]}"].sum(), total)
    if frame.height != runs or len(named) != COLUMNS or seeds != runs * (runs - 1) // 2 or not same:
        raise AssertionError(f"{frame.shape}, {len(named)} columns, seeds {seeds}")


def _batches(project: str) -> None:
    import tracker

    for batch in tracker.Api().runs(project).to_arrow_reader():
        if not batch.num_rows:
            raise AssertionError("an empty batch")


def _columns(project: str) -> None:
    import tracker

    frame = tracker.Api().runs(project).to_polars(["id", "config.lr", KEYS[0]])
    if frame.width != 3 or frame.null_count().sum_horizontal()[0]:
        raise AssertionError(f"{frame.shape}")


def _dicts(project: str) -> None:
    import polars

    import tracker
    from tracker.storage.events import flatten

    def row(run: Any) -> dict[str, Any]:
        config, summary = flatten(run.config), flatten(run.summary._json_dict)
        return {"id": run.id, **{f"config.{k}": v for k, v in config}, **{f"summary.{k}": v for k, v in summary}}

    polars.DataFrame([row(run) for run in tracker.Api().runs(project, per_page=1000)])


_WAYS: Final[dict[str, tuple[str, Callable[[str], None]]]] = {
    "batches": ("in record batches", _batches),
    "columns": ("three columns of them", _columns),
    "dicts": ("the way through one dict a run", _dicts),
}


def _fill_mlflow(runs: int) -> None:
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.create_experiment("table")
    for n in range(runs):
        run_id = client.create_run(experiment, run_name=f"run{n:07d}").info.run_id
        params = [Param(f"param{k:02d}", str(n * k)) for k in range(COLUMNS - len(KEYS))]
        metrics = [Metric(key, (n + k) / 7, 1_790_000_000_000, 0) for k, key in enumerate(KEYS)]
        client.log_batch(run_id, params=params, metrics=metrics)
        client.set_terminated(run_id)


def _mlflow_frame(runs: int) -> None:
    import mlflow

    frame = mlflow.search_runs(experiment_names=["table"], max_results=100_000)
    named = [name for name in frame.columns if name.startswith(("params.", "metrics."))]
    if len(frame) != runs or len(named) != COLUMNS:
        raise AssertionError(f"{frame.shape}, {len(named)} columns")
