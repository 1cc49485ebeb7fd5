"""AMD GPUs, through `amd-smi` (ROCm 6 and later), `rocm-smi`, or the driver's files (SYS-6).

Source of the forms: `amd-smi metric --json` and `rocm-smi --json`; both print what they do not know as "N/A".
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tracker.sdk.system.amd_sysfs import DRM, AmdSysfsSource, find_cards
from tracker.sdk.system.source import Source, Values, find_tool, finite, json_of_tool, number_of

__all__ = ["AmdSource", "describe_amd", "open_amd", "parse_amd_smi", "parse_rocm_smi"]

_DRIVER: Final = Path("/sys/module/amdgpu/initstate")
_ROCM_FLAGS: Final = ("--showuse", "--showmemuse", "--showtemp", "--showpower", "--showmaxpower", "--showmemoverdrive")
_CARD: Final = re.compile(r"card(\d+)")
_ROCM_NAMES: Final = {  # key of ours: what rocm-smi calls it, the first that is there
    "gpu": ("GPU use (%)",),
    "memoryAllocated": ("GPU Memory Allocated (VRAM%)", "GPU memory use (%)"),
    "memoryReadWriteActivity": ("GPU Memory Read/Write Activity (%)",),
    "memoryOverDrive": ("GPU Memory OverDrive value (%)", "GPU memory OverDrive value (%)"),
    "temp": ("Temperature (Sensor memory) (C)", "Temperature (Sensor junction) (C)", "Temperature (Sensor edge) (C)"),
    "powerWatts": ("Average Graphics Package Power (W)", "Current Socket Graphics Package Power (W)"),
}
_ROCM_LIMITS: Final = ("Max Graphics Package Power (W)",)
_ROCM_FACTS: Final = {  # META-1, gpu_amd
    "id": ("GPU ID", "Device ID"),
    "uniqueId": ("Unique ID",),
    "vbiosVersion": ("VBIOS version",),
    "performanceLevel": ("Performance Level",),
    "gpuOverdrive": ("GPU OverDrive value (%)",),
    "gpuMemoryOverdrive": ("GPU Memory OverDrive value (%)",),
    "maxPower": _ROCM_LIMITS,
    "series": ("Card series", "Card Series"),
    "model": ("Card model", "Card Model"),
    "vendor": ("Card vendor", "Card Vendor"),
    "sku": ("Card SKU",),
    "sclkRange": ("Valid sclk range",),
    "mclkRange": ("Valid mclk range",),
}


class AmdSource:
    """Asks the tool at each reading; that is a process of its own, which costs this one next to nothing."""

    def __init__(self, commands: Sequence[list[str]], parse: Any, indices: Sequence[int] | None = None) -> None:
        """`commands`: the first that works is kept; `parse`: its output to values per GPU."""
        self._commands, self._parse, self._indices = list(commands), parse, indices

    def read(self) -> Values:
        """Per GPU: shares in %, degrees Celsius, watts. Raises OSError, SubprocessError, ValueError: no answer."""
        while True:
            try:
                document = json_of_tool(self._commands[0])
                break
            except (subprocess.CalledProcessError, ValueError):
                if len(self._commands) == 1:
                    raise
                self._commands.pop(0)  # this release of the tool does not know the options
        return {
            f"gpu.{index}.{name}": value
            for index, own in sorted(self._parse(document).items())
            if self._indices is None or index in self._indices
            for name, value in own.items()
        }

    def close(self) -> None:
        """Nothing is held open."""


def open_amd(indices: Sequence[int] | None) -> Source | None:
    """By the tool that is there, else by the driver's files; None without a driver that is up."""
    if not _driver_is_up():
        return None
    modern = find_tool("amd-smi", "/opt/rocm/bin/amd-smi")
    if modern is not None:
        return AmdSource([[modern, "metric", "--json"]], parse_amd_smi, indices)
    tool = find_tool("rocm-smi", "/usr/bin/rocm-smi", "/opt/rocm/bin/rocm-smi")
    if tool is None:
        cards = find_cards(DRM)
        return AmdSysfsSource(cards, indices) if cards else None
    return AmdSource([[tool, *_ROCM_FLAGS, "--json"], [tool, "-a", "--json"]], parse_rocm_smi, indices)


