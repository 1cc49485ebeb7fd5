"""Integers of any size reach the store: of points, and of facts, which are numbers again before they become columns."""

from __future__ import annotations

from typing import Any

import pytest

from tracker.storage.columns import EventBuilder
from tracker.storage.events import INT64_MAX, INT64_MIN, decode_cell
from tracker.storage.frames import Facts, Log, RowMark, pack_value

NUMBERS = [0, INT64_MAX, INT64_MIN, INT64_MAX + 1, INT64_MIN - 1, 2**70, -(2**70), 10**400, -(10**400)]


@pytest.mark.parametrize("chosen", [NUMBERS, [-(10**400)], [INT64_MIN - 1, 1]])
def test_integers_of_any_size_come_back(chosen: list[int]) -> None:
    builder = EventBuilder()
    builder.add(0, Facts(1, 1, [("config", None, f"{n:02d}", pack_value(value)) for n, value in enumerate(chosen)]))
    cells = {f"{n:02d}": pack_value(value) for n, value in enumerate(chosen)}
    builder.add(1, Log(2, 2, 0, 0, cells, [RowMark(0, 0, 2, 0.0)]))
    found: dict[str, list[Any]] = {"config": [], "history": []}
    for event in sorted(builder.table().to_pylist(), key=lambda event: event["key"] or ""):
        if event["kind"] in found:
            found[event["kind"]].append(decode_cell(event["t"], event["v"], event["i"], event["s"]))
    assert found == {"config": chosen, "history": chosen}
