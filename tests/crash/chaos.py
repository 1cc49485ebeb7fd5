"""Many writers, readers and compactors as processes, killed and stopped at random; then nothing may be missing."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from chaos_reader import read_rows
from chaos_writer import text_of

from tracker.storage.spool import find_spool_dirs
from tracker.storage.sync import sync_dir

__all__ = ["Chaos", "sync_until_clean"]

HERE = Path(__file__).parent


@dataclass
class Chaos:
    """`slots` writers at any time; whoever dies is replaced until `sessions` have begun."""

    work: Path
    url: str
    seed: int
    slots: int
    sessions: int
    rows: int = 400  # of a session that nobody kills
    readers: int = 1
    compactors: int = 1
    kill_every_s: float = 0.5
    kills: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def run(self, limit_s: float) -> None:
        """Until every session has ended, at most `limit_s` seconds; then the rest is killed."""
        chosen = random.Random(self.seed)
        deadline = time.monotonic() + limit_s
        self.work.mkdir(exist_ok=True)
        helpers = [self._start("chaos_reader.py", self.url) for _ in range(self.readers)]
        helpers += [self._start("chaos_compactor.py", self.url) for _ in range(self.compactors)]
        writers: list[subprocess.Popen[bytes]] = []
        begun = 0
        next_kill = time.monotonic() + 2.0
        try:
            while time.monotonic() < deadline and (begun < self.sessions or writers):
                writers = [process for process in writers if process.poll() is None]
                while len(writers) < self.slots and begun < self.sessions:
                    writers.append(self._writer(begun))
                    begun += 1
                if writers and time.monotonic() >= next_kill:
                    self._hurt(chosen, chosen.choice(writers))
                    next_kill = time.monotonic() + chosen.uniform(0.2, 1.8) * self.kill_every_s
                time.sleep(0.02)
            assert begun == self.sessions, f"only {begun} of {self.sessions} sessions began within {limit_s} s"
        finally:
            for process in writers:
                process.kill()
                process.wait()
            self._end(helpers)

    def check(self) -> int:
        """Rows in all, after every acknowledged one was found with the value that was logged. Call after sync."""
        found = read_rows(self.url)
        acknowledged = {
            path.name: struct.unpack("<q", path.read_bytes())[0] for path in (self.work / "acknowledged").iterdir()
        }
        assert set(found) <= set(acknowledged)
        for writer, count in acknowledged.items():
            rows = found.get(writer, [])
            wanted = [(number, number / 7, text_of(writer, number)) for number in range(len(rows))]
            assert rows == wanted, f"writer {writer}: rows missing, twice or wrong"
            assert count <= len(rows) <= count + 1, f"writer {writer}: {count} acknowledged, {len(rows)} found"
        return sum(map(len, found.values()))

    def _writer(self, number: int) -> subprocess.Popen[bytes]:
        run = f"run-{number % max(3, self.slots // 4)}"
        return subprocess.Popen(
            [sys.executable, str(HERE / "chaos_writer.py"), str(self.work), self.url, run,
             str(self.seed * 1000 + number), str(self.rows)],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def _hurt(self, chosen: random.Random, process: subprocess.Popen[bytes]) -> None:
        what = chosen.choices(["SIGKILL", "SIGTERM", "SIGSTOP"], [5, 3, 2])[0]
        self.kills[what] += 1
        if what != "SIGSTOP":
            process.send_signal(getattr(signal, what))
            return
        process.send_signal(signal.SIGSTOP)
        time.sleep(chosen.uniform(0.1, 1.5))
        process.send_signal(signal.SIGCONT)

    def _start(self, script: str, *arguments: str) -> tuple[subprocess.Popen[str], Path]:
        said = Path(tempfile.mkstemp(prefix=f"{script}-", dir=self.work.parent)[1])
        cache = Path(tempfile.mkdtemp(prefix="cache-", dir=self.work.parent))
        with open(said, "w") as out:
            process = subprocess.Popen(
                [sys.executable, str(HERE / script), *arguments],
                stdin=subprocess.PIPE,
                stdout=out,
                text=True,
                env=os.environ | {"TRACKER_CACHE_DIR": str(cache)},
            )
        return process, said

    def _end(self, helpers: list[tuple[subprocess.Popen[str], Path]]) -> None:
        for process, said in helpers:
            assert process.stdin is not None
            process.stdin.close()
            try:
                code = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            lines = [json.loads(line) for line in said.read_text().splitlines() if line.endswith("}")]
            for line in lines:
                for name, value in line.items():
                    self.answers[name] += 1
                    if name == "fault":
                        self.faults.append(value)
                    if name == "refused":
                        self.refusals[value.split(":")[0]] += 1
            if code:
                self.faults.append(f"{said.name} ended with {code}")


def sync_until_clean(work: Path, limit_s: float = 120.0) -> None:
    """A shipping process may outlive its trainer: then sync finds the spool in good hands and comes again."""
    deadline = time.monotonic() + limit_s
    while True:
        report = sync_dir(work) if find_spool_dirs(work) else None
        if report is None or (not report.live and not report.failed):
            return
        assert time.monotonic() < deadline, report
        time.sleep(0.2)
