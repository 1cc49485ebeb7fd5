"""What a working tree holds that its repository does not: patches against HEAD and against what was published (CODE-3).

These ask the `git` command, in the background; nothing of the user's configuration that runs programs is used.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from pathlib import Path
from typing import Final

__all__ = ["BYTES_MAX", "TooLong", "read_diff", "upstream_commit"]

BYTES_MAX: Final = 32 << 20
_TIMEOUT_S: Final = 60.0
_SAFE: Final = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_QUIET: Final = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


class TooLong(Exception):
    """A diff of more than BYTES_MAX."""


def read_diff(root: Path, against: str = "HEAD") -> bytes:
    """The patch from commit `against` to the working tree, staged or not, with what changed inside of submodules.

    Empty: no change, no such commit, or no git. Files that git does not track are not in it. Where the contents of
    binary files make it too long, it only says that they differ.

    Raises:
        TooLong: it is larger than BYTES_MAX all the same.
    """
    flags = ("--no-color", "--no-ext-diff", "--no-textconv", "--submodule=diff")
    try:
        return _git(root, "diff", *flags, "--binary", against, "--") or b""
    except TooLong:
        return _git(root, "diff", *flags, against, "--") or b""


def upstream_commit(root: Path, remote: str) -> str | None:
    """The newest commit below HEAD that is published: where HEAD left the branch that it tracks, else `remote`'s main.

    None: nothing is published, or no git.
    """
    for name in ("@{upstream}", f"refs/remotes/{remote}/HEAD", f"refs/remotes/{remote}/main",
                 f"refs/remotes/{remote}/master"):  # fmt: skip
        base = _git(root, "merge-base", "HEAD", name)
        if base:
            return base.decode().strip()
    return None


def _git(root: Path, *arguments: str) -> bytes | None:
    """What git printed; None when it failed, took too long, or is not installed. Raises TooLong."""
    command = ["git", "-C", str(root), *_SAFE, *arguments]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | _QUIET, close_fds=True,
        )  # fmt: skip
    except OSError:
        return None
    assert process.stdout is not None
    watchdog = threading.Timer(_TIMEOUT_S, process.kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        with process.stdout as printed:
            output = printed.read(BYTES_MAX + 1)
        if len(output) > BYTES_MAX:
            process.kill()
            raise TooLong(f"over {BYTES_MAX >> 20} MiB")
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_TIMEOUT_S)
        watchdog.cancel()
    return output if process.returncode == 0 else None
