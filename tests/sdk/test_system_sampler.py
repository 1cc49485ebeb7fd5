"""The sampler beside a run: when it samples, what it stores, and that no trouble of a device reaches the training."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_writer import FakeWriter

import tracker
from tracker.sdk.options import RunOptions
from tracker.sdk.system import sources
from tracker.sdk.system.sampler import SystemSampler
from tracker.sdk.system.source import Source

Complain = Callable[[str, Exception], None]


class Counter:
    """A source whose value counts its readings."""

    def __init__(self, key: str = "n", fails: Callable[[int], bool] = lambda n: False) -> None:
        self.key, self.fails, self.reads, self.closed = key, fails, 0, False

    def read(self) -> dict[str, float]:
        self.reads += 1
        if self.fails(self.reads):
            raise OSError("no answer")
        return {self.key: self.reads}

    def close(self) -> None:
        self.closed = True


class Stored:
    """What a sampler wrote, by stored key."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.kinds: set[str] = set()
        self.came = threading.Condition()

    def write(self, kind: str, cells: dict[str, Any]) -> bool:
        with self.came:
            self.kinds.add(kind)
            self.frames.append(cells)
            self.came.notify_all()
        return True

    def wait_for(self, count: int) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.frames) >= count, timeout=10)


def sampler(stored: Stored, found: dict[str, Source], interval_s: float = 0.02, **options: Any) -> SystemSampler:
    given = RunOptions(x_stats_sampling_interval=interval_s, **options)
    return SystemSampler(given, stored.write, lambda options, complain: found)


def test_samples_come_at_the_interval_the_first_after_one() -> None:
    """SYS-1, SYS-2: of kind `system`, apart from history."""
    stored, source = Stored(), Counter()
    service = sampler(stored, {"one": source}, interval_s=0.15)
    began = time.monotonic()
    service.start()
    stored.wait_for(2)
    assert time.monotonic() - began >= 0.3
    service.stop(0)
    assert stored.frames[:2] == [{"n": 1}, {"n": 2}]
    assert stored.kinds == {"system"}
    assert source.closed


def test_dots_of_keys_are_escaped_and_a_label_is_added() -> None:
    """SYS-9"""
    stored = Stored()
    service = sampler(stored, {"one": Counter("gpu.0.temp")}, x_label="node 1")
    service.start()
    stored.wait_for(1)
    service.stop(0)
    assert list(stored.frames[0]) == [r"gpu\.0\.temp/l:node 1"]


def test_a_paused_sampler_takes_none() -> None:
    """SYS-1: paused between notebook cells."""
    stored, source = Stored(), Counter()
    service = sampler(stored, {"one": source})
    service.start()
    stored.wait_for(1)
    service.pause()
    time.sleep(0.1)  # one may be under way
    reads = source.reads
    time.sleep(0.2)
    assert source.reads == reads
    service.resume()
    stored.wait_for(reads + 1)
    service.stop(0)


