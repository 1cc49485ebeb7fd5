"""Google TPUs, through the monitoring part of the runtime's own library, `libtpu.sdk.tpumonitoring` (SYS-7).

Source of names and forms: Cloud TPU documentation, "TPU Monitoring Library"; PCI ids as in Google's tpu-info. The
library answers with text, one item an accelerator: `["45.32", "47.11"]`.
"""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tracker.sdk.system.source import Values, finite, number_of

__all__ = ["TpuSource", "describe_tpu", "find_chips", "open_tpu"]

_PCI: Final = Path("/sys/bus/pci/devices")
_VENDOR: Final = "0x1ae0"
_CHIPS: Final = {  # (device, subsystem or ""): name, GiB of memory, devices a chip
    ("0x0027", "0x004e"): ("v2", 8, 2),
    ("0x0027", "0x004f"): ("v3", 16, 2),
    ("0x005e", ""): ("v4", 32, 1),
    ("0x0063", ""): ("v5e", 16, 1),
    ("0x0062", ""): ("v5p", 95, 1),
    ("0x006f", ""): ("v6e", 32, 1),
}


class TpuSource:
    """Memory and duty cycle per device of this host."""

    def __init__(self, monitoring: Any) -> None:
        """`monitoring`: the module `libtpu.sdk.tpumonitoring`."""
        self._monitoring = monitoring

    def read(self) -> Values:
        """Shares in %, memory in bytes. Where a chip has two devices both show the chip's duty cycle.

        Nothing as long as no program uses the TPUs.
        """
        used, total = self._numbers("hbm_capacity_usage"), self._numbers("hbm_capacity_total")
        duty = self._numbers("duty_cycle_pct")
        values: dict[str, float | None] = {}
        devices = max(len(used), len(duty))
        for n in range(devices):
            if n < len(used):
                values[f"tpu.{n}.memoryUsageBytes"] = used[n]
                whole = total[n] if n < len(total) else None
                values[f"tpu.{n}.memoryUsage"] = used[n] / whole * 100 if used[n] is not None and whole else None
            if duty:
                values[f"tpu.{n}.dutyCycle"] = duty[n * len(duty) // devices]
        return finite(values)

    def close(self) -> None:
        """Nothing is held open."""

    def _numbers(self, metric: str) -> list[Any]:
        data = self._monitoring.get_metric(metric).data()
        return [number_of(item) for item in data] if isinstance(data, list | tuple) else []


def open_tpu() -> TpuSource | None:
    """None without TPUs of this host, or without the library."""
    if not find_chips(_PCI):
        return None
    try:
        return TpuSource(importlib.import_module("libtpu.sdk").tpumonitoring)
    except (ImportError, AttributeError):
        return None


def find_chips(folder: Path) -> dict[str, Any]:
    """`name`, `count`, `hbmGib`, `devicesPerChip` of the chip that most devices below `folder` are; else empty."""
    found: Counter[tuple[str, int, int]] = Counter()
    for device in sorted(folder.iterdir()) if folder.is_dir() else []:
        if _text(device / "vendor") == _VENDOR:
            kind = _text(device / "device")
            chip = _CHIPS.get((kind, _text(device / "subsystem_device"))) or _CHIPS.get((kind, ""))
            if chip is not None:
                found[chip] += 1
    if not found:
        return {}
    (name, memory, devices), count = found.most_common(1)[0]
    return {"name": name, "count": count, "hbmGib": memory, "devicesPerChip": devices}


def describe_tpu() -> dict[str, Any]:
    """`tpu` of the metadata (META-1); empty without TPUs."""
    chips = find_chips(_PCI)
    return {"tpu": chips} if chips else {}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
