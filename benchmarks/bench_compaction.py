"""Merging: >= 1,000,000 points/s of one writer's parts and of many runs into a pack, in memory that a setting bounds.

Scale: 1,000,000 steps of 10 metrics (10,000,000 points in 16 parts of one writer) into one set, rollups included, with
256 MB to work in; the same with the 12 MB that a training process gives, for half and all of the steps: the peak must
not grow with them. Then 1,000 finished runs of 1,000 steps of 10 metrics, one part each, into a pack of a project
(listing, packing, checkpoint, manifest), with 256 MB. Peaks are above what the process held before it began.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import losses
from figures import Figure
from interpreters import Bench
from machine import OtherLoad, own_peak_mb, own_rss_mb

NAME: Final = "compaction"
_PARTS: Final = 16
_RUN: Final = "merged"
_WRITER: Final = "01m00000000000000000000000"
_LARGE_MB: Final = 256
_TRAINING_MB: Final = 12


def figures(bench: Bench) -> Iterator[Figure]:
    """One writer's parts, with much and with little memory; many runs."""
    steps = 160_000 if bench.quick else 1_000_000
    half, whole = bench.folder("parts-half"), bench.folder("parts")
    for folder, count in ((half, steps // 2), (whole, steps)):
        bench.call("tracker", "bench_compaction", "make", folder=str(folder), steps=count)
    yield from _merged(bench, whole, steps, _LARGE_MB, 1_000_000, _LARGE_MB * 1.5)
    before = bench.call("tracker", "bench_compaction", "merge", folder=str(half), memory_mb=_TRAINING_MB)
    yield from _merged(bench, whole, steps, _TRAINING_MB, None, before["grown_mb"] + 10)
    load = OtherLoad()
    packed = bench.call("tracker", "bench_compaction", "pack", runs=100 if bench.quick else 1_000, steps=1_000)
    yield Figure(
        benchmark=NAME,
        name=f"{packed['points']:,} points of {packed['runs']:,} runs into packs",
        value=packed["points"] / packed["seconds"],
        unit="points/s",
        least=1_000_000,
        note=f"{packed['seconds']:.1f} s; {packed['cpu_s']:.1f} s of processor; peak +{packed['grown_mb']:.0f} MB",
        other_load=load.share(),
    )


def _merged(
    bench: Bench, folder: Path, steps: int, memory_mb: int, least: float | None, grown_max_mb: float
) -> Iterator[Figure]:
    load = OtherLoad()
    runs = [bench.call("tracker", "bench_compaction", "merge", folder=str(folder), memory_mb=memory_mb) for _ in "123"]
    points = steps * len(losses.KEYS)
    best = min(runs, key=lambda one: float(one["seconds"]))
    yield Figure(
        benchmark=NAME,
        name=f"{points:,} points of one writer into a set, {memory_mb} MB to work in",
        value=points / best["seconds"],
        unit="points/s",
        least=least,
        note=f"best of 3; {best['seconds']:.1f} s; {best['cpu_s']:.1f} s of processor; {best['size_mb']:.0f} MB",
        other_load=load.share(),
    )
    yield Figure(
        benchmark=NAME,
        name=f"peak of it above the start, {memory_mb} MB to work in",
        value=max(one["grown_mb"] for one in runs),
        unit="MB",
        limit=grown_max_mb,
    )


def make(subject: str, folder: str, steps: int) -> dict[str, Any]:
    """Child: 16 parts of one writer that logs 10 metrics at a time, as its shipper cuts and encodes them."""
    import numpy as np
    import pyarrow as pa

    from tracker.storage.arrow_arrays import numbers, texts
    from tracker.storage.schema import SCHEMA, write_events

    del subject
    keys, each = losses.KEYS, steps // _PARTS
    noise = np.random.default_rng(7)
    for first in range(0, each * _PARTS, each):
        row = np.arange(first, first + each)
        of = np.concatenate([np.repeat(row, len(keys)), row])
        cells, rows = each * len(keys), len(of)
        curve = np.exp(-of[:cells] / 50_000) * (1 + 0.05 * noise.standard_normal(cells))
        is_cell = np.arange(rows) < cells
        key = np.concatenate([np.tile(np.arange(len(keys)), each), np.full(each, -1)])
        columns = {
            "seq": numbers(of, pa.int64()),
            "row": numbers(of, pa.int64()),
            "hlc": numbers(1_790_000_000_000_000 + of * 5_000 + noise.integers(0, 400, rows), pa.int64()),
            "ts": numbers(np.zeros(rows), pa.int64()),
            "kind": pa.DictionaryArray.from_arrays(numbers(~is_cell, pa.int32()), texts(["history", "row"])),
            "subject": pa.nulls(rows, SCHEMA.field("subject").type),
            "step": numbers(of, pa.int64()),
            "key": pa.DictionaryArray.from_arrays(numbers(key, pa.int32(), is_cell), texts(keys)),
            "t": numbers(np.zeros(rows), pa.int8()),
            "v": numbers(np.concatenate([curve.astype(np.float32), row * 0.005]), pa.float64()),
            "i": pa.nulls(rows, pa.int64()),
            "s": pa.nulls(rows, pa.string()),
        }
        footer = _footer(first, first + each - 1)
        data = write_events(pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA), footer, level=1)
        (Path(folder) / f"e-{footer.first:012d}-{footer.last:012d}-{footer.mark}.parquet").write_bytes(data)
    return {}


def merge(subject: str, folder: str, memory_mb: int) -> dict[str, float]:
    """Child: all parts in the folder into one set; every event must be in it."""
    from tracker.storage.merge import merge_parts
    from tracker.storage.merge_input import MergeInput
    from tracker.storage.names import PartName

    del subject
    inputs = []
    for path in sorted(Path(folder).glob("e-*.parquet")):
        _, first, last, mark = path.stem.split("-")
        name = PartName(_RUN, _WRITER, "e", int(first), int(last), mark)
        inputs.append(MergeInput((name,), name.first, {"e": path}))
    footer = replace(_footer(0, inputs[-1].parts[0].last), family="f")
    events = sum(one.rows() for one in inputs)
    before_mb = own_rss_mb()
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        cpu, began = time.process_time(), time.perf_counter()
        files = merge_parts(inputs, footer, directory=Path(directory), memory_bytes=memory_mb * 1_000_000)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        size = sum(len(file.data) if file.path is None else file.path.stat().st_size for file in files)
    if sum(file.rows for file in files) != events:
        raise AssertionError(f"{events} events went in, {sum(file.rows for file in files)} came out")
    return {"seconds": seconds, "cpu_s": cpu_s, "size_mb": size / 1e6, "grown_mb": own_peak_mb() - before_mb}


def pack(subject: str, runs: int, steps: int) -> dict[str, float]:
    """Child: a project of loose runs, compacted as anybody may."""
    from big_stores import ENTITY, PROJECT, make_store
    from like_runs import LikeRuns

    from tracker.storage.clock import wall_us
    from tracker.storage.local import LocalStore
    from tracker.storage.packing import compact_project

    del subject
    like = LikeRuns(runs, steps)
    with tempfile.TemporaryDirectory() as root:
        make_store(Path(root), like, "parts")
        before_mb, cpu, began = own_rss_mb(), time.process_time(), time.perf_counter()
        compact_project(LocalStore(Path(root)), ENTITY, PROJECT, now_us=wall_us(), finished_quiet_s=0.0)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        loose = len(list(Path(root, ENTITY, PROJECT).glob("packs/*.h.parquet")))
    if not loose:
        raise AssertionError("nothing was packed")
    return {
        "points": like.points,
        "runs": runs,
        "seconds": seconds,
        "cpu_s": cpu_s,
        "grown_mb": own_peak_mb() - before_mb,
    }


def _footer(first: int, last: int) -> Any:
    from tracker.storage.schema import PartFooter

    return PartFooter(
        entity="main",
        project="p",
        run_id=_RUN,
        writer_id=_WRITER,
        family="e",
        first=first,
        last=last,
        mark=f"{last:016d}",
    )
