"""Downloads from S3 and GCS while replies fail, stop halfway, or whoever downloads is killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from emulator.servers import FaultyStore

from tracker.storage import read_ahead, remote_store
from tracker.storage.downloads import Download, download, download_all
from tracker.storage.errors import StorageUnavailable
from tracker.storage.names import blob_key
from tracker.storage.part_file import part_path
from tracker.storage.stores import open_store

PIECE = 64 << 10
PIECES = 12


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(remote_store, "_BACKOFF_S", 0.005)


def kept(faulty: FaultyStore, target: Path, size: int = PIECE * PIECES - 7) -> tuple[Download, bytes]:
    """An object, and what downloads it."""
    data = os.urandom(size)
    sha256 = hashlib.sha256(data).hexdigest()
    key = blob_key("e", "p", sha256)
    open_store(faulty.url).put_if_absent(key, data)
    faulty.proxy.set_faults()
    return Download(target=target, sha256=sha256, size=size, key=key), data


def test_a_small_file_is_one_request_and_a_large_one_a_request_a_piece(
    faulty_store: FaultyStore, tmp_path: Path
) -> None:
    store = open_store(faulty_store.url)
    for size, requests in ((10, 1), (PIECE, 1), (PIECE * 3, 3)):
        wanted, data = kept(faulty_store, tmp_path / str(size), size)
        download(store, wanted, "refuse")
        assert wanted.target.read_bytes() == data
        assert faulty_store.proxy.count() == {"GET": requests}


@pytest.mark.parametrize("mode", ["err_before", "drop_before", "truncate"])
def test_replies_that_fail_now_and_then_are_asked_for_again(
    faulty_store: FaultyStore, tmp_path: Path, mode: str
) -> None:
    wanted, data = kept(faulty_store, tmp_path / "x")
    faulty_store.proxy.set_faults({"mode": mode, "status": 503, "method": "GET", "times": 3})
    download(open_store(faulty_store.url), wanted, "refuse")
    assert wanted.target.read_bytes() == data


def test_what_was_stopped_by_the_network_goes_on(faulty_store: FaultyStore, tmp_path: Path) -> None:
    """The second attempt asks only for what the first lacks."""
    wanted, data = kept(faulty_store, tmp_path / "x")
    delayed = {"mode": "delay", "delay_s": 0.0, "method": "GET", "times": PIECES // 2}
    faulty_store.proxy.set_faults(delayed, {"mode": "err_before", "status": 503, "method": "GET"})
    with pytest.raises(StorageUnavailable):
        download(open_store(faulty_store.url), wanted, "refuse")
    gathered = part_path(wanted.target, wanted.sha256).stat().st_size
    assert gathered >= PIECE
    assert not wanted.target.exists()
    faulty_store.proxy.set_faults()
    download(open_store(faulty_store.url), wanted, "refuse")
    assert wanted.target.read_bytes() == data
    assert faulty_store.proxy.count()["GET"] == PIECES - gathered // PIECE


_DOWNLOAD = """
import sys
from pathlib import Path
from tracker.storage import read_ahead
from tracker.storage.downloads import Download, download_all
from tracker.storage.stores import open_store
url, piece, *rows = sys.argv[1:]
read_ahead.PIECE_BYTES = int(piece)
wanted = [Download(target=Path(t), sha256=s, size=int(n), key=k) for t, s, n, k in (row.split("|") for row in rows)]
download_all(open_store(url), wanted, "keep", workers=2)
"""


def test_a_killed_download_goes_on_where_it_stopped(faulty_store: FaultyStore, tmp_path: Path) -> None:
    """SIGKILL in the middle: no target is there that is not whole, and little is asked for twice."""
    both = [kept(faulty_store, tmp_path / name) for name in ("one", "two")]
    faulty_store.proxy.set_faults({"mode": "delay", "delay_s": 0.15, "method": "GET"})
    rows = [f"{one.target}|{one.sha256}|{one.size}|{one.key}" for one, _ in both]
    child = subprocess.Popen([sys.executable, "-c", _DOWNLOAD, faulty_store.url, str(PIECE), *rows])
    parts = [part_path(one.target, one.sha256) for one, _ in both]
    deadline_s = time.monotonic() + 60
    while not all(part.exists() and part.stat().st_size >= 2 * PIECE for part in parts):
        assert child.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not any(one.target.exists() for one, _ in both)
    gathered = sum(part.stat().st_size for part in parts)
    time.sleep(0.5)  # until the proxy is done with what the child had asked for
    faulty_store.proxy.set_faults()
    download_all(open_store(faulty_store.url), [one for one, _ in both], "refuse")
    assert [one.target.read_bytes() for one, _ in both] == [data for _, data in both]
    assert faulty_store.proxy.count()["GET"] <= 2 * PIECES - gathered // PIECE + 1
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


_LARGE = """
import resource, sys
from pathlib import Path
from tracker.storage.downloads import Download, download
from tracker.storage.stores import open_store
url, target, sha256, size, key = sys.argv[1:]
store = open_store(url)
store.list("none/")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
download(store, Download(target=Path(target), sha256=sha256, size=int(size), key=key), "refuse")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.slow
def test_a_large_file_is_never_whole_in_memory_on_its_way_back(s3_url: str, tmp_path: Path) -> None:
    """300 MiB come in pieces of 16, three at a time."""
    source, size = tmp_path / "large", 300 << 20
    with open(source, "wb") as file:
        file.truncate(size)
    found = hashlib.sha256()
    for _ in range(300):
        found.update(bytes(1 << 20))
    key = blob_key("e", "p", found.hexdigest())
    open_store(s3_url).put_contents([(key, source)])
    arguments = [s3_url, str(tmp_path / "out"), found.hexdigest(), str(size), key]
    done = subprocess.run([sys.executable, "-c", _LARGE, *arguments], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150
    assert (tmp_path / "out").stat().st_size == size
