"""What a run's metadata consist of (META-1): the program, its repository, the machine. Keys are those of W&B's file."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.sdk.git import find_git_root, read_branch, read_commit, read_setting, without_credentials
from tracker.sdk.notebook_path import notebook_path

if TYPE_CHECKING:
    from tracker.sdk.options import RunOptions

__all__ = ["TOP_KEYS", "ProgramFile", "git_part", "machine_part", "program_file", "program_part"]

TOP_KEYS = (
    "os", "python", "startedAt", "args", "program", "codePath", "codePathLocal", "git", "email", "root", "host",
    "username", "executable", "docker", "colab", "cpu_count", "cpu_count_logical", "gpu", "gpu_count", "disk",
    "memory", "cpu", "gpu_nvidia", "gpu_amd", "apple", "slurm", "cudaVersion", "trainium", "tpu",
)  # fmt: skip

_SECRET = re.compile(r"JWT|TOKEN|SECRET|PASSW|_KEY")


class ProgramFile:
    """The file of the program, where it lies in its repository, and below the current directory."""

    def __init__(self, path: Path) -> None:
        """`path`: absolute, without links."""
        here = Path.cwd()
        self.path = path
        self.git_root = find_git_root(path.parent)
        self.below_here = _below(path, here)
        self.in_repository = _below(path, self.git_root or here) or path.name


def program_file(options: RunOptions) -> ProgramFile | None:
    """None: interactive, or the file is gone. In a notebook: its file, where it is known."""
    named = Path(options.program) if options.program else None
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    notebook = notebook_path(options.notebook_name, os.environ)
    for candidate in (notebook, named, Path(main) if main else None):  # `-m module` names no file, its module does
        if candidate is not None and candidate.is_file():
            return ProgramFile(candidate.resolve())
    return None


def program_part(options: RunOptions, started_us: int, environ: Mapping[str, str]) -> dict[str, Any]:
    """What runs, where, since when, started by whom. Cheap: no process, no library."""
    file = program_file(options)
    notebook = notebook_path(options.notebook_name, environ)
    part = {
        "os": platform.platform(aliased=True),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "startedAt": datetime.fromtimestamp(started_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "args": [str(argument) for argument in sys.argv[1:]],
        "program": str(notebook) if notebook is not None else options.program,
        "codePath": file.in_repository if file is not None else None,
        "codePathLocal": file.below_here if file is not None else None,
        "email": options.email,
        "root": options.root_dir,
        "host": options.host,
        "username": options.username,
        "executable": options.x_executable or sys.executable or None,
        "docker": options.docker,
        "slurm": _slurm(environ),
    }
    return {key: value for key, value in part.items() if value not in (None, "", {}, [])}


def git_part(options: RunOptions) -> dict[str, Any]:
    """`git` (remote without credentials, commit, branch) and `email`; empty without a repository (META-3)."""
    if options.disable_git:
        return {}
    file = program_file(options)
    root = file.git_root if file is not None else find_git_root(Path(options.root_dir).resolve())
    given = {"remote": options.git_remote_url, "commit": options.git_commit}
    if root is None:
        fields: dict[str, str | None] = given
        email = None
    else:
        fields = {
            "remote": given["remote"] or read_setting(root, f"remote.{options.git_remote}", "url"),
            "commit": given["commit"] or read_commit(root),
            "branch": read_branch(root),
        }
        email = options.email or read_setting(root, "user", "email")
    if fields["remote"]:
        fields["remote"] = without_credentials(fields["remote"])
    git = {key: value for key, value in fields.items() if value}
    return ({"git": git} if git else {}) | ({"email": email} if email else {})


def machine_part(options: RunOptions) -> dict[str, Any]:
    """Processors, memory, disks, GPUs and other accelerators. Slow: it may ask drivers and tools."""
    import psutil

    from tracker.sdk.colab import colab_address
    from tracker.sdk.system.amd import describe_amd
    from tracker.sdk.system.apple import describe_apple
    from tracker.sdk.system.nvidia import describe_nvidia
    from tracker.sdk.system.tpu import describe_tpu
    from tracker.sdk.system.trainium import describe_trainium

    cores, threads = psutil.cpu_count(logical=False), psutil.cpu_count(logical=True)
    part: dict[str, Any] = {
        "cpu_count": cores,
        "cpu_count_logical": threads,
        "cpu": {name: number for name, number in (("count", cores), ("countLogical", threads)) if number},
        "memory": {"total": psutil.virtual_memory().total},
        "colab": colab_address(os.environ),
        "disk": {},
    }
    for path in options.x_stats_disk_paths or ():
        try:
            usage = psutil.disk_usage(path)
        except OSError:  # not there
            continue
        part["disk"][path] = {"total": usage.total, "used": usage.used}
    for describe in (describe_trainium, describe_tpu, describe_apple, describe_amd, describe_nvidia):
        part |= describe()
    return {key: value for key, value in part.items() if value not in (None, {})}


def _slurm(environ: Mapping[str, str]) -> dict[str, str]:
    """SLURM's variables: lower-case names without the prefix. Those that grant access are left out."""
    return {
        name.removeprefix("SLURM_").lower(): value
        for name, value in sorted(environ.items())
        if name.startswith("SLURM_") and len(name) > len("SLURM_") and not _SECRET.search(name)
    }


def _below(path: Path, folder: Path) -> str | None:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else None
