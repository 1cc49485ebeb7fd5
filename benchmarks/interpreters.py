"""The two Pythons: ours, and the virtual environment with the peers; a benchmark runs its children in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import subjects

__all__ = ["Bench", "Failed", "find_peers", "install_peers"]

_HERE: Final = Path(__file__).resolve().parent
_REQUIREMENTS: Final = _HERE / "requirements-peers.txt"
_FOREIGN: Final = ("TRACKER_", "WANDB_", "TRACKIO_", "MLFLOW_", "AWS_", "HF_", "XDG_", "PYTHON")


class Failed(RuntimeError):
    """A child ended badly; the message carries the end of what it printed."""


@dataclass(slots=True)
class Bench:
    """What a benchmark needs from outside: interpreters, folders, and whether to be quick."""

    python: Path
    peers_python: Path | None
    peers: Mapping[str, str]  # name -> version, of those that are installed
    work: Path  # an empty folder on a real disk
    quick: bool = False
    failures: list[str] = field(default_factory=list)

    def folder(self, name: str) -> Path:
        """A new folder for one child and one tracker: with `store` and `local`, both empty, and nothing else."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.work))
        for part in ("store", "local"):
            (folder / part).mkdir()
        return folder

    def call(
        self,
        subject: str,
        module: str,
        function: str,
        *,
        work: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 900.0,
        **params: Any,
    ) -> Any:
        """What `function` of benchmark `module` answered in the interpreter of tracker `subject`.

        None for a peer that is not installed, or that failed (which is noted in `failures`).

        Raises:
            Failed: our own child failed.
        """
        python = self._interpreter(subject)
        if python is None:
            return None
        keep = work is not None
        work = work or self.folder(f"{function}-{subject}")
        params_file, result_file = work / "params.json", work / "result.json"
        params_file.write_text(json.dumps({"subject": subject} | params))
        result_file.unlink(missing_ok=True)
        command = [str(python), str(_HERE / "child.py"), module, function, str(params_file), str(result_file)]
        try:
            done = self._run(command, subject, work, env or {}, timeout_s)
            if done.returncode == 0 and result_file.exists():
                return json.loads(result_file.read_text())
            reason = f"{subject}: {module}.{function} ended with {done.returncode}: {done.stderr[-1500:]}"
        except subprocess.TimeoutExpired:
            reason = f"{subject}: {module}.{function} took over {timeout_s:.0f} s"
        finally:
            if not keep:
                shutil.rmtree(work, ignore_errors=True)
        if subject in subjects.PEERS:
            self.failures.append(reason)
            return None
        raise Failed(reason)

    def wall_s(self, subject: str, code: str) -> float | None:
        """Seconds from start to end of a whole process `python -c code`; None for a peer that is absent or fails."""
        python = self._interpreter(subject)
        if python is None:
            return None
        work = self.folder(f"process-{subject}")
        try:
            began = time.perf_counter()
            done = self._run([str(python), "-c", code], subject, work, {}, 120.0)
            took = time.perf_counter() - began
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if done.returncode == 0:
            return took
        reason = f"{subject}: the process ended with {done.returncode}: {done.stderr[-1500:]}"
        if subject in subjects.PEERS:
            self.failures.append(reason)
            return None
        raise Failed(reason)

    def environment(self, subject: str, work: Path, more: Mapping[str, str]) -> dict[str, str]:
        """This process's variables without any tracker's, with a home of its own and `subject`'s settings."""
        mine = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        return mine | {"HOME": str(work)} | subjects.environment(subject, work) | dict(more)

    def _interpreter(self, subject: str) -> Path | None:
        if subject in subjects.PEERS:
            return self.peers_python if subject in self.peers else None
        return self.python

    def _run(
        self, command: list[str], subject: str, work: Path, more: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=work,  # not the repository: its folders must not shadow installed packages
            env=self.environment(subject, work, more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def install_peers(folder: Path) -> None:
    """Make the virtual environment `folder` and install the pinned peers; what cannot be installed stays absent."""
    python = _python_of(folder)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    if subprocess.run([*pip, "-r", str(_REQUIREMENTS)], check=False).returncode == 0:
        return
    for line in _REQUIREMENTS.read_text().splitlines():  # one that cannot be had must not take the others with it
        requirement = line.partition("#")[0].strip()
        if requirement and subprocess.run([*pip, requirement], check=False).returncode != 0:
            print(f"{requirement} cannot be installed here; it will be absent from the table.", file=sys.stderr)


def find_peers(folder: Path) -> tuple[Path | None, dict[str, str]]:
    """The peers' interpreter and the installed versions by name; (None, {}) where the environment is missing."""
    python = _python_of(folder)
    if not python.exists():
        return None, {}
    script = (
        "import importlib.metadata as m, json\n"
        "d = {x.metadata['Name'].lower(): x.version for x in m.distributions()}\n"
        f"print(json.dumps({{n: d[n] for n in {subjects.PEERS!r} if n in d}}))"
    )
    answer = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout
    versions: dict[str, str] = json.loads(answer)
    return python, versions


def _python_of(folder: Path) -> Path:
    return folder.absolute() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
