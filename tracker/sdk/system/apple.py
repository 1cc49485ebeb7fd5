"""Apple silicon: `macmon pipe` where it is installed, else what `ioreg` and psutil say without special rights (SYS-6).

Source of the forms: the readme of macmon 0.7; `ioreg -a -r -d 1 -c IOAccelerator` of macOS 14 (a property list).
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final

from tracker.sdk.system.line_tool import LineTool
from tracker.sdk.system.source import Source, Values, find_tool, finite, number_of

__all__ = ["IoregSource", "MacmonSource", "describe_apple", "open_apple", "parse_ioreg", "parse_macmon"]

_TIMEOUT_S: Final = 5.0
_IOREG: Final = ["/usr/sbin/ioreg", "-a", "-r", "-d", "1", "-c", "IOAccelerator"]


class MacmonSource:
    """A `macmon` that measures all the time; `read` takes its newest line."""

    def __init__(self, tool: LineTool) -> None:
        self._tool = tool

    def read(self) -> Values:
        """See `parse_macmon`. Raises OSError: macmon ended."""
        document = self._tool.newest()
        return parse_macmon(document) if document is not None else {}

    def close(self) -> None:
        self._tool.close()


class IoregSource:
    """GPU use by `ioreg`, memory and swap by psutil."""

    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil

    def read(self) -> Values:
        """`gpu.0.gpu` in %, `memory.used` and `swap.used` in bytes."""
        import plistlib  # imports an XML parser

        done = subprocess.run(_IOREG, capture_output=True, timeout=_TIMEOUT_S, check=True, close_fds=True)
        memory, swap = self._psutil.virtual_memory(), self._psutil.swap_memory()
        return parse_ioreg(plistlib.loads(done.stdout)) | {
            "memory.used": memory.used,
            "memory.used_percent": memory.percent,
            "swap.used": swap.used,
            "swap.used_percent": swap.percent,
        }

    def close(self) -> None:
        """Nothing is held open."""


def open_apple(psutil: Any, interval_s: float) -> Source | None:
    """None on other machines. `interval_s`: of the sampler; macmon measures over at most a second of it."""
    if not _is_apple():
        return None
    tool = find_tool("macmon", "/opt/homebrew/bin/macmon")
    if tool is None:
        return IoregSource(psutil)
    interval_ms = int(min(interval_s, 1.0) * 1000)
    return MacmonSource(LineTool([tool, "pipe", "-i", str(interval_ms)]))


def parse_macmon(document: Any) -> Values:
    """One line of `macmon pipe`. Frequencies in MHz, shares in %, degrees Celsius, watts, memory in bytes."""
    heat, memory = document.get("temp") or {}, document.get("memory") or {}
    ram, swap = number_of(memory.get("ram_usage")), number_of(memory.get("swap_usage"))
    values: dict[str, float | None] = {
        "cpu.avg_temp": number_of(heat.get("cpu_temp_avg")),
        "gpu.0.temp": number_of(heat.get("gpu_temp_avg")),
        "memory.used": ram,
        "memory.used_percent": _share(ram, number_of(memory.get("ram_total"))),
        "swap.used": swap,
        "swap.used_percent": _share(swap, number_of(memory.get("swap_total"))),
        "cpu.powerWatts": number_of(document.get("cpu_power")),
        "gpu.0.powerWatts": number_of(document.get("gpu_power")),
        "ane.power": number_of(document.get("ane_power")),
        "system.powerWatts": number_of(document.get("sys_power")),
    }
    for name, frequency, share in (
        ("ecpu_usage", "cpu.ecpu_freq", "cpu.ecpu_percent"),
        ("pcpu_usage", "cpu.pcpu_freq", "cpu.pcpu_percent"),
        ("gpu_usage", "gpu.0.freq", "gpu.0.gpu"),
    ):
        pair = document.get(name)
        if isinstance(pair, list) and len(pair) == 2:
            part = number_of(pair[1])
            values |= {frequency: number_of(pair[0]), share: None if part is None else part * 100}
    return finite(values)


def parse_ioreg(entries: Any) -> Values:
    """GPU use of the first accelerator that tells one."""
    for entry in entries if isinstance(entries, list) else []:
        share = number_of((entry.get("PerformanceStatistics") or {}).get("Device Utilization %"))
        if share is not None:
            return {"gpu.0.gpu": share}
    return {}


def describe_apple() -> dict[str, Any]:
    """`apple` and `gpu` of the metadata (META-1): chip and cores; empty on other machines."""
    if not _is_apple():
        return {}
    keys = {
        "name": "machdep.cpu.brand_string",
        "pcpuCores": "hw.perflevel0.physicalcpu",
        "ecpuCores": "hw.perflevel1.physicalcpu",
        "ramTotalBytes": "hw.memsize",
    }
    found: dict[str, Any] = {name: _sysctl(key) for name, key in keys.items()}
    found = {name: int(text) if text.isdigit() else text for name, text in found.items() if text}
    return {"apple": found, "gpu": found.get("name"), "gpu_count": 1} if found else {}


def _sysctl(key: str) -> str:
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", key], capture_output=True, timeout=_TIMEOUT_S, check=True, close_fds=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip()


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole * 100 if part is not None and whole else None


def _is_apple() -> bool:
    import platform

    return sys.platform == "darwin" and platform.machine() == "arm64"
