"""The write-ahead log: what `append` returned from is read back, whatever happened around it."""

import errno
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.storage import wal
from tracker.storage.wal import Damage, WalReader, WalWriter, list_segments


def payloads(directory: Path, *, writer_gone: bool = True) -> dict[int, bytes]:
    items = WalReader(directory).read(bytes_max=1 << 62, writer_gone=writer_gone)
    return {item.seq: bytes(item.payload) for item in items if not isinstance(item, Damage)}


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(0, 5000), max_size=40), segment=st.integers(100, 20_000), step=st.integers(1, 50_000))
def test_every_frame_comes_back_in_order_whatever_the_segment_size(tmp_path_factory, sizes, segment, step):
    directory = tmp_path_factory.mktemp("wal")
    writer = WalWriter(directory, segment_bytes=segment)
    wanted = [os.urandom(size) for size in sizes]
    assert [writer.append(payload) for payload in wanted] == list(range(len(wanted)))
    reader, got = WalReader(directory), []
    while found := list(reader.read(bytes_max=step)):
        got += [bytes(item.payload) for item in found]
    assert got == wanted
    assert reader.next_seq == len(wanted)


def test_a_reader_follows_a_log_that_grows_and_rotates(tmp_path):
    writer, reader = WalWriter(tmp_path, segment_bytes=300), WalReader(tmp_path)
    for seq in range(50):
        writer.append(b"x" * seq)
        assert [item.seq for item in reader.read(bytes_max=1 << 20)] == [seq]
    assert len(list_segments(tmp_path)) > 3


def test_a_frame_longer_than_the_read_buffer_is_read_whole(tmp_path):
    writer = WalWriter(tmp_path)
    big = os.urandom(3 << 20)
    for payload in (b"before", big, b"after"):
        writer.append(payload)
    assert payloads(tmp_path) == {0: b"before", 1: big, 2: b"after"}


def test_a_short_write_is_cut_off_again_and_good_frames_follow(tmp_path, monkeypatch):
    writer = WalWriter(tmp_path)
    writer.append(b"first")
    real = os.write
    monkeypatch.setattr(wal.os, "write", lambda fd, data: real(fd, data[: len(data) // 2]))
    with pytest.raises(OSError, match="short write"):
        writer.append(b"torn" * 100)
    monkeypatch.setattr(wal.os, "write", real)
    assert writer.append(b"second") == 1
    assert payloads(tmp_path) == {0: b"first", 1: b"second"}
    assert [path.stat().st_size for _, path in list_segments(tmp_path)] == [
        wal.HEADER_BYTES + len(b"first"),
        wal.HEADER_BYTES + len(b"second"),
    ], "a full disk ends the segment, so that it can go once it is shipped"


def test_a_full_disk_makes_one_empty_segment_and_not_one_a_call(tmp_path, monkeypatch):
    writer = WalWriter(tmp_path)
    writer.append(b"first")

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(wal.os, "write", full)
        for _ in range(5):
            with pytest.raises(OSError, match="No space"):
                writer.append(b"refused")
    assert [first for first, _ in list_segments(tmp_path)] == [0, 1]
    writer.append(b"second")
    assert payloads(tmp_path) == {0: b"first", 1: b"second"}


def test_a_short_write_that_cannot_be_undone_is_skipped_by_readers(tmp_path, monkeypatch):
    writer = WalWriter(tmp_path)
    writer.append(b"first")
    real = os.write

    def refuse(fd: int, size: int) -> None:
        raise OSError(5, "I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(wal.os, "write", lambda fd, data: real(fd, data[:30]))
        patch.setattr(wal.os, "ftruncate", refuse)
        with pytest.raises(OSError, match="short write"):
            writer.append(b"torn" * 100)
    writer.append(b"second")
    items = list(WalReader(tmp_path).read(bytes_max=1 << 20, writer_gone=True))
    assert [(item.seq, bytes(item.payload)) for item in items] == [(0, b"first"), (1, b"second")]


def test_a_real_file_size_limit_loses_nothing_that_was_acknowledged(tmp_path):
    """The kernel itself writes short at RLIMIT_FSIZE, as it does at a full disk."""
    limit = 10_000  # of one file: the log goes on in another
    code = f"""
        import resource, signal
        from pathlib import Path
        from tracker.storage.wal import WalWriter
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        writer = WalWriter(Path({str(tmp_path)!r}))
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
        kept, refused = 0, 0
        for number in range(200):
            try:
                writer.append(bytes([number]) * 99)
                kept += 1
            except OSError:
                refused += 1
            if number == 150:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(kept, refused)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    kept, refused = map(int, done.stdout.split())
    assert kept + refused == 200
    assert 1 <= refused <= 3
    found = payloads(tmp_path)
    assert len(found) == kept
    assert list(found) == list(range(kept))
    assert found[kept - 1] == bytes([199]) * 99
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize("how", ["flip", "zero", "cut"])
def test_a_damaged_frame_in_the_middle_is_reported_and_what_follows_is_read(tmp_path, how):
    writer = WalWriter(tmp_path, segment_bytes=1 << 20)
    for number in range(10):
        writer.append(b"payload %d" % number)
    path = list_segments(tmp_path)[0][1]
    data = bytearray(path.read_bytes())
    frame = len(data) // 10
    at = 4 * frame
    match how:
        case "flip":
            data[at + wal.HEADER_BYTES + 2] ^= 1
        case "zero":
            data[at : at + 2 * frame] = bytes(2 * frame)
        case "cut":
            del data[at + 5 : at + frame]
    path.write_bytes(data)
    items = list(WalReader(tmp_path).read(bytes_max=1 << 20, writer_gone=True))
    damaged = [item for item in items if isinstance(item, Damage)]
    lost = {4, 5} if how == "zero" else {4}
    assert [(item.first, item.last) for item in damaged] == [(min(lost), max(lost))]
    assert path.name in damaged[0].where
    assert {item.seq for item in items if not isinstance(item, Damage)} == set(range(10)) - lost


def test_damage_at_the_end_of_a_rotated_segment_is_reported_too(tmp_path):
    writer = WalWriter(tmp_path, segment_bytes=100)
    for number in range(6):
        writer.append(b"x" * 40 + bytes([number]))
    first = list_segments(tmp_path)[0][1]
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    items = list(WalReader(tmp_path).read(bytes_max=1 << 20, writer_gone=True))
    assert [item.seq if not isinstance(item, Damage) else (item.first, item.last) for item in items] == [
        0, (1, 1), 2, 3, 4, 5,
    ]  # fmt: skip


def test_a_torn_tail_waits_for_its_rest_while_the_writer_lives(tmp_path):
    writer = WalWriter(tmp_path)
    writer.append(b"whole")
    path = list_segments(tmp_path)[0][1]
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:10])
    reader = WalReader(tmp_path)
    assert [item.seq for item in reader.read(bytes_max=1 << 20)] == [0]
    assert list(reader.read(bytes_max=1 << 20)) == []
    path.write_bytes(whole)
    writer.append(b"more")
    assert [item.seq for item in reader.read(bytes_max=1 << 20)] == [1]


def test_an_exception_between_write_and_count_neither_loses_nor_doubles_a_frame(tmp_path, monkeypatch):
    """KeyboardInterrupt can strike between any two instructions; the file knows how far the frame came."""
    writer = WalWriter(tmp_path)
    real = os.write

    def interrupted(fd: int, data: bytes) -> int:
        real(fd, data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(wal.os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.append(b"in the kernel")
    assert writer.append(b"next") == 1
    assert payloads(tmp_path) == {0: b"in the kernel", 1: b"next"}
