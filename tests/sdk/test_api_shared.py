"""One Api for many threads, for asyncio, for forked children and for other processes. Rules API-7, RUNS-5."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_maker import T0, made_run

from tracker.apis.public import Api, Run, Runs
from tracker.apis.public.guard import Guard
from tracker.storage.clock import wall_us

RUNS = 12
IDS = [f"r{n}" for n in range(RUNS)]
THREADS = 16


def fill(url: str) -> None:
    for n in range(RUNS):
        rows = [{"loss": step / 10} for step in range(5)]
        made_run(url, f"r{n}", rows, config={"n": n}, start_us=T0 + n * 60_000_000)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(tmp_path / "store")
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    fill(url)
    return url


def together(works: list[Callable[[], Any]]) -> list[Any]:
    """Each on a thread of its own, begun at the same moment; the first error is raised."""
    results: list[Any] = [None] * len(works)
    gate = threading.Barrier(len(works))

    def run(n: int, work: Callable[[], Any]) -> None:
        gate.wait()
        try:
            results[n] = work()
        except BaseException as exc:
            results[n] = exc

    threads = [threading.Thread(target=run, args=(n, work)) for n, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found in results:
        if isinstance(found, BaseException):
            raise found
    return results


def test_threads_that_read_one_api_all_get_the_same_right_answers(root: str) -> None:
    """Sixteen of them: collections, pages, runs and histories, while some forget what is kept."""
    api = Api()
    shared = api.runs("p", per_page=2)

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(6):
            match rng.randrange(7):
                case 0:
                    assert [run.id for run in shared] == IDS
                case 1:
                    assert shared[n := rng.randrange(RUNS)].id == f"r{n}"
                case 2:
                    assert len(api.runs("p", {"config.n": {"$lt": 5}})) == 5
                case 3:
                    assert len(api.run(f"p/r{rng.randrange(RUNS)}").history(pandas=False)) == 5
                case 4:
                    assert len(shared.histories(samples=2)) == 2 * RUNS
                case 5:
                    api.flush()
                case 6:
                    assert [run.id for run in api.runs("p", order="-config.n")[:3]] == IDS[:-4:-1]

    together([lambda seed=seed: work(seed) for seed in range(THREADS)])  # type: ignore[misc]
    assert [run.id for run in shared.objects] == IDS, "each run was loaded once"


def test_next_gives_every_run_to_one_thread_only(root: str) -> None:
    """RUNS-5."""
    runs = Api().runs("p", per_page=3)

    def take() -> list[str]:
        taken = []
        try:
            while True:
                taken.append(next(runs).id)
        except StopIteration:
            return taken

    given = together([take] * 8)
    assert sorted(run_id for taken in given for run_id in taken) == sorted(IDS)


def test_threads_that_ask_for_one_run_get_one_object(root: str) -> None:
    """API-7."""
    api = Api()
    found = together([lambda: api.run("p/r1")] * THREADS)
    assert {id(run) for run in found} == {id(api.run("p/r1"))}


@pytest.mark.slow
def test_sixteen_threads_read_and_change_runs_on_s3(s3_url: str) -> None:
    """Each its own run, of one Api; then all of them are as they were left."""
    fill(s3_url)
    api = Api({"base_url": s3_url})

    def work(seed: int) -> None:
        for turn in range(4):
            run = api.run(f"p/r{seed % RUNS}")
            run.summary[f"t{seed}"] = turn
            run.update()
            assert len(api.runs("p", {"config.n": {"$lt": 5}})) == 5
            assert len(run.history(pandas=False)) == 5

    together([lambda seed=seed: work(seed) for seed in range(THREADS)])  # type: ignore[misc]
    left = {run.id: run.summary_metrics for run in Api({"base_url": s3_url}).runs("p")}
    assert all(left[f"r{seed % RUNS}"][f"t{seed}"] == 3 for seed in range(THREADS))


def test_threads_that_change_one_object_lose_nothing(root: str) -> None:
    """Config, summary, tags and notes of one run, each thread's own keys, stored by whoever comes first."""
    api = Api()

    def work(n: int) -> None:
        run = api.run("p/r0")
        run.config[f"c{n}"] = n
        run.config.setdefault("deep", {})[f"d{n}"] = n
        run.summary[f"s{n}"] = n
        run.tags.append(f"t{n}")
        run.update() if n % 2 else run.summary.update({f"u{n}": n})
        run.update()

    together([lambda n=n: work(n) for n in range(8)])  # type: ignore[misc]
    stored = Api().run("p/r0")
    assert {f"c{n}" for n in range(8)} <= stored.config.keys()
    assert stored.config["deep"] == {f"d{n}": n for n in range(8)}
    assert {f"s{n}" for n in range(8)} <= set(stored.summary.keys())
    assert {f"u{n}" for n in range(0, 8, 2)} <= set(stored.summary.keys())
    assert sorted(stored.tags) == [f"t{n}" for n in range(8)]


def test_calls_may_be_awaited_in_threads_of_asyncio(root: str) -> None:
    api = Api()

    async def ask() -> list[Any]:
        async with asyncio.timeout(60):
            return await asyncio.gather(
                *(asyncio.to_thread(api.run(f"p/r{n}").history, pandas=False) for n in range(RUNS)),
                *(asyncio.to_thread(len, api.runs("p", {"config.n": n})) for n in range(RUNS)),
            )

    answers = asyncio.run(ask())
    assert [len(rows) for rows in answers[:RUNS]] == [5] * RUNS
    assert answers[RUNS:] == [1] * RUNS


