"""Every byte of a part, flipped: which flips a check finds, and why the others change no answer.

What stays unseen is in the footer and in page headers, in fields that nobody reads: statistics of single pages, a
number of encodings, where a row group begins, the words of the column order, the root's name, the name of the
program. Or a flip makes a statistic vanish, which costs time. It never changes an event, a name, a range of frames, or
a value that readers leave row groups out by.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_maker import made_run

from tracker.storage.errors import CorruptData, FormatTooNew
from tracker.storage.fsck_parts import look_at_part
from tracker.storage.memory import MemoryStore, forget_memory
from tracker.storage.part_check import check_part
from tracker.storage.schema import SCHEMA

ROWS = [{"loss": 1 / (n + 1), "acc": n, "note": "x", "nan": float("nan")} for n in range(5)]
# what a reader takes from the footer, beside the columns of SCHEMA
TRUSTED = ("num_values", "data_page_offset", "dictionary_page_offset", "total_compressed_size", "compression",
           "physical_type", "path_in_schema")  # fmt: skip


@pytest.fixture(scope="module")
def part() -> Iterator[bytes]:
    store = MemoryStore("flips")
    made_run(store, "r", ROWS, config={"lr": 0.1, "layers": [1, 2]})
    yield store.get(store.list("")[0].key)
    forget_memory("flips")


def flipped(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def what_readers_see(data: bytes) -> dict[str, Any]:
    """Events, our own footer, and all of Parquet's footer by which columns and row groups are found or left out."""
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        metadata = file.metadata
        seen: dict[str, Any] = {
            "events": with_bits(file.read().select(SCHEMA.names).cast(SCHEMA)),
            "ours": check_part(data, "k").footer,
            "rows": [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)],
        }
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                column = metadata.row_group(group).column(number)
                seen[f"{group}/{number}"] = [getattr(column, name) for name in TRUSTED]
                said = column.statistics
                has = said is not None and said.has_min_max
                seen[f"{group}/{number}/range"] = (said.min, said.max, said.min_raw, said.max_raw) if has else None
                seen[f"{group}/{number}/nulls"] = said.null_count if said is not None and said.has_null_count else None
        return seen


def with_bits(events: pa.Table) -> pa.Table:
    """NaN equals NaN where doubles are compared by their bits."""
    bits = events["v"].combine_chunks().view(pa.int64())
    return events.set_column(SCHEMA.get_field_index("v"), "v", bits)


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what readers would see otherwise; a statistic that is gone is no difference, a wrong one is."""
    names = []
    for name, value in before.items():
        now = after.get(name, "missing")
        if name.endswith(("/range", "/nulls")) and now is None:
            continue
        same = value.equals(now) if isinstance(value, pa.Table) else value == now
        if not same:
            names.append(name)
    return names


def undetected(data: bytes, mask: int, places: range) -> list[int]:
    missed = []
    for at in places:
        try:
            look_at_part(flipped(data, at, mask), "main/p/runs/0/r/w/e-x.parquet")
        except (CorruptData, FormatTooNew):
            continue
        missed.append(at)
    return missed


def harmful(data: bytes, mask: int, missed: list[int]) -> list[tuple[int, list[str]]]:
    """Places whose flip a reader could notice although the check did not. Names in our footer are compared with the
    key by `report_parts`, so a footer that names another writer or frame counts as found."""
    before = what_readers_see(data)
    found = []
    for at in missed:
        after = what_readers_see(flipped(data, at, mask))
        changed = differences(before, after)
        if changed == ["ours"] and renamed(before["ours"], after["ours"]):
            continue
        if changed:
            found.append((at, changed))
    return found


def renamed(before: Any, after: Any) -> bool:
    """Whether one of the fields differs that `report_parts` compares with the key, or one that nobody reads."""
    compared = ("entity", "project", "run_id", "writer_id", "family", "first", "last", "mark", "created_by")
    stamps = ("hlc_min_us", "hlc_max_us", "ts_max_us", "families")  # 0 or empty: the file does not say
    return any(getattr(before, name) != getattr(after, name) for name in compared) or all(
        getattr(after, name) in (getattr(before, name), 0, "") for name in stamps
    )


def test_no_flipped_byte_changes_an_answer_unseen(part: bytes) -> None:
    """Every third byte here; the long version below takes all of them, bit by bit."""
    places = range(0, len(part), 3)
    missed = undetected(part, 0xFF, places)
    assert harmful(part, 0xFF, missed) == []
    assert len(missed) < len(places) * 0.25
    assert all(4 <= at < len(part) - 8 for at in missed)


@pytest.mark.slow
@pytest.mark.parametrize("mask", [0xFF, *(1 << bit for bit in range(8))])
def test_no_flipped_bit_changes_an_answer_unseen(part: bytes, mask: int) -> None:
    missed = undetected(part, mask, range(len(part)))
    footer_at = len(part) - 8 - int.from_bytes(part[-8:-4], "little")
    in_footer = sum(at >= footer_at for at in missed)
    print(f"mask {mask:#x}: of {len(part)} flips {len(part) - len(missed)} found; unseen and harmless: {in_footer} in "
          f"the footer, {len(missed) - in_footer} in statistics of page headers")  # fmt: skip
    assert harmful(part, mask, missed) == []
