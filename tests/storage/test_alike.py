"""Frames taken as a matrix give what they give one by one, whatever is logged and whatever happened to the log."""

import os
import random
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.storage.alike import count_alike, decode_alike
from tracker.storage.columns import EventBuilder
from tracker.storage.crc_blocks import payloads_match
from tracker.storage.frames import RowMark, decode_frame, encode_frame, pack_value
from tracker.storage.wal import HEADER_BYTES, Damage, FrameBlock, WalReader, WalWriter

T0 = 1_790_000_000_000_000
numbers = st.one_of(
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(
        [0, 127, 128, 255, 256, 65535, 65536, 2**32, -1, -32, -33, -129, -(2**31) - 1, 2**63, float("inf")]
    ),
    st.text(max_size=3),
)
layouts = st.lists(st.text(min_size=1, max_size=40), min_size=0, max_size=20, unique=True)


def log_frame(row, step, cells, *, closes=True, hlc=None, mark_step=None):
    stamp = T0 + row if hlc is None else hlc
    marks = [RowMark(row, step if mark_step is None else mark_step, stamp - 5, row / 7)] if closes else []
    return encode_frame(("h", stamp, stamp - 5, row, step, {k: pack_value(v) for k, v in cells.items()}, marks))


def as_rows(builder):
    return sorted(builder.table().to_pylist(), key=repr)


def one_by_one(payloads, first=0):
    builder = EventBuilder()
    for seq, payload in enumerate(payloads, first):
        builder.add(seq, decode_frame(payload))
    return as_rows(builder)


def as_blocks(directory, *, bytes_max=1 << 62):
    """(events, frames taken as a matrix) of everything in the log."""
    builder, alike, reader = EventBuilder(), 0, WalReader(directory)
    while items := list(reader.read_blocks(count_alike, bytes_max=bytes_max)):
        for item in items:
            assert not isinstance(item, Damage)
            block = item if isinstance(item, FrameBlock) else FrameBlock(item.seq, 1, item.raw)
            done = 0
            while done < block.count:
                rows = decode_alike(block, done)
                if rows is None:
                    builder.add(block.seq + done, decode_frame(block.frame(done).payload))
                    done += 1
                else:
                    builder.add_alike(block.seq + done, rows)
                    done += rows.count
                    alike += rows.count
    return as_rows(builder), alike


@settings(deadline=None, max_examples=60)
@given(
    groups=st.lists(
        st.tuples(layouts, st.lists(numbers, min_size=20, max_size=20), st.integers(1, 30), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    start=st.sampled_from([0, 120, 250, 65530, 2**32 - 5]),
    bytes_max=st.sampled_from([700, 5000, 1 << 40]),
)
def test_blocks_and_single_frames_give_the_same_events(tmp_path_factory, groups, start, bytes_max):
    directory = tmp_path_factory.mktemp("wal")
    writer, payloads, row = WalWriter(directory, segment_bytes=4000), [], start
    chance = random.Random(start)
    for keys, values, count, varies in groups:
        for _ in range(count):
            told = values if not varies else [chance.random() if type(v) is float else v for v in values]
            payloads.append(log_frame(row, row - 3, dict(zip(keys, told, strict=False))))
            row += 1
    for payload in payloads:
        writer.append(payload)
    assert as_blocks(directory, bytes_max=bytes_max)[0] == one_by_one(payloads)


def test_a_training_loop_is_taken_as_a_matrix(tmp_path):
    writer = WalWriter(tmp_path)
    payloads = [log_frame(row, row, {"loss": row / 3, "ok": True, "n": 1000 + row % 50}) for row in range(2000)]
    for payload in payloads:
        writer.append(payload)
    events, alike = as_blocks(tmp_path)
    assert events == one_by_one(payloads)
    assert alike > 1800  # the first 128 have shorter row numbers


@pytest.mark.parametrize(
    "odd",
    [
        lambda row: log_frame(row, row, {"a": 0.5}, closes=False),
        lambda row: log_frame(row, row, {"a": 0.5}, mark_step=row - 1),
        lambda row: log_frame(row, row, {"a": 2**63 + row}),
        lambda row: log_frame(row, row, {"a": 0.5}, hlc=2**63 + row),
        lambda row: log_frame(row, row, {"a": "text"}),
        lambda row: log_frame(row, row, {"a": [1, 2]}),
        lambda row: encode_frame(("p", T0 + row, T0, "system", {"a": 0.5})),
    ],
)
def test_what_is_no_plain_row_of_numbers_is_left_to_the_general_way(odd):
    payloads = [odd(row) for row in range(1000, 1100)]
    raw = b"".join(bytes(HEADER_BYTES) + payload for payload in payloads)
    assert decode_alike(FrameBlock(0, len(payloads), memoryview(raw))) is None


def test_a_damaged_frame_is_found_and_its_neighbours_are_kept(tmp_path):
    writer = WalWriter(tmp_path)
    for row in range(1000, 1500):
        writer.append(log_frame(row, row, {"loss": row / 3}))
    path = next(tmp_path.glob("wal-*.log"))
    data = bytearray(path.read_bytes())
    size = len(data) // 500
    data[size * 200 + HEADER_BYTES + 30] ^= 4
    path.write_bytes(data)
    items = list(WalReader(tmp_path).read_blocks(count_alike, bytes_max=1 << 40))
    assert next(item for item in items if isinstance(item, Damage)).first == 200
    seen = sum(item.count if isinstance(item, FrameBlock) else 1 for item in items if not isinstance(item, Damage))
    assert seen == 499


@given(count=st.integers(1, 40), length=st.integers(0, 30), first=st.integers(0, 2**32 - 50))
def test_one_checksum_speaks_for_all_payloads(count, length, first):
    payloads = np.frombuffer(os.urandom(count * length), np.uint8).reshape(count, length)
    starts = np.arange(first, first + count, dtype=np.uint32)
    stored = [zlib.crc32(payload.tobytes(), int(start)) for payload, start in zip(payloads, starts, strict=True)]
    assert payloads_match(payloads, starts, np.array(stored, np.uint32))
    wrong = np.array(stored, np.uint32)
    wrong[count // 2] ^= 1
    assert not payloads_match(payloads, starts, wrong)


@given(at=st.integers(0, 99), bit=st.integers(0, 7))
def test_one_flipped_bit_in_any_payload_is_seen(at, bit):
    payloads = np.frombuffer(os.urandom(1300), np.uint8).reshape(13, 100).copy()
    starts = np.arange(13, dtype=np.uint32)
    stored = np.array([zlib.crc32(p.tobytes(), n) for n, p in enumerate(payloads)], np.uint32)
    payloads[at % 13, at] ^= 1 << bit
    assert not payloads_match(payloads, starts, stored)