def test_a_run_passes_pauses_on(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SYS-1"""
    told: list[str] = []
    monkeypatch.setattr(SystemSampler, "pause", lambda self: told.append("pause"))
    monkeypatch.setattr(SystemSampler, "resume", lambda self: told.append("resume"))
    run, _ = start(settings={"x_disable_stats": False})
    run.recorder.services.pause()
    run.recorder.services.resume()
    assert told == ["pause", "resume"]


def test_a_paused_sampler_ends() -> None:
    service = sampler(Stored(), {"one": Counter()})
    service.start()
    service.pause()
    time.sleep(0.05)
    began = time.monotonic()
    service.stop(0)
    assert time.monotonic() - began < 0.5


def test_a_source_that_fails_is_named_once_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    stored, broken = Stored(), Counter("broken", lambda n: True)
    service = sampler(stored, {"rocm": broken, "fine": Counter("fine")})
    service.start()
    stored.wait_for(12)
    service.stop(0)
    err = capsys.readouterr().err
    assert err.count("rocm") == 1
    assert "no answer" in err
    assert all(set(frame) == {"fine"} for frame in stored.frames)
    assert broken.reads < 8, "after a few failures it is asked less often"


def test_a_source_that_comes_back_is_read_again() -> None:
    stored = Stored()
    service = sampler(stored, {"one": Counter("n", lambda n: n < 3)})
    service.start()
    stored.wait_for(2)
    service.stop(0)
    assert [frame["n"] for frame in stored.frames[:2]] == [3, 4]


def test_sampling_takes_one_percent_of_a_processor_at_most() -> None:
    """An interval too short for what a sample costs is stretched, so that the training keeps its time."""

    class Costly(Counter):
        def read(self) -> dict[str, float]:
            until = time.thread_time() + 0.01
            while time.thread_time() < until:
                sum(range(100))
            return super().read()

    stored, source = Stored(), Costly()
    service = sampler(stored, {"one": source}, interval_s=0.1)
    service.start()
    time.sleep(0.6)
    service.stop(0)
    assert source.reads == 1


def test_sources_that_can_not_be_opened_at_all_do_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    def open_all(options: RunOptions, complain: Complain) -> dict[str, Source]:
        raise ImportError("psutil")

    service = SystemSampler(RunOptions(x_stats_sampling_interval=0.02), Stored().write, open_all)
    service.start()
    service.stop(0)
    assert "system metrics: ImportError: psutil; the run goes on without them" in capsys.readouterr().err


def test_a_wrong_endpoint_is_said_and_the_machine_is_sampled_all_the_same() -> None:
    heard: list[str] = []
    options = RunOptions(x_stats_open_metrics_endpoints={"node": "ftp://x", "other": "http://127.0.0.1:9/metrics"})
    found = sources.open_sources(options, lambda name, exc: heard.append(f"{name}: {exc}"))
    assert heard == ["openmetrics node: 'ftp://x' is no http address"]
    assert {"process", "disk", "network", "openmetrics other"} <= set(found)
    for source in found.values():
        source.close()


def test_no_device_no_keys_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SYS-10: without GPU tools there are no `gpu.*` keys and nothing is said."""
    monkeypatch.setattr("tracker.sdk.system.nvidia._DEVICES", (str(tmp_path / "none"),))
    monkeypatch.setattr("tracker.sdk.system.amd._DRIVER", tmp_path / "none")
    monkeypatch.setattr("tracker.sdk.system.tpu._PCI", tmp_path / "none")
    monkeypatch.setattr("tracker.sdk.system.trainium.find_tool", lambda name, *places: None)
    heard: list[str] = []
    found = sources.open_sources(RunOptions(), lambda name, exc: heard.append(name))
    keys = {key for source in found.values() for key in source.read()}
    assert heard == []
    assert not [key for key in keys if key.startswith(("gpu", "tpu", "trn"))]
    assert {"cpu", "memory_percent", "disk./.usageGB", "network.sent"} <= keys


def test_a_run_samples_unless_told_not_to(writers: list[FakeWriter]) -> None:
    """SYS-1: x_disable_stats"""
    names = [
        {thread.name for thread in threading.enumerate()}
        for disable in (True, False)
        if tracker.init(project="p", reinit=True, settings={"x_disable_stats": disable})
    ]
    assert ["tracker-system" in threads for threads in names] == [False, True]
    tracker.finish()
    assert "tracker-system" not in {thread.name for thread in threading.enumerate()}


def test_the_environment_says_what_to_sample(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SET-4, ENV-1: lists are comma separated, maps are JSON."""
    for name, text in {
        "X_STATS_SAMPLING_INTERVAL": "7.5",
        "X_STATS_DISK_PATHS": "/, /tmp",
        "_STATS_GPU_DEVICE_IDS": "0,2",
        "X_STATS_OPEN_METRICS_ENDPOINTS": '{"node": "http://localhost:9100/metrics"}',
        "X_STATS_OPEN_METRICS_FILTERS": '["node_.*"]',
    }.items():
        monkeypatch.setenv(f"WANDB_{name}", text)
    run, _ = start()
    options = run.recorder.options
    assert options.x_stats_sampling_interval == 7.5
    assert (options.x_stats_disk_paths, options.x_stats_gpu_device_ids) == (("/", "/tmp"), (0, 2))
    assert options.x_stats_open_metrics_endpoints == {"node": "http://localhost:9100/metrics"}
    assert options.x_stats_open_metrics_filters == ("node_.*",)


@pytest.mark.parametrize(
    "wrong", [{"x_stats_sampling_interval": 0.05}, {"x_stats_open_metrics_endpoints": "{"}, {"x_stats_disk_paths": 5}]
)
def test_wrong_settings_of_sampling_are_refused(start: Any, wrong: dict[str, Any]) -> None:
    """SYS-1: the interval is 0.1 s at least. SET-5"""
    with pytest.raises((ValueError, TypeError)):
        start(settings=wrong)


def test_the_store_shows_the_samples(tmp_path: Path) -> None:
    """SYS-2, SYS-3: rows of their own with `_timestamp`, `_runtime`, `_wandb`; keys begin with `system.`."""
    settings = {"x_disable_stats": False, "x_stats_sampling_interval": 0.1, "console": "off"}
    root = str(tmp_path / "root")
    run = tracker.init(project="p", settings=settings | {"base_url": root})
    writer, deadline = run.recorder.open_writer("test"), time.monotonic() + 20
    begun = writer.next_seq
    while writer.next_seq < begun + 2 and time.monotonic() < deadline:  # a sample is a frame
        time.sleep(0.02)
    run.log({"loss": 1})
    run.finish()
    stored = tracker.Api(overrides={"base_url": root}).run(f"{run.entity}/p/{run.id}")
    rows = stored.history(stream="system", pandas=False)
    assert len(rows) >= 2
    for row in rows:
        assert {f"system.{key}" for key in ("cpu", "proc.memory.rssMB", "disk./.usagePercent", "disk.in")} <= set(row)
        assert row["_wandb"] is True
        assert 0 < row["_runtime"] < 60
        assert abs(row["_timestamp"] - time.time()) < 60
    assert stored.system_metrics["system.proc.cpu.threads"] >= 1
    assert [set(row) - {"_step", "_timestamp", "_runtime"} for row in stored.history(pandas=False)] == [{"loss"}]
