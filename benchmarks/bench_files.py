"""1,000 files of 100 KB download at 80 % or more of the speed that a bare concurrent `get` of fsspec reaches.

Scale: a run that keeps them, random bytes, in a directory, and on S3 (moto's server on this machine) behind a line that
holds every request back for 50 ms; and, for information, one file of 200 MB there (200 files and 40 MB when quick).
Ours is `Files.download` of a listing that is there already: it checks every SHA-256, and no file is seen before it is
whole. fsspec gets the same objects by their paths, unchecked, straight into their names: in a directory one after
another and in four threads, whichever is faster, on S3 through 64 connections, as many as ours (its default of 10 is
slower). All take turns in one process; the best of 15 in a directory, of 3 on S3, where most of the time is the
server's: it is a Python process on the same processors.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final

import subjects
from figures import Figure
from interpreters import Bench
from machine import OtherLoad
from object_store import s3_emulator

NAME: Final = "files"
SHARE: Final = 0.8
_SIZE: Final = 100_000
_RUN: Final = "keeper"
_CONNECTIONS: Final = 64
_PLACES: Final = (("a directory", None, 15), ("S3 at 50 ms", 0.05, 3))  # delay in seconds, turns


def figures(bench: Bench) -> Iterator[Figure]:
    """Many small files everywhere, a large one behind the delay."""
    count, large = (200, 40_000_000) if bench.quick else (1_000, 200_000_000)
    for place, delay_s, repeats in _PLACES:
        load = OtherLoad()
        folder = bench.folder("files-server")
        with nullcontext() if delay_s is None else s3_emulator(bench.python, folder, delay_s=delay_s) as server:
            if delay_s and server is None:
                yield Figure(benchmark=NAME, name=f"files from {place}", value=None, unit="ms",
                             note="moto's server is not installed")  # fmt: skip
                continue
            work = bench.folder("files-tracker")
            env = {} if server is None else server.env
            bare = {} if server is None else server.bare_env
            bench.call("tracker", "bench_files", "fill", work=work, env=bare, count=count, large=large)
            answer = bench.call("tracker", "bench_files", "fetch", work=work, env=env, large=False, repeats=repeats)
            name = f"download {count:,} files of 100 KB from {place}"
            yield _figure(name, answer, load, f"list them {answer['listed'] * 1e3:.0f} ms")
            if delay_s:
                answer = bench.call("tracker", "bench_files", "fetch", work=work, env=env, large=True, repeats=repeats)
                name = f"download one file of {large // 1_000_000} MB from {place}"
                yield _figure(name, answer, load, "ours in ranges, and synced to the disk", claimed=False)
        shutil.rmtree(work, ignore_errors=True)


def _figure(name: str, answer: dict[str, Any], load: OtherLoad, note: str, *, claimed: bool = True) -> Figure:
    return Figure(
        benchmark=NAME,
        name=name,
        value=answer["tracker"],
        unit="ms",
        peers={"fsspec": answer["fsspec"]},
        times_faster={"fsspec": SHARE} if claimed else {},
        note=f"{answer['mb'] / answer['tracker']:.0f} MB/s, {answer['fsspec'] / answer['tracker']:.0%} of fsspec "
        f"({answer['way']}); {note}",
        other_load=load.share(),
    )


def fill(subject: str, count: int, large: int) -> None:
    """Child: the run with its files."""
    import tracker

    del subject
    run: Any = tracker.init(project=subjects.PROJECT, id=_RUN)
    run.finish()
    folder = Path.cwd() / "up"
    (folder / "small").mkdir(parents=True)
    for number in range(count):
        (folder / "small" / f"{number:04d}").write_bytes(os.urandom(_SIZE))
    with open(folder / "large", "wb") as file:
        for _ in range(large // 1_000_000):
            file.write(os.urandom(1_000_000))
    tracker.Api().run(f"{subjects.PROJECT}/{_RUN}").upload_files([folder], folder)
    shutil.rmtree(folder)


def fetch(subject: str, large: bool, repeats: int) -> dict[str, Any]:
    """Child: seconds of each way, the best of some turns; what came is compared with the listing."""
    import tracker

    del subject
    began = time.perf_counter()
    run = tracker.Api().run(f"{subjects.PROJECT}/{_RUN}")
    files = run.files(["large"] if large else [f"small/{number:04d}" for number in range(10_000)])
    sizes = {file.name: file.size for file in files}
    listed_s = time.perf_counter() - began
    ways: dict[str, Callable[[Path], object]] = {"tracker": files.download}
    ways |= _fsspec_ways({file.name: file.path_uri for file in files})
    took: dict[str, float] = {}
    for turn in range(repeats + 1):
        for name, download in ways.items():
            target = Path.cwd() / f"out-{turn}"
            for folder in (target / "small", target):
                folder.mkdir(parents=True, exist_ok=True)
            began = time.perf_counter()
            download(target)
            seconds = time.perf_counter() - began
            came = {str(path.relative_to(target)): path.stat().st_size for path in target.rglob("*") if path.is_file()}
            if came != sizes:
                raise AssertionError(f"{name}: {len(came)} files came, of {len(sizes)}")
            shutil.rmtree(target)
            if turn:  # the first turn loads libraries and opens connections
                took[name] = min(seconds, took.get(name, seconds))
    way = min((name for name in took if name != "tracker"), key=lambda name: took[name])
    return {"tracker": took["tracker"], "fsspec": took[way], "way": way, "listed": listed_s,
            "mb": sum(sizes.values()) / 1e6}  # fmt: skip


def _fsspec_ways(places: dict[str, str]) -> dict[str, Callable[[Path], object]]:
    """Ways of bare `get`, by what is special of them."""
    import fsspec

    sources = list(places.values())
    if sources[0].startswith("file:"):
        fs = fsspec.filesystem("file")
        return {"one by one": partial(_get, fs, places), "4 threads": partial(_get_in_threads, fs, places)}
    config = {"max_pool_connections": _CONNECTIONS}
    fs = fsspec.filesystem("s3", skip_instance_cache=True, config_kwargs=config)
    return {f"{_CONNECTIONS} connections": partial(_get, fs, places)}


def _get(fs: Any, places: dict[str, str], target: Path) -> None:
    fs.get([fs._strip_protocol(source) for source in places.values()], [str(target / name) for name in places])


def _get_in_threads(fs: Any, places: dict[str, str], target: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: fs.get_file(fs._strip_protocol(places[name]), str(target / name)), places))
