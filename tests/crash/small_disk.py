"""Run a script where a directory is a file system of its own: small, and made read-only or writable at will.

In a mount namespace of its own (`unshare -Urm`): nothing of it is seen outside, and it ends with the process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

__all__ = ["run_on_small_disk"]

PRELUDE = """
import os, subprocess, sys, time
import tracker
DISK = {disk!r}
def remount(how):
    subprocess.run(["mount", "-o", "remount," + how, DISK], check=True)
def wait_for(what, limit_s=20.0):
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
"""


def run_on_small_disk(
    disk: Path, size: str, code: str, *, env: dict[str, str], keep: Path
) -> subprocess.CompletedProcess[str]:
    """Run `code` with a tmpfs of `size` at `disk`; what is on it at the end is copied to `keep`.

    `code` may call `remount("ro")`, `remount("rw")`, `remount("size=9m")`, and `wait_for(condition)`.
    """
    _need_namespaces(disk)
    script = disk.parent / "script.py"
    script.write_text(PRELUDE.format(disk=str(disk)) + textwrap.dedent(code))
    line = (
        f'mount -t tmpfs -o size={size} tmpfs "$1" || exit 99; "$2" "$3"; code=$?; '
        f'mount -o remount,rw,size=1g "$1"; cp -a "$1/." "$4"; exit $code'
    )
    return subprocess.run(
        ["unshare", "-Urm", "bash", "-c", line, "bash", str(disk), sys.executable, str(script), str(keep)],
        cwd=disk.parent,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def _need_namespaces(disk: Path) -> None:
    disk.mkdir(exist_ok=True)
    if shutil.which("unshare") is None:
        pytest.skip("unshare (util-linux) is not installed")
    probe = subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"this machine gives no user namespace with mounts: {probe.stderr.strip()}")
