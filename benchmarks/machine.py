"""What the machine was doing meanwhile: memory of a process tree, and how busy others kept the processors."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

__all__ = ["OtherLoad", "children_peak_mb", "own_peak_mb", "own_rss_mb", "tree_size"]

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def own_peak_mb() -> float:
    """Peak resident memory of this process since it was executed, in 10^6 bytes."""
    return _status(Path("/proc/self/status"), "VmHWM") if sys.platform == "linux" else _rusage_peak_mb()


def own_rss_mb() -> float:
    """Resident memory of this process now, in 10^6 bytes."""
    return _status(Path("/proc/self/status"), "VmRSS") if sys.platform == "linux" else _rusage_peak_mb()


def children_peak_mb() -> float:
    """Peak resident memory of the processes below this one that still live, summed, in 10^6 bytes (0 where unknown)."""
    if sys.platform != "linux":
        return 0.0
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it ended while we were looking
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    total, todo = 0.0, list(parents.get(os.getpid(), []))
    while todo:
        pid = todo.pop()
        todo.extend(parents.get(pid, []))
        try:
            total += _status(Path(f"/proc/{pid}/status"), "VmHWM")
        except (OSError, LookupError):
            continue
    return total


def tree_size(folder: Path) -> tuple[int, int]:
    """Bytes and number of the regular files below `folder` (0, 0 where it does not exist)."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files), len(files)


class OtherLoad:
    """The share of all processors that other processes used between `__init__` and `share`: 0.0 is a quiet machine."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._busy = _busy_s()
        self._own = _own_s()

    def share(self) -> float:
        wall = time.perf_counter() - self._wall
        others = (_busy_s() - self._busy) - (_own_s() - self._own)
        return max(0.0, others / (wall * (os.cpu_count() or 1))) if wall else 0.0


def _busy_s() -> float:
    try:
        user, nice, system, _idle, _wait, irq, soft, *_ = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        )
    except OSError:
        return 0.0
    return (user + nice + system + irq + soft) / _TICKS


def _own_s() -> float:
    times = os.times()  # children count once they were waited for
    return times.user + times.system + times.children_user + times.children_system


def _status(path: Path, field: str) -> float:
    for line in path.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(f"{path} has no {field}")


def _rusage_peak_mb() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
