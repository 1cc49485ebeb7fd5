"""NVML as nvidia-ml-py shows it, for a machine with GPUs that a test describes.

Names, argument orders and units are those of nvidia-ml-py 12.560 (`pynvml.py`) and of NVIDIA's NVML API reference.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """As `pynvml.NVMLError`."""


class NVMLError_NotSupported(NVMLError):
    """As `pynvml.NVMLError_NotSupported`."""


class NVMLError_GpuIsLost(NVMLError):
    """As `pynvml.NVMLError_GpuIsLost`."""


class FakeNvml:
    """`count` GPUs with figures that an H100 could have (made up, not recorded). `calls` counts by function."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLError_NotSupported
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_GRAPHICS, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2
    NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 0, 1
    NVML_AGGREGATE_ECC = 1
    NVML_MEMORY_LOCATION_DEVICE_MEMORY = 2
    NVML_DEVICE_ARCH_AMPERE, NVML_DEVICE_ARCH_HOPPER = 7, 9

    def __init__(self, count: int = 2, processes: dict[int, list[int]] | None = None) -> None:
        self.count, self.processes = count, processes or {}
        self.unsupported: set[str] = set()
        self.lost: set[int] = set()
        self.calls: dict[str, int] = {}
        self.users = 1

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("nvmlDevice"):
            calls = super().__getattribute__("calls")
            calls[name] = calls.get(name, 0) + 1
            if name in super().__getattribute__("unsupported"):
                return _refuse
        return found

    def nvmlInit(self) -> None:
        self.users += 1

    def nvmlShutdown(self) -> None:
        self.users -= 1

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 12040

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index in self.lost:
            raise NVMLError_GpuIsLost("GPU is lost")
        return index

    def nvmlDeviceGetName(self, device: int) -> str:
        return "NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetUUID(self, device: int) -> bytes:
        return f"GPU-0000000{device}".encode()  # older releases answer with bytes

    def nvmlDeviceGetNumGpuCores(self, device: int) -> int:
        return 16896

    def nvmlDeviceGetArchitecture(self, device: int) -> int:
        return self.NVML_DEVICE_ARCH_HOPPER

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:
        return SimpleNamespace(gpu=97, memory=41)

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:
        return SimpleNamespace(total=85_520_809_984, used=21_380_202_496, free=64_140_607_488)

    def nvmlDeviceGetTemperature(self, device: int, sensor: int) -> int:
        return 45

    def nvmlDeviceGetPowerUsage(self, device: int) -> int:
        return 350_000  # milliwatts

    def nvmlDeviceGetEnforcedPowerLimit(self, device: int) -> int:
        return 700_000

    def nvmlDeviceGetClockInfo(self, device: int, clock: int) -> int:
        return {0: 1980, 1: 1975, 2: 2619}[clock]

    def nvmlDeviceGetMemoryErrorCounter(self, device: int, kind: int, counter: int, place: int) -> int:
        assert (counter, place) == (self.NVML_AGGREGATE_ECC, self.NVML_MEMORY_LOCATION_DEVICE_MEMORY)
        return 3 if kind == self.NVML_MEMORY_ERROR_TYPE_CORRECTED else 0

    def nvmlDeviceGetFanSpeed(self, device: int) -> int:
        return 30

    def nvmlDeviceGetEncoderUtilization(self, device: int) -> list[int]:
        return [7, 167_000]  # share, sampling period in microseconds

    def nvmlDeviceGetCurrPcieLinkGeneration(self, device: int) -> int:
        return 5

    def nvmlDeviceGetMaxPcieLinkGeneration(self, device: int) -> int:
        return 5

    def nvmlDeviceGetCurrPcieLinkWidth(self, device: int) -> int:
        return 16

    def nvmlDeviceGetMaxPcieLinkWidth(self, device: int) -> int:
        return 16

    def nvmlDeviceGetPcieSpeed(self, device: int) -> int:
        return 32_000  # megabits per second of a lane

    def nvmlDeviceGetComputeRunningProcesses(self, device: int) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in self.processes.get(device, [])]

    def nvmlDeviceGetGraphicsRunningProcesses(self, device: int) -> list[Any]:
        return []


def _refuse(*arguments: Any) -> Any:
    raise NVMLError_NotSupported("Not Supported")
