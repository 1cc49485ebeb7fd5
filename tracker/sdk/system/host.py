"""The process, its memory, disks and network, by psutil (SYS-3)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from tracker.sdk.system.source import Values

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DiskSource", "NetworkSource", "ProcessSource"]

_MIB: Final = 1024**2
_GIB: Final = 1024**3


class ProcessSource:
    """CPU and memory of process `pid`, beside the memory of the machine."""

    def __init__(self, psutil: Any, pid: int) -> None:
        """The first `read` tells the CPU share since this moment."""
        self._psutil = psutil
        self._process = psutil.Process(pid)
        self._processors = psutil.cpu_count(logical=True) or 1
        self._process.cpu_percent(interval=None)

    def read(self) -> Values:
        """`cpu`: % of all processors; `...MB`: MiB; `memory_percent`: of the machine; a process that ended has none."""
        memory = self._psutil.virtual_memory()
        values: Values = {"memory_percent": memory.percent, "proc.memory.availableMB": memory.available / _MIB}
        with contextlib.suppress(self._psutil.Error), self._process.oneshot():  # it ended, or is somebody else's
            resident = self._process.memory_info().rss
            values |= {
                "cpu": self._process.cpu_percent(interval=None) / self._processors,
                "proc.cpu.threads": self._process.num_threads(),
                "proc.memory.rssMB": resident / _MIB,
                "proc.memory.percent": resident / memory.total * 100,
            }
        return values

    def close(self) -> None:
        """Nothing is held open."""


class DiskSource:
    """Space on the file systems that hold `paths`, and what all disks of the machine read and wrote."""

    def __init__(self, psutil: Any, paths: Sequence[str]) -> None:
        self._psutil, self._paths = psutil, tuple(paths)
        self._begin = self._counters()

    def read(self) -> Values:
        """`usageGB`: GiB; `disk.in`, `disk.out`: MiB read and written since the start."""
        values: Values = {}
        for path in self._paths:
            try:
                usage = self._psutil.disk_usage(path)
            except OSError:
                continue  # not there, or not mounted any more
            values |= {f"disk.{path}.usagePercent": usage.percent, f"disk.{path}.usageGB": usage.used / _GIB}
        now = self._counters()
        if now is not None and self._begin is not None:
            values["disk.in"] = (now.read_bytes - self._begin.read_bytes) / _MIB
            values["disk.out"] = (now.write_bytes - self._begin.write_bytes) / _MIB
        return values

    def close(self) -> None:
        """Nothing is held open."""

    def _counters(self) -> Any:
        try:
            return self._psutil.disk_io_counters()
        except (OSError, RuntimeError, NotImplementedError, ValueError):
            return None  # some containers hide them


class NetworkSource:
    """What all network interfaces of the machine sent and received."""

    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil
        self._begin = psutil.net_io_counters()

    def read(self) -> Values:
        """Bytes since the start."""
        now = self._psutil.net_io_counters()
        if now is None or self._begin is None:
            return {}
        return {
            "network.sent": now.bytes_sent - self._begin.bytes_sent,
            "network.recv": now.bytes_recv - self._begin.bytes_recv,
        }

    def close(self) -> None:
        """Nothing is held open."""
