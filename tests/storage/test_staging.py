"""Contents that wait beside the log: whole or not there, private copies, each once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tracker.storage.staging import EMPTY_SHA256, Staging


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names(tmp_path: Path) -> list[str]:
    folder = tmp_path / "blobs"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_contents_wait_under_their_hash_once(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    assert staging.waiting() == set()
    (tmp_path / "file").write_bytes(b"hello")
    by_bytes, by_file = staging.add_bytes(b"hello"), staging.add_file(tmp_path / "file")
    assert by_bytes == by_file == (sha256(b"hello"), 5)
    assert names(tmp_path) == [sha256(b"hello")]
    assert staging.waiting() == {sha256(b"hello")}
    assert staging.size_bytes() == 5
    staging.drop(sha256(b"hello"))
    staging.drop(sha256(b"hello"))
    assert names(tmp_path) == []


def test_a_copy_is_private(tmp_path: Path) -> None:
    """What is written to the original afterwards changes nothing."""
    data = os.urandom((3 << 20) + 7)
    (tmp_path / "file").write_bytes(data)
    content = Staging(tmp_path).add_file(tmp_path / "file")
    with open(tmp_path / "file", "r+b") as file:
        file.write(b"changed")
    assert Staging(tmp_path).path(content.sha256).read_bytes() == data
    assert content == (sha256(data), len(data))


def test_empty_contents_need_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    staging = Staging(tmp_path)
    assert staging.add_bytes(b"") == staging.add_file(tmp_path / "file") == (EMPTY_SHA256, 0)
    assert staging.adopt(staging.take(tmp_path / "file")) == (EMPTY_SHA256, 0)
    assert names(tmp_path) == []


def test_what_is_given_away_moves(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    inode = (tmp_path / "file").stat().st_ino
    staging = Staging(tmp_path)
    taken = staging.take(tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert staging.adopt(taken) == (sha256(b"hello"), 5)
    assert staging.path(sha256(b"hello")).stat().st_ino == inode


def test_what_is_given_away_on_another_disk_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if Path(source).parent == tmp_path:
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr("tracker.storage.staging.os.rename", refuse)
    (tmp_path / "file").write_bytes(b"hello")
    staging = Staging(tmp_path)
    assert staging.adopt(staging.take(tmp_path / "file")) == (sha256(b"hello"), 5)
    assert not (tmp_path / "file").exists()


def test_what_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    with pytest.raises(FileNotFoundError):
        staging.add_file(tmp_path / "gone")
    with pytest.raises(IsADirectoryError):
        staging.add_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        staging.take(tmp_path / "gone")
    assert names(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    staging = Staging(tmp_path)
    monkeypatch.setattr("tracker.storage.staging.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        staging.add_bytes(b"hello")
    assert names(tmp_path) == []
