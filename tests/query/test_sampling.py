"""Samples are evenly spread, deterministic, and hold the first and the last row."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.query.sampling import check_samples, sample_groups, sample_rows
from tracker.storage.errors import UsageError


@pytest.mark.parametrize(("count", "samples", "rows"), [(10, 4, [0, 3, 6, 9]), (5, 2, [0, 4]), (5, 1, [4]), (3, 0, [])])
def test_worked_examples(count: int, samples: int, rows: list[int]) -> None:
    """HX-13, HX-14, HQ-4, HQ-9."""
    assert sample_rows(count, samples).tolist() == rows


@settings(deadline=None)
@given(st.integers(1, 10**7), st.integers(2, 700))
def test_rows_are_those_of_the_formula(count: int, samples: int) -> None:
    """HQ-4: floor(i * (n - 1) / (k - 1) + 0.5)."""
    if samples >= count:
        assert len(sample_rows(count, samples)) == count
        return
    wanted = [math.floor(Fraction(i * (count - 1), samples - 1) + Fraction(1, 2)) for i in range(samples)]
    assert sample_rows(count, samples).tolist() == wanted
    assert len(set(wanted)) == samples


@settings(deadline=None)
@given(st.lists(st.integers(0, 4)).map(sorted), st.none() | st.integers(0, 5))
def test_groups_are_sampled_one_by_one(groups: list[int], samples: int | None) -> None:
    taken = sample_groups(np.array(groups, np.int64), samples).tolist()
    wanted = []
    for group in sorted(set(groups)):
        wanted += (groups.index(group) + sample_rows(groups.count(group), samples)).tolist()
    assert taken == wanted


def test_samples_must_be_an_integer() -> None:
    """HQ-9."""
    assert check_samples(None) is None
    assert check_samples(-3) == 0
    assert check_samples(np.int64(7)) == 7
    for wrong in ("5", 5.0, True, [5]):
        with pytest.raises(TypeError, match="samples must be an integer") as caught:
            check_samples(wrong)
        assert isinstance(caught.value, UsageError)
