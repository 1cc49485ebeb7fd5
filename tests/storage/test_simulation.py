"""Real writers, packers and readers over one faulty store: no event missing, twice or invented, whatever goes wrong."""

from __future__ import annotations

import os

import pytest
from simulate import simulate, simulate_in_processes
from simulate_broken import BROKEN

HAPPENS = (  # so that the schedules are known to be worth something
    "reads", "reference reads", "refused reads", "merges", "deletions", "adopted", "lost replies", "late", "crashes",
    "finished", "packed writers", "packs dropped", "purges", "vacuumed",
)  # fmt: skip


def test_the_same_seed_is_the_same_schedule():
    one, two = simulate(4), simulate(4)
    assert one.trace == two.trace
    assert one.counts == two.counts
    assert one.now_s == two.now_s
    assert simulate(5).trace != one.trace


@pytest.mark.timeout(1800)
def test_no_event_is_missing_twice_or_invented_in_300_schedules():
    faults, counts, told = simulate_in_processes(0, 300, os.cpu_count() or 1)
    assert not faults, "\n".join(told[:5])
    assert {name for name in HAPPENS if not counts[name]} == set()


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_no_event_is_missing_twice_or_invented_in_10_000_schedules():
    """As `python tests/storage/simulate.py 0 10000`, which tells of each fault at once, with its seed."""
    faults, counts, told = simulate_in_processes(0, 10_000, os.cpu_count() or 1)
    assert not faults, "\n".join(told[:5])
    assert {name for name in HAPPENS if counts[name] < 100} == set()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_caught(name: str):
    broken, fault, seeds, busy = BROKEN[name]
    for seed in seeds:
        if any(fault in found for found in simulate(seed, broken=broken, steps=800, busy=busy).faults):
            return
    pytest.fail(f"{len(seeds)} schedules saw no event that is {fault}")
