"""Which rows a sample takes: evenly spread, first and last always, the same ones every time."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tracker.storage.errors import UsageError

__all__ = ["SamplesError", "check_samples", "sample_groups", "sample_rows"]


class SamplesError(UsageError, TypeError):
    """`samples` is no number of rows."""


def check_samples(samples: Any) -> int | None:
    """`samples` as a number of rows, 0 for anything below; None stays None and means every row.

    Raises:
        SamplesError: it is no integer.
    """
    if samples is None:
        return None
    try:
        if isinstance(samples, (bool, np.bool_)):
            raise TypeError
        return max(operator.index(samples), 0)
    except TypeError:
        raise SamplesError(f"samples must be an integer (or None for every row), not {samples!r:.80}.") from None


def sample_rows(count: int, samples: int | None) -> np.ndarray:
    """Numbers of the rows taken from `count` rows in order: floor(i * (count - 1) / (samples - 1) + 0.5).

    All of them where `samples` is None or not below `count`; the last one where it is 1.
    """
    if samples is None or samples >= count:
        return np.arange(count)
    if samples <= 0:
        return np.arange(0)
    if samples == 1:
        return np.array([count - 1])
    gaps = samples - 1
    return (2 * np.arange(samples) * (count - 1) + gaps) // (2 * gaps)


def sample_groups(groups: np.ndarray, samples: int | None) -> np.ndarray:
    """Positions taken when every group is sampled by itself. `groups`: a group number a row, ascending."""
    if samples is None or not len(groups):
        return np.arange(len(groups))
    edges = np.flatnonzero(np.diff(groups)) + 1
    starts = np.concatenate(([0], edges))
    counts = np.diff(np.concatenate((starts, [len(groups)])))
    if counts.max() <= samples:
        return np.arange(len(groups))
    return np.concatenate(
        [start + sample_rows(int(count), samples) for start, count in zip(starts, counts, strict=True)]
    )
