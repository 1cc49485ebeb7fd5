"""Contents on their way to S3 and GCS: what they cost, what lost replies and failing pieces do, how much memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from emulator.servers import FaultyStore

from tracker.storage import remote_pieces, remote_store
from tracker.storage.contents import fetch_key, pieces_of
from tracker.storage.errors import StorageUnavailable
from tracker.storage.names import blob_key
from tracker.storage.remote_pieces import PIECE_BYTES, piece_bytes
from tracker.storage.stores import open_store

SMALLER_BYTES = 5 << 20  # pieces in these tests: S3 takes none below
LARGE = 2 * SMALLER_BYTES + 5
PIECE = "partNumber=2|upload_id="


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_store, "_BACKOFF_S", 0.005)


@pytest.fixture
def smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (remote_pieces, remote_store):
        monkeypatch.setattr(module, "PIECE_BYTES", SMALLER_BYTES)


def written(path: Path, size: int) -> bytes:
    data = os.urandom(size)
    path.write_bytes(data)
    return data


def key_of(data: bytes) -> str:
    import hashlib

    return blob_key("e", "p", hashlib.sha256(data).hexdigest())


def test_what_contents_cost(faulty_store: FaultyStore, tmp_path: Path) -> None:
    """A small one is one request; a larger one asks first, and is not sent again while it is fresh."""
    store, proxy, path = open_store(faulty_store.url), faulty_store.proxy, tmp_path / "a"
    put, ask = faulty_store.put_method, "HEAD" if faulty_store.put_method == "PUT" else "GET"
    small = written(path, 1000)
    for _ in range(2):
        proxy.set_faults()
        store.put_contents([(key_of(small), path)])
        assert proxy.count() == {put: 1}
    middle = written(path, 100_000)
    proxy.set_faults()
    store.put_contents([(key_of(middle), path)])
    assert proxy.count() == {ask: 1, put: 1}
    proxy.set_faults()
    store.put_contents([(key_of(middle), path)])
    assert proxy.count() == {ask: 1}


def test_old_contents_are_sent_again(
    faulty_store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a vacuum leaves alone what is about to be named."""
    store, proxy, path = open_store(faulty_store.url), faulty_store.proxy, tmp_path / "a"
    data = written(path, 100_000)
    store.put_contents([(key_of(data), path)])
    now_us = remote_store.wall_us()
    monkeypatch.setattr(remote_store, "wall_us", lambda: now_us + 25 * 3600 * 1_000_000)
    proxy.set_faults()
    store.put_contents([(key_of(data), path)])
    assert proxy.count()[faulty_store.put_method] == 1


@pytest.mark.usefixtures("smaller_pieces")
@pytest.mark.parametrize("mode", ["err_before", "err_after", "drop_after"])
def test_a_failing_piece_is_sent_again_by_itself(faulty_store: FaultyStore, tmp_path: Path, mode: str) -> None:
    """A large file is not begun anew for one of them."""
    store, proxy, path = open_store(faulty_store.url), faulty_store.proxy, tmp_path / "a"
    data = written(path, LARGE)
    method = faulty_store.put_method
    proxy.set_faults({"mode": mode, "status": 503, "method": method, "match": PIECE, "times": 1})
    store.put_contents([(key_of(data), path)])
    count = proxy.count()
    target = tmp_path / "b"
    fetch_key(store, key_of(data), target)
    assert target.read_bytes() == data
    assert count["PUT"] + count["POST"] <= 3 + 2 + 1


@pytest.mark.usefixtures("smaller_pieces")
def test_a_lost_reply_to_the_last_request_is_no_failure(s3_faults: FaultyStore, tmp_path: Path) -> None:
    """S3 then says that it knows no such upload; but the object is there."""
    store, path = open_store(s3_faults.url), tmp_path / "a"
    data = written(path, LARGE)
    s3_faults.proxy.set_faults({"mode": "drop_after", "method": "POST", "match": "uploadId=", "times": 1})
    store.put_contents([(key_of(data), path)])
    assert b"".join(pieces_of(store, key_of(data))) == data


@pytest.mark.usefixtures("smaller_pieces")
def test_a_failed_upload_leaves_no_object(faulty_store: FaultyStore, tmp_path: Path) -> None:
    store, proxy, path = open_store(faulty_store.url), faulty_store.proxy, tmp_path / "a"
    data = written(path, LARGE)
    proxy.set_faults({"mode": "err_before", "status": 503, "method": faulty_store.put_method, "match": PIECE})
    with pytest.raises(StorageUnavailable):
        store.put_contents([(key_of(data), path)])
    proxy.set_faults()
    assert store.list("") == []
    store.put_contents([(key_of(data), path)])
    assert [info.size_bytes for info in store.list("")] == [LARGE]


def test_pieces_are_few_enough_and_large_enough() -> None:
    assert piece_bytes(1) == PIECE_BYTES
    assert piece_bytes(100 << 30) == PIECE_BYTES
    for size in (5 << 30, 200 << 30, 5 << 40):
        length = piece_bytes(size)
        assert length % (256 << 10) == 0
        assert -(-size // length) <= 10_000


_UPLOAD = """
import resource, sys
from pathlib import Path
from tracker.storage.stores import open_store
store = open_store(sys.argv[1])
store.put_if_absent("warm", b"x")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.put_contents([("e/p/blobs/00/00", Path(sys.argv[2]))])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.slow
def test_a_large_file_is_never_whole_in_memory(s3_url: str, tmp_path: Path) -> None:
    """160 MiB go in pieces of 16, three at a time."""
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(160 << 20)
    done = subprocess.run(
        [sys.executable, "-c", _UPLOAD, s3_url, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 120