def test_an_api_goes_on_when_another_one_of_the_same_root_was_closed(s3_url: str) -> None:
    """What is read is kept for all of them; what is written goes through one's own connections."""
    made_run(s3_url, "r")
    first, second = Api({"base_url": s3_url}), Api({"base_url": s3_url})
    first.run("p/r").update()
    run = second.run("p/r")
    first.client.store.close()
    run.notes = "through my own"
    run.update()
    assert second.run("p/r").notes == "through my own"


@pytest.mark.parametrize("how", [pickle.loads, None])
def test_what_the_api_gives_may_be_copied_and_pickled(root: str, how: Any) -> None:
    def again(thing: Any) -> Any:
        return copy.deepcopy(thing) if how is None else pickle.loads(pickle.dumps(thing))

    api = Api(timeout=7, as_of=None)
    runs = api.runs("p", {"config.n": {"$gte": 2}}, order="-config.n", per_page=3)
    run = runs[0]
    run.notes, run.config["new"] = "not stored", [1]
    twin = again(api)
    assert (twin.settings, twin.timeout, twin.client.patience_s) == (api.settings, 7, 7)
    assert [one.id for one in twin.runs("p")] == IDS
    other: Runs = again(runs)
    assert ([one.id for one in other], other.per_page, repr(other)) == ([one.id for one in runs], 3, "<Runs main/p>")
    assert len(other.histories(samples=2)) == 2 * (RUNS - 2)
    mine: Run = again(run)
    assert (mine.id, mine.notes, mine.config["new"], mine.state) == (run.id, "not stored", [1], "finished")
    assert (len(mine.history(pandas=False)), mine.lastHistoryStep, mine.history_keys["lastStep"]) == (5, 4, 4)
    assert mine.system_metrics == {}
    mine.update()
    assert Api().run(f"p/{run.id}").notes == "not stored"
    assert len(list(again(api.projects()))) == 1


def test_an_api_of_the_past_stays_in_the_past_when_it_travels(root: str) -> None:
    api = Api(as_of=wall_us() / 1e6)
    made_run(root, "later", start_us=wall_us() + 1_000_000)
    assert "later" not in [run.id for run in pickle.loads(pickle.dumps(api)).runs("p")]
    assert pickle.loads(pickle.dumps(api)).as_of == api.as_of


def test_runs_are_worked_on_by_processes_that_are_started_anew(root: str, tmp_path: Path) -> None:
    """As multiprocessing does where it spawns: what goes over is a pickle."""
    runs = list(Api().runs("p"))[:4]
    (tmp_path / "runs.pickle").write_bytes(pickle.dumps(runs))
    code = f"""
import pickle
from pathlib import Path
runs = pickle.loads(Path({str(tmp_path / "runs.pickle")!r}).read_bytes())
for n, run in enumerate(runs):
    run.summary["rows"] = len(run.history(pandas=False))
    run.update()
print(*(run.id for run in runs))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == IDS[:4]
    assert [run.summary["rows"] for run in Api().runs("p")[:4]] == [5] * 4


FORKING = """
import os, signal, sys, threading, time
from tracker.apis.public import Api
signal.alarm(100)
api = Api()
runs = api.runs("p", per_page=2)
held = api.run("p/r0")
held.tags.append("parent")
held.update()
runs[1]
stop = threading.Event()
def busy():
    while not stop.is_set():
        len(api.runs("p", {"config.n": {"$gt": time.time() % 3}}))
        api.run("p/r1").history(pandas=False)
        api.flush()
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for n in range(3):
    time.sleep(0.05)
    if (pid := os.fork()) == 0:
        code = 1
        try:
            signal.alarm(60)
            assert [run.id for run in runs][:3] == ["r0", "r1", "r2"]
            assert len(api.run("p/r2").history(pandas=False)) == 5
            held.config[f"child{n}"] = os.getpid()
            held.tags.append(f"child{n}")
            held.update()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
stop.set()
for thread in threads:
    thread.join()
assert [run.id for run in api.runs("p")][:2] == ["r0", "r1"]
print(codes)
"""


@pytest.mark.parametrize("place", [pytest.param("local", marks=pytest.mark.slow), "s3"])
def test_a_forked_child_goes_on_with_its_parents_api(
    place: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While other threads of the parent are in the middle of requests; each child changes the run that it inherited."""
    url = request.getfixturevalue(f"{place}_url")
    fill(url)
    monkeypatch.setenv("TRACKER_BASE_URL", url)
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=150)
    assert (done.stdout.strip(), done.returncode) == ("[0, 0, 0]", 0), done.stderr
    stored = Api().run("p/r0")
    assert {"child0", "child1", "child2"} <= stored.config.keys()
    assert sorted(stored.tags) == ["child0", "child1", "child2", "parent"]


def test_a_guard_that_another_thread_holds_at_the_fork_is_free_in_the_child() -> None:
    guard, held, done = Guard(), threading.Event(), threading.Event()

    def hold() -> None:
        with guard:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    try:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with guard, guard:
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    finally:
        done.set()
        thread.join()
    assert isinstance(copy.copy(guard), Guard)
