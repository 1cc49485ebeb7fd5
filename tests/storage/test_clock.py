"""The clock: stamps go up, whatever the wall clock does."""

from __future__ import annotations

import threading
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tracker.storage.clock import MAX_AHEAD_US, HybridClock, wall_us

TIMES = st.integers(min_value=0, max_value=2**52)


@given(wall=st.lists(TIMES, min_size=2, max_size=50), last_us=TIMES)
def test_stamps_increase_over_any_wall_clock(wall: list[int], last_us: int) -> None:
    now = wall[0]
    clock = HybridClock(last_us, wall=lambda: now)
    stamps = []
    for now in wall:  # noqa: B007 - the clock reads it
        stamps.append(clock.tick())
    assert all(early < late for early, late in pairwise(stamps))
    assert all(stamp >= now for stamp, now in zip(stamps, wall, strict=True))


def test_a_clock_that_steps_back_between_two_sessions_keeps_the_order() -> None:
    """The highest stamp is kept beside the spool; the next session begins with it."""
    first = HybridClock(wall=lambda: 2_000_000_000)
    kept = [first.tick() for _ in range(3)][-1]
    second = HybridClock(kept, wall=lambda: 1_000_000_000)
    assert [second.tick() for _ in range(3)] == [kept + 1, kept + 2, kept + 3]


def test_what_a_reader_saw_lies_before_what_it_writes() -> None:
    clock = HybridClock(wall=lambda: 1000)
    clock.observe(5000)
    assert clock.tick() == 5001
    clock.observe(10)
    assert clock.tick() == 5002


def test_a_stamp_absurdly_far_ahead_is_not_adopted() -> None:
    """One machine that thinks it is 2100 must not drag all others there."""
    clock = HybridClock(wall=lambda: 1000)
    clock.observe(1000 + MAX_AHEAD_US + 1)
    assert clock.tick() == 1000
    clock.observe(1000 + MAX_AHEAD_US)
    assert clock.tick() == 1001 + MAX_AHEAD_US


def test_the_stores_clock_judges_what_was_read_and_not_this_machines() -> None:
    """A machine that wakes up in 1970 adopts the present from the store; one in 2100 drags nobody there."""
    asleep = HybridClock(wall=lambda: 1000)
    asleep.observe(10 * MAX_AHEAD_US, store_now_us=10 * MAX_AHEAD_US)
    assert asleep.tick() == 10 * MAX_AHEAD_US + 1
    ahead = HybridClock(wall=lambda: 10 * MAX_AHEAD_US)
    ahead.observe(11 * MAX_AHEAD_US, store_now_us=10 * MAX_AHEAD_US - 1)
    assert ahead.tick() == 10 * MAX_AHEAD_US


@given(times=st.lists(st.tuples(TIMES, st.booleans()), max_size=20), skews=st.tuples(TIMES, TIMES))
def test_who_writes_after_reading_wins_whatever_the_clocks_say(
    times: list[tuple[int, bool]], skews: tuple[int, int]
) -> None:
    """Two machines take turns at one value, each reading before it writes; the store's clock is somewhere."""
    clocks = [HybridClock(wall=lambda skew=skew: skew) for skew in skews]  # type: ignore[misc]
    stored = 0
    for store_now_us, second in times:
        clock = clocks[second]
        if stored <= store_now_us + MAX_AHEAD_US:
            clock.observe(stored, store_now_us)
            written = clock.tick()
            assert written > stored
            stored = written


def test_threads_never_get_one_stamp_twice() -> None:
    clock = HybridClock(wall=lambda: 7)
    stamps: list[list[int]] = [[] for _ in range(8)]

    def tick(mine: list[int]) -> None:
        mine.extend(clock.tick() for _ in range(2000))

    threads = [threading.Thread(target=tick, args=(mine,)) for mine in stamps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({stamp for mine in stamps for stamp in mine}) == 16_000
    assert all(mine == sorted(mine) for mine in stamps)


def test_the_wall_clock_counts_microseconds() -> None:
    assert 1_700_000_000_000_000 < wall_us() < 5_000_000_000_000_000
