"""An S3 emulator in a process of its own (moto), bare or behind a line that delays every request; it counts them.

Run as a program this file is that line: `python object_store.py PORT TARGET_PORT DELAY_S`.
"""

from __future__ import annotations

import asyncio
import collections
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["S3", "s3_emulator"]

_CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
_REQUEST: Final = re.compile(r'"(GET|PUT|POST|HEAD|DELETE) ')


class S3:
    """The running emulator: the variables that lead to it, and how many requests of which kind it has answered."""

    def __init__(self, port: int, log: Path) -> None:
        self.env = _CREDENTIALS | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "TRACKER_BASE_URL": "s3://bench/root",
        }
        self._log = log

    def requests(self) -> collections.Counter[str]:
        return collections.Counter(_REQUEST.findall(self._log.read_text(errors="replace")))


@contextmanager
def s3_emulator(python: Path, work: Path, *, delay_s: float = 0.0) -> Iterator[S3 | None]:
    """An empty bucket `bench`, gone afterwards; None where moto's server is not installed."""
    port, log = _free_port(), work / "moto.log"
    processes = []
    with log.open("wb") as out:
        processes.append(
            subprocess.Popen([str(python), "-m", "moto.server", "-p", str(port)], stdout=out, stderr=out, cwd=work)
        )
        try:
            if not _bucket_made(processes[0], port):
                yield None
                return
            if delay_s:
                front = _free_port()
                line = [sys.executable, __file__, str(front), str(port), str(delay_s)]
                processes.append(subprocess.Popen(line, cwd=work))
                _wait_for(front)
                port = front
            log.write_bytes(b"")
            yield S3(port, log)
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


async def _relay(port: int, target: int, delay_s: float) -> None:
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait_s: float) -> None:
        try:
            while data := await reader.read(1 << 16):
                if wait_s:
                    await asyncio.sleep(wait_s)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(copy(reader, back, delay_s), copy(there, writer, 0.0))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_relay(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
