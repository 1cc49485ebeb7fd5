"""Which kinds of devices and endpoints are looked at in a run."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from tracker.sdk.system.amd import open_amd
from tracker.sdk.system.apple import open_apple
from tracker.sdk.system.host import DiskSource, NetworkSource, ProcessSource
from tracker.sdk.system.nvidia import open_nvidia
from tracker.sdk.system.source import Source
from tracker.sdk.system.tpu import open_tpu
from tracker.sdk.system.trainium import open_trainium

if TYPE_CHECKING:
    from tracker.sdk.options import RunOptions

__all__ = ["open_sources"]


def open_sources(options: RunOptions, complain: Callable[[str, Exception], None]) -> dict[str, Source]:
    """By name, all that there is on this machine. `complain` hears what was asked for and does not work."""
    found: dict[str, Source] = {}
    for name, make in _makers(options):
        try:
            source = make()
        except Exception as exc:  # one kind less, the others go on
            complain(name, exc)
            continue
        if source is not None:
            found[name] = source
    return found


def _makers(options: RunOptions) -> Iterator[tuple[str, Callable[[], Source | None]]]:
    psutil: Any = importlib.import_module("psutil")
    pid, interval_s = options.x_stats_pid or os.getpid(), options.x_stats_sampling_interval
    indices = options.x_stats_gpu_device_ids
    yield "process", partial(ProcessSource, psutil, pid)
    yield "disk", partial(DiskSource, psutil, options.x_stats_disk_paths or ())
    yield "network", partial(NetworkSource, psutil)
    if options.x_stats_dcgm_exporter:
        yield "dcgm", partial(_dcgm, options, options.x_stats_dcgm_exporter)
    yield "nvidia", partial(open_nvidia, pid, indices)
    yield "amd", partial(open_amd, indices)
    yield "apple", partial(open_apple, psutil, interval_s)
    yield "tpu", open_tpu
    yield "trainium", partial(open_trainium, pid, interval_s, options.x_stats_neuron_monitor_config_path)
    for name, url in (options.x_stats_open_metrics_endpoints or {}).items():
        yield f"openmetrics {name}", partial(_endpoint, options, name, url)


def _dcgm(options: RunOptions, url: str) -> Source:
    from tracker.sdk.system.endpoints import DcgmSource  # imports an HTTP client

    return DcgmSource(url, options.x_stats_open_metrics_http_headers or {})


def _endpoint(options: RunOptions, name: str, url: str) -> Source:
    from tracker.sdk.system.endpoints import OpenMetricsSource, filters_of

    headers = options.x_stats_open_metrics_http_headers or {}
    return OpenMetricsSource(name, url, filters_of(options.x_stats_open_metrics_filters), headers)
