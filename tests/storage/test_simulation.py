"""Real writers, syncs and readers over one faulty store: no event missing, twice or invented, whatever goes wrong."""

from __future__ import annotations

import pytest
from simulate import simulate, simulate_many


def test_the_same_seed_is_the_same_schedule():
    one, two = simulate(4), simulate(4)
    assert one.trace == two.trace
    assert one.counts == two.counts
    assert one.now_s == two.now_s
    assert simulate(5).trace != one.trace


@pytest.mark.parametrize("stale_s", [0, 20], ids=["fresh listings", "stale listings"])
def test_no_event_is_missing_twice_or_invented(stale_s: int):
    faults, counts, told = simulate_many(range(150), stale_s)
    assert not faults, "\n".join(told[:5])
    assert counts["reads"] + counts["reference reads"] > 1500
    for what in ("merges", "deletions", "adopted", "lost replies", "late", "crashes", "finished"):
        assert counts[what] > 30, what