def parse_amd_smi(document: Any) -> dict[int, Values]:
    """`amd-smi metric --json` to values by GPU. ROCm 7 puts the list below `gpu_data`."""
    found: dict[int, Values] = {}
    for entry in _entries(document):
        usage, memory = _part(entry, "usage"), _part(entry, "mem_usage") or _part(entry, "vram")
        power, heat = _part(entry, "power"), _part(entry, "temperature")
        used, total = number_of(memory.get("used_vram")), number_of(memory.get("total_vram"))
        watts = number_of(power.get("socket_power", power.get("current_socket_power")))
        limit = number_of(power.get("power_limit", _part(entry, "limit").get("max_power")))
        temperatures = (number_of(heat.get(name)) for name in ("mem", "hotspot", "edge"))
        found[int(entry["gpu"])] = finite(
            {
                "gpu": number_of(usage.get("gfx_activity")),
                "memoryAllocated": used / total * 100 if used is not None and total else None,
                "memoryReadWriteActivity": number_of(usage.get("umc_activity")),
                "memoryOverDrive": number_of(entry.get("mem_overdrive")),
                "temp": next((value for value in temperatures if value is not None), None),
                "powerWatts": watts,
                "powerPercent": watts / limit * 100 if watts is not None and limit else None,
            }
        )
    return found


def parse_rocm_smi(document: Any) -> dict[int, Values]:
    """`rocm-smi --json` to values by GPU."""
    found: dict[int, Values] = {}
    for index, card in _cards(document):
        own = finite({name: number_of(_first(card, names)) for name, names in _ROCM_NAMES.items()})
        limit = number_of(_first(card, _ROCM_LIMITS))
        if "powerWatts" in own and limit:
            own["powerPercent"] = own["powerWatts"] / limit * 100
        found[index] = own
    return found


def describe_amd() -> dict[str, Any]:
    """`gpu`, `gpu_count`, `gpu_amd` of the metadata (META-1); empty without such GPUs."""
    if not _driver_is_up():
        return {}
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        tool = find_tool("rocm-smi", "/usr/bin/rocm-smi", "/opt/rocm/bin/rocm-smi")
        if tool is not None:
            return _described([card for _, card in _cards(json_of_tool([tool, "-a", "--json"]))])
        modern = find_tool("amd-smi", "/opt/rocm/bin/amd-smi")
        if modern is not None:
            return _described_static(json_of_tool([modern, "static", "--json"]))
    return {}


def _described(cards: list[dict[str, Any]]) -> dict[str, Any]:
    gpus = [
        {name: card_value for name, names in _ROCM_FACTS.items() if (card_value := _first(card, names)) is not None}
        for card in cards
    ]
    return {"gpu": gpus[0].get("series"), "gpu_count": len(gpus), "gpu_amd": gpus} if gpus else {}


def _described_static(document: Any) -> dict[str, Any]:
    gpus = []
    for entry in _entries(document):
        asic = _part(entry, "asic")
        fields = {
            "id": asic.get("device_id"),
            "uniqueId": asic.get("asic_serial"),
            "vbiosVersion": _part(entry, "vbios").get("version"),
            "series": asic.get("market_name"),
            "model": _part(entry, "board").get("model_number"),
            "vendor": asic.get("vendor_name"),
        }
        gpus.append({name: str(value) for name, value in fields.items() if value not in (None, "N/A")})
    return {"gpu": gpus[0].get("series"), "gpu_count": len(gpus), "gpu_amd": gpus} if gpus else {}


def _driver_is_up() -> bool:
    try:
        return "live" in _DRIVER.read_text()
    except OSError:
        return False


def _entries(document: Any) -> list[dict[str, Any]]:
    entries = document.get("gpu_data", []) if isinstance(document, dict) else document
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("gpu"), int)]


def _cards(document: Any) -> list[tuple[int, dict[str, Any]]]:
    found = [(_CARD.fullmatch(name), card) for name, card in document.items()] if isinstance(document, dict) else []
    return sorted((int(match[1]), card) for match, card in found if match is not None and isinstance(card, dict))


def _part(entry: dict[str, Any], name: str) -> dict[str, Any]:
    part = entry.get(name)
    return part if isinstance(part, dict) else {}


def _first(card: dict[str, Any], names: Sequence[str]) -> Any:
    return next((card[name] for name in names if card.get(name) not in (None, "N/A")), None)
