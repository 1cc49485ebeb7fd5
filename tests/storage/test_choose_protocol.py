"""The read protocol holds under random schedules, and the simulation would see it if it did not."""

from __future__ import annotations

import pytest
from simulate_protocol import Rules, simulate


def run(seeds: range, rules: Rules | None = None, stale: int = 0) -> tuple[int, dict[str, int]]:
    reads, faults = 0, dict[str, int]()
    for seed in seeds:
        world = simulate(seed, rules, stale)
        reads += world.reads
        for name, count in world.faults.items():
            faults[name] = faults.get(name, 0) + count
    return reads, faults


@pytest.mark.parametrize("stale", [0, 20], ids=["fresh listings", "stale listings"])
def test_no_event_is_missing_twice_or_invented(stale: int):
    reads, faults = run(range(150), stale=stale)
    assert faults == {}
    assert reads > 300


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stale", [0, 20], ids=["fresh listings", "stale listings"])
def test_no_event_is_missing_twice_or_invented_in_ten_thousand_schedules(stale: int):
    _, faults = run(range(1000, 6000), stale=stale)
    assert faults == {}


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        (Rules(cut_rows=False), "twice"),
        (Rules(restart_on_missing=False), "acknowledged missing"),
        (Rules(commit_last=False, check_footer=False), "missing"),
        (Rules(put_before_delete=False, restart_on_hole=False), "acknowledged missing"),
        (Rules(put_before_delete=False), "unreadable"),
    ],
    ids=[
        "whole files",
        "404 ignored",
        "commit first",
        "deleted before covered, holes ignored",
        "deleted before covered",
    ],
)
def test_a_broken_protocol_is_caught(rules: Rules, fault: str):
    for seed in range(200):
        if fault in simulate(seed, rules).faults:
            return
    pytest.fail(f"200 schedules saw no event {fault}")


def test_a_set_whose_commit_file_came_first_is_refused_and_never_read_as_less():
    """The footer of the commit file lists what a merger that died had yet to put."""
    _, faults = run(range(60), Rules(commit_last=False))
    assert set(faults) == {"unreadable"}
