"""100 runs x 500 steps x 10 metrics: filter + order <= 25 ms, one metric of all runs <= 60 ms, one run's rows <= 10 ms.

Scale: a local root as the writers leave it (one finished run after another, nothing merged across runs), read by a
fresh `Api()` in a warm process. Asked first: modules are imported and a project of three runs was read, nothing of
this one; the median of 7 processes (3 when quick). Asked again: the median of 15 (5) in one process, whose memory
holds what it has read, so that only new files are read.

Peers answer the same question over the same values (again), each in the fastest way its own Python surface offers:
MLflow on SQLite by its client, trackio by its read-only SQL where that can say it and by its readers elsewhere,
TensorBoard by its event accumulator. Each answer is checked (which runs, how many rows, the last loss) before its
time counts.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import losses
import subjects
from figures import Figure
from interpreters import Bench
from machine import OtherLoad

NAME: Final = "query"
RUNS: Final = 100
STEPS: Final = 500
ACCURACY_MIN: Final = 0.20
OPTIMIZER: Final = "adam"
_SMALL: Final = "warmup"
_ONE: Final = 17  # the run whose rows are scanned
_READERS: Final = ("tracker", "trackio", "mlflow", "tensorboard")
_REPEATS_S: Final = 30.0  # a question that took so long is not repeated any more
_QUESTIONS: Final = {
    "filter": ("runs by filter and order", 0.025),
    "histories": ("loss of all runs into one polars frame", 0.060),
    "scan": ("all 500 rows of one run", 0.010),
}


def figures(bench: Bench) -> Iterator[Figure]:
    """Three questions; the stores are filled once for all of them (20 runs when quick)."""
    runs = 20 if bench.quick else RUNS
    answers: dict[str, dict[str, list[float]]] = {}
    first: dict[str, list[float]] = {question: [] for question in _QUESTIONS}
    filled: dict[str, float] = {}
    load = OtherLoad()
    for name in _READERS:
        work = bench.folder(f"query-{name}")
        filled_s = bench.call(name, "bench_query", "fill", work=work, runs=runs)
        if filled_s is None:
            continue
        filled[name] = filled_s
        answer = bench.call(name, "bench_query", "ask", work=work, runs=runs, repeats=5 if bench.quick else 15)
        if answer is not None:
            answers[name] = answer
        if name == "tracker":
            for _ in range(3 if bench.quick else 7):
                for question, times in first.items():
                    times.append(bench.call(name, "bench_query", "ask_first", work=work, runs=runs, question=question))
    share = load.share()
    ours = answers.pop("tracker")
    for question, (text, limit) in _QUESTIONS.items():
        for asked, times in (("asked first", first[question]), ("asked again", ours[question])):
            yield Figure(
                benchmark=NAME,
                name=f"{text}, {asked}",
                value=statistics.median(times),
                unit="ms",
                limit=limit,
                peers={peer: statistics.median(all_[question]) for peer, all_ in answers.items() if question in all_},
                note=f"median of {len(times)}, {min(times) * 1e3:.0f}-{max(times) * 1e3:.0f} ms",
                other_load=share,
            )
    yield Figure(
        benchmark=NAME,
        name=f"writing the {runs} runs",
        value=filled.pop("tracker"),
        unit="s",
        peers=filled,
        other_load=share,
    )


def run_name(number: int) -> str:
    return f"run{number:03d}"


def expected(runs: int) -> list[tuple[str, float]]:
    """The runs that the filter selects, best first, with their last accuracy."""
    chosen = [number for number in range(runs) if losses.config(number)["optimizer"] == OPTIMIZER]
    last = [(run_name(number), losses.rows(STEPS, seed=number)[-1]["accuracy"]) for number in chosen]
    return sorted(((name, value) for name, value in last if value > ACCURACY_MIN), key=lambda pair: -pair[1])


def fill(subject: str, runs: int) -> float:
    """Child: write the runs; answers the seconds it took."""
    began = time.perf_counter()
    for number in range(runs):
        writer = subjects.subject(subject)
        log = writer.start(run_name(number), losses.config(number))
        for row in losses.rows(STEPS, seed=number):
            log(row)
        writer.finish()
    took = time.perf_counter() - began
    if subject == "tracker":
        _fill_small()
    return took


def _fill_small() -> None:
    """Another project, of three runs: what warms a process up before a question is asked first."""
    import tracker

    for number in range(3):
        with tracker.init(project=_SMALL, id=run_name(number), config=losses.config(number)) as run:
            for row in losses.rows(20, seed=number):
                run.log(row)


def ask_first(subject: str, runs: int, question: str) -> float:
    """Child: seconds of one question that nothing was read for, in a process that has asked another project."""
    del subject
    _tracker(_SMALL, one=2)[question]()
    asked = _tracker()[question]
    began = time.perf_counter()
    answer = asked()
    took = time.perf_counter() - began
    _CHECKS[question](answer, runs)
    return took


def ask(subject: str, runs: int, repeats: int) -> dict[str, list[float]]:
    """Child: seconds of each question, `repeats` times (fewer of a slow one) after a first one that is not counted."""
    readers: dict[str, Callable[[], dict[str, Callable[[], Any]]]] = {
        "tracker": _tracker,
        "trackio": _trackio,
        "mlflow": _mlflow,
        "tensorboard": _tensorboard,
    }
    took: dict[str, list[float]] = {}
    for question, asked in readers[subject]().items():
        _CHECKS[question](asked(), runs)
        times = took.setdefault(question, [])
        while len(times) < repeats and sum(times) < _REPEATS_S:
            began = time.perf_counter()
            asked()
            times.append(time.perf_counter() - began)
    return took


def _check_filter(answer: list[tuple[str, float]], runs: int) -> None:
    wanted = expected(runs)
    if [name for name, _ in answer] != [name for name, _ in wanted] or any(
        abs(have - want) > 1e-9 for (_, have), (_, want) in zip(answer, wanted, strict=True)
    ):
        raise AssertionError(f"{len(answer)} runs {answer[:3]}, expected {len(wanted)} runs {wanted[:3]}")


def _check_histories(frame: Any, runs: int) -> None:
    total = sum(row["loss"] for number in range(runs) for row in losses.rows(STEPS, seed=number))
    if frame.height != runs * STEPS or abs(frame["loss"].sum() - total) > 1e-2:
        raise AssertionError(f"{frame.shape}, sum {frame['loss'].sum()}, expected {runs * STEPS} rows, sum {total}")


def _check_scan(rows: list[dict[str, float]], runs: int) -> None:
    wanted = losses.rows(STEPS, seed=_ONE)
    if not 0 <= _ONE < runs:
        raise ValueError(f"run {_ONE} is not among {runs}")
    if len(rows) != STEPS or any(
        abs(rows[-1][key] - wanted[-1][key]) > 1e-6 * abs(wanted[-1][key]) for key in losses.KEYS
    ):
        raise AssertionError(f"{len(rows)} rows, the last {rows[-1:]}, expected {wanted[-1]}")


_CHECKS: Final[dict[str, Callable[[Any, int], None]]] = {
    "filter": _check_filter,
    "histories": _check_histories,
    "scan": _check_scan,
}


def _tracker(path: str = subjects.PROJECT, one: int = _ONE) -> dict[str, Callable[[], Any]]:
    import tracker

    wanted = {"config.optimizer": OPTIMIZER, "summary_metrics.accuracy": {"$gt": ACCURACY_MIN}}

    def select() -> list[tuple[str, float]]:
        runs = tracker.Api().runs(path, filters=wanted, order="-summary_metrics.accuracy")
        return [(run.id, run.summary["accuracy"]) for run in runs]

    def histories() -> Any:
        return tracker.Api().runs(path).histories(keys=["loss"], samples=500, format="polars")

    def scan() -> list[dict[str, float]]:
        return list(tracker.Api().run(f"{path}/{run_name(one)}").scan_history())

    return {"filter": select, "histories": histories, "scan": scan}


def _trackio() -> dict[str, Callable[[], Any]]:
    import polars
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    sql = (
        "SELECT m.run_name AS name, json_extract(m.metrics, '$.accuracy') AS accuracy FROM metrics m "
        "JOIN configs c ON c.run_id = m.run_id WHERE m.id IN (SELECT max(id) FROM metrics GROUP BY run_id) "
        f"AND json_extract(c.config, '$.optimizer') = '{OPTIMIZER}' AND accuracy > {ACCURACY_MIN} "
        "ORDER BY accuracy DESC"
    )

    def select() -> list[tuple[str, float]]:
        found = SQLiteStorage.query_project(subjects.PROJECT, sql)["rows"]
        return [(row["name"], row["accuracy"]) for row in found]

    def histories() -> Any:
        parts = []
        for run in Api().runs(subjects.PROJECT):
            found = SQLiteStorage.get_metric_values(subjects.PROJECT, run.name, "loss", run_id=run.id, max_points=500)
            step, loss = [row["step"] for row in found], [row["value"] for row in found]
            parts.append(polars.DataFrame({"_step": step, "loss": loss, "run_id": [run.id] * len(found)}))
        return polars.concat(parts)

    def scan() -> list[dict[str, float]]:
        return SQLiteStorage.get_logs(subjects.PROJECT, run_name(_ONE))

    return {"filter": select, "histories": histories, "scan": scan}


def _mlflow() -> dict[str, Callable[[], Any]]:
    import polars
    from mlflow.tracking import MlflowClient

    def runs(text: str = "", order: list[str] | None = None) -> list[Any]:
        client = MlflowClient()
        experiment = client.get_experiment_by_name(subjects.PROJECT).experiment_id
        return list(client.search_runs([experiment], text, max_results=1000, order_by=order))

    def select() -> list[tuple[str, float]]:
        text = f"params.optimizer = '{OPTIMIZER}' and metrics.accuracy > {ACCURACY_MIN}"
        return [(run.info.run_name, run.data.metrics["accuracy"]) for run in runs(text, ["metrics.accuracy DESC"])]

    def histories() -> Any:
        client, parts = MlflowClient(), []
        for run in runs():
            found = client.get_metric_history(run.info.run_id, "loss")
            step, loss = [one.step for one in found], [one.value for one in found]
            parts.append(polars.DataFrame({"_step": step, "loss": loss, "run_id": [run.info.run_id] * len(found)}))
        return polars.concat(parts)

    def scan() -> list[dict[str, float]]:
        client = MlflowClient()
        run = runs(f"attributes.run_name = '{run_name(_ONE)}'")[0]
        rows: dict[int, dict[str, float]] = {}
        for key in losses.KEYS:
            for one in client.get_metric_history(run.info.run_id, key):
                rows.setdefault(one.step, {"_step": one.step})[key] = one.value
        return [rows[step] for step in sorted(rows)]

    return {"filter": select, "histories": histories, "scan": scan}


def _tensorboard() -> dict[str, Callable[[], Any]]:
    import polars
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root = Path(os.environ["BENCH_TENSORBOARD_DIR"])

    def load(folder: Path) -> Any:
        return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()

    def histories() -> Any:
        parts = []
        for folder in sorted(root.iterdir()):
            found = load(folder).Scalars("loss")
            step, loss = [one.step for one in found], [one.value for one in found]
            parts.append(polars.DataFrame({"_step": step, "loss": loss, "run_id": [folder.name] * len(found)}))
        return polars.concat(parts)

    def scan() -> list[dict[str, float]]:
        found = load(root / run_name(_ONE))
        rows: dict[int, dict[str, float]] = {}
        for key in losses.KEYS:
            for one in found.Scalars(key):
                rows.setdefault(one.step, {"_step": one.step})[key] = one.value
        return [rows[step] for step in sorted(rows)]

    return {"histories": histories, "scan": scan}
