"""NVIDIA GPUs, through NVML (SYS-4, SYS-5). Source of the names: nvidia-ml-py 12 (`pynvml`), NVML API reference."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tracker.sdk.system.source import Values

__all__ = ["NvidiaSource", "describe_nvidia", "load_nvml", "open_nvidia"]

_DEVICES: Final = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")  # the last: Windows' subsystem
_PER_PROCESS: Final = (
    "gpu",
    "memory",
    "memoryAllocated",
    "memoryAllocatedBytes",
    "temp",
    "powerWatts",
    "enforcedPowerLimitWatts",
    "powerPercent",
)  # SYS-5
_MB: Final = 1_000_000
_PARENTS_MAX: Final = 64


def load_nvml() -> Any:
    """The module `pynvml`, initialised (call `nvmlShutdown` once more for it); None without driver or devices."""
    if sys.platform == "linux" and not any(Path(path).exists() for path in _DEVICES):
        return None
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # not installed, no driver, a driver that is broken: then there is nothing to see (SYS-10)
        return None
    return nvml


def open_nvidia(pid: int, indices: Sequence[int] | None) -> NvidiaSource | None:
    """A source of all GPUs, or of those with these `indices`; None where there is none."""
    nvml = load_nvml()
    if nvml is None:
        return None
    source = NvidiaSource(nvml, pid, indices)
    if source.indices:
        return source
    source.close()
    return None


class NvidiaSource:
    """Reads each GPU by index. What a GPU does not support is not asked for again."""

    def __init__(self, nvml: Any, pid: int, indices: Sequence[int] | None = None) -> None:
        """`nvml`: the initialised module; it is shut down by `close`."""
        self._nvml, self._pid = nvml, pid
        count = nvml.nvmlDeviceGetCount()
        self.indices = tuple(index for index in range(count) if indices is None or index in indices)
        self._handles: dict[int, Any] = {}
        self._unsupported: set[tuple[int, str]] = set()

    def read(self) -> Values:
        """Per GPU: shares in %, bytes, degrees Celsius, watts, MHz, error counts since the GPU was made, bits/s."""
        values: Values = {}
        for index in self.indices:
            own = self._of_gpu(index)
            values |= {f"gpu.{index}.{name}": value for name, value in own.items()}
            if own and self._is_used_by_us(index):
                values |= {f"gpu.process.{index}.{name}": own[name] for name in _PER_PROCESS if name in own}
        return values

    def close(self) -> None:
        """Shut NVML down; it counts its users."""
        with contextlib.suppress(self._nvml.NVMLError):  # it is down already
            self._nvml.nvmlShutdown()

    def _of_gpu(self, index: int) -> Values:
        own: dict[str, Any] = {}
        nvml, device = self._nvml, self._device(index)
        if device is None:
            return {}

        def ask(name: str, *arguments: Any) -> Any:
            return self._ask(index, name, lambda: getattr(nvml, name)(device, *arguments))

        utilization = ask("nvmlDeviceGetUtilizationRates")
        if utilization is not None:
            own |= {"gpu": utilization.gpu, "memory": utilization.memory}
        memory = ask("nvmlDeviceGetMemoryInfo")
        if memory is not None and memory.total:
            own |= {"memoryAllocated": memory.used / memory.total * 100, "memoryAllocatedBytes": memory.used}
        temperature = ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU)
        power_mw = ask("nvmlDeviceGetPowerUsage")
        limit_mw = ask("nvmlDeviceGetEnforcedPowerLimit")
        encoder = ask("nvmlDeviceGetEncoderUtilization")
        link_mbits = ask("nvmlDeviceGetPcieSpeed")
        own |= {
            "temp": temperature,
            "powerWatts": None if power_mw is None else power_mw / 1000,
            "enforcedPowerLimitWatts": None if limit_mw is None else limit_mw / 1000,
            "powerPercent": None if power_mw is None or not limit_mw else power_mw / limit_mw * 100,
            "smClock": ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            "memoryClock": ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            "graphicsClock": ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_GRAPHICS),
            "correctedMemoryErrors": ask(*self._errors(nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED)),
            "uncorrectedMemoryErrors": ask(*self._errors(nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)),
            "fanSpeed": ask("nvmlDeviceGetFanSpeed"),
            "encoderUtilization": None if encoder is None else encoder[0],
            "pcieLinkGen": ask("nvmlDeviceGetCurrPcieLinkGeneration"),
            "pcieLinkSpeed": None if link_mbits is None else link_mbits * _MB,
            "pcieLinkWidth": ask("nvmlDeviceGetCurrPcieLinkWidth"),
            "maxPcieLinkGen": ask("nvmlDeviceGetMaxPcieLinkGeneration"),
            "maxPcieLinkWidth": ask("nvmlDeviceGetMaxPcieLinkWidth"),
        }
        return {name: value for name, value in own.items() if value is not None}

    def _errors(self, kind: int) -> tuple[Any, ...]:
        nvml = self._nvml
        place = nvml.NVML_MEMORY_LOCATION_DEVICE_MEMORY
        return "nvmlDeviceGetMemoryErrorCounter", kind, nvml.NVML_AGGREGATE_ECC, place

    def _ask(self, index: int, name: str, call: Callable[[], Any]) -> Any:
        if (index, name) in self._unsupported:
            return None
        try:
            return call()
        except (self._nvml.NVMLError_NotSupported, AttributeError):  # or a library older than this call
            self._unsupported.add((index, name))
            return None
        except self._nvml.NVMLError:  # this time
            return None

    def _device(self, index: int) -> Any:
        if index not in self._handles:
            try:
                self._handles[index] = self._nvml.nvmlDeviceGetHandleByIndex(index)
            except self._nvml.NVMLError:
                return None  # a GPU that fell off the bus
        return self._handles[index]

    def _is_used_by_us(self, index: int) -> bool:
        device, nvml = self._device(index), self._nvml
        users: set[int] = set()
        for name in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
            found = self._ask(index, name, lambda name=name: getattr(nvml, name)(device))  # type: ignore[misc]
            users |= {process.pid for process in found or ()}
        return any(_comes_from(user, self._pid) for user in sorted(users))


def describe_nvidia() -> dict[str, Any]:
    """`gpu`, `gpu_count`, `gpu_nvidia`, `cudaVersion` of the metadata (META-1); empty without such GPUs."""
    nvml = load_nvml()
    if nvml is None:
        return {}
    try:
        return _described(nvml)
    finally:
        nvml.nvmlShutdown()


def _described(nvml: Any) -> dict[str, Any]:
    def ask(name: str, *arguments: Any) -> Any:
        try:
            found = getattr(nvml, name)(*arguments)
        except (nvml.NVMLError, AttributeError):
            return None
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else found

    gpus = []
    for index in range(ask("nvmlDeviceGetCount") or 0):
        device = ask("nvmlDeviceGetHandleByIndex", index)
        if device is None:
            continue
        memory = ask("nvmlDeviceGetMemoryInfo", device)
        fields = {
            "name": ask("nvmlDeviceGetName", device),
            "memoryTotal": None if memory is None else memory.total,
            "cudaCores": ask("nvmlDeviceGetNumGpuCores", device),
            "architecture": _architecture(nvml, ask("nvmlDeviceGetArchitecture", device)),
            "uuid": ask("nvmlDeviceGetUUID", device),
        }
        gpus.append({name: value for name, value in fields.items() if value is not None})
    if not gpus:
        return {}
    found: dict[str, Any] = {"gpu": gpus[0].get("name"), "gpu_count": len(gpus), "gpu_nvidia": gpus}
    version = ask("nvmlSystemGetCudaDriverVersion")
    if version is not None:
        found["cudaVersion"] = f"{version // 1000}.{version % 1000 // 10}"
    return found


def _architecture(nvml: Any, number: int | None) -> str | None:
    names = {
        getattr(nvml, name): name.removeprefix("NVML_DEVICE_ARCH_").capitalize()
        for name in dir(nvml)
        if name.startswith("NVML_DEVICE_ARCH_")
    }
    return None if number is None else names.get(number)


def _comes_from(pid: int, ancestor: int) -> bool:
    """Whether process `pid` is `ancestor`, or was started by it or its children."""
    if pid == ancestor:
        return True
    import psutil

    for _ in range(_PARENTS_MAX):
        try:
            pid = psutil.Process(pid).ppid()
        except psutil.Error:  # it ended, or is seen from another container
            return False
        if pid in (0, 1) or pid == ancestor:
            return pid == ancestor
    return False
