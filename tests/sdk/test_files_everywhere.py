"""Saved files on a directory, on S3 and on GCS: kept, named, read back; also while the store stutters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from emulator.servers import FaultyStore

import tracker
from tracker.apis.public import Api
from tracker.sdk import files
from tracker.storage import remote_pieces, remote_store
from tracker.storage.fsck import check_project
from tracker.storage.stores import open_store

LARGE = (6 << 20) + 3  # goes beside the log, and in pieces


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are large from 1 MiB on, and pieces are as small as S3 takes them."""
    monkeypatch.setattr(files, "LARGE_BYTES", 1 << 20)
    for module in (remote_pieces, remote_store):
        monkeypatch.setattr(module, "PIECE_BYTES", 5 << 20)


def keep_some(url: str, tmp_path: Path) -> tuple[str, dict[str, bytes]]:
    """A run that keeps files in every way; its path, and its files' contents."""
    contents = {"small.bin": b"small", "large.bin": os.urandom(LARGE), "deep/own.bin": b"own", "empty": b""}
    run = tracker.init(project="p", settings={"base_url": url, "x_flush_min_s": 0.05})
    for name in ("small.bin", "large.bin", "empty"):
        (tmp_path / name).write_bytes(contents[name])
        run.save(name, policy="now" if name == "large.bin" else "live")
    Path(run.dir, "deep").mkdir()
    Path(run.dir, "deep", "own.bin").write_bytes(contents["deep/own.bin"])
    run.log({"media": {"_type": "x-file", **run.recorder.files.stage(b"media", "media/x")}})
    run.finish()
    return run.path, contents


def check(url: str, path: str, contents: dict[str, bytes], tmp_path: Path) -> None:
    stored = Api({"base_url": url}).run(path)
    assert {file.name: file.size for file in stored.files()} == {name: len(data) for name, data in contents.items()}
    for file in stored.files():
        file.download(str(tmp_path / "out")).close()
        assert (tmp_path / "out" / file.name).read_bytes() == contents[file.name]
    assert check_project(open_store(url), "main", "p").findings == []


def test_files_are_kept_and_read_back(store_url: str, tmp_path: Path) -> None:
    """SAVE-2, SAVE-6, FILE-1."""
    path, contents = keep_some(store_url, tmp_path)
    check(store_url, path, contents, tmp_path)
    assert not list(tmp_path.rglob("wal-*")), "nothing waits on the local disk"


@pytest.mark.parametrize("mode", ["err_before", "drop_after"])
def test_a_store_that_stutters_gets_all_files_once(faulty_store: FaultyStore, tmp_path: Path, mode: str) -> None:
    """One request in ten fails, or its reply is lost."""
    faulty_store.proxy.set_faults({"mode": mode, "status": 503, "p": 0.1, "method": faulty_store.put_method})
    path, contents = keep_some(faulty_store.url, tmp_path)
    faulty_store.proxy.set_faults()
    check(faulty_store.url, path, contents, tmp_path)
