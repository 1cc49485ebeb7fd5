"""An S3 emulator in a process of its own (moto), bare or behind a line that delays every request and counts bytes.

Run as a program this file is that line: `python object_store.py PORT TARGET_PORT DELAY_S COUNTS_FILE`.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["S3", "Traffic", "s3_emulator"]

_CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
_REQUEST: Final = re.compile(r'"(GET|PUT|POST|HEAD|DELETE) (\S+)')
_IS_LIST: Final = re.compile(r"[?&]list-type=2")
_COUNT_EVERY_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Traffic:
    """What clients asked of the emulator. Bytes, headers too, are known only behind the delaying line."""

    requests: collections.Counter[str]
    sent_bytes: int
    received_bytes: int

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(
            self.requests - before.requests,
            self.sent_bytes - before.sent_bytes,
            self.received_bytes - before.received_bytes,
        )

    def kinds(self) -> str:
        """For a note: `3 GET, 2 LIST`."""
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.requests.items())) or "no request"


class S3:
    """The running emulator: the variables that lead to it, and what it was asked for."""

    def __init__(self, port: int, bare_port: int, log: Path, counts: Path) -> None:
        """`port` leads to it by the line, where there is one; `bare_port` directly."""
        self.env, self.bare_env = (
            _CREDENTIALS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{one}", "TRACKER_BASE_URL": "s3://bench/root"}
            for one in (port, bare_port)
        )
        self._log, self._counts = log, counts

    def requests(self) -> collections.Counter[str]:
        """Requests by kind; LIST is a GET of the bucket."""
        found = _REQUEST.findall(self._log.read_text(errors="replace"))
        return collections.Counter("LIST" if _IS_LIST.search(query) else kind for kind, query in found)

    def traffic(self) -> Traffic:
        time.sleep(2 * _COUNT_EVERY_S)  # the line writes its counts down that often
        sent, received = json.loads(self._counts.read_text()) if self._counts.exists() else (0, 0)
        return Traffic(self.requests(), sent, received)


@contextmanager
def s3_emulator(python: Path, work: Path, *, delay_s: float = 0.0) -> Iterator[S3 | None]:
    """An empty bucket `bench`, gone afterwards; None where moto's server is not installed."""
    port, log, counts = _free_port(), work / "moto.log", work / "counts.json"
    processes = []
    with log.open("wb") as out:
        processes.append(
            subprocess.Popen([str(python), "-m", "moto.server", "-p", str(port)], stdout=out, stderr=out, cwd=work)
        )
        try:
            if not _bucket_made(processes[0], port):
                yield None
                return
            bare = port
            if delay_s:
                front = _free_port()
                line = [sys.executable, __file__, str(front), str(port), str(delay_s), str(counts)]
                processes.append(subprocess.Popen(line, cwd=work))
                _wait_for(front)
                port = front
            log.write_bytes(b"")
            yield S3(port, bare, log, counts)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(10)


def _bucket_made(server: subprocess.Popen[bytes], port: int) -> bool:
    for _ in range(300):
        if server.poll() is not None:
            return False
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/bench", method="PUT")
            urllib.request.urlopen(request, timeout=10).close()
            return True
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the delaying line did not come up")


async def _relay(port: int, target: int, delay_s: float, counts: Path) -> None:
    passed = [0, 0]  # bytes towards the target, and back

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        begins = [True]  # whether what the client sends next begins a request

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: int) -> None:
            try:
                while data := await source.read(1 << 16):
                    passed[way] += len(data)
                    if way == 0 and begins[0]:
                        begins[0] = False
                        await asyncio.sleep(delay_s)
                    elif way == 1:
                        begins[0] = True
                    sink.write(data)
                    await sink.drain()
            except ConnectionError:
                pass
            finally:
                sink.close()

        await asyncio.gather(copy(reader, back, 0), copy(there, writer, 1))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        while True:
            await asyncio.sleep(_COUNT_EVERY_S)
            temporary = counts.with_suffix(".new")
            temporary.write_text(json.dumps(passed))
            os.replace(temporary, counts)


if __name__ == "__main__":
    asyncio.run(_relay(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])))
