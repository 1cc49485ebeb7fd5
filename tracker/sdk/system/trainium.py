"""AWS Trainium and Inferentia, through `neuron-monitor` (SYS-7).

Source of the forms: AWS Neuron documentation, "Neuron Monitor User Guide" (JSON report) and "neuron-ls".
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any, Final

from tracker.sdk.system.line_tool import LineTool
from tracker.sdk.system.source import Values, find_tool, finite, json_of_tool, number_of

__all__ = ["TrainiumSource", "describe_trainium", "open_trainium", "parse_report"]

_BIN: Final = "/opt/aws/neuron/bin"
_HOST_PARTS: Final = ("application_memory", "constants", "dma_buffers", "tensors")
_CORE_PARTS: Final = ("constants", "model_code", "model_shared_scratchpad", "runtime_memory", "tensors")


class TrainiumSource:
    """A `neuron-monitor` that reports all the time; `read` takes its newest report."""

    def __init__(self, tool: LineTool, pid: int, config_path: str | None = None) -> None:
        """`config_path`: a file made for the tool, removed by `close`."""
        self._tool, self._pid, self._config_path = tool, pid, config_path

    def read(self) -> Values:
        """See `parse_report`. Raises OSError: the tool ended."""
        report = self._tool.newest()
        return parse_report(report, self._pid, os.environ.get("LOCAL_RANK")) if report is not None else {}

    def close(self) -> None:
        self._tool.close()
        if self._config_path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._config_path)


def open_trainium(pid: int, interval_s: float, config_path: str | None) -> TrainiumSource | None:
    """None without the tool. `config_path`: a configuration of the user's for it."""
    tool = find_tool("neuron-monitor", f"{_BIN}/neuron-monitor")
    if tool is None:
        return None
    own = None
    if config_path is None:
        own = config_path = _write_config(interval_s)
    return TrainiumSource(LineTool([tool, "-c", config_path]), pid, own)


def parse_report(report: Any, pid: int, local_rank: str | None = None) -> Values:
    """One report to values of the runtime that belongs to `pid`: shares in %, memory in bytes.

    Under a launcher of several processes (`local_rank` set) the runtime may name another process; then the first one
    counts, and of the cores the one that has the rank's number.
    """
    runtime = _runtime_of(report, pid, any_process=bool(local_rank))
    if runtime is None:
        return {}
    found = runtime.get("report") or {}
    counters = (found.get("neuroncore_counters") or {}).get("neuroncores_in_use") or {}
    memory = (found.get("memory_used") or {}).get("neuron_runtime_used_bytes") or {}
    parts = memory.get("usage_breakdown") or {}
    host = parts.get("host")
    host = host if isinstance(host, dict) else {}
    values: dict[str, float | None] = {
        "trn.host_total_memory_usage": number_of(memory.get("host")),
        "trn.neuron_device_total_memory_usage": number_of(memory.get("neuron_device")),
    }
    values |= {f"trn.host_total_memory_usage.{name}": number_of(host.get(name)) for name in _HOST_PARTS}
    for core, counter in _cores(counters, local_rank):
        values[f"trn.{core}.neuroncore_utilization"] = number_of(counter.get("neuroncore_utilization"))
    for core, usage in _cores(parts.get("neuroncore_memory_usage"), local_rank):
        values |= {f"trn.{core}.neuroncore_memory_usage.{name}": number_of(usage.get(name)) for name in _CORE_PARTS}
    return finite(values)


def describe_trainium() -> dict[str, Any]:
    """`trainium` of the metadata (META-1); empty without such devices."""
    tool = find_tool("neuron-ls", f"{_BIN}/neuron-ls")
    if tool is None:
        return {}
    try:
        devices = json_of_tool([tool, "--json-output"])
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    if not isinstance(devices, list) or not devices:
        return {}
    cores = devices[0].get("nc_count") if isinstance(devices[0], dict) else None
    return {
        "trainium": {
            "name": "trainium",
            "vendor": "AWS",
            "neuronDeviceCount": len(devices),
            "neuroncorePerDeviceCount": cores,
        }
    }


def _runtime_of(report: Any, pid: int, *, any_process: bool) -> dict[str, Any] | None:
    runtimes = report.get("neuron_runtime_data") if isinstance(report, dict) else None
    entries = [entry for entry in runtimes or [] if isinstance(entry, dict)]
    own = [entry for entry in entries if entry.get("pid") == pid]
    return next(iter(own or (entries if any_process else [])), None)


def _cores(tree: Any, local_rank: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    for name, entry in sorted(tree.items()) if isinstance(tree, dict) else []:
        if name.isdigit() and isinstance(entry, dict) and local_rank in (None, "", name):
            yield int(name), entry


def _write_config(interval_s: float) -> str:
    config = {
        "period": f"{max(int(interval_s), 1)}s",
        "neuron_runtimes": [
            {"tag_filter": ".*", "metrics": [{"type": "neuroncore_counters"}, {"type": "memory_used"}]}
        ],
        "system_metrics": [],
    }
    descriptor, path = tempfile.mkstemp(prefix="tracker-neuron-", suffix=".json")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return path
