"""The file that gathers a download: found again, had by one at a time, and never the target before it is whole."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracker.storage import part_file
from tracker.storage.part_file import open_part, part_path
from tracker.storage.targets import RefusedTarget

SHA = "ab" * 32


class Stopped(Exception):
    pass


def begin(target: Path, data: bytes) -> None:
    """An attempt that is stopped when it has `data` more."""
    with contextlib.suppress(Stopped), open_part(target, SHA) as part:
        part.append(data)
        raise Stopped


def test_what_was_gathered_is_there_again(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "x"
    begin(target, b"one")
    begin(target, b"two")
    assert os.listdir(target.parent) == [part_path(target, SHA).name]
    with open_part(target, SHA) as part:
        assert (part.size, b"".join(part.pieces())) == (6, b"onetwo")
        part.publish("refuse")
    assert os.listdir(target.parent) == ["x"]
    assert target.read_bytes() == b"onetwo"


def test_nothing_is_left_of_what_never_began(tmp_path: Path) -> None:
    begin(tmp_path / "x", b"")
    assert os.listdir(tmp_path) == []


def test_other_contents_and_other_names_have_files_of_their_own(tmp_path: Path) -> None:
    """Also names that differ only where they are cut off."""
    paths = {part_path(tmp_path / name, sha) for name in ("x" * 254 + "a", "x" * 254 + "b") for sha in (SHA, "cd" * 32)}
    assert len(paths) == 4
    assert max(len(os.fsencode(path.name)) for path in paths) <= 255


def test_whoever_comes_second_gathers_elsewhere_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x"
    with open_part(target, SHA) as first:
        first.append(b"fir")
        with contextlib.suppress(Stopped), open_part(target, SHA) as second:
            assert second.path != first.path
            assert second.size == 0
            second.append(b"sec")
            raise Stopped
        with open_part(target, SHA) as third:
            third.append(b"third")
            third.publish("refuse")
        first.append(b"st")
        first.publish("replace")
    assert target.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["x"]


def test_a_part_that_became_the_target_while_it_was_opened_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process publishes it between our open and our lock."""
    target = tmp_path / "x"
    begin(target, b"whole")
    lock = part_file.fcntl.flock

    def late(fd: int, how: int) -> None:
        monkeypatch.setattr(part_file.fcntl, "flock", lock)
        os.replace(part_path(target, SHA), target)
        lock(fd, how)

    monkeypatch.setattr(part_file.fcntl, "flock", late)
    with open_part(target, SHA) as part:
        assert part.size == 0
        part.append(b"other")
    assert target.read_bytes() == b"whole"


@pytest.mark.parametrize("in_its_place", ["link", "folder"])
def test_what_stands_in_its_place_is_left_alone(tmp_path: Path, in_its_place: str) -> None:
    target, outside = tmp_path / "x", tmp_path / "outside"
    if in_its_place == "link":
        part_path(target, SHA).symlink_to(outside)
    else:
        part_path(target, SHA).mkdir()
    with open_part(target, SHA) as part:
        part.append(b"data")
        part.publish("refuse")
    assert target.read_bytes() == b"data"
    assert not outside.exists()


def test_a_disk_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(part_file.fcntl, "flock", no_locks)
    with open_part(tmp_path / "x", SHA) as part:
        part.append(b"data")
        part.publish("refuse")
    assert (tmp_path / "x").read_bytes() == b"data"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("disk", ["renames", "links", "neither"])
def test_a_target_that_came_meanwhile(tmp_path: Path, disk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a disk cannot in one step is done in the next best way."""

    def refused(number: int) -> Callable[..., bool]:
        def refuse(*_: Any) -> bool:
            raise OSError(number, os.strerror(number))

        return refuse

    if disk != "renames":
        monkeypatch.setattr(part_file, "rename_no_replace", refused(errno.EINVAL))
    if disk == "neither":
        monkeypatch.setattr(part_file.os, "link", refused(errno.EPERM))
    target = tmp_path / "x"

    def gather(existing: part_file.Existing) -> None:
        with open_part(target, SHA) as part:
            part.clear()
            part.append(b"ours")
            part.publish(existing)

    gather("refuse")
    assert target.read_bytes() == b"ours"
    target.write_bytes(b"theirs")
    with pytest.raises(RefusedTarget, match="is there already"):
        gather("refuse")
    gather("keep")
    assert target.read_bytes() == b"theirs"
    gather("replace")
    assert target.read_bytes() == b"ours"
    assert os.listdir(tmp_path) == ["x"]


def test_folders_and_files_that_are_in_the_way_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RefusedTarget, match="folder where a file stands"), open_part(tmp_path / "file" / "x", SHA):
        pytest.fail("opened")
    (tmp_path / "folder").mkdir()
    with open_part(tmp_path / "folder", SHA) as part, pytest.raises(RefusedTarget, match="is a folder"):
        part.publish("replace")
