"""AMD GPUs without any tool: the files that the amdgpu driver keeps below /sys (SYS-6).

Source: the kernel's documentation, "GPU/amdgpu: thermal, misc" (`gpu_busy_percent`, `mem_busy_percent`,
`mem_info_vram_*`) and "hwmon sysfs interface" (`tempN_input` in thousandths of a degree, `powerN_*` in microwatts).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tracker.sdk.system.source import Values, finite

__all__ = ["DRM", "AmdSysfsSource", "find_cards"]

DRM: Final = Path("/sys/class/drm")
_HEAT: Final = ("mem", "junction", "edge")  # as rocm-smi: the memory's, else the hottest spot's, else the edge's


class AmdSysfsSource:
    """Reads a few small files per GPU."""

    def __init__(self, cards: Sequence[Path], indices: Sequence[int] | None = None) -> None:
        """`cards`: the devices' folders in the order of their indices."""
        self._cards = {n: card for n, card in enumerate(cards) if indices is None or n in indices}

    def read(self) -> Values:
        """Per GPU: shares in %, degrees Celsius, watts."""
        return {
            f"gpu.{index}.{name}": value
            for index, card in self._cards.items()
            for name, value in _of_card(card).items()
        }

    def close(self) -> None:
        """Nothing is held open."""


def find_cards(drm: Path) -> list[Path]:
    """Folders of the devices below `drm` that the amdgpu driver runs, by their place on the bus."""
    found = {
        card.joinpath("device").resolve()
        for card in (drm.iterdir() if drm.is_dir() else ())
        if card.name.removeprefix("card").isdigit() and (card / "device" / "gpu_busy_percent").is_file()
    }
    return sorted(found)


def _of_card(card: Path) -> Values:
    used, total = _number(card / "mem_info_vram_used"), _number(card / "mem_info_vram_total")
    values: dict[str, float | None] = {
        "gpu": _number(card / "gpu_busy_percent"),
        "memoryAllocated": used / total * 100 if used is not None and total else None,
        "memoryReadWriteActivity": _number(card / "mem_busy_percent"),
    }
    for monitor in sorted(card.glob("hwmon/hwmon*")):
        heat = dict(_temperatures(monitor))
        values["temp"] = next((heat[name] for name in _HEAT if name in heat), None)
        power = _number(monitor / "power1_average")
        power = _number(monitor / "power1_input") if power is None else power
        limit = _number(monitor / "power1_cap")
        values["powerWatts"] = None if power is None else power / 1e6
        values["powerPercent"] = None if power is None or not limit else power / limit * 100
        break
    return finite(values)


def _temperatures(monitor: Path) -> Iterator[tuple[str, float]]:
    """By what they are of, degrees Celsius."""
    for file in sorted(monitor.glob("temp*_input")):
        value = _number(file)
        label = _text(file.with_name(file.name.replace("_input", "_label"))) or "edge"
        if value is not None:
            yield label, value / 1000


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # not there, or the GPU sleeps
        return ""
